//! Slips: what an isolated appliance has and what it lacks, carried out by hand.
//!
//! Digests, counters and names under strict rules, no free text; signed by the appliance's own
//! key; at most 4 MiB, so that a person can look it over. Source: docs/bundle-format.md, "Slips".

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vocab::Digest;

use crate::refusal::Refusal;
use crate::sign::{PublicKey, SecretKey, Signature};
use crate::{check, sign, strict};

/// Largest slip.
pub const SLIP_MAX_BYTES: u64 = 4 << 20;

/// What an appliance has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Have {
    /// Version of this format: 1.
    pub cofferdam_have: u32,
    /// The appliance's name.
    pub appliance: String,
    /// Its program's version.
    pub version: String,
    /// `amd64`.
    pub arch: String,
    /// Day on which it was written, by the appliance's clock.
    pub day: String,
    /// Product and channel that it follows; empty before the first import.
    pub product: String,
    /// The channel.
    pub channel: String,
    /// Sequence of the active generation's bundle; 0 before the first.
    pub seq: u64,
    /// Root statement in force.
    pub root: u64,
    /// Free bytes where blobs go.
    pub free_bytes: u64,
    /// SHA-256 of the active manifest, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Pins of the active generation: key and what it stands for, sorted.
    pub pins: Vec<(String, String)>,
    /// Keys of the active generation's items, sorted.
    pub keys: Vec<String>,
    /// What its audit log says now, for a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogState>,
    /// Every blob that is here, the 64 digits without `sha256:`, sorted.
    pub blobs: Vec<String>,
}

/// The state of the appliance's audit log, for whoever witnesses it: docs/audit.md, "Witnesses".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogState {
    /// The signed checkpoint, a note.
    pub note: String,
    /// Proofs that it grew: from how many entries, and the hashes in hex.
    pub growth: Vec<(u64, Vec<String>)>,
}

/// Most proofs of growth in a slip, and the longest note.
const GROWTH_MAX: usize = 256;
const NOTE_MAX_BYTES: usize = 4096;

impl LogState {
    fn is_fine(&self) -> bool {
        let hash = |h: &String| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit());
        self.note.len() <= NOTE_MAX_BYTES
            && self.note.chars().all(|c| !c.is_control() || c == '\n')
            && self.growth.len() <= GROWTH_MAX
            && self
                .growth
                .iter()
                .all(|(_, hashes)| hashes.len() <= 64 && hashes.iter().all(hash))
    }
}

/// What an appliance lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// Version of this format: 1.
    pub cofferdam_need: u32,
    /// The appliance's name.
    pub appliance: String,
    /// Day on which it was written.
    pub day: String,
    /// Sequence of the active generation's bundle; 0 before the first.
    pub seq: u64,
    /// Names that jobs asked for, most asked first.
    pub wants: Vec<Wanted>,
    /// Blobs that a scrub or an import found damaged or missing, sorted.
    pub damaged: Vec<Digest>,
}

/// A name that jobs asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Kind of item: `oci`, `pypi`, `action`, `toolcache`, `file`.
    pub kind: String,
    /// What was asked for.
    pub name: String,
    /// How often.
    pub asks: u64,
}

impl Wanted {
    /// Whether its name is one that a slip may hold.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        let fine = |s: &str, most: usize| {
            !s.is_empty()
                && s.len() <= most
                && s.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-/@:+~=<>!".contains(&b))
        };
        fine(&self.kind, 16) && fine(&self.name, 200)
    }
}

/// A document that is a slip.
pub trait Slip: Serialize + DeserializeOwned {
    /// Its name in messages and in the signed comment.
    const WHAT: &'static str;

    /// Whether it keeps the rules.
    fn check(&self) -> Result<(), Refusal>;
}

impl Slip for Have {
    const WHAT: &'static str = "have slip";

    fn check(&self) -> Result<(), Refusal> {
        format_is(Self::WHAT, self.cofferdam_have)?;
        check::name_rule("appliance", &self.appliance)?;
        check::day("day", &self.day)?;
        let plain = |s: &str| s.len() == 64 && s.bytes().all(|b| b"0123456789abcdef".contains(&b));
        if !self.blobs.iter().all(|b| plain(b)) || !self.blobs.is_sorted_by(|a, b| a < b) {
            return Err(wrong(Self::WHAT, "its blobs are not sorted digests"));
        }
        if !self.log.as_ref().is_none_or(LogState::is_fine) {
            return Err(wrong(Self::WHAT, "its state of the log is not one"));
        }
        Ok(())
    }
}

impl Slip for Need {
    const WHAT: &'static str = "need slip";

    fn check(&self) -> Result<(), Refusal> {
        format_is(Self::WHAT, self.cofferdam_need)?;
        check::name_rule("appliance", &self.appliance)?;
        check::day("day", &self.day)?;
        if !self.wants.iter().all(Wanted::is_fine) {
            return Err(wrong(Self::WHAT, "a wanted name is not one"));
        }
        Ok(())
    }
}

fn format_is(what: &str, version: u32) -> Result<(), Refusal> {
    if version == 1 {
        Ok(())
    } else {
        Err(wrong(what, "it is not of format 1"))
    }
}

fn wrong(what: &str, reason: &str) -> Refusal {
    Refusal::Format {
        what: format!("the {what}"),
        reason: reason.to_owned(),
    }
}

/// A slip as one file: the document on its first line, the signature's four lines behind it.
pub fn seal<S: Slip>(slip: &S, key: &SecretKey) -> Result<String, sign::KeyError> {
    let document = serde_json::to_string(slip).expect("our own types have only text keys");
    let comment = format!("cofferdam-slip/1 {}", S::WHAT);
    let signature = key.sign(document.as_bytes(), &comment)?;
    Ok(format!("{document}\n{signature}"))
}

/// Reads a slip; with `key` its signature must be that appliance's. Gives the digest of the
/// document, too: what a delta names as its base.
pub fn open<S: Slip>(file: &[u8], key: Option<&PublicKey>) -> Result<(S, Digest), Refusal> {
    if file.len() as u64 > SLIP_MAX_BYTES {
        return Err(Refusal::TooLarge {
            what: format!("the {}", S::WHAT),
            limit_bytes: SLIP_MAX_BYTES,
        });
    }
    let end = file
        .iter()
        .position(|b| *b == b'\n')
        .ok_or_else(|| wrong(S::WHAT, "it has no signature"))?;
    let (document, rest) = (&file[..end], &file[end + 1..]);
    let text = std::str::from_utf8(rest).map_err(|_| wrong(S::WHAT, "it is not text"))?;
    let signature = Signature::parse(S::WHAT, text)?;
    if signature.comment != format!("cofferdam-slip/1 {}", S::WHAT) {
        return Err(wrong(S::WHAT, "its signature is for another document"));
    }
    if let Some(key) = key {
        signature.check(key, document)?;
    }
    let slip: S = strict::from_slice(document).map_err(|e| Refusal::Json {
        what: format!("the {}", S::WHAT),
        reason: e.to_string(),
    })?;
    slip.check()?;
    Ok((slip, Digest::of(document)))
}
