//! Every query of this crate.

use std::time::SystemTime;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, params, params_from_iter};
use store::{Db, Tx};
use vocab::unix_ms;

use crate::{Filter, Head, Line, Seq};

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
    let mut dated = db.prepare_cached("SELECT t_us FROM audit_entry WHERE seq = ?1")?;
    let (mut low, mut high) = (0, size);
    while low < high {
        let middle = low + (high - low) / 2;
        let seq = i64::try_from(middle).unwrap_or(i64::MAX);
        let at: i64 = dated.query_row([seq], |row| row.get(0))?;
        if at < t_us {
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

/// One more than the last entry that is there.
pub(crate) fn end(db: &Db) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce(max(seq) + 1, 0) FROM audit_entry")?
        .query_row([], |row| row.get(0))
}

/// The conditions of `filter` and their values.
fn clauses(filter: &Filter) -> (String, Vec<Value>) {
    let (mut text, mut values) = (String::new(), Vec::new());
    let mut and = |clause: &str, value: Value| {
        text.push_str(clause);
        values.push(value);
    };
    let us = |at: SystemTime| unix_ms(at).saturating_mul(1_000);
    if let Some(since) = filter.since {
        and(" AND t_us >= ?", us(since).into());
    }
    if let Some(until) = filter.until {
        and(" AND t_us < ?", us(until).into());
    }
    if let Some(kind) = &filter.kind {
        match kind.strip_suffix('*').unwrap_or(kind) {
            start if start.ends_with('.') || start.len() < kind.len() => {
                and(" AND kind >= ?", start.to_owned().into());
                and(" AND kind < ?", format!("{start}\u{10ffff}").into());
            }
            whole => and(" AND kind = ?", whole.to_owned().into()),
        }
    }
    if let Some(actor) = &filter.actor {
        and(" AND actor = ?", actor.clone().into());
    }
    if let Some(object) = &filter.object {
        and(" AND object = ?", object.clone().into());
    }
    if let Some(generation) = filter.generation {
        // Members of a line stand in one order, and quotes in its texts are escaped.
        let member = format!("\"gen\":{generation},\"host\":");
        and(" AND instr(line, ?) > 0", member.into());
    }
    if let Some(before) = filter.before {
        and(" AND seq < ?", before.0.into());
    }
    if let Some(after) = filter.after {
        and(" AND seq > ?", after.0.into());
    }
    (text, values)
}

pub(crate) fn count(db: &Db, filter: &Filter) -> rusqlite::Result<u64> {
    let (clauses, values) = clauses(filter);
    let text = format!("SELECT count(*) FROM audit_entry WHERE true{clauses}");
    let count: i64 = db
        .prepare_cached(&text)?
        .query_row(params_from_iter(values), |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(crate) fn list(db: &Db, filter: &Filter, limit: u32) -> rusqlite::Result<Vec<Line>> {
    let (clauses, mut values) = clauses(filter);
    let mut text = format!("SELECT seq, line, leaf FROM audit_entry WHERE true{clauses}");
    text.push_str(match filter.after {
        Some(_) => " ORDER BY seq LIMIT ?",
        None => " ORDER BY seq DESC LIMIT ?",
    });
    values.push(i64::from(limit).into());
    let mut lines: Vec<Line> = db
        .prepare_cached(&text)?
        .query_map(params_from_iter(values), as_line)?
        .collect::<Result<_, _>>()?;
    lines.sort_by_key(|line| std::cmp::Reverse(line.seq));
    Ok(lines)
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
        let opening = OpeningRow {
            seq: row.get(0)?,
            field: row.get(1)?,
            salt: row.get(2)?,
            value: row.get(3)?,
        };
        Ok((opening, row.get::<_, Option<String>>(4)?))
    })?;
    for row in rows {
        let (opening, line) = row?;
        if !look(opening, line.as_deref()) {
            break;
        }
    }
    Ok(())
}
