//! Collects what nothing needs any more: generations beyond those that are kept, then blobs.
//!
//! Two phases: what goes is decided and told in one transaction, then the files are removed. A
//! crash between the two leaves files that the next collection finds again. On a full disk a
//! reserve is given up first, so that the transaction has room.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use audit::{Entry, Kind, Who};
use bundle::Manifest;
use rustix::fs::{FallocateFlags, fallocate};
use serde::Serialize;
use store::{Db, Store, StoreError, Tx};
use vocab::Digest;

use super::BundleError;
use super::intake::Intake;
use crate::sql::{self, bundles, keeping};
use crate::sweep::Unpacked;
use crate::{GenerationId, import};

/// How many generations are kept to go back to, the active one among them.
const KEEP: usize = 3;
/// Room that a collection can make for its own transaction.
const RESERVE_FILE_BYTES: u64 = 32 << 20;

/// What was collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Generations that can no longer be gone back to.
    pub generations: usize,
    /// Imports that were given up.
    pub given_up: usize,
    /// Blobs.
    pub blobs: usize,
    /// Their bytes, with those of unfinished and quarantined ones.
    pub bytes: u64,
    /// Unpacked layers of images.
    pub layers: usize,
    /// Unpacked repositories of actions.
    pub actions: usize,
}

