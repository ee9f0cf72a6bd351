//! Signed bundles on the appliance: taken in, undone, collected, checked, told about.
//!
//! Owns tables `bundle`, `generation`, `root_statement`, `channel_floor`, `damaged`, `scrub` and
//! the folder `DATA/trust`. Invariants: whatever is refused leaves the active generation as it
//! was; a generation becomes active in the one transaction that says so in the audit log, after
//! every blob of it is durable. Source: docs/bundle-format.md, "Import".

mod begun;
mod catalogue;
mod commit;
mod custody;
mod deep;
mod diff;
mod error;
mod floors;
mod gate;
mod gc;
mod history;
mod intake;
mod lacking;
mod medium;
mod progress;
mod scrub;
mod slips;
mod take;
#[cfg(test)]
mod tests;
mod trust;
mod walk;

pub use catalogue::{Listed, catalogue};
pub use custody::{
    Checked, Custody, Step, What, check as check_custody, custody, files as custody_files, in_time,
    numbered,
};
pub use deep::deep;
pub use diff::{Changed, Diff, Move, Touched, WorkflowUse, diff};
pub use error::BundleError;
pub(crate) use floors::Floor;
pub use gc::Collected;
pub(crate) use gc::needed;
pub use history::{
    Entry, Row, Undone, Unfinished, active, history, kept_manifest, row, unfinished,
};
pub use intake::{About, AfterCommit, Begun, Intake, Pins, Plan};
pub use lacking::still_wanted;
pub use progress::{Bytes, Phase, Progress, Snapshot, Summary};
pub use scrub::{Scrub, Scrubbed, damaged, scrubbed};
pub use slips::{SlipKey, Written};
pub use trust::{Kept, fingerprint, pin, statements, write_fingerprint};

/// Where a blob was found to be damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// On a medium.
    Medium,
    /// In the store.
    Store,
    /// It is not there at all.
    Missing,
}

impl Found {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::Store => "store",
            Self::Missing => "missing",
        }
    }
}
