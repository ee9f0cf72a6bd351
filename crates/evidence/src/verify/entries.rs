//! The entries of an export: every leaf under the signed root, every body its leaf.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::bounds::Bounds;
use super::{Open, Refused};
use crate::archive::{self, Place};
use crate::checkpoint::Checkpoint;
use crate::manifest::{self, Around, Manifest};
use crate::proof::Named;
use crate::report::{Controls, MAPPING};
use crate::tiles::ENTRY_MAX_BYTES;
use crate::tree::{Frontier, Hash, Nodes, leaf_hash};

/// The table of controls in an export, and the mapping that it was made by.
const CONTROLS: &str = "controls/controls.csv";
const MAPPING_NAME: &str = "controls/mapping.csv";
/// Largest file of entries or openings: what an exporter fills, and one line more.
const EVENTS_MAX_BYTES: u64 = 16 << 20;

/// Subtrees as `range.proof` lists them.
struct Listed<'a>(std::slice::Iter<'a, (u8, String)>);

impl Nodes for Listed<'_> {
    type Error = Refused;

    fn node(&mut self, level: u8, _: u64) -> Result<Hash, Refused> {
        match self.0.next() {
            Some((at, text)) if *at == level => manifest::hash(text).ok_or(Refused),
            _ => Err(Refused),
        }
    }
}

fn extend(frontier: &mut Frontier, list: &[(u8, String)], to: u64) -> Result<(), Refused> {
    let mut listed = Listed(list.iter());
    frontier.extend(&mut listed, to)?;
    match listed.0.next() {
        None => Ok(()),
        Some(_) => Err(Refused),
    }
}

/// Walks the range once. Gives the root at size `at`, where the range passes it.
pub(super) fn check(
    open: &mut Open,
    path: &Path,
    manifest: &Manifest,
    checkpoint: &Checkpoint,
    at: Option<u64>,
) -> Result<Option<Hash>, Refused> {
    let around: Around = open.json("range.proof", 64 << 10)?;
    let leaves = open.places.get("leaves.bin").cloned();
    let count = manifest.end - manifest.first;
    let Some(leaves) = leaves.filter(|place| Some(place.size) == count.checked_mul(32)) else {
        open.find(
            "leaves.bin",
            format!("does not have the hashes of {count} entries"),
        );
        return Err(Refused);
    };
    let mut frontier = Frontier::default();
    if extend(&mut frontier, &around.before, manifest.first).is_err() {
        open.find("range.proof", "does not lead up to the range");
        return Err(Refused);
    }
    let mut walk = Walk {
        leaves: second(path, &leaves).map_err(|error| {
            open.find("leaves.bin", error.to_string());
            Refused
        })?,
        frontier,
        end: manifest.end,
        at,
        root_then: None,
    };
    walk.note_root();
    bodies(open, &mut walk, manifest)?;
    while walk.frontier.size() < manifest.end {
        walk.next(open)?;
    }
    let mut whole = walk.frontier.clone();
    if extend(&mut whole, &around.after, checkpoint.size).is_err() {
        open.find(
            "range.proof",
            "does not lead from the range to the end of the log",
        );
        return Err(Refused);
    }
    if whole.root() != checkpoint.root {
        open.find(
            "leaves.bin",
            format!(
                "entries {} to {} are not those under the signed root",
                manifest.first, manifest.end
            ),
        );
        return Err(Refused);
    }
    if at == Some(checkpoint.size) {
        walk.root_then = Some(whole.root());
    }
    Ok(walk.root_then)
}

/// A second reader of the same export, for `place` alone.
fn second(path: &Path, place: &Place) -> std::io::Result<BufReader<std::io::Take<File>>> {
    use std::io::Seek as _;
    let mut file = File::open(path)?;
    file.seek(std::io::SeekFrom::Start(place.offset))?;
    Ok(BufReader::with_capacity(64 << 10, file.take(place.size)))
}

