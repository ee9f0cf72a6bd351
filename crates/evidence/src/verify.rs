//! Checking an export: signatures, digests, the tree, and every entry that is shown.
//!
//! Needs no appliance, no network and no room: files are streamed, and what must be held is
//! bounded. Says what is wrong and where; nothing is mended or believed by halves.
//! Source: docs/audit.md, "What is checked".

mod beside;
mod bounds;
mod entries;
mod hold;
mod statements;

pub use beside::{Beside, Wrong};
pub use entries::each;
pub use hold::anchors_of;
pub use statements::{KEY as STATEMENTS_KEY, LEFT_OUT, LeftOut};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::archive::{self, ArchiveError, Place};
use crate::checkpoint::Checkpoint;
use crate::manifest::{self, FORMAT, Manifest};
use crate::note::{NOTE_MAX_BYTES, Note, NoteKey};
use crate::proof::Named;
use crate::tree::Hash;

/// First line of every minisign signature by a log: it is not signed, so it has one spelling.
pub const UNTRUSTED: &str = "signature by an appliance's audit log";
const SMALL: u64 = NOTE_MAX_BYTES as u64;
/// Most characters of a wrong name that are said again.
const NAME_SHOWN: usize = 99;
/// Most findings that are kept.
const FINDINGS: usize = 100;

/// What an auditor brings along.
#[derive(Clone, Default, Debug)]
pub struct Anchors {
    /// The log's key, from paper.
    pub key: Option<NoteKey>,
    /// The checkpoint of an earlier export that was verified.
    pub previous: Option<Checkpoint>,
    /// Witnesses who must have signed the checkpoint.
    pub witnesses: Vec<NoteKey>,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// The file in the export; empty where it is the export itself.
    pub file: String,
    /// The byte of the export that it begins at.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// What was found out about an export.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Verdict {
    /// Whether nothing is wrong.
    pub good: bool,
    /// The log's name.
    pub origin: String,
    /// The key that signed all of it; to be compared with the paper unless it was given.
    pub key: String,
    /// Whether the key was given by the auditor.
    pub key_given: bool,
    /// Entries under the checkpoint.
    pub size: u64,
    /// The root, in hex.
    pub root: String,
    /// First entry of the range.
    pub first: u64,
    /// One more than its last.
    pub end: u64,
    /// Entries whose body is shown.
    pub shown: u64,
    /// Entries that are there by their hash alone.
    pub hidden: u64,
    /// Values that open commitments.
    pub openings: u64,
    /// Signed statements of jobs that are there and hold.
    pub statements: u64,
    /// The id of the key that signed them; empty without any.
    pub statements_key: String,
    /// The entry from which on statements are there, where they did not all fit.
    pub statements_from: Option<u64>,
    /// Size of the earlier export that this one was seen to continue.
    pub continues: Option<u64>,
    /// Witnesses whose signature is there.
    pub witnesses: Vec<String>,
    /// What was found to hold beside the log.
    pub notes: Vec<String>,
    /// What is wrong, at most 100 findings.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Which entries the export has, as people count them: `entries 0 to 6 of 40`.
    #[must_use]
    pub fn range(&self) -> String {
        let of = self.size;
        match self.end.saturating_sub(self.first) {
            0 => format!("none of {of} entries"),
            1 if of == 1 => "the only entry".to_owned(),
            1 => format!("entry {} of {of}", self.first),
            count if count == of => format!("all {of} entries"),
            _ => format!("entries {} to {} of {of}", self.first, self.end - 1),
        }
    }
}

/// The export cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is no file.
    #[error("{path} is no regular file; copy the export onto a disk first")]
    NotAFile {
        /// What was named.
        path: String,
    },
    /// The system refused.
    #[error("cannot read the export")]
    Io(#[from] std::io::Error),
}

/// An open export: the file and what stands where in it.
struct Open {
    file: File,
    places: BTreeMap<String, Place>,
    verdict: Verdict,
    /// What the entries that are shown say of jobs' statements.
    attested: Vec<Named>,
}

/// Ends the checks: the findings say why.
struct Refused;

