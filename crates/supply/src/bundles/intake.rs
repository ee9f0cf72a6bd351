//! The intake: gives the verdict on a medium and lets one import in at a time.
//!
//! Whatever is refused is told in the audit log, at most so often an hour.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit::{Actor, Auditor, Entry, Kind, Who};
use bundle::manifest::{Blob, Manifest};
use bundle::{Judged, Sealed, Verified, Version};
use store::{Store, StoreError};
use vocab::{Digest, unix_ms};

use super::progress::{Phase, Progress, Summary, told};
use super::{BundleError, SlipKey, floors, gate, trust};
use crate::GenerationId;
use crate::sql::bundles as sql;

/// What stays free on the disk after an import, so that the appliance goes on working.
pub(super) const RESERVE_BYTES: u64 = 256 << 20;

/// Most refusals that are written to the audit log in an hour.
const REJECTED_AN_HOUR: u32 = 60;

/// What this appliance is, as far as a bundle asks.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its program's version.
    pub version: Version,
    /// `amd64` or `arm64`.
    pub arch: String,
    /// Day on which the program was built, `YYYY-MM-DD`: no clock is believed to be before it.
    pub built: String,
    /// Whether an import takes two persons: one reads it in, another one does the same import
    /// again, which commits it.
    pub two_persons: bool,
}

/// Called once a generation was made active: makes its images usable.
pub type AfterCommit = dyn Fn(&Who, GenerationId, &Progress) + Send + Sync;
/// Gives the generations that running jobs use.
pub type Pins = dyn Fn() -> Vec<GenerationId> + Send + Sync;

/// The place through which bundles come in.
pub struct Intake {
    pub(super) store: Arc<Store>,
    pub(super) auditor: Auditor,
    pub(super) about: About,
    pub(super) pins: Box<Pins>,
    pub(super) key: SlipKey,
    after: Box<AfterCommit>,
    work: Mutex<Option<Work>>,
    last: Mutex<Option<Arc<Progress>>>,
    pub(super) scrubbing: Mutex<Option<Arc<Progress>>>,
    rejected: Mutex<Rejected>,
}

struct Work {
    what: String,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Rejected {
    since_ms: i64,
    told: u32,
    untold: u32,
}

/// The verdict on a medium, with what an import of it would take.
#[derive(Debug)]
pub struct Plan {
    /// What was signed, by whom.
    pub verified: Verified,
    /// Whether it may come in here.
    pub judged: Result<Judged, BundleError>,
    /// Files on the medium that belong to no bundle; they are never read.
    pub strays: Vec<String>,
    /// Blobs that are not here yet.
    pub missing_blobs: u64,
    /// Their bytes.
    pub missing_bytes: u64,
    /// What image layers will unpack to, about.
    pub unpack_bytes: u64,
    /// What is free.
    pub free_bytes: u64,
    /// Seconds that the import will take, by the rate of earlier ones.
    pub seconds: Option<u64>,
}

/// An import that was verified and may begin to read. Dropping it ends it.
pub struct Begun {
    pub(super) claim: Claim,
    pub(super) sealed: Sealed,
    pub(super) verified: Verified,
    pub(super) judged: Judged,
    pub(super) who: Who,
}

/// The right to work on the supply; given back when it is dropped.
pub(super) struct Claim {
    pub(super) intake: Arc<Intake>,
    pub(super) progress: Arc<Progress>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        *lock(&self.intake.work) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Intake {
    /// An intake of this store. `after` is called once an import was committed, `pins` whenever
    /// something is collected.
    pub fn new(
        store: Arc<Store>,
        auditor: Auditor,
        about: About,
        after: Box<AfterCommit>,
        pins: Box<Pins>,
    ) -> Result<Self, BundleError> {
        let keys = store.dir().join("keys");
        std::fs::create_dir_all(&keys).map_err(BundleError::io(&keys))?;
        let key = SlipKey::open_or_create(&keys)?;
        let active = store.read(crate::generation::active)?;
        auditor.set_generation(active.map_or(0, |id| id.0));
        Ok(Self {
            store,
            auditor,
            about,
            pins,
            key,
            after,
            work: Mutex::default(),
            last: Mutex::default(),
            scrubbing: Mutex::default(),
            rejected: Mutex::default(),
        })
    }

    /// The import that runs, or the last one that did.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Progress>> {
        lock(&self.last).clone()
    }