struct Walk {
    leaves: BufReader<std::io::Take<File>>,
    frontier: Frontier,
    end: u64,
    at: Option<u64>,
    root_then: Option<Hash>,
}

impl Walk {
    fn note_root(&mut self) {
        if self.at == Some(self.frontier.size()) {
            self.root_then = Some(self.frontier.root());
        }
    }

    /// The hash of the next entry of the range, which enters the tree.
    fn next(&mut self, open: &mut Open) -> Result<Hash, Refused> {
        let mut leaf = [0; 32];
        if let Err(error) = self.leaves.read_exact(&mut leaf) {
            open.find("leaves.bin", error.to_string());
            return Err(Refused);
        }
        self.frontier.push(leaf);
        self.note_root();
        Ok(leaf)
    }
}

fn bodies(open: &mut Open, walk: &mut Walk, manifest: &Manifest) -> Result<(), Refused> {
    let names: Vec<String> = open
        .places
        .keys()
        .filter(|n| n.starts_with("events/"))
        .cloned()
        .collect();
    let mut bounds = Bounds::default();
    let mut controls = carried_mapping(open)?;
    for name in names {
        let bytes = open.read(&name, EVENTS_MAX_BYTES)?;
        let start = open.places.get(&name).map_or(0, |place| place.offset);
        if bytes.last().is_some_and(|b| *b != b'\n') {
            open.find(&name, "its last line has no end");
            return Err(Refused);
        }
        let mut shown: BTreeMap<u64, &[u8]> = BTreeMap::new();
        let mut offset = start;
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let line = &line[..line.len() - 1];
            let (seq, value) = body(open, walk, &name, offset, line)?;
            if let Some(what) = bounds.see(seq, &value, manifest) {
                open.find_at(&name, offset, what);
                return Err(Refused);
            }
            if let Some(controls) = &mut controls {
                controls.see(&value);
            }
            open.attested.extend(Named::of(&value));
            shown.insert(seq, line);
            open.verdict.shown += 1;
            offset += line.len() as u64 + 1;
        }
        openings(open, &name.replace("events/", "openings/"), &shown)?;
    }
    open.verdict.hidden = (manifest.end - manifest.first).saturating_sub(open.verdict.shown);
    if open.verdict.shown != manifest.shown {
        let words = format!(
            "{} bodies are shown, and the manifest says {}",
            open.verdict.shown, manifest.shown
        );
        open.find("MANIFEST.json", words);
    }
    if manifest.filter.is_none() && open.verdict.hidden > 0 {
        let words = format!(
            "names no filter, and the bodies of {} entries are not shown",
            open.verdict.hidden
        );
        open.find("MANIFEST.json", words);
    }
    if let Some(controls) = controls {
        let csv = controls.csv(open.verdict.hidden);
        if open.read(CONTROLS, manifest::MANIFEST_MAX_BYTES)? != csv.as_bytes() {
            open.find(
                CONTROLS,
                "is not what the entries and the mapping beside it give",
            );
        }
    }
    if let Some(what) = bounds.missing(manifest) {
        open.find("MANIFEST.json", what);
    }
    open.verdict.notes.extend(bounds.told());
    Ok(())
}

/// The mapping that the table of controls in the export was made by; none in one without a table.
fn carried_mapping(open: &mut Open) -> Result<Option<Controls>, Refused> {
    if !open.places.contains_key(CONTROLS) && !open.places.contains_key(MAPPING_NAME) {
        return Ok(None);
    }
    let mapping = open.text(MAPPING_NAME)?;
    if mapping != MAPPING {
        let words = "its table of controls was made by another mapping than this program's";
        open.verdict.notes.push(words.to_owned());
    }
    Ok(Some(Controls::of(&mapping)))
}

