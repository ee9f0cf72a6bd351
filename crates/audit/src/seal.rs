//! The sealed log: tiles on disk over the database's lines, and a signed checkpoint over them.
//!
//! Owns the folder `audit/` and the files `keys/audit.*` of a data directory. Invariant: a
//! checkpoint that was signed is never signed differently, whatever the database says later; what
//! disagrees with it is named and nothing is sealed any more.
//! Source: docs/audit.md; C2SP tlog-tiles, tlog-checkpoint.

mod check;
mod folder;
mod grow;
mod keys;
mod witnessed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use evidence::checkpoint::Checkpoint;
use evidence::note::{NoteError, NoteKey};
use evidence::tiles::{TileError, TileNodes};
use evidence::tree::{self, Hash};
use store::{Store, StoreError};
use vocab::Entropy;

pub use witnessed::{CosignError, Cosignature, Cosigned};

use folder::Folder;
use grow::Growth;
use keys::SealKeys;

const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_MINISIG: &str = "checkpoint.minisig";
/// The signature over the checkpoint that is about to be put in its place.
const NEXT_MINISIG: &str = "checkpoint.minisig.next";
const KEY: &str = "log.key";
const MINISIGN_KEY: &str = "minisign.pub";

/// The sealed log of one appliance.
pub struct Seal {
    folder: Folder,
    keys: SealKeys,
    growth: Mutex<Option<Growth>>,
}

/// Why the log cannot be sealed, or its seal not be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key is not one.
    #[error("keys/audit.key is no key of 32 bytes; restore it from a backup")]
    Key,
    /// Minisign refused.
    #[error("cannot sign with keys/audit.minisign")]
    Minisign(#[source] minisign::PError),
    /// The log was sealed and a part of that is gone.
    #[error("{0} was deleted: this audit log was sealed before; restore the file from a backup")]
    Deleted(&'static str),
    /// The checkpoint is not one of this log.
    #[error("audit/checkpoint was changed: {0}")]
    Checkpoint(#[source] NoteError),
    /// The database has fewer entries than were sealed.
    #[error(
        "the database has {got} audit entries and {sealed} are sealed: its tail was cut off, or \
         an old backup was restored over it"
    )]
    Shorter {
        /// Entries in the database.
        got: u64,
        /// Entries under the last checkpoint.
        sealed: u64,
    },
    /// An entry to be sealed is not the one that was appended.
    #[error(
        "audit entry {0} is missing or is not the line that was appended; run `cofferdam fsck`"
    )]
    Broken(u64),
    /// The tiles do not have the root that was signed.
    #[error("the tiles in audit/ are not those of the last checkpoint; run `cofferdam fsck`")]
    Root,
    /// A tile cannot be used.
    #[error("a tile in audit/ was changed: {0}")]
    Tile(String),
    /// No such entry is sealed.
    #[error("entry {index} is not among the {size} that are sealed")]
    Outside {
        /// The entry, or the size of an older log.
        index: u64,
        /// Entries under the last checkpoint.
        size: u64,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SealError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    fn minisign(source: minisign::PError) -> Self {
        Self::Minisign(source)
    }
}

impl From<TileError<SealError>> for SealError {
    fn from(error: TileError<SealError>) -> Self {
        match error {
            TileError::Source(error) => error,
            other => Self::Tile(other.to_string()),
        }
    }
}

/// A checkpoint and the note that says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note, as it stands in `audit/checkpoint`.
    pub note: String,
}

/// A proof that one entry is in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proof {
    /// The entry's place.
    pub index: u64,
    /// The hashes on its way to the root, lowest first.
    pub hashes: Vec<Hash>,
    /// The checkpoint with that root.
    pub signed: Signed,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seal({})", self.key())
    }
}

