//! Job logs: one append-only file an attempt, addressed by byte offset.
//!
//! `DATA/logs/<job>/<attempt>` holds one record a line: `<unix ms> <step> <kind> <text>`. Only
//! whole lines are ever shown, so that an offset once given out stays good for ever: reading on
//! from it neither skips nor repeats a line, across any restart. The last record is `end`.

mod reader;
mod record;
mod sanitise;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use vocab::{Attempt, JobId};

pub use reader::{Chunk, LogError};
pub use record::{Kind, Record};
pub use writer::LogWriter;

/// How much of one attempt's log is kept, unless [`Logs::with_cap`] says otherwise.
pub const CAP_BYTES: u64 = 64 << 20;

/// Longest text of one record; longer lines go on in further records, marked as continued.
pub const LINE_BYTES: usize = 64 << 10;

type Listener = Box<dyn Fn(JobId, Attempt) + Send + Sync>;

/// All logs of one data directory. Cloning shares them.
#[derive(Clone)]
pub struct Logs {
    dir: PathBuf,
    cap_bytes: u64,
    listeners: Arc<RwLock<Vec<Listener>>>,
}

impl Logs {
    /// Opens `dir`, usually `DATA/logs`, and makes it when absent.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            cap_bytes: CAP_BYTES,
            listeners: Arc::default(),
        })
    }

    /// Keeps at most `cap_bytes` of what an attempt prints.
    #[must_use]
    pub fn with_cap(mut self, cap_bytes: u64) -> Self {
        self.cap_bytes = cap_bytes;
        self
    }

    /// Calls `listener` whenever more of a log can be read, on the writing thread: it must be
    /// quick and must not wait.
    pub fn on_growth(&self, listener: impl Fn(JobId, Attempt) + Send + Sync + 'static) {
        self.listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(listener));
    }

    /// Where an attempt's log stands, present or not.
    #[must_use]
    pub fn path(&self, job: JobId, attempt: Attempt) -> PathBuf {
        self.dir.join(job.to_string()).join(attempt.to_string())
    }

    fn grew(&self, job: JobId, attempt: Attempt) {
        let listeners = self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter() {
            listener(job, attempt);
        }
    }
}

#[cfg(test)]
mod tests;
