//! The log of who did what: one exact JSON line per entry, and the hash of each line.
//!
//! Owns tables `audit_entry`, `audit_head` and `audit_opening`. An entry is appended in the
//! transaction of the action it tells of, so neither exists without the other. Lines are never
//! changed; personal values stand in them only as salted commitments, and secret values never.
//! Source: design/audit.md, "Log" and "Event line".

mod append;
mod check;
mod entry;
mod export;
mod jcs;
mod kind;
mod read;
mod redact;
mod resume;
mod seal;
mod search;
mod sql;
mod state;
#[cfg(test)]
mod testing;
mod who;

pub use append::{AppendError, Auditor, Origin};
pub use check::check;
pub use entry::{Entry, Out};
pub use evidence::tree::leaf_hash;
pub use export::{Export, ExportError, Exported, Extra, Wanted};
pub use kind::{Kind, UnknownKind};
pub use read::{
    Filter, Head, Kinds, Line, Went, actors, by_kind, count, head, line, list, openings,
};
pub use redact::{RedactError, Redacted, Redaction, redacted};
pub use resume::SettleError;
pub use seal::{CosignError, Cosignature, Cosigned, FolderTiles, Proof, Seal, SealError, Signed};
pub use search::{Found, search};
pub use state::{Blocked, Cause, State};
pub use who::{Actor, Via, Who};

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "audit",
    files: &[
        ("0001_log", include_str!("../migrations/0001_log.sql")),
        ("0002_amiss", include_str!("../migrations/0002_amiss.sql")),
    ],
};

/// The place of an entry in the log, from 0: its leaf's index in the tree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seq(pub i64);
