//! Wakes those who watch a run or a log when it changes.
//!
//! Holds nothing of what changed: whoever is woken reads the database or the file again, so a
//! wake that is lost in a crowd of others loses nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use store::Change;
use tokio::sync::watch;
use vocab::{Attempt, JobId, RunId};

/// Who watches what.
#[derive(Clone, Default)]
pub(crate) struct Hub {
    logs: Arc<Wakes<(JobId, Attempt)>>,
    runs: Arc<Wakes<RunId>>,
}

/// One table of waiters. An entry lives as long as somebody waits on it.
struct Wakes<K>(Mutex<HashMap<K, watch::Sender<u64>>>);

impl<K> Default for Wakes<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Copy> Wakes<K> {
    fn wake(&self, key: K) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = table.get(&key) {
            if sender.receiver_count() == 0 {
                table.remove(&key);
            } else {
                sender.send_modify(|n| *n += 1);
            }
        }
    }

    fn subscribe(&self, key: K) -> watch::Receiver<u64> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Sweeping here bounds the table by the number of living watchers, doubled.
        if table.len() > 64 && table.len().is_power_of_two() {
            table.retain(|_, sender| sender.receiver_count() > 0);
        }
        table
            .entry(key)
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }
}

impl Hub {
    /// Something in the database changed.
    pub(crate) fn changed(&self, changes: &[Change]) {
        for change in changes {
            if let Change::Run(run) = change {
                self.runs.wake(*run);
            }
        }
    }

    /// More of a log can be read.
    pub(crate) fn grew(&self, job: JobId, attempt: Attempt) {
        self.logs.wake((job, attempt));
    }

    /// Wakes whenever the run or one of its jobs changes.
    pub(crate) fn run(&self, run: RunId) -> watch::Receiver<u64> {
        self.runs.subscribe(run)
    }

    /// Wakes whenever the log grows.
    pub(crate) fn log(&self, job: JobId, attempt: Attempt) -> watch::Receiver<u64> {
        self.logs.subscribe((job, attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_is_woken_for_its_own_thing_only() {
        let hub = Hub::default();
        let mut mine = hub.log(JobId(1), Attempt(1));
        hub.grew(JobId(2), Attempt(1));
        assert!(!mine.has_changed().unwrap());
        hub.grew(JobId(1), Attempt(1));
        mine.changed().await.unwrap();
        drop(mine);
        hub.grew(JobId(1), Attempt(1));
        assert!(hub.logs.0.lock().unwrap().is_empty());
    }
}