    /// The verdict on the medium at `place`, and what an import would take. Reads no volume.
    pub fn plan(&self, place: &Path, quorum_override: bool) -> Result<Plan, BundleError> {
        let sealed = Sealed::open(place)?;
        let verified = self.verify(&sealed)?;
        let judged = self.judge(&verified, quorum_override);
        let missing = self.missing(&verified.manifest);
        let missing_bytes: u64 = missing.iter().map(|blob| blob.n).sum();
        let rate = self.store.read(sql::rate)?;
        Ok(Plan {
            missing_blobs: missing.len() as u64,
            missing_bytes,
            unpack_bytes: self.unpack_bytes(&verified.manifest)?,
            free_bytes: self.free_bytes()?,
            seconds: rate.filter(|r| *r > 0).map(|r| missing_bytes.div_ceil(r)),
            strays: sealed.strays,
            judged,
            verified,
        })
    }

    fn verify(&self, sealed: &Sealed) -> Result<Verified, BundleError> {
        let trust = self.store.read(|db| trust::current(db, self.store.dir()))?;
        Ok(sealed.verify(&trust)?)
    }

    fn judge(&self, verified: &Verified, quorum_override: bool) -> Result<Judged, BundleError> {
        let now = self.auditor.now();
        self.store.read(|db| {
            let floors = floors::read(db, self.store.dir())?;
            gate::judge(db, &self.about, &floors, now, verified, quorum_override)
        })
    }

    /// Verifies the medium at `place` and keeps the intake for its import.
    ///
    /// Errors: `Busy` when another import runs; every refusal, which is told in the audit log.
    pub fn begin(
        self: &Arc<Self>,
        place: &Path,
        who: &Who,
        quorum_override: bool,
    ) -> Result<Begun, BundleError> {
        let claim = self.claim("an import", who)?;
        *lock(&self.last) = Some(claim.progress.clone());
        let mut digest = None;
        match self.open(place, quorum_override, &mut digest) {
            Ok((sealed, verified, judged)) => {
                claim.progress.about(summary(&verified));
                Ok(Begun {
                    claim,
                    sealed,
                    verified,
                    judged,
                    who: who.clone(),
                })
            }
            Err(error) => {
                claim.progress.failed(&error);
                self.reject(who, &error, digest.as_ref());
                Err(error)
            }
        }
    }

    fn open(
        &self,
        place: &Path,
        quorum_override: bool,
        digest: &mut Option<Digest>,
    ) -> Result<(Sealed, Verified, Judged), BundleError> {
        let sealed = Sealed::open(place)?;
        *digest = Some(sealed.digest());
        let verified = self.verify(&sealed)?;
        self.note_clock()?;
        let judged = self.judge(&verified, quorum_override)?;
        Ok((sealed, verified, judged))
    }

    /// Says so when the clock stands before a day that was signed.
    fn note_clock(&self) -> Result<(), BundleError> {
        let clock = gate::day(self.auditor.now());
        let floors = self.store.read(|db| floors::read(db, self.store.dir()))?;
        let floor = gate::effective_day("", &floors.day, &self.about.built);
        if clock >= floor {
            return Ok(());
        }
        self.store.write(|tx| {
            let entry = Entry::success(Kind::ClockRegressed)
                .detail("clock", clock)
                .detail("floor", floor);
            self.auditor.append(tx, &Who::system(), entry)?;
            Ok(())
        })
    }

    pub(super) fn claim(self: &Arc<Self>, what: &str, who: &Who) -> Result<Claim, BundleError> {
        let mut work = lock(&self.work);
        if let Some(other) = &*work {
            let shown = other.progress.snapshot();
            return Err(BundleError::Busy {
                what: other.what.clone(),
                who: shown.who,
                since: gate::instant(shown.since_ms),
            });
        }
        let progress = Arc::new(Progress::new(name(who), unix_ms(self.auditor.now())));
        *work = Some(Work {
            what: what.to_owned(),
            progress: progress.clone(),
        });
        drop(work);
        Ok(Claim {
            intake: Arc::clone(self),
            progress,
        })
    }

