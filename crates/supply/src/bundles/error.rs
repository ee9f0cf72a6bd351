//! Why something about a bundle was not done: the refusals of the format, and what this
//! appliance adds to them.

use std::io;
use std::path::PathBuf;

use bundle::Refusal;
use store::StoreError;

/// Why it was not done. The active generation is what it was.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The medium was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The medium went away, or cannot be read any more.
    #[error(
        "cannot read {what} any more; what was read is kept: plug the medium in again and run the \
         same import, it goes on there"
    )]
    Pulled {
        /// The volume.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nobody has said whom to believe.
    #[error(
        "no root fingerprint is pinned here; type it from the paper: cofferdam bundle trust \
         FINGERPRINT"
    )]
    NoTrust,
    /// The fingerprint cannot be changed any more.
    #[error(
        "root statement 1 was accepted here under the fingerprint {pinned}; a later statement \
         changes whom to believe, another fingerprint cannot"
    )]
    TrustFixed {
        /// The one in force, in hex.
        pinned: String,
    },
    /// The sealed floors were damaged.
    #[error(
        "{} is damaged, so that it cannot be told whether a bundle goes back; restore it from a \
         backup, or remove it if you are sure that the database is not an old one", path.display()
    )]
    Floors {
        /// The file.
        path: PathBuf,
    },
    /// Something else is under way.
    #[error(
        "{what} is under way, begun by {who} at {since}; wait for it or cancel it, then try again"
    )]
    Busy {
        /// What.
        what: String,
        /// Who began it.
        who: String,
        /// When, UTC.
        since: String,
    },
    /// There is not enough room.
    #[error(
        "not enough room: it takes {need_bytes} bytes ({missing_bytes} of blobs, {unpack_bytes} \
         unpacked, {reserve_bytes} kept free) and {free_bytes} are free; `cofferdam bundle gc` \
         frees what no generation needs"
    )]
    Space {
        /// All together.
        need_bytes: u64,
        /// Blobs that are not here yet.
        missing_bytes: u64,
        /// What image layers unpack to, about.
        unpack_bytes: u64,
        /// What stays free in any case.
        reserve_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The disk filled up half-way.
    #[error(
        "the disk is full; what was read is kept: make room (`cofferdam bundle gc`), then run the \
         same import again"
    )]
    Full(#[source] io::Error),
    /// Somebody cancelled it.
    #[error("cancelled; what was read is kept, the same import goes on there")]
    Cancelled,
    /// There is nothing to go back to.
    #[error("there is no earlier generation to go back to")]
    NothingBefore,
    /// The earlier generation was collected.
    #[error("generation {0} is not kept any more; import its bundle again")]
    NotKept(i64),
    /// A slip would be too large.
    #[error("the slip would be larger than {limit_bytes} bytes; run `cofferdam bundle gc` first")]
    SlipTooLarge {
        /// The most that a slip may have.
        limit_bytes: u64,
    },
    /// The appliance's own key cannot be used.
    #[error("the slip key in {} cannot be used: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log refused.
    #[error(transparent)]
    Audit(#[from] audit::AppendError),
    /// The disk refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl BundleError {
    /// The stable code, for audit entries, tests and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Pulled { .. } => "E_MEDIUM",
            Self::NoTrust => "E_NO_TRUST",
            Self::TrustFixed { .. } => "E_TRUST_FIXED",
            Self::Floors { .. } => "E_FLOORS",
            Self::Busy { .. } => "E_BUSY",
            Self::Space { .. } | Self::Full(_) => "E_SPACE",
            Self::Cancelled => "E_CANCELLED",
            Self::NothingBefore => "E_NO_PARENT",
            Self::NotKept(_) => "E_NOT_KEPT",
            Self::SlipTooLarge { .. } => "E_TOO_LARGE",
            Self::Key { .. } => "E_KEY",
            Self::Store(_) => "E_STORE",
            Self::Audit(_) => "E_AUDIT",
            Self::Io { .. } => "E_IO",
        }
    }

    /// Whether the server failed, rather than the medium or whoever asked.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Audit(_) | Self::Io { .. })
    }

    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(source),
            _ => Self::Io { path, source },
        }
    }
}
