//! Reads every blob again and compares it with its name.
//!
//! Goes on after a restart where it was. A blob that is not itself any more is set aside: from
//! then on it is missing, so that a job which needs it fails instead of using it, and the need
//! slip names it.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, MutexGuard, PoisonError};

use audit::{Entry, Kind, Who};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use store::BlobError;
use vocab::{Digest, unix_ms};

use super::intake::{Intake, name};
use super::progress::{Phase, Progress};
use super::walk::BUFFER_BYTES;
use super::{BundleError, Found};
use crate::sql::keeping;

/// How far is written down after so many bytes.
const NOTE_BYTES: u64 = 256 << 20;

/// How far a scrub has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scrubbed {
    /// The last blob that was read; empty before the first and after the last.
    pub cursor: String,
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many were damaged or missing.
    pub bad: u64,
    /// When it began, unix milliseconds UTC.
    pub started_ms: Option<i64>,
    /// When it came to its end.
    pub ended_ms: Option<i64>,
}

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

impl Scrubbed {
    /// Whether the next one is to begin at `now_ms` when one is wanted every `days` days (0: never).
    /// What was begun and not ended goes on; where there was none yet, the days count from
    /// `first_ms`, when the first generation was made.
    fn is_due(&self, now_ms: i64, days: u32, first_ms: Option<i64>) -> bool {
        let since = match (self.started_ms, self.ended_ms) {
            _ if days == 0 => return false,
            (Some(_), None) => return true,
            (_, Some(ended)) => ended,
            (None, None) => match first_ms {
                Some(first) => first,
                None => return false,
            },
        };
        now_ms.saturating_sub(since) >= i64::from(days) * DAY_MS
    }
}

/// How far the last scrub came.
pub fn scrubbed(db: &store::Db) -> Result<Scrubbed, store::StoreError> {
    keeping::scrubbed(db)
}

/// Every blob that was found damaged or missing and has not come back.
pub fn damaged(db: &store::Db) -> Result<BTreeSet<Digest>, store::StoreError> {
    keeping::damaged(db)
}

/// A scrub that may begin to read. Dropping it ends it.
pub struct Scrub {
    intake: Arc<Intake>,
    progress: Arc<Progress>,
    who: Who,
}

impl Drop for Scrub {
    fn drop(&mut self) {
        *self.intake.scrub_slot() = None;
    }
}

impl Scrub {
    /// How it stands, readable while it runs.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Reads. Long: call it on a thread that may block. How it ended is in the progress, too.
    pub fn run(self) -> Result<Scrubbed, BundleError> {
        let progress = self.progress.clone();
        let ended = self.intake.scrub(&self.who, &progress);
        drop(self);
        match &ended {
            Ok(_) => progress.done(None),
            Err(error) => progress.failed(error),
        }
        ended
    }
}

impl Intake {
    fn scrub_slot(&self) -> MutexGuard<'_, Option<Arc<Progress>>> {
        self.scrubbing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The scrub that runs now.
    #[must_use]
    pub fn scrubbing(&self) -> Option<Arc<Progress>> {
        self.scrub_slot().clone()
    }

    /// Begins to read every blob, from where the last scrub was left.
    ///
    /// Errors: `Busy` when one runs already.
    pub fn begin_scrub(self: &Arc<Self>, who: &Who) -> Result<Scrub, BundleError> {
        let mut scrubbing = self.scrub_slot();
        if let Some(other) = &*scrubbing {
            let shown = other.snapshot();
            return Err(BundleError::Busy {
                what: "a scrub".to_owned(),
                who: shown.who,
                since: super::gate::instant(shown.since_ms),
            });
        }
        let progress = Arc::new(Progress::new(name(who), unix_ms(self.auditor.now())));
        *scrubbing = Some(progress.clone());
        Ok(Scrub {
            intake: Arc::clone(self),
            progress,
            who: who.clone(),
        })
    }

    /// A scrub by the appliance itself, when one is wanted every `days` days (0: never) and due, and
    /// neither a scrub nor an import runs. One that broke off is due at once.
    pub fn scrub_that_is_due(self: &Arc<Self>, days: u32) -> Result<Option<Scrub>, BundleError> {
        let (last, first_ms) = self.store.read(|db| {
            let made = super::history(db)?.iter().map(|entry| entry.made_ms).min();
            Ok::<_, store::StoreError>((keeping::scrubbed(db)?, made))
        })?;
        let importing = self.current().is_some_and(|p| !p.snapshot().ended());
        let due = last.is_due(unix_ms(self.auditor.now()), days, first_ms);
        if importing || !due || self.scrubbing().is_some() {
            return Ok(None);
        }
        self.begin_scrub(&Who::system()).map(Some)
    }

