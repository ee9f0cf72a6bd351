//! The git object store and wire protocol, server side.
//!
//! A [`Repository`] is opened once and shared. Fetches: [`advertise`] tells a client what there
//! is, [`upload_pack`] answers it. Pushes run in two phases, so that the caller can record what
//! it is about to do in between: [`receive_pack`] takes the pack into quarantine and checks it
//! (limits, the rules of fsck, connectivity); the caller looks into [`Received::objects`],
//! refuses refs as it likes, records its intent, then calls [`Received::make_durable`],
//! [`update_refs`] and [`Received::write_report`]. Everything works on plain byte streams, which
//! HTTP, SSH and stdio share.
//!
//! Invariants: nothing is acknowledged that a power cut could undo (`durable` holds every fsync);
//! a push that is dropped leaves nothing; pushed packs stay packs; stock git can read every
//! repository at any time. Refuses hooks, work trees, alternates and reftables.

mod advertise;
mod bundle_file;
mod carried;
mod check;
mod checkout;
mod consolidate;
mod durable;
mod gc;
mod ids;
mod objects;
mod pack;
mod parse;
mod pktline;
mod read;
mod receive;
mod refname;
mod refs;
mod refs_update;
mod repo;
mod sweep;
mod upload;
mod walk;

pub use advertise::{Protocol, Service, Transport, advertise};
pub use bundle_file::{BundleError, BundleHead, check_bundle};
pub use carried::{CarriedError, CarriedRefs, make_carried};
pub use check::Checked;
pub use checkout::{CheckoutError, CheckoutOptions, TreeLimits, checkout_tar, checkout_tree};
pub use consolidate::Consolidated;
pub use durable::Durability;
pub use gc::Collected;
pub use gix::ObjectId;
pub use gix::hash::Kind as ObjectFormat;
pub use gix::objs::Kind as ObjectKind;
pub use objects::{Objects, ReadError};
pub use pack::PackError;
pub use read::{
    ChangedPaths, Commit, EntryKind, LastChange, Log, ResolveError, Resolved, Signature, TreeEntry,
};
pub use receive::{
    Capabilities, CommandKind, ReceiveError, ReceiveLimits, Received, RefCommand, Refusal,
    receive_pack,
};
pub use refs::{Head, Ref, RefSnapshot};
pub use refs_update::{RefOutcome, RefUpdate, update_refs};
pub use repo::{OpenError, Repository};
pub use sweep::sweep;
pub use upload::{UploadError, UploadLimits, upload_pack};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_may_move_between_threads() {
        fn moves<T: Send>() {}
        fn is_shared<T: Send + Sync>() {}
        moves::<Received>();
        moves::<Objects>();
        is_shared::<Repository>();
    }
}
