//! Witnesses of the log: what is handed to them, and what they signed.
//!
//! One file a witness in `audit/cosigs`: the note that it signed last. Invariant: what stands there
//! was signed by a key that was trusted then, over this very history.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evidence::checkpoint::Checkpoint;
use evidence::manifest::Growth;
use evidence::note::{NOTE_MAX_BYTES, Note, NoteKey};
use evidence::tree;
use evidence::witness::Growing;
use serde::Serialize;
use store::{Store, StoreError};

use super::{Seal, SealError};
use crate::{Kind, sql};

const FOLDER: &str = "cosigs";
/// Most witnesses whose notes are read.
const WITNESSES_MAX: usize = 64;
/// Most earlier slips from which growth is proved.
const SLIPS_MAX: usize = 64;

/// What a witness signed last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cosigned {
    /// The witness.
    pub name: String,
    /// How many entries it saw.
    pub size: u64,
    /// When, by its own clock: seconds since 1970 UTC.
    pub at_secs: u64,
}

impl Cosigned {
    /// When, by the witness's own clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.at_secs)
    }
}

/// Why a cosignature is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// No trusted witness signed it.
    #[error(
        "no witness that this appliance trusts has signed this; put its key under audit.witnesses \
         in config.toml, then start again"
    )]
    Untrusted,
    /// It is not about this log.
    #[error("this is a checkpoint of {got}, and this log is {ours}")]
    Foreign {
        /// The log that it names.
        got: String,
        /// This one.
        ours: String,
    },
    /// It is about another history.
    #[error(
        "{name} signed another history of this log: its {size} entries are not the first {size} \
         here; one of the two was tampered with"
    )]
    Forked {
        /// The witness.
        name: String,
        /// How many entries it saw.
        size: u64,
    },
    /// It saw more than there is.
    #[error("{name} saw {size} entries, and there are {here}: this log was rolled back")]
    Ahead {
        /// The witness.
        name: String,
        /// How many entries it saw.
        size: u64,
        /// Entries here.
        here: u64,
    },
    /// A newer one is here.
    #[error("this is an old cosignature: {name} has signed {size} entries since, or the same ones")]
    Replayed {
        /// The witness.
        name: String,
        /// What stands here.
        size: u64,
    },
    /// The seal cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A cosignature that holds and may be kept.
#[derive(Debug)]
#[must_use = "a cosignature counts once it is kept"]
pub struct Cosignature {
    /// What it says.
    pub cosigned: Cosigned,
    file: String,
    note: Vec<u8>,
}

/// The text of a note by `key`: a checkpoint, and when it was signed.
fn read(note: &Note, key: &NoteKey) -> Option<(Checkpoint, u64)> {
    let checkpoint = Checkpoint::parse(note.verified(key).ok()?).ok()?;
    Some((checkpoint, note.dated(key)?))
}

/// The file of a witness: its name as far as a file may be called so, and its key's hash.
fn file(key: &NoteKey) -> String {
    let fine = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let name: String = key.name().chars().filter(fine).take(40).collect();
    format!("{FOLDER}/{name}.{}", hex::encode(key.hash()))
}

