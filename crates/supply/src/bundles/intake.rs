//! The intake: verifies a medium, reads it into the store, commits; one import at a time.
//!
//! An import is a row in table `bundle` and goes through its states: staging, ready, committed.
//! A process that dies or a medium that goes away leaves the row and every whole blob, and the
//! same import goes on there. Whatever is refused is told in the audit log, bounded.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit::{Actor, Auditor, Entry, Kind, Who};
use bundle::manifest::{Blob, Manifest};
use bundle::{Judged, Refusal, Sealed, Verified, Version};
use store::{Store, StoreError};
use vocab::{Digest, Stopwatch, unix_ms};

use super::progress::{Phase, Progress, Snapshot, Summary, told};
use super::take::Take;
use super::walk::{self, Damage};
use super::{BundleError, Found, SlipKey, commit, floors, gate, trust};
use crate::sql::{bundles as sql, keeping};
use crate::{GenerationId, import};

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
    claim: Claim,
    sealed: Sealed,
    verified: Verified,
    judged: Judged,
    who: Who,
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
    fn reject(&self, who: &Who, error: &BundleError, manifest: Option<&Digest>) {
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
    fn missing<'m>(&self, manifest: &'m Manifest) -> Vec<&'m Blob> {
        let blobs = self.store.blobs();
        manifest
            .blobs
            .iter()
            .filter(|blob| blobs.size(&blob.d) != Some(blob.n))
            .collect()
    }

    fn unpack_bytes(&self, manifest: &Manifest) -> Result<u64, StoreError> {
        let known: BTreeSet<Digest> = self
            .store
            .read(crate::images)?
            .into_iter()
            .map(|image| image.digest)
            .collect();
        let new = manifest.items.iter().filter_map(|item| match item {
            bundle::Item::Oci(oci) if !known.contains(&oci.digest) => Some(oci.unpacked_bytes),
            _ => None,
        });
        Ok(new.sum())
    }

    pub(super) fn free_bytes(&self) -> Result<u64, BundleError> {
        let dir = self.store.dir();
        let room = rustix::fs::statvfs(dir).map_err(|e| BundleError::io(dir)(e.into()))?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn check_room(&self, manifest: &Manifest) -> Result<u64, BundleError> {
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

impl Begun {
    /// What was verified.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// How it stands, readable while it runs.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.claim.progress.clone()
    }

    /// Reads, checks, commits. Long: call it on a thread that may block. How it ended is in the
    /// progress, too.
    #[tracing::instrument(skip_all, fields(bundle.seq = self.verified.manifest.seq))]
    pub fn run(self) -> Result<Snapshot, BundleError> {
        let intake = self.claim.intake.clone();
        let progress = self.claim.progress.clone();
        match self.work() {
            Ok(generation) => {
                // Whoever sees that it is done may begin the next at once.
                let who = self.who.clone();
                if let (Some(id), Judged::New) = (generation, self.judged) {
                    intake.made_active(&who, id, &progress);
                }
                drop(self);
                progress.done(generation.map(|id| id.0));
                Ok(progress.snapshot())
            }
            Err(error) => {
                intake.reject(&self.who, &error, Some(&self.verified.digest));
                if error.is_internal() {
                    tracing::error!(error = told(&error), "an import failed");
                }
                drop(self);
                progress.failed(&error);
                Err(error)
            }
        }
    }

    fn work(&self) -> Result<Option<GenerationId>, BundleError> {
        let (intake, progress) = (&self.claim.intake, &self.claim.progress);
        if self.judged == Judged::Already {
            commit::roots_only(intake, &self.who, &self.verified)?;
            progress.notice(format!(
                "this bundle is active already: {} {}",
                self.verified.manifest.channel, self.verified.manifest.seq
            ));
            return Ok(intake.store.read(crate::generation::active)?);
        }
        // An image that is imported by hand meanwhile could take back a blob that it brought.
        let _alone = import::alone();
        self.check_base(false)?;
        let missing_bytes = intake.check_room(&self.verified.manifest)?;
        let bundle = self.begin_row(missing_bytes)?;
        self.stage(bundle, missing_bytes)?;
        progress.phase(Phase::Checking, "");
        self.check_base(true)?;
        self.check_closure()?;
        self.ready(bundle)?;
        progress.check()?;
        commit::commit(intake, &self.who, &self.verified, bundle).map(Some)
    }

    fn begin_row(&self, missing_bytes: u64) -> Result<i64, BundleError> {
        let (intake, verified) = (&self.claim.intake, &self.verified);
        let signed = sql::Signed {
            signers: verified.signers.clone(),
            comment: verified.comment.clone(),
            override_by: verified.override_by.clone(),
            signatures: self.sealed.signatures.clone(),
        };
        let manifest = &self.sealed.manifest;
        let limit = manifest.len() as u64;
        let put = intake
            .store
            .blobs()
            .put(&manifest[..], Some(verified.digest), limit);
        put.map_err(|e| BundleError::io(intake.store.blobs().dir())(blob_error(e)))?;
        intake.store.write(|tx| {
            let before = sql::bundle_of(tx, &verified.digest)?;
            let new = sql::NewBundle {
                manifest: &verified.manifest,
                digest: &verified.digest,
                signed: &signed,
                root: verified.root.number(),
                missing_bytes,
                now_ms: unix_ms(intake.auditor.now()),
            };
            let bundle = sql::begin(tx, &new)?;
            sql::raise_day(tx, &verified.manifest.created)?;
            let kind = match before {
                Some(row) if row.state != "committed" => Kind::BundleResumed,
                _ => Kind::BundleVerified,
            };
            let signers: Vec<&str> = verified.signers.iter().map(|s| s.name.as_str()).collect();
            let entry = commit::about(kind, verified)
                .detail("signers", signers.join(", "))
                .detail("missing_bytes", missing_bytes);
            intake.auditor.append(tx, &self.who, entry)?;
            Ok(bundle)
        })
    }

    /// Reads every volume that has something which is not here.
    fn stage(&self, bundle: i64, missing_bytes: u64) -> Result<(), BundleError> {
        let (intake, progress) = (&self.claim.intake, &self.claim.progress);
        let manifest = &self.verified.manifest;
        let missing = intake.missing(manifest);
        let volumes: BTreeSet<u32> = missing
            .iter()
            .flat_map(|blob| blob.at.iter().map(|(volume, _)| *volume))
            .collect();
        let bytes: u64 = missing.iter().map(|blob| blob.n).sum();
        progress.reads(bytes, missing.len() as u64);
        let watch = Stopwatch::start();
        let mut damage: Vec<Damage> = Vec::new();
        let mut absent = Vec::new();
        let walked = std::thread::scope(|scope| {
            let mut take = Take::start(scope, intake.store.blobs(), progress);
            for index in volumes {
                let name = &manifest.volumes[index as usize - 1].name;
                progress.phase(Phase::Staging, name);
                match walk::open(&self.sealed.dir, manifest, index)? {
                    Some(file) => {
                        damage.extend(walk::walk(file, manifest, index, &mut take, progress)?);
                    }
                    None => absent.push(name.clone()),
                }
            }
            take.finish()
        });
        let ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = unix_ms(intake.auditor.now());
        let came: Vec<Digest> = missing
            .iter()
            .filter(|blob| intake.store.blobs().size(&blob.d) == Some(blob.n))
            .map(|blob| blob.d)
            .collect();
        let written = if walked.is_ok() { missing_bytes } else { 0 };
        intake.store.write(|tx| {
            sql::add_staged(tx, bundle, written, if written > 0 { ms } else { 0 })?;
            for blob in &came {
                keeping::forget_damage(tx, blob)?;
            }
            for bad in &damage {
                keeping::note_damage(tx, &bad.blob, Found::Medium, now_ms)?;
            }
            Ok::<_, BundleError>(())
        })?;
        walked?;
        if let Some(first) = damage.first() {
            return Err(first.refusal(damage.len() - 1).into());
        }
        if !absent.is_empty() {
            let volume = absent.join(", ");
            return Err(Refusal::NoVolume { volume }.into());
        }
        Ok(())
    }

    /// Whether what a delta takes for granted is here; `deep` reads and hashes it. What is not
    /// itself any more is set aside, so that the need slip names it.
    fn check_base(&self, deep: bool) -> Result<(), BundleError> {
        let (intake, progress) = (&self.claim.intake, &self.claim.progress);
        let Some(base) = &self.verified.manifest.base else {
            return Ok(());
        };
        if deep {
            let bytes = base.assumed.iter().map(|a| a.n).sum();
            progress.reads(bytes, base.assumed.len() as u64);
        }
        let mut lacking = Vec::new();
        for assumed in &base.assumed {
            progress.check()?;
            let here = intake.store.blobs().size(&assumed.d) == Some(assumed.n);
            if !here || (deep && !super::scrub::is_good(intake, &self.who, &assumed.d, progress)?) {
                lacking.push(assumed.d);
            }
        }
        let Some(first) = lacking.first().copied() else {
            return Ok(());
        };
        let now_ms = unix_ms(intake.auditor.now());
        intake.store.write(|tx| {
            for blob in &lacking {
                keeping::note_damage(tx, blob, Found::Missing, now_ms)?;
            }
            Ok::<_, BundleError>(())
        })?;
        let count = lacking.len();
        Err(Refusal::BaseMissing { count, first }.into())
    }

    /// Everything that the generation needs is here, whatever the have slip said.
    fn check_closure(&self) -> Result<(), BundleError> {
        let blobs = self.claim.intake.store.blobs();
        let closure = self.verified.manifest.closure_blobs();
        match closure.iter().find(|(d, n)| blobs.size(d) != Some(*n)) {
            None => Ok(()),
            Some((digest, _)) => Err(Refusal::Hash {
                what: format!("blob {digest}"),
                reason: "it is not in the store any more".to_owned(),
            }
            .into()),
        }
    }

    fn ready(&self, bundle: i64) -> Result<(), BundleError> {
        let intake = &self.claim.intake;
        intake.store.write(|tx| {
            sql::set_state(tx, bundle, "ready")?;
            let entry = commit::about(Kind::BundleStaged, &self.verified);
            intake.auditor.append(tx, &self.who, entry)?;
            Ok(())
        })
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

fn blob_error(error: store::BlobError) -> std::io::Error {
    match error {
        store::BlobError::Io(e) => e,
        other => std::io::Error::other(other),
    }
}

/// Who somebody is, for others who wait.
pub(super) fn name(who: &Who) -> String {
    match &who.actor {
        Actor::User { name, .. } | Actor::Token { name, .. } => name.as_str().to_owned(),
        Actor::Operator { uid } => format!("user {uid} of this machine"),
        other => other.tagged(),
    }
}
