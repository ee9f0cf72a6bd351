//! Queries on what is kept, what is damaged, and how far a scrub has come.

use std::collections::BTreeSet;

use rusqlite::params;
use store::{Db, StoreError};
use vocab::Digest;

use super::digest;
use crate::GenerationId;
use crate::bundles::{Found, Scrubbed};

fn digests(db: &Db, sql: &str) -> Result<BTreeSet<Digest>, StoreError> {
    let mut found = db.prepare_cached(sql)?;
    let rows = found.query_map([], |row| digest(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Every blob that a generation needs whose blobs are kept.
pub(crate) fn retained_blobs(db: &Db) -> Result<BTreeSet<Digest>, StoreError> {
    digests(
        db,
        "SELECT DISTINCT b.digest FROM generation_blob b
         JOIN generation g ON g.id = b.generation WHERE g.retained = 1",
    )
}

/// Manifests of bundles that made a generation or are under way.
pub(crate) fn kept_manifests(db: &Db) -> Result<BTreeSet<Digest>, StoreError> {
    digests(
        db,
        "SELECT manifest FROM bundle WHERE state != 'aborted'
         OR id IN (SELECT bundle FROM generation)",
    )
}

/// Ids of the generations whose blobs are kept.
pub(crate) fn retained(db: &Db) -> Result<BTreeSet<i64>, StoreError> {
    let mut found = db.prepare_cached("SELECT id FROM generation WHERE retained = 1")?;
    let rows = found.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Lets go of a generation: what it served is forgotten, its place in the history is not.
pub(crate) fn let_go(db: &Db, generation: GenerationId) -> Result<(), StoreError> {
    db.execute(
        "UPDATE generation SET retained = 0 WHERE id = ?1",
        [generation.0],
    )?;
    for table in ["item", "generation_blob"] {
        let sql = format!("DELETE FROM {table} WHERE generation = ?1");
        db.execute(&sql, [generation.0])?;
    }
    Ok(())
}

/// Gives up every import that has not ended; how many.
pub(crate) fn give_up_all(db: &Db) -> Result<usize, StoreError> {
    Ok(db.execute(
        "UPDATE bundle SET state = 'aborted' WHERE state IN ('verified', 'staging', 'ready')",
        [],
    )?)
}

pub(crate) fn note_damage(
    db: &Db,
    blob: &Digest,
    found: Found,
    now_ms: i64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO damaged (digest, found, found_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (digest) DO UPDATE SET found = ?2",
        params![blob.to_string(), found.as_str(), now_ms],
    )?;
    Ok(())
}

pub(crate) fn forget_damage(db: &Db, blob: &Digest) -> Result<usize, StoreError> {
    Ok(db
        .prepare_cached("DELETE FROM damaged WHERE digest = ?1")?
        .execute([blob.to_string()])?)
}

/// Every blob that was found damaged or missing and has not come back.
pub(crate) fn damaged(db: &Db) -> Result<BTreeSet<Digest>, StoreError> {
    digests(db, "SELECT digest FROM damaged")
}

pub(crate) fn scrubbed(db: &Db) -> Result<Scrubbed, StoreError> {
    Ok(db.query_row(
        "SELECT cursor, blobs, bytes, bad, started_ms, ended_ms FROM scrub",
        [],
        |row| {
            Ok(Scrubbed {
                cursor: row.get(0)?,
                blobs: super::count(row, 1)?,
                bytes: super::count(row, 2)?,
                bad: super::count(row, 3)?,
                started_ms: row.get(4)?,
                ended_ms: row.get(5)?,
            })
        },
    )?)
}

pub(crate) fn set_scrubbed(db: &Db, at: &Scrubbed) -> Result<(), StoreError> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    db.execute(
        "UPDATE scrub SET cursor = ?1, blobs = ?2, bytes = ?3, bad = ?4, started_ms = ?5,
         ended_ms = ?6",
        params![
            at.cursor,
            number(at.blobs),
            number(at.bytes),
            number(at.bad),
            at.started_ms,
            at.ended_ms
        ],
    )?;
    Ok(())
}