impl Open {
    /// The file at `path`, of which nothing is known yet.
    fn file(path: &Path) -> Result<Self, VerifyError> {
        let file = archive::regular(path)?.ok_or_else(|| VerifyError::NotAFile {
            path: path.display().to_string(),
        })?;
        Ok(Self {
            file,
            places: BTreeMap::new(),
            verdict: Verdict::default(),
            attested: Vec::new(),
        })
    }

    fn find(&mut self, file: &str, what: impl Into<String>) {
        let offset = self.places.get(file).map_or(0, |place| place.offset);
        self.find_at(file, offset, what);
    }

    fn find_at(&mut self, file: &str, offset: u64, what: impl Into<String>) {
        if self.verdict.findings.len() < FINDINGS {
            self.verdict.findings.push(Finding {
                file: file.to_owned(),
                offset,
                what: what.into(),
            });
        }
    }

    /// The bytes of a file that must be there.
    fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>, Refused> {
        let Some(place) = self.places.get(name).cloned() else {
            self.find(name, "is missing");
            return Err(Refused);
        };
        archive::content(&mut self.file, &place, most).map_err(|error| {
            self.find(name, error.to_string());
            Refused
        })
    }

    fn text(&mut self, name: &str) -> Result<String, Refused> {
        let bytes = self.read(name, SMALL)?;
        String::from_utf8(bytes).map_err(|_| {
            self.find(name, "is not text");
            Refused
        })
    }

    fn json<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &str,
        most: u64,
    ) -> Result<T, Refused> {
        let bytes = self.read(name, most)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            self.find(name, format!("is not what it should be: {error}"));
            Refused
        })
    }
}

/// Checks the export at `path` against what the auditor brings along.
///
/// Errors: only when it cannot be read; whatever is wrong with it stands in the verdict.
pub fn verify(path: &Path, anchors: &Anchors) -> Result<Verdict, VerifyError> {
    let mut open = Open::file(path)?;
    let length = open.file.metadata()?.len();
    match archive::list(&mut open.file, length) {
        Ok(places) => {
            for place in places {
                let (name, offset) = (place.name.clone(), place.offset);
                if open.places.insert(name.clone(), place).is_some() {
                    open.find_at(&name, offset, "is there twice");
                }
            }
        }
        Err(ArchiveError::Io(error)) => return Err(error.into()),
        Err(ArchiveError::Shape { offset, what }) => open.find_at("", offset, what),
    }
    if open.verdict.findings.is_empty() {
        // Whatever ended the checks early stands among the findings.
        drop(check(&mut open, path, anchors));
    }
    open.verdict.good = open.verdict.findings.is_empty();
    Ok(open.verdict)
}

fn check(open: &mut Open, path: &Path, anchors: &Anchors) -> Result<(), Refused> {
    let key = log_key(open, anchors)?;
    let checkpoint = signed_checkpoint(open, &key)?;
    let manifest = signed_manifest(open, &key, &checkpoint)?;
    digests(open, &manifest)?;
    let note = open.read("checkpoint", SMALL)?;
    minisig(open, "checkpoint", &note)?;
    hold::witnesses(open, &note, &checkpoint, anchors)?;
    let at = hold::previous_size(open, &key, &checkpoint, anchors)?;
    let root_then = entries::check(open, path, &manifest, &checkpoint, at)?;
    statements::check(open, &manifest)?;
    hold::previous(open, &checkpoint, anchors, root_then)
}

fn log_key(open: &mut Open, anchors: &Anchors) -> Result<NoteKey, Refused> {
    let text = open.text("log.key")?;
    let key = match text.parse::<NoteKey>() {
        Ok(key) if format!("{key}\n") == text => key,
        _ => {
            open.find("log.key", "is no key of a log");
            return Err(Refused);
        }
    };
    open.verdict.key = key.to_string();
    open.verdict.origin = key.name().to_owned();
    if let Some(given) = &anchors.key {
        open.verdict.key_given = true;
        if *given != key {
            open.find("log.key", format!("is not the key that was given, {given}"));
            return Err(Refused);
        }
    }
    Ok(key)
}