impl Seal {
    /// Opens the sealed log of the data directory `data`, called `origin`; at the first start its
    /// keys and an empty one are made.
    ///
    /// Errors: `Deleted` when one of key and checkpoint is there without the other, `Checkpoint`
    /// when it was changed.
    pub fn open(data: &Path, origin: &str, entropy: &Entropy) -> Result<Self, SealError> {
        let (folder, dir) = (Folder(data.join("audit")), data.join("keys"));
        let sealed = folder.path(CHECKPOINT).exists();
        match (keys::exist(&dir), sealed) {
            (false, true) => return Err(SealError::Deleted("keys/audit.key")),
            // Keys stand for a moment without a checkpoint when the first start is cut short; the
            // public one is written after that.
            (true, false) if folder.path(KEY).exists() => {
                return Err(SealError::Deleted("audit/checkpoint"));
            }
            (false, false) => keys::create(&dir, entropy)?,
            _ => {}
        }
        let keys = SealKeys::open(&dir, origin)?;
        let seal = Self {
            folder,
            keys,
            growth: Mutex::default(),
        };
        if !sealed {
            seal.publish(&Checkpoint {
                origin: origin.to_owned(),
                size: 0,
                root: tree::empty_root(),
            })?;
        }
        for (name, text) in [
            (MINISIGN_KEY, seal.keys.minisign_public.clone()),
            (KEY, format!("{}\n", seal.key())),
        ] {
            if !seal.folder.path(name).exists() {
                seal.folder.write(name, text.as_bytes())?;
            }
        }
        seal.last()?;
        seal.settle()?;
        Ok(seal)
    }

    /// Whether the log of the data directory `data` was ever sealed.
    #[must_use]
    pub fn exists(data: &Path) -> bool {
        data.join("audit").exists() || keys::exist(&data.join("keys"))
    }

    /// What others check the checkpoints with.
    #[must_use]
    pub fn key(&self) -> &NoteKey {
        self.keys.signer.key()
    }

    /// The minisign key that signs the same checkpoints, as a file.
    #[must_use]
    pub fn minisign_key(&self) -> &str {
        &self.keys.minisign_public
    }

    /// Signs a document that is no checkpoint with minisign.
    pub fn minisign(&self, document: &[u8], comment: &str) -> Result<String, SealError> {
        self.keys.minisign(document, comment)
    }

    /// The last checkpoint, read from disk and checked.
    pub fn last(&self) -> Result<Signed, SealError> {
        let note = self.folder.read(CHECKPOINT)?;
        let checkpoint = Checkpoint::verify(&note, self.key()).map_err(SealError::Checkpoint)?;
        Ok(Signed {
            checkpoint,
            note: String::from_utf8_lossy(&note).into_owned(),
        })
    }

    /// When the last checkpoint was written, as its file says.
    pub fn last_at(&self) -> Result<std::time::SystemTime, SealError> {
        let path = self.folder.path(CHECKPOINT);
        let at = path.metadata().and_then(|file| file.modified());
        at.map_err(|e| SealError::io(&path, e))
    }

    /// The minisign signature over the last checkpoint.
    pub fn last_minisig(&self) -> Result<Vec<u8>, SealError> {
        self.folder.read(CHECKPOINT_MINISIG)
    }

    /// Writes the tiles of all entries that the database has by now, then signs a checkpoint.
    pub fn seal(&self, store: &Store) -> Result<Signed, SealError> {
        let mut growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        // What a failed attempt leaves in memory is not used again.
        let mut now = match growth.take() {
            Some(now) => now,
            None => Growth::load(&self.folder, &self.last()?.checkpoint)?,
        };
        let before = now.size();
        let entries = store
            .read(|db| crate::head(db).map_err(StoreError::from))?
            .size;
        let entries = u64::try_from(entries).unwrap_or(0);
        if entries < before {
            return Err(SealError::Shorter {
                got: entries,
                sealed: before,
            });
        }
        if entries > before {
            now.grow(&self.folder, store, entries)?;
            self.publish(&Checkpoint {
                origin: self.key().name().to_owned(),
                size: entries,
                root: now.root(),
            })?;
            grow::forget_partials(&self.folder, before, entries);
        }
        *growth = Some(now);
        self.last()
    }

