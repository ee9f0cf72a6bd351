//! What an export says about itself: its range, what it shows, the digest of each of its files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Names the format and its version.
pub const FORMAT: &str = "cofferdam-audit/1";
/// Largest manifest that is read.
pub const MANIFEST_MAX_BYTES: u64 = 32 << 20;

/// `MANIFEST.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The log's name.
    pub origin: String,
    /// When it was made, RFC 3339 in UTC.
    pub made: String,
    /// Entries under its checkpoint.
    pub size: u64,
    /// The first entry whose leaf hash it has.
    pub first: u64,
    /// One more than the last.
    pub end: u64,
    /// Not before this instant, where it was asked for.
    pub since: Option<String>,
    /// Before this instant, where it was asked for.
    pub until: Option<String>,
    /// Which bodies it shows; all of them without one.
    pub filter: Option<Shown>,
    /// How many bodies it shows.
    pub shown: u64,
    /// Every file but the manifest's own.
    pub files: BTreeMap<String, FileFacts>,
}

/// Which bodies are shown. It says what was asked for; each body that is shown proves itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// A kind or its start.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<String>,
    /// A tagged actor.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// A tagged object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub object: Option<String>,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// The text that the log's key signs for a manifest with this digest.
#[must_use]
pub fn statement(origin: &str, manifest: &[u8; 32]) -> String {
    format!("{FORMAT} {origin}\n{}\n", hex::encode(manifest))
}

/// A proof that the log grew from an earlier export: one of `consistency.proof`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Growth {
    /// Entries of the log then.
    pub from: u64,
    /// The proof, hashes in hex.
    pub hashes: Vec<String>,
}

/// What stands before and after the range: `range.proof`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Around {
    /// Roots of whole subtrees from entry 0 to the range, in order: level and hash in hex.
    pub before: Vec<(u8, String)>,
    /// The same from the range to the end of the log.
    pub after: Vec<(u8, String)>,
}

/// A hash in hex.
#[must_use]
pub fn hash(text: &str) -> Option<[u8; 32]> {
    let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
    (hex::encode(bytes) == text).then_some(bytes)
}
