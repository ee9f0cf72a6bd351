//! Which attempts are still to be attested, and the signed statements of those that were.
//!
//! Knows nothing of what the statements say. Invariant: an attempt that was handed out and has
//! ended is due or attested, whatever was killed in between.

use store::{Db, Tx};
use vocab::{Attempt, JobId};

use crate::{QueueError, sql};

/// The signed statements of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The envelope of its provenance.
    pub provenance: Vec<u8>,
    /// The envelope of its receipt.
    pub receipt: Vec<u8>,
    /// The public key that signed both, in PEM.
    pub key: String,
    /// The audit entry that has their digests.
    pub seq: audit::Seq,
}

/// Attempts that have ended and are not attested, the oldest first.
pub fn attest_due(db: &Db, limit: u32) -> Result<Vec<(JobId, Attempt)>, QueueError> {
    Ok(sql::attest_due(db, limit)?)
}

/// Whether that attempt is still to be attested.
pub fn is_attest_due(db: &Db, job: JobId, attempt: Attempt) -> Result<bool, QueueError> {
    Ok(sql::is_attest_due(db, job, attempt)?)
}

/// Keeps the statements of an attempt, which is due no more. The caller appends the entry that
/// has their digests in the same `tx`.
pub fn attested(
    tx: &mut Tx<'_>,
    job: JobId,
    attempt: Attempt,
    made: &Attestation,
) -> Result<(), QueueError> {
    sql::insert_attestation(tx, job, attempt, made)?;
    sql::forget_due(tx, job, attempt)?;
    tx.announce(store::Change::Job(job));
    Ok(())
}

/// Gives up an attempt that can never be attested: its rows went with its repo.
pub fn attest_in_vain(tx: &mut Tx<'_>, job: JobId, attempt: Attempt) -> Result<(), QueueError> {
    Ok(sql::forget_due(tx, job, attempt)?)
}

/// Calls `look` with the statements of every attempt that was attested, in order.
pub fn each_attestation(
    db: &Db,
    look: impl FnMut(JobId, Attempt, Attestation),
) -> Result<(), QueueError> {
    Ok(sql::each_attestation(db, look)?)
}

/// The statements of an attempt, if it was attested.
pub fn attestation(
    db: &Db,
    job: JobId,
    attempt: Attempt,
) -> Result<Option<Attestation>, QueueError> {
    Ok(sql::attestation(db, job, attempt)?)
}
