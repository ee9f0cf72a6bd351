//! Rows that only tests write.

use rusqlite::params;
use store::{Db, StoreError};
use vocab::Digest;

pub(crate) fn bundle(db: &Db, seq: u64) -> Result<i64, StoreError> {
    let manifest = Digest::of(&seq.to_le_bytes()).to_string();
    db.execute(
        "INSERT INTO bundle (product, channel, seq, content, manifest, signers, root, created,
         not_after, size_bytes, missing_bytes, state, seen_ms, committed_ms)
         VALUES ('lab', 'test', ?1, '1', ?2, '{}', 1, '2026-01-01', '2027-01-01', 0, 0,
                 'committed', 0, 0)",
        params![i64::try_from(seq).unwrap_or(i64::MAX), manifest],
    )?;
    Ok(db.last_insert_rowid())
}

/// A generation whose blobs are not kept any more.
#[cfg(test)]
pub(crate) fn retire(db: &Db, generation: crate::GenerationId) -> Result<(), StoreError> {
    db.execute(
        "UPDATE generation SET retained = 0 WHERE id = ?1",
        [generation.0],
    )?;
    Ok(())
}
