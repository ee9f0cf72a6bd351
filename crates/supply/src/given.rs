//! What jobs were given, gathered in memory while they run and written down as they end: for their
//! provenance, and for whoever asks which jobs used a thing.
//!
//! Owns table `job_given`. Bounded: of one attempt at most [`GIVEN_MAX`] things are kept, and
//! where there were more it says so. Invariant: noting never waits for the database.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{Db, StoreError, Tx};
use vocab::{Attempt, Digest, Fence, JobId};

use crate::sql::given as sql;

/// Most different things of one attempt that are written down.
pub const GIVEN_MAX: usize = 5_000;

/// What the jobs of one process were given. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Given(Arc<Mutex<HashMap<(JobId, Attempt), Noted>>>);

/// What one attempt was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Images by their manifests, files by their content.
    pub digests: BTreeSet<Digest>,
    /// Whether there was more.
    pub more: bool,
}

impl Given {
    /// Notes that the holder of `fence` was given this.
    pub fn note(&self, fence: Fence, digest: &Digest) {
        let mut jobs = self.jobs();
        let noted = jobs.entry((fence.job, fence.attempt)).or_default();
        if noted.digests.len() < GIVEN_MAX {
            noted.digests.insert(*digest);
        } else if !noted.digests.contains(digest) {
            noted.more = true;
        }
    }

    /// Writes down what the holder of `fence` was given: in the transaction of the job's end.
    pub fn write(&self, tx: &Tx<'_>, fence: Fence) -> Result<(), StoreError> {
        let noted = self.jobs().get(&(fence.job, fence.attempt)).cloned();
        match noted {
            Some(noted) => sql::insert(tx, fence.job, fence.attempt, &noted),
            None => Ok(()),
        }
    }

    /// The job has ended: what was noted of it stays only where it was written.
    pub fn forget(&self, fence: Fence) {
        self.jobs().remove(&(fence.job, fence.attempt));
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<(JobId, Attempt), Noted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt was given.
pub fn given(db: &Db, job: JobId, attempt: Attempt) -> Result<Noted, StoreError> {
    sql::given(db, job, attempt)
}

/// The newest attempts that were given this.
pub fn given_to(db: &Db, digest: &Digest, limit: u32) -> Result<Vec<(JobId, Attempt)>, StoreError> {
    sql::given_to(db, digest, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(job: i64) -> Fence {
        Fence {
            job: JobId(job),
            attempt: Attempt(1),
            epoch: 1,
        }
    }

    #[test]
    fn what_a_job_was_given_is_kept_with_its_end_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            store::Store::open(dir.path(), &[crate::MIGRATIONS], Default::default()).unwrap();
        let (all, one, two) = (Given::default(), Digest::of(b"1"), Digest::of(b"2"));
        all.note(fence(7), &one);
        all.note(fence(7), &one);
        all.note(fence(8), &two);
        let read = |job| store.read(|db| given(db, JobId(job), Attempt(1))).unwrap();
        assert_eq!(read(7), Noted::default());
        store.write(|tx| all.write(tx, fence(7))).unwrap();
        // A transaction that is tried again finds the same.
        store.write(|tx| all.write(tx, fence(7))).unwrap();
        all.forget(fence(7));
        assert_eq!(read(7).digests, BTreeSet::from([one]));
        assert!(!read(7).more);
        assert_eq!(read(8), Noted::default());
        let users = |d| store.read(|db| given_to(db, &d, 10)).unwrap();
        assert_eq!(users(one), [(JobId(7), Attempt(1))]);
        assert_eq!(users(two), []);
    }

    #[test]
    fn a_job_that_takes_too_much_is_told_so() {
        let (all, dir) = (Given::default(), tempfile::tempdir().unwrap());
        let store =
            store::Store::open(dir.path(), &[crate::MIGRATIONS], Default::default()).unwrap();
        for n in 0..=GIVEN_MAX {
            all.note(fence(7), &Digest::of(&n.to_le_bytes()));
        }
        store.write(|tx| all.write(tx, fence(7))).unwrap();
        let noted = store.read(|db| given(db, JobId(7), Attempt(1))).unwrap();
        assert!(noted.more);
        assert_eq!(noted.digests.len(), GIVEN_MAX);
    }
}
