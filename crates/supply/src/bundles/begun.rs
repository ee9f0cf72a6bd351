//! An import that was verified: reads, checks, commits.
//!
//! Its states are rows of table `bundle`: staging, ready, committed. Whatever breaks off leaves
//! every whole blob, and the same import goes on there.

use std::collections::BTreeSet;
use std::sync::Arc;

use audit::Kind;
use bundle::{Judged, Refusal, Verified};
use vocab::{Digest, Stopwatch, unix_ms};

use super::intake::Begun;
use super::progress::{Phase, Progress, Snapshot, told};
use super::take::Take;
use super::walk::{self, Damage};
use super::{BundleError, Found, commit, medium};
use crate::sql::{bundles as sql, keeping};
use crate::{GenerationId, import};

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
            return self.again();
        }
        // An image that is imported by hand meanwhile could take back a blob that it brought.
        let _alone = import::alone();
        self.check_base(false)?;
        let missing_bytes = intake.check_room(&self.verified.manifest)?;
        let (bundle, brought_by) = self.begin_row(missing_bytes)?;
        self.stage(bundle, missing_bytes)?;
        progress.phase(Phase::Checking, "");
        self.check_base(true)?;
        self.check_closure()?;
        let own = self.who.actor.tagged();
        let second = brought_by.filter(|by| *by != own);
        if !intake.about.two_persons {
            self.ready(bundle, &own)?;
        } else if second.is_none() {
            self.ready(bundle, &own)?;
            progress.notice(
                "everything is here; another person runs the same import to make it active"
                    .to_owned(),
            );
            return Ok(None);
        }
        progress.check()?;
        commit::commit(intake, &self.who, &self.verified, bundle, second.as_deref()).map(Some)
    }

    /// The bundle is active already: takes statements that are new, and what is damaged here.
    fn again(&self) -> Result<Option<GenerationId>, BundleError> {
        let (intake, progress) = (&self.claim.intake, &self.claim.progress);
        commit::roots_only(intake, &self.who, &self.verified)?;
        let manifest = &self.verified.manifest;
        progress.notice(format!(
            "this bundle is active already: {} {}",
            manifest.channel, manifest.seq
        ));
        let lacking = intake.missing(manifest).len();
        if lacking > 0 {
            let _alone = import::alone();
            intake.check_room(manifest)?;
            let row = intake
                .store
                .read(|db| sql::bundle_of(db, &self.verified.digest))?;
            self.stage(row.map_or(0, |row| row.id), 0)?;
            progress.notice(format!("{lacking} blobs that were lacking are here again"));
        }
        Ok(intake.store.read(crate::generation::active)?)
    }

    /// Writes it down as being staged; gives who had brought all of it here before.
    fn begin_row(&self, missing_bytes: u64) -> Result<(i64, Option<String>), BundleError> {
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
            let (kind, brought_by) = match before {
                Some(row) if row.state == "ready" => (Kind::BundleResumed, Some(row.staged_by)),
                Some(row) if row.state != "committed" => (Kind::BundleResumed, None),
                _ => (Kind::BundleVerified, None),
            };
            let signers: Vec<&str> = verified.signers.iter().map(|s| s.name.as_str()).collect();
            let entry = commit::about(kind, verified)
                .detail("signers", signers.join(", "))
                .detail("lock", verified.manifest.lock_sha256.to_string())
                .detail("missing_bytes", missing_bytes);
            let entry = medium::told(entry, &self.sealed, &verified.manifest);
            intake.auditor.append(tx, &self.who, entry)?;
            Ok((bundle, brought_by))
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
        let mut absent = Vec::new();
        let walked = std::thread::scope(|scope| {
            let mut take = Take::start(scope, intake.store.blobs(), progress, &self.sealed.dir)?;
            for index in volumes {
                let name = &manifest.volumes[index as usize - 1].name;
                progress.phase(Phase::Staging, name);
                match walk::open(&self.sealed.dir, manifest, index)? {
                    Some(file) => walk::walk(file, manifest, index, &mut take, progress)?,
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
        let damage: &[Damage] = walked.as_ref().map_or(&[], |taken| &taken.damage);
        intake.store.write(|tx| {
            sql::add_staged(tx, bundle, written, if written > 0 { ms } else { 0 })?;
            for blob in &came {
                keeping::forget_damage(tx, blob)?;
            }
            for bad in damage {
                keeping::note_damage(tx, &bad.blob, Found::Medium, now_ms)?;
            }
            Ok::<_, BundleError>(())
        })?;
        let damage = walked?.damage;
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

    fn ready(&self, bundle: i64, by: &str) -> Result<(), BundleError> {
        let intake = &self.claim.intake;
        intake.store.write(|tx| {
            sql::ready(tx, bundle, by)?;
            let entry = commit::about(Kind::BundleStaged, &self.verified);
            intake.auditor.append(tx, &self.who, entry)?;
            Ok(())
        })
    }
}

fn blob_error(error: store::BlobError) -> std::io::Error {
    match error {
        store::BlobError::Io(e) => e,
        other => std::io::Error::other(other),
    }
}
