//! The store's own queries: which migrations were applied.

use rusqlite::{Connection, params};

pub(crate) const MIGRATION_TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (
    owner TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,
    PRIMARY KEY (owner, number)) STRICT, WITHOUT ROWID";

pub(crate) const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA foreign_keys = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY;
    PRAGMA busy_timeout = 10000; PRAGMA trusted_schema = OFF;";

pub(crate) struct Applied {
    pub(crate) owner: String,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) sha256: String,
}

pub(crate) fn applied(db: &Connection) -> rusqlite::Result<Vec<Applied>> {
    db.prepare("SELECT owner, number, name, sha256 FROM migration ORDER BY owner, number")?
        .query_map([], |row| {
            Ok(Applied {
                owner: row.get(0)?,
                number: row.get(1)?,
                name: row.get(2)?,
                sha256: row.get(3)?,
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

pub(crate) fn record(
    db: &Connection,
    owner: &str,
    number: i64,
    name: &str,
    sha256: &str,
) -> rusqlite::Result<usize> {
    db.execute(
        "INSERT INTO migration VALUES (?1, ?2, ?3, ?4)",
        params![owner, number, name, sha256],
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