fn signed_checkpoint(open: &mut Open, key: &NoteKey) -> Result<Checkpoint, Refused> {
    let note = open.read("checkpoint", SMALL)?;
    let checkpoint = Checkpoint::verify(&note, key).map_err(|error| {
        open.find("checkpoint", format!("is not signed by this log: {error}"));
        Refused
    })?;
    open.verdict.size = checkpoint.size;
    open.verdict.root = hex::encode(checkpoint.root);
    Ok(checkpoint)
}

fn signed_manifest(
    open: &mut Open,
    key: &NoteKey,
    checkpoint: &Checkpoint,
) -> Result<Manifest, Refused> {
    const NAME: &str = "MANIFEST.json";
    let bytes = open.read(NAME, manifest::MANIFEST_MAX_BYTES)?;
    let note = open.read("MANIFEST.json.note", SMALL)?;
    let said = manifest::statement(key.name(), &Sha256::digest(&bytes).into());
    let signed = Note::read(&note).and_then(|note| note.verified(key).map(|text| text == said));
    match signed {
        Ok(true) => {}
        Ok(false) => {
            open.find(NAME, "is not the manifest that was signed");
            return Err(Refused);
        }
        Err(error) => {
            open.find("MANIFEST.json.note", error.to_string());
            return Err(Refused);
        }
    }
    minisig(open, NAME, &bytes)?;
    let read: Manifest = open.json(NAME, manifest::MANIFEST_MAX_BYTES)?;
    let fits = read.format == FORMAT
        && read.origin == key.name()
        && read.size == checkpoint.size
        && read.first <= read.end
        && read.end <= read.size
        && read.shown <= read.end - read.first;
    if !fits {
        open.find(NAME, "does not fit the checkpoint beside it");
        return Err(Refused);
    }
    (open.verdict.first, open.verdict.end) = (read.first, read.end);
    Ok(read)
}

/// Checks `NAME.minisig` over `bytes`.
fn minisig(open: &mut Open, name: &str, bytes: &[u8]) -> Result<(), Refused> {
    let file = format!("{name}.minisig");
    let (key, sig) = (open.text("minisign.pub")?, open.text(&file)?);
    let good = || {
        let key = minisign_verify::PublicKey::decode(&key).ok()?;
        let read = minisign_verify::Signature::decode(&sig).ok()?;
        let lines: Vec<&str> = sig.split('\n').collect();
        let exact = lines.len() == 5 && lines[4].is_empty();
        let first = lines.first()?.strip_prefix("untrusted comment: ")?;
        (exact && first == UNTRUSTED && key.verify(bytes, &read, false).is_ok()).then_some(())
    };
    if good().is_none() {
        open.find(&file, format!("is no minisign signature over {name}"));
        return Err(Refused);
    }
    Ok(())
}

/// Every file is named by the manifest and has its digest; every name has its file.
fn digests(open: &mut Open, manifest: &Manifest) -> Result<(), Refused> {
    const OWN: [&str; 3] = [
        "MANIFEST.json",
        "MANIFEST.json.minisig",
        "MANIFEST.json.note",
    ];
    let places: Vec<Place> = open.places.values().cloned().collect();
    for place in &places {
        if OWN.contains(&place.name.as_str()) {
            continue;
        }
        let Some(facts) = manifest.files.get(&place.name) else {
            open.find(&place.name, "is not named by the manifest");
            continue;
        };
        let digest = sum(&mut open.file, place);
        if facts.size != place.size || digest.ok().map(hex::encode) != Some(facts.sha256.clone()) {
            open.find(
                &place.name,
                "is not the file that the manifest names: its digest differs",
            );
        }
    }
    for name in manifest.files.keys() {
        if !archive::good_name(name) {
            let shown: String = name.chars().take(NAME_SHOWN).collect();
            let what = format!("names a file as none can be called: {shown:?}");
            open.find("MANIFEST.json", what);
            return Err(Refused);
        }
        if !open.places.contains_key(name) {
            open.find(name, "is named by the manifest and missing");
        }
    }
    Ok(())
}

fn sum(file: &mut File, place: &Place) -> std::io::Result<Hash> {
    let mut reader = archive::reader(file, place)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}
