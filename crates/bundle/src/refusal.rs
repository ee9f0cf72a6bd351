//! Why a bundle is not taken: one code each, stable, with what to do.

use vocab::Digest;

/// Why a bundle, a root statement or a slip was refused. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The medium cannot be read.
    #[error("cannot read {what}")]
    Medium {
        /// File or folder.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no bundle at that place.
    #[error("{place} holds no bundle: {reason}")]
    NoBundle {
        /// The folder.
        place: String,
        /// What was looked for, and what to do.
        reason: String,
    },
    /// A file is larger than any honest one.
    #[error("{what} is larger than {limit_bytes} bytes; this medium is not what it says")]
    TooLarge {
        /// File.
        what: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A signature does not fit, or none from a known key is there.
    #[error("{what} is not signed by a known key: {reason}")]
    Signature {
        /// What was signed.
        what: String,
        /// Which signature, and why not.
        reason: String,
    },
    /// A signature of the kind that signs the file itself instead of its BLAKE2b digest.
    #[error("the signature {file} is of minisign's legacy kind; sign again without -l")]
    Legacy {
        /// The signature's file.
        file: String,
    },
    /// A trusted comment says something else than the manifest.
    #[error(
        "the signed comment of {file} and the manifest disagree on {field}: '{comment}' and \
         '{manifest}'; ask who built it"
    )]
    Comment {
        /// The signature's file.
        file: String,
        /// Which field.
        field: String,
        /// As the comment says.
        comment: String,
        /// As the manifest says.
        manifest: String,
    },
    /// Too few of those who may sign have signed.
    #[error(
        "{have} of the {need} signatures that root statement {root} asks for: {told}; have it \
         signed by more of: {who}"
    )]
    Quorum {
        /// Distinct good ones.
        have: usize,
        /// Threshold.
        need: usize,
        /// Statement.
        root: u64,
        /// Good and bad signatures in words.
        told: String,
        /// Names of the role's keys.
        who: String,
    },
    /// The chain of root statements is broken.
    #[error("root statement {number} is refused: {reason}")]
    Root {
        /// Which.
        number: u64,
        /// Why.
        reason: String,
    },
    /// A document is not strict JSON of its kind.
    #[error("{what} is not valid: {reason}")]
    Json {
        /// Document.
        what: String,
        /// Why.
        reason: String,
    },
    /// A document breaks a rule of the format.
    #[error("{what} breaks the format: {reason}")]
    Format {
        /// Document.
        what: String,
        /// Which rule.
        reason: String,
    },
    /// A name that is not one.
    #[error("{what} names {name:?}, which no name may be")]
    Name {
        /// Where.
        what: String,
        /// The name, shortened.
        name: String,
    },
    /// Older than what was imported already.
    #[error(
        "bundle {channel} {got} is older than {at}, which was imported here already; bring one \
         above {at}"
    )]
    Rollback {
        /// Channel.
        channel: String,
        /// Its sequence.
        got: u64,
        /// The floor.
        at: u64,
    },
    /// The content's version goes back and nothing says that this is meant.
    #[error(
        "content {got} goes back from {at}, and the bundle does not say that it is meant; build \
         it with rollback_of = \"{at}\""
    )]
    ContentBack {
        /// Its version.
        got: String,
        /// The active one.
        at: String,
    },
    /// Too far ahead to be honest.
    #[error(
        "bundle {channel} {got} is more than {max} ahead of {at}; a root statement with a \
         floor_reset for this channel must come with it"
    )]
    SeqJump {
        /// Channel.
        channel: String,
        /// Its sequence.
        got: u64,
        /// The floor.
        at: u64,
        /// Most that it may be ahead.
        max: u64,
    },
    /// Past its last day.
    #[error(
        "the bundle expired on {not_after} and it is {day}; bring a newer one, or have the root \
         keys sign an override for this manifest and give --quorum-override"
    )]
    Expired {
        /// Last day.
        not_after: String,
        /// Today, as far as this appliance knows.
        day: String,
    },
    /// Meant for another product or another appliance.
    #[error("the bundle is for {meant}, and this appliance is {this}")]
    Audience {
        /// For whom.
        meant: String,
        /// Who we are.
        this: String,
    },
    /// It needs a newer appliance.
    #[error(
        "the bundle needs cofferdam {needs}, and this is {this}; bring a bundle with the program \
         {needs} first"
    )]
    Newer {
        /// Oldest that can use it.
        needs: String,
        /// This one.
        this: String,
    },
    /// Made for other processors.
    #[error("the bundle is for {got}, and this machine is {this}")]
    Arch {
        /// Its architectures.
        got: String,
        /// This machine's.
        this: String,
    },
    /// Below the security epoch.
    #[error("its security epoch is {got}, and this appliance has been at {at}: it never goes back")]
    Epoch {
        /// Its epoch.
        got: u64,
        /// The floor.
        at: u64,
    },
    /// A pin moved or vanished without a word.
    #[error(
        "{key} {how} and the bundle does not say so; build it from a lock that knows what was \
         carried before, or say so in its recipe"
    )]
    TagMoved {
        /// Which pin or key.
        key: String,
        /// `moves from … to …` or `is gone`.
        how: String,
    },
    /// Bytes are not those that the manifest names.
    #[error(
        "{what} is damaged: {reason}; copy the medium again, or bring what the need slip lists"
    )]
    Hash {
        /// Blob or chunk, and where it lies.
        what: String,
        /// What differs.
        reason: String,
    },
    /// An entry's header is not the only one that is legal there.
    #[error(
        "{volume} at offset {offset}: the entry's header is not the one that the manifest asks for"
    )]
    Header {
        /// Volume.
        volume: String,
        /// Where.
        offset: u64,
    },
    /// Something stands where nothing may.
    #[error("{volume} {reason}")]
    Tail {
        /// Volume.
        volume: String,
        /// What.
        reason: String,
    },
    /// A volume is not there.
    #[error(
        "volume {volume} is not on this medium; bring the medium that has it and run the same import again"
    )]
    NoVolume {
        /// Which.
        volume: String,
    },
    /// A delta builds on blobs that are not here.
    #[error(
        "the bundle builds on {count} blobs that are not here (first: {first}); bring a bundle \
         without --have, or build it against a new have slip"
    )]
    BaseMissing {
        /// How many.
        count: usize,
        /// The first.
        first: Digest,
    },
}

