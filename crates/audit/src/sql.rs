//! Every query of this crate.

use std::ops::Range;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};
use store::{Db, Tx};

use crate::{Head, Kinds, Line, Seq, Went};

pub(crate) struct NewLine<'a> {
    pub(crate) seq: i64,
    pub(crate) t_us: i64,
    pub(crate) kind: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) object: &'a str,
    pub(crate) out: &'a str,
    pub(crate) line: &'a str,
    pub(crate) leaf: &'a [u8; 32],
}

pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) t_us: i64,
    pub(crate) kind: String,
    pub(crate) actor: String,
    pub(crate) object: String,
    pub(crate) out: String,
    pub(crate) line: String,
    pub(crate) leaf: Vec<u8>,
}

pub(crate) struct OpeningRow {
    pub(crate) seq: i64,
    pub(crate) field: String,
    pub(crate) salt: Vec<u8>,
    pub(crate) value: String,
}

pub(crate) fn head(db: &Db) -> rusqlite::Result<Head> {
    db.prepare_cached("SELECT size, t_us, leaf FROM audit_head WHERE id = 0")?
        .query_row([], |row| {
            Ok(Head {
                size: row.get(0)?,
                t_us: row.get(1)?,
                leaf: row.get(2)?,
            })
        })
}

pub(crate) fn set_head(tx: &Tx<'_>, size: i64, t_us: i64, leaf: &[u8; 32]) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE audit_head SET size = ?1, t_us = ?2, leaf = ?3 WHERE id = 0")?
        .execute(params![size, t_us, leaf.as_slice()])?;
    Ok(())
}

pub(crate) fn insert(tx: &Tx<'_>, new: &NewLine<'_>) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO audit_entry (seq, t_us, kind, actor, object, out, line, leaf)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        new.seq,
        new.t_us,
        new.kind,
        new.actor,
        new.object,
        new.out,
        new.line,
        new.leaf.as_slice()
    ])?;
    Ok(())
}

pub(crate) fn insert_opening(
    tx: &Tx<'_>,
    seq: i64,
    field: &str,
    salt: &[u8],
    value: &str,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO audit_opening (seq, field, salt, value) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![seq, field, salt, value])?;
    Ok(())
}

