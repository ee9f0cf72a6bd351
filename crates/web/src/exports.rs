//! Exports of the audit log that pages begin: made in the background into a file that is kept for
//! a day, with progress that can be waited for.
//!
//! Owns the folder `exports/` of the data directory, which a start empties. A watcher that goes
//! away changes nothing; a file is offered only when it is whole and its entry stands in the log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use audit::{Entry, ExportError, Kind, Wanted, Who};
use axum::http::StatusCode;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use vocab::{Stopwatch, unix_ms};

use crate::api::audit::{Noted, export_fault, exported, extras, no_seal, prepared};
use crate::fault::Fault;
use crate::state::App;

/// Exports made at a time.
const AT_ONCE: usize = 2;
/// Finished ones that are kept, the newest.
const KEPT: usize = 8;
/// How long each is kept.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// Whoever watches is told at most so often.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Between two looks at whether the disk still has room.
const LOOK_EVERY_BYTES: u64 = 1 << 20;

/// What an export does now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The newest entries are sealed and the proofs taken.
    Sealing,
    /// Entries are read and written.
    Writing,
    /// The file is whole.
    Done,
    /// It ended without a file.
    Failed,
}

/// One look at an export.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    /// Rises with each change.
    pub(crate) version: u64,
    pub(crate) phase: Phase,
    /// Who began it.
    pub(crate) who: String,
    pub(crate) since_ms: i64,
    /// Entries read, of how many.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Bytes written.
    pub(crate) bytes: u64,
    pub(crate) elapsed_ms: u64,
    /// What it has, once it is whole.
    pub(crate) made: Option<Made>,
    pub(crate) error: Option<String>,
    pub(crate) what_to_do: Option<String>,
}

/// A file that is whole.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Made {
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) size: u64,
    pub(crate) shown: u64,
    pub(crate) names: bool,
    pub(crate) sha256: String,
    /// Its entry in the log.
    pub(crate) entry: i64,
}

impl Shown {
    pub(crate) fn ended(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Failed)
    }
}

/// All exports that pages began since the start.
pub(crate) struct Exports {
    dir: PathBuf,
    jobs: Mutex<Vec<Arc<Job>>>,
}

/// One of them.
pub(crate) struct Job {
    pub(crate) id: String,
    path: PathBuf,
    begun: Stopwatch,
    state: Mutex<(Shown, Stopwatch)>,
    woken: Condvar,
    cancelled: AtomicBool,
}

