//! Reading a repository for pages, workflows and tools: commits, directories, files, history.
//!
//! All of it works on an [`crate::Objects`], so that a push in quarantine is read like what is
//! already there. Names and messages that are not UTF-8 are shown with replacement characters.

mod commit;
mod diff;
mod history;
mod resolve;
mod tree;

pub use commit::{Commit, Signature};
pub use diff::ChangedPaths;
pub use history::{LastChange, Log};
pub use resolve::{ResolveError, Resolved};
pub use tree::{EntryKind, TreeEntry};
