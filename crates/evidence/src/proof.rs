//! A job's statements against the log: signature, form, digests, inclusion, and the job's own log.
//!
//! Needs no appliance: whoever has the envelopes, the entry that names them, its way to the signed
//! root and the log's key from paper can check all of it. Says what holds and what does not.
//! Source: docs/audit.md, "Receipts and provenance".

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::archive;
use crate::attestation::{self, Which};
use crate::checkpoint::Checkpoint;
use crate::dsse::{DsseKey, ENVELOPE_MAX_BYTES, Envelope};
use crate::manifest;
use crate::note::NoteKey;
use crate::tree::{Hash, includes, leaf_hash};

/// The kind of the entry that names a job's statements.
pub const ATTESTED: &str = "job.attested";
/// The files of a folder that [`Proof::read`] takes, besides the envelopes.
const ENTRY: &str = "entry.json";
const INCLUSION: &str = "inclusion.json";
const CHECKPOINT: &str = "checkpoint";
const KEY: &str = "attest.pub";
const LOG: &str = "log";

/// What the entry says of a job's statements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// Its place in the log.
    pub seq: u64,
    /// Whose.
    pub job: i64,
    /// Counted from 1.
    pub attempt: i64,
    /// The id of the key that signed them.
    pub key: String,
    /// SHA-256 of each envelope, in hex, in the order of [`Which::ALL`].
    pub envelopes: [String; 2],
    /// SHA-256 of the job's log, in hex; empty when the job had none.
    pub log: String,
}

impl Named {
    /// Reads an entry; `None` when it names no statements.
    #[must_use]
    pub fn of(entry: &Value) -> Option<Self> {
        if entry["act"].as_str() != Some(ATTESTED) {
            return None;
        }
        let details = &entry["d"];
        let digest = |name: &str| {
            let text = details[name].as_str()?.strip_prefix("sha256:")?;
            manifest::hash(text).map(hex::encode)
        };
        let job = entry["obj"]["id"].as_str()?.rsplit(':').next()?;
        Some(Self {
            seq: entry["seq"].as_u64()?,
            job: job.parse().ok()?,
            attempt: details["attempt"].as_i64()?,
            key: details["key"].as_str()?.to_owned(),
            envelopes: [
                digest(Which::Provenance.detail())?,
                digest(Which::Receipt.detail())?,
            ],
            log: match details["log"].is_null() {
                true => String::new(),
                false => digest("log")?,
            },
        })
    }

    fn envelope(&self, which: Which) -> &str {
        &self.envelopes[usize::from(which == Which::Receipt)]
    }
}

/// What is wrong with one envelope of the job that `named` tells of; empty when all holds.
#[must_use]
pub fn envelope(which: Which, bytes: &[u8], named: &Named, key: &DsseKey) -> Vec<String> {
    let mut wrong = Vec::new();
    if hex::encode(Sha256::digest(bytes)) != named.envelope(which) {
        wrong.push(format!("its digest is not the one in entry {}", named.seq));
    }
    let payload = Envelope::read(bytes).and_then(|read| read.verified(key).map(<[u8]>::to_vec));
    let payload = match payload {
        Ok(payload) => payload,
        Err(error) => {
            wrong.push(error.to_string());
            return wrong;
        }
    };
    match attestation::read(which, &payload) {
        Err(words) => wrong.push(words),
        Ok(told) => {
            let (job, attempt) = (named.job, named.attempt);
            if !told
                .invocation
                .ends_with(&attestation::invocation("", job, attempt))
            {
                wrong.push(format!(
                    "it tells of {}, not of attempt {attempt} at job {job}",
                    told.invocation
                ));
            }
            let log = told.subject.iter().filter_map(|s| s.digest.get("sha256"));
            if !log.eq((!named.log.is_empty()).then_some(&named.log)) {
                wrong.push(format!(
                    "it tells of another log of the job than entry {}",
                    named.seq
                ));
            }
        }
    }
    wrong
}

/// The way of one entry to the root: `inclusion.json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// The entry's place.
    pub index: u64,
    /// The hashes on the way, lowest first, in hex.
    pub hashes: Vec<String>,
}

/// A job's statements and all that proves them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// In the order of [`Which::ALL`].
    pub envelopes: [Vec<u8>; 2],
    /// The exact line of the entry that names them, without a line end.
    pub entry: Vec<u8>,
    /// Its way to the root.
    pub inclusion: Inclusion,
    /// The note with the root.
    pub checkpoint: Vec<u8>,
    /// The public key that signed the envelopes, in PEM.
    pub key: String,
    /// SHA-256 of the job's log as it is there, in hex; `None` when it is not.
    pub log: Option<String>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What was looked at, in words.
    pub what: String,
    /// Whether it holds; `None` where it could not be looked at.
    pub holds: Option<bool>,
    /// What was found, or what is wrong.
    pub found: String,
}

/// Whether nothing that was looked at is wrong.
#[must_use]
pub fn good(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.holds != Some(false))
}

fn check(what: &str, found: Result<String, String>) -> Check {
    let holds = Some(found.is_ok());
    let (Ok(found) | Err(found)) = found;
    Check {
        what: what.to_owned(),
        holds,
        found,
    }
}