/// A transaction that was only looked at.
enum Stopped {
    Dry(Box<Found>),
    Failed(BundleError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BundleError> for Stopped {
    fn from(error: BundleError) -> Self {
        Self::Failed(error)
    }
}

struct Found {
    collected: Collected,
    blobs: Vec<Digest>,
    parts: BTreeSet<Digest>,
    /// What was unpacked for somebody before, and what still is.
    unpacked: (Unpacked, Unpacked),
}

impl Intake {
    /// Removes what nothing needs. `abandon` gives up unfinished imports first; `dry_run` only
    /// says what would go. Running jobs, kept generations, images imported by hand and unfinished
    /// imports keep what they need.
    pub fn collect(
        self: &Arc<Self>,
        who: &Who,
        abandon: bool,
        dry_run: bool,
    ) -> Result<Collected, BundleError> {
        let _claim = self.claim("a collection", who)?;
        let _alone = import::alone();
        let store = &self.store;
        if !dry_run {
            give_reserve(store)?;
        }
        let found = store.write(|tx| {
            let found = self.decide(tx, who, abandon)?;
            if dry_run {
                return Err(Stopped::Dry(Box::new(found)));
            }
            let entry = Entry::success(Kind::GcRun)
                .detail("generations", found.collected.generations)
                .detail("given_up", found.collected.given_up)
                .detail("blobs", found.collected.blobs)
                .detail("bytes", found.collected.bytes);
            self.auditor
                .append(tx, who, entry)
                .map_err(BundleError::from)?;
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(Stopped::Dry(found)) => return Ok(found.collected),
            Err(Stopped::Failed(error)) => return Err(error),
        };
        let mut collected = found.collected;
        for digest in &found.blobs {
            let path = store.blobs().path(digest);
            store
                .blobs()
                .remove(digest)
                .map_err(BundleError::io(path))?;
        }
        let failed = || BundleError::io(store.blobs().dir());
        collected.bytes += store.blobs().sweep_parts(&found.parts).map_err(failed())?;
        collected.bytes += store.blobs().clear_aside().map_err(failed())?;
        let (before, after) = &found.unpacked;
        (collected.layers, collected.actions) = before
            .remove_all_but(store.dir(), after)
            .map_err(BundleError::io(store.dir()))?;
        keep_reserve(store);
        Ok(collected)
    }

    fn decide(&self, tx: &mut Tx<'_>, who: &Who, abandon: bool) -> Result<Found, BundleError> {
        let mut collected = Collected::default();
        if abandon {
            collected.given_up = keeping::give_up_all(tx)?;
            if collected.given_up > 0 {
                let entry =
                    Entry::success(Kind::BundleAborted).detail("given_up", collected.given_up);
                self.auditor.append(tx, who, entry)?;
            }
        }
        // Layers of an image that somebody removed stay until the next start: a job may run in it.
        let before = Unpacked::needed(tx)?;
        collected.generations = let_go_of_old(tx, self)?;
        sql::forget_unneeded(tx).map_err(StoreError::from)?;
        let after = Unpacked::needed(tx)?;
        let needed = needed(tx, &self.store)?;
        let blobs = self.store.blobs();
        let all = blobs.list().map_err(BundleError::io(blobs.dir()))?;
        let gone: Vec<Digest> = all
            .into_iter()
            .filter(|digest| !needed.blobs.contains(digest))
            .collect();
        collected.blobs = gone.len();
        collected.bytes = gone.iter().filter_map(|d| blobs.size(d)).sum();
        Ok(Found {
            collected,
            blobs: gone,
            parts: needed.parts,
            unpacked: (before, after),
        })
    }
}

/// What must stay.
pub(crate) struct Needed {
    /// Blobs.
    pub(crate) blobs: HashSet<Digest>,
    /// Unfinished blobs.
    pub(crate) parts: BTreeSet<Digest>,
}

/// What must stay: for kept generations, images imported by hand, unfinished imports.
pub(crate) fn needed(db: &Db, store: &Store) -> Result<Needed, StoreError> {
    let (images, _) = sql::needed(db)?;
    let mut needed = Needed {
        blobs: images.into_iter().collect(),
        parts: BTreeSet::new(),
    };
    needed.blobs.extend(keeping::retained_blobs(db)?);
    needed.blobs.extend(keeping::kept_manifests(db)?);
    for row in bundles::unfinished(db)? {
        let manifest = match read_manifest(store, &row.manifest) {
            Ok(manifest) => manifest,
            // It is written before its row; without it nothing of the import can go on.
            Err(error) => {
                tracing::warn!(manifest = %row.manifest, error, "an unfinished import has none");
                continue;
            }
        };
        for (digest, _) in manifest.closure_blobs() {
            needed.blobs.insert(digest);
        }
        needed.parts.extend(manifest.blobs.iter().map(|b| b.d));
    }
    Ok(needed)
}

/// The manifest of a bundle that was written down here.
pub(super) fn read_manifest(store: &Store, digest: &Digest) -> Result<Manifest, String> {
    Manifest::parse(&manifest_bytes(store, digest)?).map_err(|e| e.to_string())
}

/// The same, as it was signed.
pub(super) fn manifest_bytes(store: &Store, digest: &Digest) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let mut file = store.blobs().read(digest).map_err(|e| e.to_string())?;
    file.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if Digest::of(&bytes) != *digest {
        return Err("it is damaged".to_owned());
    }
    Ok(bytes)
}

/// Lets go of generations beyond those that are kept; how many. The active one, the one that undo
/// goes back to, the newest ones and those that running jobs use stay.
pub(super) fn let_go_of_old(tx: &Tx<'_>, intake: &Intake) -> Result<usize, StoreError> {
    let all = bundles::generations(tx)?;
    let mut kept: BTreeSet<i64> = all.iter().take(KEEP).map(|g| g.generation).collect();
    for row in all.iter().filter(|g| g.active) {
        kept.insert(row.generation);
        kept.extend(row.parent);
    }
    kept.extend((intake.pins)().iter().map(|id| id.0));
    let mut gone = 0;
    for id in keeping::retained(tx)? {
        if !kept.contains(&id) {
            keeping::let_go(tx, GenerationId(id))?;
            gone += 1;
        }
    }
    Ok(gone)
}

fn reserve(store: &Store) -> PathBuf {
    store.dir().join("reserve")
}

fn give_reserve(store: &Store) -> Result<(), BundleError> {
    let path = reserve(store);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(BundleError::io(path)(e)),
        _ => Ok(()),
    }
}

/// Sets aside the room that a later collection on a full disk needs; without it, it may still
/// have luck.
pub(super) fn keep_reserve(store: &Store) {
    let path = reserve(store);
    if path.exists() {
        return;
    }
    let made = std::fs::File::create(&path).and_then(|file| {
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE_FILE_BYTES)?;
        file.sync_all()
    });
    if let Err(error) = made {
        tracing::warn!(%error, "no room was set aside for collecting on a full disk");
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, "the reserve stays as it is");
        }
    }
}