pub(crate) fn openings(db: &Db, seq: i64) -> rusqlite::Result<Vec<(String, Vec<u8>, String)>> {
    db.prepare_cached("SELECT field, salt, value FROM audit_opening WHERE seq = ?1 ORDER BY field")?
        .query_map([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

fn as_opening(row: &rusqlite::Row<'_>) -> rusqlite::Result<OpeningRow> {
    Ok(OpeningRow {
        seq: row.get(0)?,
        field: row.get(1)?,
        salt: row.get(2)?,
        value: row.get(3)?,
    })
}

/// What is kept of one entry.
pub(crate) fn openings_of(db: &Db, seq: i64) -> rusqlite::Result<Vec<OpeningRow>> {
    db.prepare("SELECT seq, field, salt, value FROM audit_opening WHERE seq = ?1 ORDER BY field")?
        .query_map([seq], as_opening)?
        .collect()
}

/// What is kept of a person, named and, where there is one, with a tagged account.
pub(crate) fn openings_about(
    db: &Db,
    account: Option<&str>,
    name: &str,
) -> rusqlite::Result<Vec<OpeningRow>> {
    // In this order: the name anywhere; who and whence they were; what an entry about the account
    // keeps; from where somebody tried to sign in to it; what its keys are called.
    db.prepare(
        "SELECT o.seq, o.field, o.salt, o.value
         FROM audit_opening o JOIN audit_entry e ON e.seq = o.seq
         WHERE o.value = ?2 COLLATE NOCASE
            OR (e.actor = ?1 AND (o.field LIKE 'who.%' OR o.field LIKE 'src.%'))
            OR (e.object = ?1 AND o.field LIKE 'd.%')
            OR (e.object = ?1 AND e.actor = 'anonymous' AND o.field LIKE 'src.%')
            OR (o.field = 'd.label_c' AND json_extract(e.line, '$.d.user') = ?1)
         ORDER BY o.seq, o.field",
    )?
    .query_map(params![account, name], as_opening)?
    .collect()
}

/// Deletes openings, and every byte of them from the pages of the database.
///
/// Overwriting what is deleted is not enough: where pages were split, copies of rows stay in the
/// unused part of others. So what is kept moves to fresh pages, and all the old ones are
/// overwritten. That takes as long as copying the table does.
pub(crate) fn redact(tx: &Tx<'_>, rows: &[OpeningRow]) -> rusqlite::Result<()> {
    tx.execute_batch("PRAGMA secure_delete = ON")?;
    let done = move_kept(tx, rows);
    let off = tx.execute_batch("PRAGMA secure_delete = OFF");
    done.and(off)
}

fn move_kept(tx: &Tx<'_>, rows: &[OpeningRow]) -> rusqlite::Result<()> {
    let mut delete = tx.prepare("DELETE FROM audit_opening WHERE seq = ?1 AND field = ?2")?;
    for row in rows {
        delete.execute(params![row.seq, row.field])?;
    }
    drop(delete);
    tx.execute_batch(
        "CREATE TABLE audit_opening_kept (
             seq   INTEGER NOT NULL,
             field TEXT NOT NULL,
             salt  BLOB NOT NULL,
             value TEXT NOT NULL,
             PRIMARY KEY (seq, field)
         ) STRICT, WITHOUT ROWID;
         INSERT INTO audit_opening_kept
             SELECT seq, field, salt, value FROM audit_opening ORDER BY seq, field;
         DROP TABLE audit_opening;
         ALTER TABLE audit_opening_kept RENAME TO audit_opening;",
    )
}

fn as_line(row: &rusqlite::Row<'_>) -> rusqlite::Result<Line> {
    Ok(Line {
        seq: Seq(row.get(0)?),
        text: row.get(1)?,
        leaf: row.get(2)?,
    })
}

pub(crate) fn line(db: &Db, seq: i64) -> rusqlite::Result<Option<Line>> {
    db.prepare_cached("SELECT seq, line, leaf FROM audit_entry WHERE seq = ?1")?
        .query_row([seq], as_line)
        .optional()
}

/// The entries from `from` up to `to`, in order; fewer where some are missing.
pub(crate) fn lines(db: &Db, from: u64, to: u64) -> rusqlite::Result<Vec<Line>> {
    let seq = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
    db.prepare_cached(
        "SELECT seq, line, leaf FROM audit_entry WHERE seq >= ?1 AND seq < ?2 ORDER BY seq",
    )?
    .query_map([seq(from), seq(to)], as_line)?
    .collect()
}

/// The first of `size` entries that is not dated before `t_us`; `size` where none is. Entries are
/// dated in order, so that halving finds it.
pub(crate) fn first_at(db: &Db, t_us: i64, size: u64) -> rusqlite::Result<u64> {
    let mut dated =
        db.prepare_cached("SELECT t_us FROM audit_entry WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        let seq = i64::try_from(middle).unwrap_or(i64::MAX);
        // Where entries are missing the next one tells; where none is left it is not before.
        let at: Option<i64> = dated.query_row([seq], |row| row.get(0)).optional()?;
        if at.is_some_and(|at| at < t_us) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The newest `most` lines of one kind.
pub(crate) fn details_of(db: &Db, kind: &str, most: usize) -> rusqlite::Result<Vec<String>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    db.prepare_cached("SELECT line FROM audit_entry WHERE kind = ?1 ORDER BY seq DESC LIMIT ?2")?
        .query_map(params![kind, most], |row| row.get(0))?
        .collect()
}

/// Every actor of an entry once, at most `most`: each step finds the next one by the index.
pub(crate) fn actors(db: &Db, most: u32) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(
        "WITH RECURSIVE one (actor) AS (
             SELECT min(actor) FROM audit_entry
             UNION ALL
             SELECT (SELECT min(e.actor) FROM audit_entry e WHERE e.actor > one.actor)
             FROM one WHERE one.actor IS NOT NULL)
         SELECT actor FROM one WHERE actor IS NOT NULL LIMIT ?1",
    )?
    .query_map([most], |row| row.get(0))?
    .collect()
}

/// One more than the last entry that is there.
pub(crate) fn end(db: &Db) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce(max(seq) + 1, 0) FROM audit_entry")?
        .query_row([], |row| row.get(0))
}

