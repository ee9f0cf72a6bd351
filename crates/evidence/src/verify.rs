//! Checking an export: signatures, digests, the tree, and every entry that is shown.
//!
//! Needs no appliance, no network and no room: files are streamed, and what must be held is
//! bounded. Says what is wrong and where; nothing is mended or believed by halves.
//! Source: docs/audit.md, "What is checked".

mod entries;

pub use entries::each;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::archive::{self, ArchiveError, Place};
use crate::checkpoint::Checkpoint;
use crate::manifest::{self, FORMAT, Growth, Manifest};
use crate::note::{NOTE_MAX_BYTES, Note, NoteKey};
use crate::tree::{self, Hash};

/// First line of every minisign signature by a log: it is not signed, so it has one spelling.
pub const UNTRUSTED: &str = "signature by an appliance's audit log";
const SMALL: u64 = NOTE_MAX_BYTES as u64;
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
    /// Size of the earlier export that this one was seen to continue.
    pub continues: Option<u64>,
    /// Witnesses whose signature is there.
    pub witnesses: Vec<String>,
    /// What is wrong, at most 100 findings.
    pub findings: Vec<Finding>,
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
}

/// Ends the checks: the findings say why.
struct Refused;

impl Open {
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
    let file = File::open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(VerifyError::NotAFile {
            path: path.display().to_string(),
        });
    }
    let mut open = Open {
        file,
        places: BTreeMap::new(),
        verdict: Verdict::default(),
    };
    match archive::list(&mut open.file, facts.len()) {
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
    witnesses(open, &note, anchors)?;
    let at = previous_size(open, &key, &checkpoint, anchors)?;
    let root_then = entries::check(open, path, &manifest, &checkpoint, at)?;
    previous(open, &checkpoint, anchors, root_then)
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

fn witnesses(open: &mut Open, note: &[u8], anchors: &Anchors) -> Result<(), Refused> {
    let mut notes = vec![note.to_vec()];
    let names: Vec<String> = open
        .places
        .keys()
        .filter(|n| n.starts_with("cosigs/"))
        .cloned()
        .collect();
    for name in names.iter().take(64) {
        notes.push(open.read(name, SMALL)?);
    }
    for witness in &anchors.witnesses {
        let signed = notes.iter().any(|bytes| {
            let read = Note::read(bytes);
            let text = read
                .as_ref()
                .ok()
                .and_then(|note| note.verified(witness).ok());
            // What a witness signed must be this very checkpoint.
            text.is_some_and(|text| note.starts_with(text.as_bytes()))
        });
        if signed {
            open.verdict.witnesses.push(witness.name().to_owned());
        } else {
            let what = format!(
                "no signature by the witness {} on this checkpoint",
                witness.name()
            );
            open.find("checkpoint", what);
        }
    }
    Ok(())
}

/// The size at which the root is wanted, to compare it with the earlier export's.
fn previous_size(
    open: &mut Open,
    key: &NoteKey,
    checkpoint: &Checkpoint,
    anchors: &Anchors,
) -> Result<Option<u64>, Refused> {
    let Some(previous) = &anchors.previous else {
        return Ok(None);
    };
    if previous.origin != key.name() {
        open.find(
            "checkpoint",
            format!("the earlier export is one of the log {}", previous.origin),
        );
        return Err(Refused);
    }
    if previous.size > checkpoint.size {
        let what = format!(
            "has {} entries and the earlier export has {}: the log was cut off, or this export is \
             the older one",
            checkpoint.size, previous.size
        );
        open.find("checkpoint", what);
        return Err(Refused);
    }
    Ok(Some(previous.size))
}

fn previous(
    open: &mut Open,
    checkpoint: &Checkpoint,
    anchors: &Anchors,
    root_then: Option<Hash>,
) -> Result<(), Refused> {
    const NAME: &str = "consistency.proof";
    let proofs: Vec<Growth> = open.json(NAME, 1 << 20)?;
    let Some(previous) = &anchors.previous else {
        return Ok(());
    };
    let (old, new) = (previous.size, checkpoint.size);
    let forked = "the log forked: it does not begin with the entries of the earlier export";
    let good = match root_then {
        Some(root) => root == previous.root,
        None => {
            let Some(proof) = proofs.iter().find(|proof| proof.from == old) else {
                let what = format!("has no proof from {old} entries on; export with --previous");
                open.find(NAME, what);
                return Err(Refused);
            };
            let hashes: Option<Vec<Hash>> =
                proof.hashes.iter().map(|h| manifest::hash(h)).collect();
            hashes.is_some_and(|hashes| {
                tree::extends(old, &previous.root, new, &checkpoint.root, &hashes)
            })
        }
    };
    if !good {
        open.find("checkpoint", forked);
        return Err(Refused);
    }
    open.verdict.continues = Some(old);
    Ok(())
}

/// The key and checkpoint of an export that was verified: what the next one is held to.
pub fn anchors_of(path: &Path) -> Result<Option<(NoteKey, Checkpoint)>, VerifyError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut open = Open {
        file,
        places: BTreeMap::new(),
        verdict: Verdict::default(),
    };
    let Ok(places) = archive::list(&mut open.file, length) else {
        return Ok(None);
    };
    open.places = places
        .into_iter()
        .map(|place| (place.name.clone(), place))
        .collect();
    let read = log_key(&mut open, &Anchors::default())
        .and_then(|key| signed_checkpoint(&mut open, &key).map(|checkpoint| (key, checkpoint)));
    Ok(read.ok())
}