    /// Signs `checkpoint` and puts it in its place.
    fn publish(&self, checkpoint: &Checkpoint) -> Result<(), SealError> {
        let note = checkpoint.sign(&self.keys.signer);
        let comment = format!("audit log {} size {}", checkpoint.origin, checkpoint.size);
        let minisig = self.keys.minisign(note.as_bytes(), &comment)?;
        // Whoever is killed in between leaves the signature of what stands.
        self.folder.write(NEXT_MINISIG, minisig.as_bytes())?;
        self.folder.write(CHECKPOINT, note.as_bytes())?;
        self.folder.rename(NEXT_MINISIG, CHECKPOINT_MINISIG)
    }

    /// Finishes what a killed process had begun to publish.
    fn settle(&self) -> Result<(), SealError> {
        let Ok(next) = self.folder.read(NEXT_MINISIG) else {
            return Ok(());
        };
        if self.is_minisigned(&self.last()?.note, &next)? {
            self.folder.rename(NEXT_MINISIG, CHECKPOINT_MINISIG)?;
        }
        Ok(())
    }

    /// Whether `signature` is one of this log's minisign key over `note`.
    fn is_minisigned(&self, note: &str, signature: &[u8]) -> Result<bool, SealError> {
        let key = minisign::PublicKeyBox::from_string(self.minisign_key())
            .and_then(minisign::PublicKeyBox::into_public_key)
            .map_err(SealError::minisign)?;
        let text = String::from_utf8_lossy(signature);
        let Ok(signature) = minisign::SignatureBox::from_string(&text) else {
            return Ok(false);
        };
        let note = io::Cursor::new(note.as_bytes());
        Ok(minisign::verify(&key, &signature, note, true, false, false).is_ok())
    }

    /// The tree's nodes under a checkpoint of `size` entries, read from the tiles on disk.
    #[must_use]
    pub fn nodes(&self, size: u64) -> TileNodes<FolderTiles> {
        TileNodes::new(FolderTiles(self.folder.clone()), size)
    }

    /// Signs a text that ends in a line end, as a note.
    #[must_use]
    pub fn note(&self, text: &str) -> String {
        self.keys.signer.sign(text)
    }

    /// Calls `work` with the last checkpoint and its minisign signature, while nothing is sealed.
    pub(crate) fn frozen<T, E: From<SealError>>(
        &self,
        work: impl FnOnce(Signed, Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        work(self.last()?, self.last_minisig()?)
    }

    /// Proves that entry `index` is under the last checkpoint.
    pub fn prove(&self, index: u64) -> Result<Proof, SealError> {
        // Held so that the tiles stay those of the checkpoint.
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = self.last()?;
        let size = signed.checkpoint.size;
        if index >= size {
            return Err(SealError::Outside { index, size });
        }
        let hashes = tree::inclusion(&mut self.nodes(size), index, size)?;
        Ok(Proof {
            index,
            hashes,
            signed,
        })
    }

    /// Proves that the log under the last checkpoint begins with its first `old` entries.
    pub fn prove_growth(&self, old: u64) -> Result<(Vec<Hash>, Signed), SealError> {
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        let signed = self.last()?;
        let size = signed.checkpoint.size;
        if old > size {
            return Err(SealError::Outside { index: old, size });
        }
        Ok((tree::consistency(&mut self.nodes(size), old, size)?, signed))
    }

    /// What is wrong with the seal, or does not agree with the database; at most 100 findings.
    pub fn check(&self, store: &Store) -> Result<Vec<String>, SealError> {
        let _growth = self.growth.lock().unwrap_or_else(PoisonError::into_inner);
        check::check(self, store)
    }
}

/// The tiles of an open [`Seal`].
#[derive(Debug)]
pub struct FolderTiles(Folder);

impl evidence::tiles::Tiles for FolderTiles {
    type Error = SealError;

    fn tile(&mut self, tile: evidence::tiles::Tile) -> Result<Vec<u8>, SealError> {
        (&self.0).tile(tile)
    }
}

#[cfg(test)]
mod tests;