/// One body: it stands in order, and its hash is the leaf's.
fn body(
    open: &mut Open,
    walk: &mut Walk,
    name: &str,
    offset: u64,
    line: &[u8],
) -> Result<(u64, Value), Refused> {
    // What is longer was never an entry, and what it would be in memory is not found out.
    let short = line.len() <= ENTRY_MAX_BYTES;
    let read = short.then(|| serde_json::from_slice::<Value>(line).ok());
    let read = read.flatten();
    let seq = read.as_ref().and_then(|value| value["seq"].as_u64());
    let next = walk.frontier.size();
    let (Some(value), Some(seq)) = (read, seq) else {
        open.find_at(
            name,
            offset,
            format!("this is no entry; entry {next} or a later one should be here"),
        );
        return Err(Refused);
    };
    if seq < next || seq >= walk.end {
        let words = format!(
            "entry {seq} stands here, after entry {}: out of order or not of the range",
            next.saturating_sub(1)
        );
        open.find_at(name, offset, words);
        return Err(Refused);
    }
    while walk.frontier.size() < seq {
        walk.next(open)?;
    }
    if walk.next(open)? != leaf_hash(line) {
        open.find_at(
            name,
            offset,
            format!("entry {seq} is not the one that was logged: its hash differs"),
        );
        return Err(Refused);
    }
    Ok((seq, value))
}

/// Values stand in the order of their entries, of which one at a time is taken apart.
fn openings(open: &mut Open, name: &str, shown: &BTreeMap<u64, &[u8]>) -> Result<(), Refused> {
    if !open.places.contains_key(name) {
        return Ok(());
    }
    let bytes = open.read(name, EVENTS_MAX_BYTES)?;
    let mut offset = open.places.get(name).map_or(0, |place| place.offset);
    let mut last: Option<(u64, Value)> = None;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let mut opens = || {
            let said: Value = serde_json::from_slice(line).ok()?;
            let (field, seq) = (said["field"].as_str()?, said["seq"].as_u64()?);
            if last.as_ref().is_none_or(|(at, _)| *at < seq) {
                last = Some((seq, serde_json::from_slice(shown.get(&seq)?).ok()?));
            }
            let (_, entry) = last.as_ref().filter(|(at, _)| *at == seq)?;
            let wanted = entry
                .pointer(&format!("/{}", field.replacen('.', "/", 1)))?
                .as_str()?;
            let hash = Sha256::new()
                .chain_update(hex::decode(said["salt"].as_str()?).ok()?)
                .chain_update(said["value"].as_str()?)
                .finalize();
            (hex::encode(hash) == wanted).then_some(())
        };
        if opens().is_none() {
            open.find_at(
                name,
                offset,
                "this value does not open a commitment of an entry that is shown",
            );
            return Err(Refused);
        }
        open.verdict.openings += 1;
        offset += line.len() as u64;
    }
    Ok(())
}

/// Calls `look` with each entry that a verified export shows, in order, and with the values that
/// open its commitments, as `(field, value)`.
pub fn each(
    path: &Path,
    mut look: impl FnMut(&Value, &[(String, String)]),
) -> Result<(), archive::ArchiveError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let places: BTreeMap<String, Place> = archive::list(&mut file, length)?
        .into_iter()
        .map(|place| (place.name.clone(), place))
        .collect();
    for (name, place) in places
        .iter()
        .filter(|(name, _)| name.starts_with("events/"))
    {
        let mut opened: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
        if let Some(place) = places.get(&name.replace("events/", "openings/")) {
            let bytes = archive::content(&mut file, place, EVENTS_MAX_BYTES)?;
            for line in bytes.split(|b| *b == b'\n') {
                let said: Value = serde_json::from_slice(line).unwrap_or_default();
                let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
                let seq = said["seq"].as_u64().unwrap_or(u64::MAX);
                opened
                    .entry(seq)
                    .or_default()
                    .push((text("field"), text("value")));
            }
        }
        let bytes = archive::content(&mut file, place, EVENTS_MAX_BYTES)?;
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let value: Value = serde_json::from_slice(line).unwrap_or_default();
            let seq = value["seq"].as_u64().unwrap_or(u64::MAX);
            look(&value, opened.get(&seq).map_or(&[], Vec::as_slice));
        }
    }
    Ok(())
}
