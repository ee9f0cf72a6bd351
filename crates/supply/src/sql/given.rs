//! Queries on what jobs were given.

use rusqlite::params;
use store::{Db, StoreError};
use vocab::{Attempt, Digest, JobId};

use crate::given::Noted;

/// In the place of a digest: there was more.
const MORE: &str = "";

pub(crate) fn insert(
    db: &Db,
    job: JobId,
    attempt: Attempt,
    noted: &Noted,
) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT OR IGNORE INTO job_given (job, attempt, digest) VALUES (?1, ?2, ?3)",
    )?;
    for digest in &noted.digests {
        insert.execute(params![job.get(), attempt.get(), digest.to_string()])?;
    }
    if noted.more {
        insert.execute(params![job.get(), attempt.get(), MORE])?;
    }
    Ok(())
}

pub(crate) fn given(db: &Db, job: JobId, attempt: Attempt) -> Result<Noted, StoreError> {
    let mut found =
        db.prepare_cached("SELECT digest FROM job_given WHERE job = ?1 AND attempt = ?2")?;
    let rows = found.query_map(params![job.get(), attempt.get()], |row| {
        row.get::<_, String>(0)
    })?;
    let mut noted = Noted::default();
    for row in rows {
        match row?.parse() {
            Ok(digest) => drop(noted.digests.insert(digest)),
            Err(_) => noted.more = true,
        }
    }
    Ok(noted)
}

pub(crate) fn given_to(
    db: &Db,
    digest: &Digest,
    limit: u32,
) -> Result<Vec<(JobId, Attempt)>, StoreError> {
    let mut found = db.prepare_cached(
        "SELECT job, attempt FROM job_given WHERE digest = ?1 ORDER BY job DESC, attempt DESC
         LIMIT ?2",
    )?;
    let rows = found.query_map(params![digest.to_string(), limit], |row| {
        Ok((JobId(row.get(0)?), Attempt(row.get(1)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