impl Exports {
    /// Takes over the folder: what a process that ended has left there goes.
    pub(crate) fn open(data: &Path) -> Self {
        let dir = data.join("exports");
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %dir.display(), %error, "old exports stay");
            }
            _ => {}
        }
        Self {
            dir,
            jobs: Mutex::default(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Job>> {
        self.jobs().iter().rev().cloned().collect()
    }

    pub(crate) fn find(&self, id: &str) -> Result<Arc<Job>, Fault> {
        let found = self.jobs().iter().find(|job| job.id == id).cloned();
        found.ok_or_else(|| {
            Fault::missing("the export")
                .todo("it is kept for a day, or until a restart: make it again")
        })
    }

    /// Forgets those that were kept long enough, and removes their files.
    pub(crate) fn sweep(&self, now: SystemTime) {
        let mut jobs = self.jobs();
        let over = jobs.len().saturating_sub(KEPT);
        let mut at = 0;
        jobs.retain(|job| {
            at += 1;
            let shown = job.look();
            let age = unix_ms(now).saturating_sub(shown.since_ms);
            let old = u128::try_from(age).is_ok_and(|age| age > KEEP.as_millis());
            let goes = shown.ended() && (at <= over || old);
            if goes {
                job.remove();
            }
            !goes
        });
    }

    /// Ends and forgets those that have names in them, or may come to: some of those were redacted.
    pub(crate) fn remove_named(&self) {
        self.jobs().retain(|job| {
            let named = job.look().made.is_none_or(|made| made.names);
            if named {
                job.cancel();
                job.remove();
            }
            !named
        });
    }

    /// Begins an export; it goes on whoever looks.
    ///
    /// Errors: 409 when as many are made as may be.
    pub(crate) fn begin(
        &self,
        app: &App,
        who: &Who,
        name: String,
        wanted: Wanted,
    ) -> Result<Arc<Job>, Fault> {
        let seal = app.seal.clone().ok_or_else(|| no_seal(app))?;
        self.sweep(app.clock.now());
        let mut jobs = self.jobs();
        if jobs.iter().filter(|job| !job.look().ended()).count() >= AT_ONCE {
            return Err(Fault::conflict(format!(
                "{AT_ONCE} exports are being made now, and no more at a time"
            ))
            .todo("wait for one of them, or cancel it")
            .code("E_BUSY"));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(Fault::internal)?;
        let id = app.entropy.hex(8);
        let job = Arc::new(Job::new(id, &self.dir, name, unix_ms(app.clock.now())));
        jobs.push(Arc::clone(&job));
        let (app, who, worker) = (app.clone(), who.clone(), Arc::clone(&job));
        tokio::task::spawn_blocking(move || worker.run(&app, &seal, &who, wanted));
        Ok(job)
    }
}

impl Job {
    fn new(id: String, dir: &Path, who: String, since_ms: i64) -> Self {
        let shown = Shown {
            version: 1,
            phase: Phase::Sealing,
            who,
            since_ms,
            done: 0,
            total: 0,
            bytes: 0,
            elapsed_ms: 0,
            made: None,
            error: None,
            what_to_do: None,
        };
        Self {
            path: dir.join(format!("{id}.cfa")),
            id,
            begun: Stopwatch::start(),
            state: Mutex::new((shown, Stopwatch::start())),
            woken: Condvar::new(),
            cancelled: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, (Shown, Stopwatch)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(crate) fn look(&self) -> Shown {
        self.state().0.clone()
    }

    /// How it stands, as soon as that is newer than `seen`, at the latest after `most`.
    pub(crate) fn wait(&self, seen: u64, most: Duration) -> Shown {
        let older = |state: &mut (Shown, Stopwatch)| state.0.version <= seen && !state.0.ended();
        let waited = self.woken.wait_timeout_while(self.state(), most, older);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.0.clone()
    }

    /// Asks that it end.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// The file, once it is whole.
    pub(crate) fn file(&self) -> Result<(File, Made), Fault> {
        let made = self.look().made.ok_or_else(|| Fault::missing("the file"))?;
        let file = File::open(&self.path).map_err(|_| Fault::missing("the file"))?;
        Ok((file, made))
    }

    fn change(&self, work: impl FnOnce(&mut Shown)) {
        let mut state = self.state();
        work(&mut state.0);
        state.0.version += 1;
        state.0.elapsed_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.1 = Stopwatch::start();
        self.woken.notify_all();
    }

    /// The same for what changes all the time.
    fn moved(&self, work: impl FnOnce(&mut Shown)) {
        let mut state = self.state();
        work(&mut state.0);
        if state.1.elapsed() >= TELL_EVERY {
            drop(state);
            self.change(|_| {});
        }
    }

    fn remove(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "an export stays on the disk");
            }
            _ => {}
        }
    }

    fn run(&self, app: &App, seal: &audit::Seal, who: &Who, wanted: Wanted) {
        match self.make(app, seal, who, wanted) {
            Ok(made) => self.change(|shown| {
                shown.phase = Phase::Done;
                shown.done = shown.total;
                shown.made = Some(made);
            }),
            Err(fault) => {
                self.remove();
                tracing::warn!(error = fault.error, cause = ?fault.chain(), "an export ended early");
                self.change(|shown| {
                    shown.phase = Phase::Failed;
                    shown.error = Some(fault.error);
                    shown.what_to_do = fault.what_to_do;
                });
            }
        }
    }

    fn make(
        &self,
        app: &App,
        seal: &audit::Seal,
        who: &Who,
        wanted: Wanted,
    ) -> Result<Made, Fault> {
        let (export, wanted, beside) = prepared(app, seal, wanted)?;
        self.change(|shown| {
            shown.phase = Phase::Writing;
            shown.total = export.entries();
        });
        let out = Watched::new(self, app)?;
        let extras = extras(app, &wanted, export.range(), beside);
        let written = export.write(BufWriter::new(out), app.clock.now(), extras, &mut |done| {
            self.moved(|shown| shown.done = done);
        });
        let (told, out) = written.map_err(|error| self.fault(error))?;
        let out = out
            .into_inner()
            .map_err(|e| self.fault(e.into_error().into()))?;
        let sha256 = out.end().map_err(|e| self.fault(e.into()))?;
        let entry = exported(told.size, (told.first, told.end), &wanted)
            .detail("shown", told.shown)
            .detail("sha256", sha256.as_str());
        let entry = app
            .store
            .write::<_, Noted>(|tx| Ok(app.auditor.append(tx, who, entry)?))?;
        Ok(Made {
            first: told.first,
            end: told.end,
            size: told.size,
            shown: told.shown,
            names: wanted.with_names,
            sha256,
            entry: entry.0,
        })
    }

    fn fault(&self, error: ExportError) -> Fault {
        let elsewhere = "free space, or write it to another disk on the appliance: `cofferdam \
                         audit export -o FILE`";
        match error {
            ExportError::Io(_) if self.cancelled.load(Ordering::Relaxed) => {
                Fault::conflict("the export was cancelled").code("E_CANCELLED")
            }
            ExportError::Io(e) if e.kind() == io::ErrorKind::StorageFull => {
                let told = "there is no room on the appliance's disk for this export; what was \
                            written of it is removed";
                Fault::new(StatusCode::INSUFFICIENT_STORAGE, told)
                    .todo(elsewhere)
                    .code("E_SPACE")
            }
            other => export_fault(other),
        }
    }
}

/// The entry of somebody who takes a file away.
pub(crate) fn taken(made: &Made) -> Entry {
    Entry::success(Kind::AuditExportRead)
        .detail("export", made.entry)
        .detail("sha256", made.sha256.as_str())
}

/// The file while it is written: hashed, counted, ended when it is cancelled or space runs out.
struct Watched<'a> {
    job: &'a Job,
    app: &'a App,
    file: File,
    hash: Sha256,
    bytes: u64,
    looked: u64,
}

impl<'a> Watched<'a> {
    fn new(job: &'a Job, app: &'a App) -> Result<Self, Fault> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&job.path)
            .map_err(|e| job.fault(e.into()))?;
        let watched = Self {
            job,
            app,
            file,
            hash: Sha256::new(),
            bytes: 0,
            looked: 0,
        };
        watched.room().map_err(|e| job.fault(e.into()))?;
        Ok(watched)
    }

    /// An export never takes the room that is kept for the log itself.
    fn room(&self) -> io::Result<()> {
        match self.app.auditor.state() {
            audit::State::Blocked(blocked) if blocked.cause == audit::Cause::Space => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn end(self) -> io::Result<String> {
        self.file.sync_all()?;
        Ok(hex::encode(self.hash.finalize()))
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.job.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("it was cancelled"));
        }
        if self.bytes - self.looked >= LOOK_EVERY_BYTES {
            self.looked = self.bytes;
            self.room()?;
        }
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        self.job.moved(|shown| shown.bytes = self.bytes);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
