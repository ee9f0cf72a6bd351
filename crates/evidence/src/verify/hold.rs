//! What an auditor brings along, held against an export: witnesses, and the export before.

use std::path::Path;

use super::{Anchors, Open, Refused, SMALL, VerifyError, log_key, signed_checkpoint};
use crate::archive;
use crate::checkpoint::Checkpoint;
use crate::manifest::{self, Growth};
use crate::note::{Note, NoteKey};
use crate::tree::{self, Hash};
use crate::witness;

/// Each witness who was named must have signed the checkpoint, or one that this one goes on from.
pub(super) fn witnesses(
    open: &mut Open,
    note: &[u8],
    checkpoint: &Checkpoint,
    anchors: &Anchors,
) -> Result<(), Refused> {
    let mut notes = vec![("checkpoint".to_owned(), note.to_vec())];
    let names: Vec<String> = open
        .places
        .keys()
        .filter(|n| n.starts_with("cosigs/"))
        .cloned()
        .collect();
    for name in names.into_iter().take(64) {
        let bytes = open.read(&name, SMALL)?;
        notes.push((name, bytes));
    }
    let growth: Vec<Growth> = open.json("consistency.proof", 1 << 20)?;
    for witness in &anchors.witnesses {
        let mut seen = None;
        for (name, bytes) in &notes {
            let Ok(read) = Note::read(bytes) else {
                continue;
            };
            let Ok(text) = read.verified(witness) else {
                continue;
            };
            match saw(text, checkpoint, &growth) {
                Ok(size) => seen = seen.max(Some((size, read.dated(witness)))),
                Err(what) => open.find(name, format!("the witness {}: {what}", witness.name())),
            }
        }
        let name = witness.name();
        if let Some((size, at)) = seen {
            open.verdict.witnesses.push(name.to_owned());
            let at = at.map_or(String::new(), |at| format!(" at {at} (seconds since 1970)"));
            let words = format!(
                "{name} saw the first {size} of {} entries{at}",
                checkpoint.size
            );
            open.verdict.notes.push(words);
        } else {
            let what = format!("no signature by the witness {name} on this checkpoint");
            open.find("checkpoint", what);
        }
    }
    Ok(())
}

/// How many entries a witness saw who signed `text`.
fn saw(text: &str, checkpoint: &Checkpoint, growth: &[Growth]) -> Result<u64, String> {
    let seen = Checkpoint::parse(text).map_err(|error| error.to_string())?;
    if seen.origin != checkpoint.origin {
        return Err(format!("signed a checkpoint of the log {}", seen.origin));
    }
    witness::grew(checkpoint, seen.size, &seen.root, growth).map_err(|error| error.to_string())?;
    Ok(seen.size)
}

/// The size at which the root is wanted, to compare it with the earlier export's.
pub(super) fn previous_size(
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

/// Holds the log to the earlier export: `root_then` is its root at that size, where known.
pub(super) fn previous(
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
    let mut open = Open::file(path)?;
    let length = open.file.metadata()?.len();
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