impl Seal {
    /// Seals the log and proves that it grew from what witnesses may have seen last: the sizes
    /// that they signed, and those of earlier slips.
    pub fn growing(&self, store: &Store) -> Result<Growing, SealError> {
        self.seal(store)?;
        let told = store.read(|db| {
            sql::details_of(db, Kind::SlipExported.as_str(), SLIPS_MAX).map_err(StoreError::from)
        })?;
        let told = told.iter().filter_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value["d"]["log_size"].as_u64()
        });
        let signed = self.cosignatures()?;
        let mut sizes: Vec<u64> = signed.iter().map(|(_, _, at)| *at).chain(told).collect();
        sizes.sort_unstable();
        sizes.dedup();
        self.frozen(|signed, _| {
            let now = signed.checkpoint.size;
            let mut growth = Vec::new();
            for from in sizes.into_iter().filter(|from| (1..now).contains(from)) {
                let hashes = tree::consistency(&mut self.nodes(now), from, now)?;
                let hashes = hashes.iter().map(hex::encode).collect();
                growth.push(Growth { from, hashes });
            }
            let note = signed.note;
            Ok(Growing { note, growth })
        })
    }

    /// What stands in `audit/cosigs`: name in an export, note, and how many entries it is about.
    pub(crate) fn cosignatures(&self) -> Result<Vec<(String, Vec<u8>, u64)>, SealError> {
        let folder = self.folder.path(FOLDER);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return Ok(Vec::new());
        };
        let mut names: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        names.sort();
        let mut found = Vec::new();
        for path in names.iter().take(WITNESSES_MAX) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{FOLDER}/{name}");
            let note = self.folder.read(&name)?;
            let text = String::from_utf8_lossy(&note).into_owned();
            let text = text.split_once("\n\n").map(|(text, _)| format!("{text}\n"));
            if let Some(seen) = text.and_then(|text| Checkpoint::parse(&text).ok()) {
                found.push((name, note, seen.size));
            }
        }
        Ok(found)
    }

    /// What each of the `trusted` witnesses has signed last.
    pub fn witnessed(&self, trusted: &[NoteKey]) -> Result<Vec<Cosigned>, SealError> {
        let mut found = Vec::new();
        for (_, note, _) in self.cosignatures()? {
            let note = Note::read(&note).ok();
            found.extend(trusted.iter().filter_map(|key| {
                let (checkpoint, at_secs) = read(note.as_ref()?, key)?;
                Some(Cosigned {
                    name: key.name().to_owned(),
                    size: checkpoint.size,
                    at_secs,
                })
            }));
        }
        Ok(found)
    }

    /// Reads a cosignature that was carried in: by a `trusted` witness, over this history, and
    /// newer than what is here.
    pub fn read_cosignature(
        &self,
        bytes: &[u8],
        trusted: &[NoteKey],
    ) -> Result<Cosignature, CosignError> {
        let note = Note::read(&bytes[..bytes.len().min(NOTE_MAX_BYTES)]);
        let note = note.map_err(|_| CosignError::Untrusted)?;
        let by = trusted
            .iter()
            .find_map(|key| Some((key, read(&note, key)?)));
        let (key, (seen, at_secs)) = by.ok_or(CosignError::Untrusted)?;
        let (name, size) = (key.name().to_owned(), seen.size);
        let ours = self.key().name();
        if seen.origin != ours {
            let ours = ours.to_owned();
            return Err(CosignError::Foreign {
                got: seen.origin,
                ours,
            });
        }
        let old = self.witnessed(std::slice::from_ref(key))?;
        if let Some(old) = old
            .iter()
            .find(|old| (old.size, old.at_secs) >= (size, at_secs))
        {
            let size = old.size;
            return Err(CosignError::Replayed { name, size });
        }
        self.frozen(|signed, _| {
            let here = signed.checkpoint.size;
            if size > here {
                return Err(CosignError::Ahead { name, size, here });
            }
            let root = tree::root(&mut self.nodes(here), size).map_err(SealError::from)?;
            if root != seen.root {
                return Err(CosignError::Forked { name, size });
            }
            Ok(Cosignature {
                cosigned: Cosigned {
                    name,
                    size,
                    at_secs,
                },
                file: file(key),
                note: bytes.to_vec(),
            })
        })
    }

    /// Keeps it in the place of that witness's last one. The caller appends the audit entry in the
    /// same transaction.
    pub fn keep_cosignature(&self, cosignature: &Cosignature) -> Result<(), SealError> {
        self.frozen(|_, _| self.folder.write(&cosignature.file, &cosignature.note))
    }
}

#[cfg(test)]
mod tests;