/// The index that a search goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// None: the rows in order.
    Rows,
    /// By kind.
    Kind,
    /// By actor.
    Actor,
    /// By object.
    Object,
    /// What was refused or failed.
    Amiss,
}

impl Way {
    fn clause(self) -> &'static str {
        match self {
            Self::Rows => "NOT INDEXED",
            Self::Kind => "INDEXED BY audit_entry_kind",
            Self::Actor => "INDEXED BY audit_entry_actor",
            Self::Object => "INDEXED BY audit_entry_object",
            Self::Amiss => "INDEXED BY audit_entry_amiss",
        }
    }
}

/// One look for entries.
#[derive(Clone, Debug)]
pub(crate) struct Narrow<'a> {
    pub(crate) range: Range<i64>,
    pub(crate) kinds: Option<&'a [String]>,
    pub(crate) actor: Option<&'a str>,
    pub(crate) object: Option<&'a str>,
    pub(crate) went: Option<Went>,
    pub(crate) generation: Option<i64>,
    pub(crate) way: Way,
    pub(crate) ascending: bool,
}

impl Narrow<'_> {
    /// Where it looks and for what, and the values of its parameters.
    fn place(&self) -> (String, Vec<Value>) {
        let way = self.way.clause();
        let mut text = format!("audit_entry {way} WHERE seq >= ? AND seq < ?");
        let mut values: Vec<Value> = vec![self.range.start.into(), self.range.end.into()];
        match self.kinds {
            Some([one]) => {
                text.push_str(" AND kind = ?");
                values.push(one.clone().into());
            }
            Some(kinds) => {
                let marks = vec!["?"; kinds.len()].join(", ");
                text.push_str(&format!(" AND kind IN ({marks})"));
                values.extend(kinds.iter().map(|kind| Value::from(kind.clone())));
            }
            None => {}
        }
        for (column, value) in [("actor", self.actor), ("object", self.object)] {
            if let Some(value) = value {
                text.push_str(&format!(" AND {column} = ?"));
                values.push(value.to_owned().into());
            }
        }
        if self.went.is_some_and(Went::amiss) {
            // In these words the index of them has it.
            text.push_str(" AND out <> 'success'");
        }
        if let Some(Went::As(out)) = self.went {
            text.push_str(" AND out = ?");
            values.push(out.as_str().to_owned().into());
        }
        if let Some(generation) = self.generation {
            // Members of a line stand in one order, and quotes in its texts are escaped.
            text.push_str(" AND instr(line, ?) > 0");
            values.push(format!("\"gen\":{generation},\"host\":").into());
        }
        (text, values)
    }

    /// The statement that reads, and the values of its parameters.
    fn statement(&self, limit: u32) -> (String, Vec<Value>) {
        let (place, mut values) = self.place();
        let order = if self.ascending { "" } else { " DESC" };
        let text = format!("SELECT seq, line, leaf FROM {place} ORDER BY seq{order} LIMIT ?");
        values.push(i64::from(limit).into());
        (text, values)
    }
}

/// The first or last entries of a look, in its order.
pub(crate) fn narrowed(db: &Db, look: &Narrow<'_>, limit: u32) -> rusqlite::Result<Vec<Line>> {
    let (text, values) = look.statement(limit);
    db.prepare_cached(&text)?
        .query_map(params_from_iter(values), as_line)?
        .collect()
}