impl Refusal {
    /// The stable code, for audit entries, tests and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Medium { .. } => "E_MEDIUM",
            Self::NoBundle { .. } => "E_NO_BUNDLE",
            Self::TooLarge { .. } => "E_TOO_LARGE",
            Self::Signature { .. } => "E_SIG",
            Self::Legacy { .. } => "E_SIG_LEGACY",
            Self::Comment { .. } => "E_COMMENT_MISMATCH",
            Self::Quorum { .. } => "E_QUORUM",
            Self::Root { .. } => "E_ROOT",
            Self::Json { .. } => "E_JSON",
            Self::Format { .. } => "E_FORMAT",
            Self::Name { .. } => "E_NAME",
            Self::Rollback { .. } | Self::ContentBack { .. } => "E_ROLLBACK",
            Self::SeqJump { .. } => "E_SEQ_JUMP",
            Self::Expired { .. } => "E_EXPIRED",
            Self::Audience { .. } => "E_AUDIENCE",
            Self::Newer { .. } => "E_NEWER",
            Self::Arch { .. } => "E_ARCH",
            Self::Epoch { .. } => "E_EPOCH",
            Self::TagMoved { .. } => "E_TAG_MOVED",
            Self::Hash { .. } => "E_HASH",
            Self::Header { .. } => "E_HEADER",
            Self::Tail { .. } => "E_TAIL",
            Self::NoVolume { .. } => "E_NO_VOLUME",
            Self::BaseMissing { .. } => "E_BASE_MISSING",
        }
    }
}
