//! What a committed transaction changed, for those who wait.

use vocab::{JobId, RepoId, RunId};

/// One thing that changed; told to listeners after the commit, never before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Some job may have become claimable.
    Queue,
    /// A run's row or any of its jobs changed.
    Run(RunId),
    /// A job's row or steps changed.
    Job(JobId),
    /// Somebody asked that this job be cancelled.
    CancelAsked(JobId),
    /// A repo's refs or settings changed.
    Repo(RepoId),
    /// An image was added or removed.
    Images,
}
