//! The export: a range of the log in one file, with all that proves it.
//!
//! Written in one pass into any writer; memory stays bounded however long the range is. A filter
//! hides bodies, never entries: the hash of each entry of the range is there.
//! Source: docs/audit.md, "The file".

mod around;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::time::SystemTime;

use evidence::archive::Writer;
use evidence::manifest::{Around, FORMAT, FileFacts, Growth, Manifest, Shown, statement};
use evidence::report::{Controls, MAPPING};
use evidence::tree::{self, Frontier, Hash};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use store::{Store, StoreError};

use around::{Listed, around, range};

use crate::append::timestamp;
use crate::seal::{Seal, SealError, Signed};
use crate::{Kind, Line, sql};

const VERIFY_SH: &[u8] = include_bytes!("export/verify.sh");
const README: &[u8] = include_bytes!("export/README");
const ENTRY_SCHEMA: &[u8] = include_bytes!("export/entry.json");
/// A file of bodies is closed once it has so many bytes.
const EVENTS_BYTES: usize = 1 << 20;
/// Entries read from the database at a time.
const STEP: u64 = 1_024;
/// Most earlier exports that growth is proved from.
const EARLIER_MAX: usize = 64;

/// What to export. The default is all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Not before this.
    pub since: Option<SystemTime>,
    /// Before this.
    pub until: Option<SystemTime>,
    /// Bodies of this kind or its start alone.
    pub kind: Option<String>,
    /// Bodies of this tagged actor alone.
    pub actor: Option<String>,
    /// Bodies about this tagged object alone.
    pub object: Option<String>,
    /// The personal values behind the commitments of what is shown.
    pub with_names: bool,
    /// Entries, in the range or not, whose place in the tree is proved for what stands beside the
    /// log.
    pub proved: Vec<u64>,
    /// Sizes of earlier exports that growth is proved from, besides those that the log tells of.
    pub earlier: Vec<u64>,
}

/// What was exported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Exported {
    /// Entries under the checkpoint.
    pub size: u64,
    /// First entry of the range.
    pub first: u64,
    /// One more than its last.
    pub end: u64,
    /// How many bodies are shown.
    pub shown: u64,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever takes the export takes no more.
    #[error("the export cannot be written")]
    Io(#[from] io::Error),
    /// What the database has is not what was sealed.
    #[error("the entries in the database are not those that were sealed; run `cofferdam fsck`")]
    Broken,
    /// The time ends before it begins.
    #[error("the range is empty: it ends before it begins")]
    Empty,
}

/// A file that is added beside the log: name and bytes.
pub type Extra = (String, Vec<u8>);

/// An export that is about to be written: its checkpoint and proofs are taken.
pub struct Export<'a> {
    store: &'a Store,
    seal: &'a Seal,
    wanted: Wanted,
    signed: Signed,
    minisig: Vec<u8>,
    first: u64,
    end: u64,
    around: Around,
    growths: Vec<Growth>,
    proofs: BTreeMap<u64, Vec<Hash>>,
    cosigned: Vec<(String, Vec<u8>, u64)>,
}

impl std::fmt::Debug for Export<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Export({}..{})", self.first, self.end)
    }
}

