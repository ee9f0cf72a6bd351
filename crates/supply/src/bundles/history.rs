//! What was imported so far, and going back.

use std::sync::Arc;

use audit::{Entry as AuditEntry, Kind, Who};
use bundle::{Manifest, Refusal};
use serde::Serialize;
use store::{Db, Store, StoreError};
use vocab::Digest;

use super::diff::{Diff, between};
use super::intake::Intake;
use super::{BundleError, floors, gc};
use crate::sql::bundles::{self as sql, BundleRow, GenerationRow};
use crate::{GenerationId, generation};

/// One generation and the bundle that made it.
pub type Entry = GenerationRow;
/// An import that has not ended.
pub type Unfinished = BundleRow;
/// A bundle as it is written down here.
pub type Row = BundleRow;

/// Every generation, newest first.
pub fn history(db: &Db) -> Result<Vec<Entry>, StoreError> {
    sql::generations(db)
}

/// Imports that began and did not end, newest first.
pub fn unfinished(db: &Db) -> Result<Vec<Unfinished>, StoreError> {
    sql::unfinished(db)
}

/// The bundle whose generation is active.
pub fn active(db: &Db) -> Result<Option<Row>, StoreError> {
    sql::active_bundle(db)
}

/// The bundle of that row, whatever became of it.
pub fn row(db: &Db, id: i64) -> Result<Option<Row>, StoreError> {
    sql::bundle_row_of(db, id)
}

/// The manifest of a bundle that was written down here; `None` once it was collected.
#[must_use]
pub fn kept_manifest(store: &Store, digest: &Digest) -> Option<Manifest> {
    gc::read_manifest(store, digest).ok()
}

/// What an undo did, or would do.
#[derive(Debug, Serialize)]
pub struct Undone {
    /// The generation that was active.
    pub from: i64,
    /// The one that is now.
    pub to: i64,
    /// The bundle that is active now.
    pub bundle: BundleRow,
    /// What changes by it.
    pub diff: Diff,
    /// Blobs of it that are damaged or missing.
    pub lacking: usize,
}

impl Intake {
    /// Goes back to the generation before the active one. `dry_run` only says what that changes.
    ///
    /// Errors: there is none, it is not kept any more, or it is below the security epoch.
    pub fn undo(self: &Arc<Self>, who: &Who, dry_run: bool) -> Result<Undone, BundleError> {
        let claim = self.claim("an undo", who)?;
        let (from, to) = self.store.read(|db| self.before(db))?;
        let (now, then) = self.store.read(|db| {
            let now = sql::items(db, GenerationId(from))?;
            Ok::<_, StoreError>((now, sql::items(db, GenerationId(to.generation))?))
        })?;
        let blobs = self.store.blobs();
        let lacking = self
            .store
            .read(|db| sql::generation_blobs(db, GenerationId(to.generation)))?
            .iter()
            .filter(|(digest, size)| blobs.size(digest) != Some(*size))
            .count();
        let undone = Undone {
            from,
            to: to.generation,
            bundle: to.bundle,
            diff: between(&now, &then),
            lacking,
        };
        if dry_run {
            return Ok(undone);
        }
        let id = GenerationId(undone.to);
        self.store.write(|tx| {
            generation::activate(tx, id)?;
            let bundle = &undone.bundle;
            let name = format!("{} {} {}", bundle.product, bundle.channel, bundle.seq);
            let entry = AuditEntry::success(Kind::BundleUndone)
                .object("bundle", format!("bundle:{}", bundle.manifest.hex()), name)
                .detail("from", from)
                .detail("to", undone.to);
            self.auditor.append(tx, who, entry)?;
            Ok::<_, BundleError>(())
        })?;
        self.auditor.set_generation(id.0);
        self.made_active(who, id, &claim.progress);
        Ok(undone)
    }

    /// The active generation and the one that undo goes back to.
    fn before(&self, db: &Db) -> Result<(i64, GenerationRow), BundleError> {
        let all = sql::generations(db)?;
        let active = all
            .iter()
            .find(|row| row.active)
            .ok_or(BundleError::NothingBefore)?;
        let (from, parent) = (
            active.generation,
            active.parent.ok_or(BundleError::NothingBefore)?,
        );
        let to = all
            .into_iter()
            .find(|row| row.generation == parent)
            .ok_or(BundleError::NothingBefore)?;
        if !to.retained {
            return Err(BundleError::NotKept(to.generation));
        }
        let at = floors::read(db, self.store.dir())?.epoch;
        if to.epoch < at {
            let got = to.epoch;
            return Err(Refusal::Epoch { got, at }.into());
        }
        Ok((from, to))
    }
}
