//! Where checkouts come from: the caller's object store, opened by the caller.

use std::io::Write;

/// Gives the trees of repos. The caller decides which repos this job may read.
pub trait Source: Send + Sync {
    /// Writes a tar of the work tree, its `.git` included, to `out`. No credential is in it.
    fn checkout(
        &self,
        request: &CheckoutRequest,
        out: &mut dyn Write,
    ) -> Result<CheckedOut, SourceError>;
}

/// What to check out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutRequest {
    /// `owner/name`.
    pub repository: String,
    /// A full ref name, a short branch or tag name, or a commit id.
    pub reference: String,
    /// The commit that `reference` stood at when the run was made; empty to resolve it now.
    pub commit: String,
    /// How many commits of history; 0 for all.
    pub depth: u32,
    /// Whether tags come along.
    pub tags: bool,
    /// The remote's address, as `.git/config` shows it.
    pub remote_url: String,
}

/// What was checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedOut {
    /// The commit's id in hex.
    pub commit: String,
    /// The ref, or empty when a bare commit was asked for.
    pub reference: String,
    /// Whether the tree names submodules in `.gitmodules`.
    pub has_submodules: bool,
    /// Files in the work tree.
    pub files: u64,
}

/// Why there is no checkout.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// This job may not read it, or there is none.
    #[error("repository {repository} is not one that this job may read")]
    NoRepository {
        /// As asked.
        repository: String,
    },
    /// The ref or commit is not there.
    #[error("{reference} is no branch, tag or commit of {repository}")]
    NoReference {
        /// As asked.
        reference: String,
        /// As asked.
        repository: String,
    },
    /// Reading or sending it failed.
    #[error("the tree of {repository} could not be sent: {reason}")]
    Failed {
        /// As asked.
        repository: String,
        /// Why.
        reason: String,
    },
}
