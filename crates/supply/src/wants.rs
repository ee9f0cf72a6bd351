//! What was asked for and is not there, gathered in memory and written down in batches: a job
//! that asks a thousand times costs one transaction, not a thousand.
//!
//! Bounded: what does not fit is dropped. Invariant: noting never waits for the database.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{Store, StoreError};
use vocab::JobId;

use crate::generation;

/// Most different names between two writes.
const PENDING_MAX: usize = 1_000;

/// The wants of one process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Wants(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pending: Mutex<BTreeMap<(String, String), Asked>>,
    wake: Condvar,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    asks: i64,
    job: Option<JobId>,
}

impl Wants {
    /// Notes that `name` was asked for, by a job or by somebody else. Never blocks for long.
    pub fn note(&self, kind: &str, name: &str, job: Option<JobId>) {
        let mut pending = self.pending();
        let key = (kind.to_owned(), generation::shortened(name));
        if pending.len() >= PENDING_MAX && !pending.contains_key(&key) {
            return;
        }
        let asked = pending.entry(key).or_insert(Asked { asks: 0, job });
        asked.asks += 1;
        asked.job = asked.job.or(job);
        self.0.wake.notify_all();
    }

    /// Writes down what was noted; how many names that were.
    pub fn flush(&self, store: &Store, now_ms: i64) -> Result<usize, StoreError> {
        let taken = std::mem::take(&mut *self.pending());
        if taken.is_empty() {
            return Ok(0);
        }
        store.write(|tx| {
            for ((kind, name), asked) in &taken {
                generation::want_times(tx, kind, name, asked.asks, asked.job, now_ms)?;
            }
            Ok(taken.len())
        })
    }

    /// Waits until something is noted, at most `most`; whether something is.
    #[must_use]
    pub fn wait(&self, most: Duration) -> bool {
        let (pending, _) = self
            .0
            .wake
            .wait_timeout_while(self.pending(), most, |pending| pending.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        !pending.is_empty()
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<(String, String), Asked>> {
        self.0
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