impl Proof {
    /// Checks all of it against the key of the log, which comes from elsewhere.
    #[must_use]
    pub fn check(&self, log: &NoteKey) -> Vec<Check> {
        let mut checks = Vec::new();
        let checkpoint = Checkpoint::verify(&self.checkpoint, log);
        checks.push(check(
            "the checkpoint is signed by the log",
            match &checkpoint {
                Ok(said) => Ok(format!("{}, {} entries", said.origin, said.size)),
                Err(error) => Err(error.to_string()),
            },
        ));
        let entry: Value = serde_json::from_slice(&self.entry).unwrap_or_default();
        let Some(named) = Named::of(&entry) else {
            let words = "the entry names no statements of a job".to_owned();
            checks.push(check("the entry names both statements", Err(words)));
            return checks;
        };
        let under = checkpoint
            .map_err(|_| "there is no root to hold it to".to_owned())
            .and_then(|said| self.included(&named, &said));
        checks.push(check("the entry is under the signed root", under));
        let key = DsseKey::from_pem(&self.key).map_err(|e| e.to_string());
        let key = key.and_then(|key| match key.id() == named.key {
            true => Ok(key),
            false => Err(format!("entry {} names the key {}", named.seq, named.key)),
        });
        checks.push(check(
            "the signing key is the one that the entry names",
            key.as_ref().map(DsseKey::id).map_err(Clone::clone),
        ));
        for (which, bytes) in Which::ALL.into_iter().zip(&self.envelopes) {
            let wrong = match &key {
                Ok(key) => envelope(which, bytes, &named, key),
                Err(_) => vec!["there is no key to check it with".to_owned()],
            };
            let found = match wrong.is_empty() {
                true => Ok(format!("sha256:{}", named.envelope(which))),
                false => Err(wrong.join("; ")),
            };
            let what = format!("{} is signed, well-formed and as logged", which.file());
            checks.push(check(&what, found));
        }
        checks.push(self.log_checked(&named));
        checks
    }

    fn included(&self, named: &Named, said: &Checkpoint) -> Result<String, String> {
        let Inclusion { index, hashes } = &self.inclusion;
        if *index != named.seq {
            return Err(format!(
                "the proof is one of entry {index}, not of {}",
                named.seq
            ));
        }
        let hashes: Option<Vec<Hash>> = hashes.iter().map(|text| manifest::hash(text)).collect();
        let hashes = hashes.ok_or("the proof has a hash that is none")?;
        match includes(
            &leaf_hash(&self.entry),
            *index,
            said.size,
            &hashes,
            &said.root,
        ) {
            true => Ok(format!("entry {index} of {}", said.size)),
            false => Err(format!(
                "entry {index} is not the one under the signed root"
            )),
        }
    }

    fn log_checked(&self, named: &Named) -> Check {
        let what = "the job's log is the one that was attested";
        match (&self.log, named.log.as_str()) {
            (None, "") => Check {
                what: what.to_owned(),
                holds: None,
                found: "the job had no log".to_owned(),
            },
            (None, _) => Check {
                what: what.to_owned(),
                holds: None,
                found: "the log is not here".to_owned(),
            },
            (Some(got), wanted) if got == wanted => check(what, Ok(format!("sha256:{got}"))),
            (Some(got), _) => check(what, Err(format!("it has the digest sha256:{got}"))),
        }
    }

    /// Reads a folder that [`Proof::write`] made.
    pub fn read(dir: &Path) -> io::Result<Self> {
        let file = |name: &str| small(&dir.join(name));
        let text = |name: &str| {
            String::from_utf8(file(name)?).map_err(|e| io::Error::other(format!("{name}: {e}")))
        };
        let entry = file(ENTRY)?;
        let inclusion = serde_json::from_slice(&file(INCLUSION)?)
            .map_err(|e| io::Error::other(format!("{INCLUSION}: {e}")))?;
        let log = match regular(&dir.join(LOG)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            opened => Some(sum(&mut opened?)?),
        };
        Ok(Self {
            envelopes: [
                file(Which::Provenance.file())?,
                file(Which::Receipt.file())?,
            ],
            entry: entry.strip_suffix(b"\n").unwrap_or(&entry).to_vec(),
            inclusion,
            checkpoint: file(CHECKPOINT)?,
            key: text(KEY)?,
            log,
        })
    }

    /// Writes all but the log into `dir`, which must be there.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes);
        for (which, bytes) in Which::ALL.into_iter().zip(&self.envelopes) {
            put(which.file(), bytes)?;
        }
        put(ENTRY, &[&self.entry[..], b"\n"].concat())?;
        put(INCLUSION, &serde_json::to_vec_pretty(&self.inclusion)?)?;
        put(CHECKPOINT, &self.checkpoint)?;
        put(KEY, self.key.as_bytes())
    }
}

fn regular(path: &Path) -> io::Result<std::fs::File> {
    let other = || io::Error::other(format!("{} is no regular file", path.display()));
    archive::regular(path)?.ok_or_else(other)
}

fn small(path: &Path) -> io::Result<Vec<u8>> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let most = ENVELOPE_MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let opened = regular(path).map_err(named)?;
    opened.take(most).read_to_end(&mut bytes).map_err(named)?;
    Ok(bytes)
}

/// SHA-256 of all that `from` has, in hex.
pub fn sum(from: &mut impl Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests;