impl<'a> Export<'a> {
    /// Seals the log and takes the proofs for what is `wanted`.
    pub fn begin(store: &'a Store, seal: &'a Seal, wanted: Wanted) -> Result<Self, ExportError> {
        seal.seal(store)?;
        let told = store.read(|db| {
            sql::details_of(db, Kind::AuditExport.as_str(), EARLIER_MAX).map_err(StoreError::from)
        })?;
        let told = told.iter().filter_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value["d"]["size"].as_u64()
        });
        let cosigned = seal.cosignatures()?;
        let told = told.chain(cosigned.iter().map(|(_, _, size)| *size));
        let mut sizes: Vec<u64> = wanted.earlier.iter().copied().chain(told).collect();
        sizes.sort_unstable();
        sizes.dedup();
        seal.frozen(|signed, minisig| {
            let size = signed.checkpoint.size;
            let (first, end) = store.read(|db| range(db, &wanted, size))?;
            if first > end {
                return Err(ExportError::Empty);
            }
            let mut growths = Vec::new();
            for from in sizes.into_iter().filter(|from| *from <= size) {
                let hashes = tree::consistency(&mut seal.nodes(size), from, size);
                let hashes = hashes.map_err(SealError::from)?;
                growths.push(Growth {
                    from,
                    hashes: hashes.iter().map(hex::encode).collect(),
                });
            }
            let mut proofs = BTreeMap::new();
            let mut nodes = seal.nodes(size);
            for index in wanted.proved.iter().copied().filter(|index| *index < size) {
                let hashes = tree::inclusion(&mut nodes, index, size).map_err(SealError::from)?;
                proofs.insert(index, hashes);
            }
            Ok(Self {
                store,
                seal,
                cosigned,
                proofs,
                around: around(seal, first, end, size)?,
                wanted,
                signed,
                minisig,
                first,
                end,
                growths,
            })
        })
    }

    /// How many entries the range has: for whoever shows progress.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.end - self.first
    }

    /// The first entry of the range, and one more than its last.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        (self.first, self.end)
    }

    /// The proof that was asked for: from the entry to the root of the checkpoint.
    #[must_use]
    pub fn proof(&self, index: u64) -> Option<&[Hash]> {
        self.proofs.get(&index).map(Vec::as_slice)
    }

    /// Entries under the checkpoint.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.signed.checkpoint.size
    }

    /// Writes it, with `extras` beside the log. `told` hears how many entries are done.
    pub fn write<W: Write>(
        self,
        out: W,
        made: SystemTime,
        extras: impl IntoIterator<Item = Result<Extra, ExportError>>,
        told: &mut dyn FnMut(u64),
    ) -> Result<(Exported, W), ExportError> {
        let mut writer = Writer::new(out);
        self.head(&mut writer)?;
        self.leaves(&mut writer)?;
        let mut controls = Controls::own();
        let shown = self.bodies(&mut writer, &mut controls, told)?;
        writer.file("controls/mapping.csv", MAPPING.as_bytes())?;
        let csv = controls.csv(self.entries() - shown);
        writer.file("controls/controls.csv", csv.as_bytes())?;
        for extra in extras {
            let (name, bytes) = extra?;
            writer.file(&name, &bytes)?;
        }
        self.foot(&mut writer, made, shown)?;
        let exported = Exported {
            size: self.signed.checkpoint.size,
            first: self.first,
            end: self.end,
            shown,
        };
        Ok((exported, writer.finish()?))
    }

    fn head<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), ExportError> {
        writer.file("README", README)?;
        writer.file("verify.sh", VERIFY_SH)?;
        writer.file("schema/entry.json", ENTRY_SCHEMA)?;
        writer.file("log.key", format!("{}\n", self.seal.key()).as_bytes())?;
        writer.file("minisign.pub", self.seal.minisign_key().as_bytes())?;
        writer.file("checkpoint", self.signed.note.as_bytes())?;
        writer.file("checkpoint.minisig", &self.minisig)?;
        for (name, note, size) in &self.cosigned {
            // One that came in a moment ago is about entries that this export does not know.
            if *size <= self.signed.checkpoint.size {
                writer.file(name, note)?;
            }
        }
        writer.file("range.proof", json(&self.around)?.as_bytes())?;
        writer.file("consistency.proof", json(&self.growths)?.as_bytes())?;
        Ok(())
    }

    /// The hash of every entry of the range; they must have the signed root.
    fn leaves<W: Write>(&self, writer: &mut Writer<W>) -> Result<(), ExportError> {
        let mut frontier = Frontier::default();
        let missing = |_: Infallible| ExportError::Broken;
        frontier
            .extend(&mut Listed(self.around.before.iter()), self.first)
            .map_err(missing)?;
        writer.begin("leaves.bin", self.entries() * 32)?;
        self.each(self.first, self.end, |line| {
            frontier.push(line.leaf);
            Ok(writer.put(&line.leaf)?)
        })?;
        writer.end()?;
        let size = self.signed.checkpoint.size;
        frontier
            .extend(&mut Listed(self.around.after.iter()), size)
            .map_err(missing)?;
        match frontier.root() == self.signed.checkpoint.root {
            true => Ok(()),
            false => Err(ExportError::Broken),
        }
    }

    fn bodies<W: Write>(
        &self,
        writer: &mut Writer<W>,
        controls: &mut Controls,
        told: &mut dyn FnMut(u64),
    ) -> Result<u64, ExportError> {
        let (mut shown, mut number) = (0, 0);
        let (mut lines, mut openings) = (Vec::new(), Vec::new());
        self.each(self.first, self.end, |line| {
            let seq = u64::try_from(line.seq.0).unwrap_or(0);
            if evidence::tree::leaf_hash(line.text.as_bytes()) != line.leaf {
                return Err(ExportError::Broken);
            }
            let value: serde_json::Value = serde_json::from_str(&line.text).unwrap_or_default();
            if self.bound(seq) || self.shows(&value) {
                controls.see(&value);
                shown += 1;
                lines.extend_from_slice(line.text.as_bytes());
                lines.push(b'\n');
                if self.wanted.with_names {
                    self.open(line, &mut openings)?;
                }
            }
            if lines.len().max(openings.len()) >= EVENTS_BYTES || seq + 1 == self.end {
                flush(writer, &mut number, &mut lines, &mut openings)?;
            }
            if seq.is_multiple_of(STEP) {
                told(seq - self.first);
            }
            Ok(())
        })?;
        told(self.entries());
        Ok(shown)
    }

    /// Whether `seq` stands at an end of a range in time, which its body must show.
    fn bound(&self, seq: u64) -> bool {
        (self.wanted.since.is_some() && seq == self.first)
            || (self.wanted.until.is_some() && seq + 1 == self.end)
    }

    fn shows(&self, value: &serde_json::Value) -> bool {
        let wanted = &self.wanted;
        if wanted.kind.is_none() && wanted.actor.is_none() && wanted.object.is_none() {
            return true;
        }
        let is = |wanted: &Option<String>, got: &serde_json::Value| {
            wanted
                .as_deref()
                .is_none_or(|wanted| got.as_str() == Some(wanted))
        };
        let act = value["act"].as_str().unwrap_or_default();
        let kind = wanted.kind.as_deref();
        let kind = kind.is_none_or(|wanted| crate::read::fits_kind(wanted, act));
        kind && is(&wanted.actor, &value["who"]["id"]) && is(&wanted.object, &value["obj"]["id"])
    }

    fn open(&self, line: &Line, out: &mut Vec<u8>) -> Result<(), ExportError> {
        let seq = line.seq.0;
        let rows = self
            .store
            .read(|db| sql::openings(db, seq).map_err(StoreError::from))?;
        for (field, salt, value) in rows {
            let row = serde_json::json!({
                "seq": seq, "field": field, "salt": hex::encode(salt), "value": value
            });
            out.extend_from_slice(row.to_string().as_bytes());
            out.push(b'\n');
        }
        Ok(())
    }

    fn foot<W: Write>(
        &self,
        writer: &mut Writer<W>,
        made: SystemTime,
        shown: u64,
    ) -> Result<(), ExportError> {
        let files: BTreeMap<String, FileFacts> = writer
            .files()
            .iter()
            .map(|file| {
                let facts = FileFacts {
                    size: file.size,
                    sha256: hex::encode(file.sha256),
                };
                (file.name.clone(), facts)
            })
            .collect();
        let wanted = &self.wanted;
        let filter = Shown {
            kind: wanted.kind.clone(),
            actor: wanted.actor.clone(),
            object: wanted.object.clone(),
        };
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            origin: self.signed.checkpoint.origin.clone(),
            made: time(made),
            size: self.signed.checkpoint.size,
            first: self.first,
            end: self.end,
            since: wanted.since.map(time),
            until: wanted.until.map(time),
            filter: (filter != Shown::default()).then_some(filter),
            shown,
            files,
        };
        let text = json(&manifest)?;
        let digest: Hash = Sha256::digest(text.as_bytes()).into();
        let origin = &self.signed.checkpoint.origin;
        let note = self.seal.note(&statement(origin, &digest));
        let comment = format!(
            "export of audit log {origin}, entries {} to {}",
            self.first, self.end
        );
        let minisig = self.seal.minisign(text.as_bytes(), &comment)?;
        writer.file("MANIFEST.json", text.as_bytes())?;
        writer.file("MANIFEST.json.note", note.as_bytes())?;
        writer.file("MANIFEST.json.minisig", minisig.as_bytes())?;
        Ok(())
    }

    /// Calls `look` with the entries from `from` to `to`, a few at a time from the database.
    fn each(
        &self,
        from: u64,
        to: u64,
        mut look: impl FnMut(&Line) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        let mut at = from;
        while at < to {
            let next = to.min(at + STEP);
            let lines = self
                .store
                .read(|db| sql::lines(db, at, next).map_err(StoreError::from))?;
            let in_order = (at..next)
                .zip(&lines)
                .all(|(seq, line)| u64::try_from(line.seq.0) == Ok(seq));
            if lines.len() as u64 != next - at || !in_order {
                return Err(ExportError::Broken);
            }
            lines.iter().try_for_each(&mut look)?;
            at = next;
        }
        Ok(())
    }
}

fn flush<W: Write>(
    writer: &mut Writer<W>,
    number: &mut u32,
    lines: &mut Vec<u8>,
    openings: &mut Vec<u8>,
) -> io::Result<()> {
    if !lines.is_empty() {
        writer.file(&format!("events/{number:06}.jsonl"), lines)?;
    }
    if !openings.is_empty() {
        writer.file(&format!("openings/{number:06}.jsonl"), openings)?;
    }
    *number += 1;
    lines.clear();
    openings.clear();
    Ok(())
}

fn json<T: Serialize>(value: &T) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

fn time(at: SystemTime) -> String {
    timestamp(vocab::unix_ms(at).saturating_mul(1_000))
}

#[cfg(test)]
mod tests;