    /// A generation was made active: its images are made usable.
    pub(super) fn made_active(&self, who: &Who, id: GenerationId, progress: &Progress) {
        progress.phase(Phase::Unpacking, "");
        (self.after)(who, id, progress);
    }

    /// Tells of a refusal, at most so often an hour; how many were passed over stands in the next.
    pub(super) fn reject(&self, who: &Who, error: &BundleError, manifest: Option<&Digest>) {
        if !matches!(error, BundleError::Refused(_) | BundleError::NoTrust) {
            return;
        }
        let now_ms = unix_ms(self.auditor.now());
        let mut rejected = lock(&self.rejected);
        if now_ms - rejected.since_ms >= 3_600_000 {
            (rejected.since_ms, rejected.told) = (now_ms, 0);
        }
        if rejected.told >= REJECTED_AN_HOUR {
            rejected.untold += 1;
            return;
        }
        let mut entry =
            Entry::denied(Kind::BundleRejected, error.code()).detail("why", told(error));
        if let Some(digest) = manifest {
            entry = entry.object("bundle", format!("bundle:{}", digest.hex()), "manifest");
        }
        if rejected.untold > 0 {
            entry = entry.detail("untold", rejected.untold);
        }
        let written = self.store.write(|tx| {
            self.auditor.append(tx, who, entry)?;
            Ok::<_, BundleError>(())
        });
        match written {
            Ok(()) => (rejected.told, rejected.untold) = (rejected.told + 1, 0),
            Err(error) => tracing::error!(error = told(&error), "a refusal was not logged"),
        }
    }

    /// Blobs of the volumes that are not here.
    pub(super) fn missing<'m>(&self, manifest: &'m Manifest) -> Vec<&'m Blob> {
        let blobs = self.store.blobs();
        manifest
            .blobs
            .iter()
            .filter(|blob| blobs.size(&blob.d) != Some(blob.n))
            .collect()
    }

    fn unpack_bytes(&self, manifest: &Manifest) -> Result<u64, StoreError> {
        self.store.read(|db| {
            let mut sum = 0u64;
            for item in &manifest.items {
                if let bundle::Item::Oci(oci) = item
                    && crate::sql::image_of(db, &oci.digest)?.is_none()
                {
                    sum = sum.saturating_add(oci.unpacked_bytes);
                }
            }
            Ok(sum)
        })
    }

    pub(super) fn free_bytes(&self) -> Result<u64, BundleError> {
        let dir = self.store.dir();
        let room = rustix::fs::statvfs(dir).map_err(|e| BundleError::io(dir)(e.into()))?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    pub(super) fn check_room(&self, manifest: &Manifest) -> Result<u64, BundleError> {
        let blobs = self.store.blobs();
        let missing_bytes: u64 = self
            .missing(manifest)
            .iter()
            .map(|blob| blob.n.saturating_sub(blobs.part_bytes(&blob.d)))
            .sum();
        let unpack_bytes = self.unpack_bytes(manifest)?;
        let need_bytes = missing_bytes
            .saturating_add(unpack_bytes)
            .saturating_add(RESERVE_BYTES);
        let free_bytes = self.free_bytes()?;
        if need_bytes > free_bytes && missing_bytes + unpack_bytes > 0 {
            return Err(BundleError::Space {
                need_bytes,
                missing_bytes,
                unpack_bytes,
                reserve_bytes: RESERVE_BYTES,
                free_bytes,
            });
        }
        Ok(missing_bytes)
    }
}

pub(super) fn summary(verified: &Verified) -> Summary {
    let manifest = &verified.manifest;
    Summary {
        product: manifest.product.clone(),
        channel: manifest.channel.clone(),
        seq: manifest.seq,
        content: manifest.content.clone(),
        manifest: verified.digest,
    }
}

/// Who somebody is, for others who wait.
pub(super) fn name(who: &Who) -> String {
    match &who.actor {
        Actor::Operator { uid } => format!("user {uid} of this machine"),
        other => other
            .name()
            .map_or_else(|| other.tagged(), ToString::to_string),
    }
}