/// How many entries there are.
pub(crate) fn counted(db: &Db, look: &Narrow<'_>) -> rusqlite::Result<u64> {
    let (place, values) = look.place();
    let count: i64 = db
        .prepare_cached(&format!("SELECT count(*) FROM {place}"))?
        .query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How the database goes about a look, a step a line.
#[cfg(test)]
pub(crate) fn explained(db: &Db, look: &Narrow<'_>) -> rusqlite::Result<Vec<String>> {
    let (text, values) = look.statement(50);
    db.prepare(&format!("EXPLAIN QUERY PLAN {text}"))?
        .query_map(params_from_iter(values), |row| row.get("detail"))?
        .collect()
}

/// Whether fewer than `count` entries stand under `value` in the index of `way`.
pub(crate) fn rarer_than(db: &Db, way: Way, value: &str, count: u32) -> rusqlite::Result<bool> {
    let wanted = match way {
        Way::Rows => return Ok(false),
        Way::Kind => "kind = ?1",
        Way::Actor => "actor = ?1",
        Way::Object => "object = ?1",
        Way::Amiss => "out <> 'success' AND ?1 = ''",
    };
    let found: i64 = db
        .prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM audit_entry {} WHERE {wanted} LIMIT ?2)",
            way.clause()
        ))?
        .query_row(params![value, count], |row| row.get(0))?;
    Ok(found < i64::from(count))
}

/// Every kind that the log has, without reading its entries.
pub(crate) fn kinds(db: &Db) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(
        "WITH RECURSIVE each (kind) AS (
             SELECT min(kind) FROM audit_entry
             UNION ALL
             SELECT (SELECT min(kind) FROM audit_entry WHERE kind > each.kind)
             FROM each WHERE each.kind IS NOT NULL
         )
         SELECT kind FROM each WHERE kind IS NOT NULL",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

/// How many entries of each kind stand in a range, with the first `examples` of each.
pub(crate) fn by_kind(db: &Db, range: &Range<i64>, examples: u32) -> rusqlite::Result<Vec<Kinds>> {
    let mut count = db.prepare_cached(
        "SELECT count(*) FROM audit_entry INDEXED BY audit_entry_kind
         WHERE kind = ?1 AND seq >= ?2 AND seq < ?3",
    )?;
    let mut first = db.prepare_cached(
        "SELECT seq FROM audit_entry INDEXED BY audit_entry_kind
         WHERE kind = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq LIMIT ?4",
    )?;
    let (from, to) = (range.start, range.end);
    let mut found = Vec::new();
    for kind in kinds(db)? {
        let examples = first
            .query_map(params![kind, from, to, examples], |row| {
                row.get::<_, i64>(0)
            })?
            .map(|seq| seq.map(|seq| u64::try_from(seq).unwrap_or(0)))
            .collect::<Result<_, _>>()?;
        let count: i64 = count.query_row(params![kind, from, to], |row| row.get(0))?;
        found.push(Kinds {
            kind,
            count: u64::try_from(count).unwrap_or(0),
            first: examples,
        });
    }
    Ok(found)
}

/// Calls `look` with every row in order until it returns `false`.
pub(crate) fn each(db: &Db, mut look: impl FnMut(Row) -> bool) -> rusqlite::Result<()> {
    let mut statement = db.prepare(
        "SELECT seq, t_us, kind, actor, object, out, line, leaf FROM audit_entry ORDER BY seq",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Row {
            seq: row.get(0)?,
            t_us: row.get(1)?,
            kind: row.get(2)?,
            actor: row.get(3)?,
            object: row.get(4)?,
            out: row.get(5)?,
            line: row.get(6)?,
            leaf: row.get(7)?,
        })
    })?;
    for row in rows {
        if !look(row?) {
            break;
        }
    }
    Ok(())
}

/// Calls `look` with every opening and the line it belongs to until it returns `false`.
pub(crate) fn each_opening(
    db: &Db,
    mut look: impl FnMut(OpeningRow, Option<&str>) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = db.prepare(
        "SELECT o.seq, o.field, o.salt, o.value, e.line
         FROM audit_opening o LEFT JOIN audit_entry e ON e.seq = o.seq ORDER BY o.seq, o.field",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((as_opening(row)?, row.get::<_, Option<String>>(4)?))
    })?;
    for row in rows {
        let (opening, line) = row?;
        if !look(opening, line.as_deref()) {
            break;
        }
    }
    Ok(())
}

/// Whatever a test wants done to the rows behind the log's back.
#[cfg(test)]
pub(crate) fn alter(tx: &Tx<'_>, statements: &str) -> rusqlite::Result<()> {
    tx.execute_batch(statements)
}