    fn scrub(&self, who: &Who, progress: &Progress) -> Result<Scrubbed, BundleError> {
        let mut at = self.store.read(keeping::scrubbed)?;
        if at.ended_ms.is_some() || at.started_ms.is_none() {
            at = Scrubbed {
                started_ms: Some(unix_ms(self.auditor.now())),
                ..Scrubbed::default()
            };
        }
        let scrubbed = self.scrub_from(&mut at, who, progress);
        // How far it came counts, whatever ended it.
        self.store.write(|tx| keeping::set_scrubbed(tx, &at))?;
        scrubbed?;
        at.cursor.clear();
        at.ended_ms = Some(unix_ms(self.auditor.now()));
        self.store.write(|tx| {
            keeping::set_scrubbed(tx, &at)?;
            let entry = Entry::success(Kind::BlobScrubbed)
                .detail("blobs", at.blobs)
                .detail("bytes", at.bytes)
                .detail("bad", at.bad);
            self.auditor.append(tx, who, entry)?;
            Ok::<_, BundleError>(())
        })?;
        Ok(at)
    }

    fn scrub_from(
        &self,
        at: &mut Scrubbed,
        who: &Who,
        progress: &Progress,
    ) -> Result<(), BundleError> {
        let blobs = self.store.blobs();
        let needed = self.store.read(keeping::retained_blobs)?;
        let here = blobs.list().map_err(BundleError::io(blobs.dir()))?;
        let all: BTreeSet<Digest> = here.into_iter().chain(needed.iter().copied()).collect();
        let left: Vec<Digest> = all
            .into_iter()
            .filter(|digest| digest.to_string() > at.cursor)
            .collect();
        let bytes = left.iter().filter_map(|digest| blobs.size(digest)).sum();
        progress.reads(bytes, left.len() as u64);
        progress.phase(Phase::Checking, "");
        let mut noted = at.bytes;
        for digest in left {
            progress.check()?;
            match blobs.size(&digest) {
                Some(size) => {
                    at.bytes += size;
                    if !is_good(self, who, &digest, progress)? {
                        at.bad += 1;
                    }
                }
                // Collected meanwhile, or really missing.
                None if !needed.contains(&digest) => {}
                None => {
                    at.bad += 1;
                    let now_ms = unix_ms(self.auditor.now());
                    self.store
                        .write(|tx| keeping::note_damage(tx, &digest, Found::Missing, now_ms))?;
                }
            }
            at.blobs += 1;
            at.cursor = digest.to_string();
            progress.finished_blob();
            if at.bytes - noted >= NOTE_BYTES {
                noted = at.bytes;
                self.store.write(|tx| keeping::set_scrubbed(tx, at))?;
            }
        }
        Ok(())
    }
}

/// Whether a blob is itself; one that is not is set aside and told of.
pub(super) fn is_good(
    intake: &Intake,
    who: &Who,
    digest: &Digest,
    progress: &Progress,
) -> Result<bool, BundleError> {
    let blobs = intake.store.blobs();
    let mut file = match blobs.read(digest) {
        Ok(file) => file,
        Err(BlobError::Missing(_)) => return Ok(false),
        Err(e) => return Err(BundleError::io(blobs.path(digest))(io::Error::other(e))),
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let unreadable = loop {
        progress.check()?;
        match file.read(&mut buffer) {
            Ok(0) => break None,
            Ok(n) => {
                hash.update(&buffer[..n]);
                progress.moved(n as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // A sector that cannot be read is as good as a wrong one.
            Err(e) => break Some(e.to_string()),
        }
    };
    let got = Digest::from_bytes(hash.finalize().into());
    if unreadable.is_none() && got == *digest {
        return Ok(true);
    }
    let now_ms = unix_ms(intake.auditor.now());
    intake.store.write(|tx| {
        let entry = Entry::failure(Kind::BlobQuarantined, "E_HASH")
            .object("blob", digest.to_string(), "blob")
            .detail("got", unreadable.unwrap_or_else(|| got.to_string()));
        intake.auditor.append(tx, who, entry)?;
        keeping::note_damage(tx, digest, Found::Store, now_ms)?;
        blobs
            .set_aside(digest)
            .map_err(BundleError::io(blobs.path(digest)))
    })?;
    Ok(false)
}
