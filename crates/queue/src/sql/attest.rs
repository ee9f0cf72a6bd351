//! Queries on statements and on attempts that still have none.

use rusqlite::{OptionalExtension, params};
use store::Db;
use vocab::{Attempt, JobId};

use crate::attest::Attestation;

type Result<T> = rusqlite::Result<T>;

pub(crate) fn insert_due(db: &Db, job: JobId, attempt: Attempt) -> Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO attest_due (job, attempt) VALUES (?1, ?2)")?
        .execute(params![job.0, attempt.0])?;
    Ok(())
}

pub(crate) fn attest_due(db: &Db, limit: u32) -> Result<Vec<(JobId, Attempt)>> {
    db.prepare_cached("SELECT job, attempt FROM attest_due ORDER BY job, attempt LIMIT ?1")?
        .query_map([limit], |row| {
            Ok((JobId(row.get(0)?), Attempt(row.get(1)?)))
        })?
        .collect()
}

pub(crate) fn is_attest_due(db: &Db, job: JobId, attempt: Attempt) -> Result<bool> {
    db.prepare_cached("SELECT 1 FROM attest_due WHERE job = ?1 AND attempt = ?2")?
        .exists(params![job.0, attempt.0])
}

pub(crate) fn forget_due(db: &Db, job: JobId, attempt: Attempt) -> Result<()> {
    db.prepare_cached("DELETE FROM attest_due WHERE job = ?1 AND attempt = ?2")?
        .execute(params![job.0, attempt.0])?;
    Ok(())
}

pub(crate) fn insert_attestation(
    db: &Db,
    job: JobId,
    attempt: Attempt,
    made: &Attestation,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO attestation (job, attempt, provenance, receipt, key, seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        job.0,
        attempt.0,
        made.provenance,
        made.receipt,
        made.key,
        made.seq.0
    ])?;
    Ok(())
}

pub(crate) fn attestation(db: &Db, job: JobId, attempt: Attempt) -> Result<Option<Attestation>> {
    db.prepare_cached(
        "SELECT provenance, receipt, key, seq FROM attestation WHERE job = ?1 AND attempt = ?2",
    )?
    .query_row(params![job.0, attempt.0], |row| made(row, 0))
    .optional()
}

/// The columns from `at` on.
fn made(row: &rusqlite::Row<'_>, at: usize) -> Result<Attestation> {
    Ok(Attestation {
        provenance: row.get(at)?,
        receipt: row.get(at + 1)?,
        key: row.get(at + 2)?,
        seq: audit::Seq(row.get(at + 3)?),
    })
}

pub(crate) fn each_attestation(
    db: &Db,
    mut look: impl FnMut(JobId, Attempt, Attestation),
) -> Result<()> {
    let mut all = db.prepare(
        "SELECT job, attempt, provenance, receipt, key, seq FROM attestation
         ORDER BY job, attempt",
    )?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        look(JobId(row.get(0)?), Attempt(row.get(1)?), made(row, 2)?);
    }
    Ok(())
}
