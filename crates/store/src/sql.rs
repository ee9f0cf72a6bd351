//! The store's own queries: which migrations were applied.

use rusqlite::{Connection, params};

pub(crate) const MIGRATION_TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (
    owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (owner, number)) STRICT, WITHOUT ROWID";

/// What version 0.1.0 did not write: the least that a program must know to go on using the
/// database, and the version that applied the migration. Empty means the migration itself.
const MIGRATION_COLUMNS: &str = "ALTER TABLE migration ADD COLUMN needs INTEGER;
    ALTER TABLE migration ADD COLUMN version TEXT NOT NULL DEFAULT ''";

pub(crate) const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;
    PRAGMA busy_timeout = 10000; PRAGMA trusted_schema = OFF;";

pub(crate) const READER_PRAGMAS: &str =
    "PRAGMA mmap_size = 0; PRAGMA busy_timeout = 10000; PRAGMA query_only = ON;";

/// One migration as it was applied.
pub(crate) struct Row {
    pub(crate) owner: String,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) sha256: String,
    pub(crate) needs: i64,
    pub(crate) version: String,
}

fn has_columns(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare("SELECT 1 FROM pragma_table_info('migration') WHERE name = 'needs'")?
        .exists([])
}

/// Empties the write-ahead log; whether no reader was in the way.
pub(crate) fn empty_wal(db: &Connection) -> rusqlite::Result<bool> {
    db.execute_batch("PRAGMA busy_timeout = 10000")?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| {
        row.get::<_, i64>(0)
    })
    .map(|busy| busy == 0)
}

/// Adds the columns that version 0.1.0 did not make.
pub(crate) fn add_columns(db: &Connection) -> rusqlite::Result<()> {
    if has_columns(db)? {
        return Ok(());
    }
    db.execute_batch(MIGRATION_COLUMNS)
}

pub(crate) fn applied(db: &Connection) -> rusqlite::Result<Vec<Row>> {
    let columns = if has_columns(db)? {
        "coalesce(needs, number), version"
    } else {
        "number, ''"
    };
    let text = format!(
        "SELECT owner, number, name, sha256, {columns} FROM migration ORDER BY owner, number"
    );
    db.prepare(&text)?
        .query_map([], |row| {
            Ok(Row {
                owner: row.get(0)?,
                number: row.get(1)?,
                name: row.get(2)?,
                sha256: row.get(3)?,
                needs: row.get(4)?,
                version: row.get(5)?,
            })
        })?
        .collect()
}

pub(crate) fn count(db: &Connection, owner: &str) -> rusqlite::Result<i64> {
    db.query_row(
        "SELECT count(*) FROM migration WHERE owner = ?1",
        [owner],
        |row| row.get(0),
    )
}

pub(crate) fn record(db: &Connection, row: &Row) -> rusqlite::Result<usize> {
    db.execute(
        "INSERT INTO migration (owner, number, name, sha256, needs, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            row.owner,
            row.number,
            row.name,
            row.sha256,
            row.needs,
            row.version
        ],
    )
}

pub(crate) fn integrity(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut found = db
        .prepare("PRAGMA integrity_check(100)")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    found.retain(|line| line != "ok");
    let mut orphans = db.prepare("PRAGMA foreign_key_check")?;
    let rows = orphans.query_map([], |row| {
        let table: String = row.get(0)?;
        let parent: String = row.get(2)?;
        Ok(format!(
            "a row of {table} points at a missing row of {parent}"
        ))
    })?;
    for row in rows {
        found.push(row?);
    }
    Ok(found)
}

fn plain(db: &Connection, text: &str) -> rusqlite::Result<()> {
    db.prepare_cached(text)?.execute([]).map(drop)
}

pub(crate) fn begin(db: &Connection) -> rusqlite::Result<()> {
    plain(db, "BEGIN IMMEDIATE")
}

pub(crate) fn commit(db: &Connection) -> rusqlite::Result<()> {
    plain(db, "COMMIT")
}

pub(crate) fn roll_back(db: &Connection) -> rusqlite::Result<()> {
    plain(db, "ROLLBACK")
}

/// Marks where one writer of a group begins.
pub(crate) fn savepoint(db: &Connection) -> rusqlite::Result<()> {
    plain(db, "SAVEPOINT writer")
}

pub(crate) fn keep(db: &Connection) -> rusqlite::Result<()> {
    plain(db, "RELEASE writer")
}

pub(crate) fn take_back(db: &Connection) -> rusqlite::Result<()> {
    plain(db, "ROLLBACK TO writer")?;
    keep(db)
}
