//! Looking for tampering with what was sealed: the database against tiles, tiles against each
//! other, and all of it against the signed checkpoint.

use evidence::checkpoint::Checkpoint;
use evidence::tiles::{TILE_WIDTH, Tile, entries};
use evidence::tree::{Frontier, Hash, leaf_hash};
use store::{Store, StoreError};

use super::grow::LEVELS;
use super::{Seal, SealError};
use crate::sql;

const FINDINGS: usize = 100;

pub(super) fn check(seal: &Seal, store: &Store) -> Result<Vec<String>, SealError> {
    let checkpoint = match seal.last() {
        Ok(signed) => signed.checkpoint,
        Err(error) => return Ok(vec![words(&error)]),
    };
    let mut found = Vec::new();
    minisig(seal, &mut found);
    shorter(store, &checkpoint, &mut found)?;
    let mut walk = Walk {
        seal,
        size: checkpoint.size,
        found,
        rows: Default::default(),
    };
    let mut grown = Frontier::default();
    let mut index = 0;
    while let Some(tile) = Tile::of(0, index, checkpoint.size) {
        let from = index * TILE_WIDTH;
        let lines =
            store.read(|db| sql::lines(db, from, from + tile.width).map_err(StoreError::from))?;
        walk.leaves(tile, &lines, &mut grown);
        index += 1;
        if walk.found.len() >= FINDINGS {
            walk.found.truncate(FINDINGS);
            return Ok(walk.found);
        }
    }
    for level in 1..LEVELS {
        let hashes = std::mem::take(&mut walk.rows[usize::from(level)]);
        if !hashes.is_empty() {
            walk.compare(level, hashes.len() as u64, checkpoint.size, &hashes);
        }
    }
    if grown.size() == checkpoint.size && grown.root() != checkpoint.root {
        walk.found.push(format!(
            "the {} sealed audit entries do not have the root that was signed: tiles were \
             replaced",
            checkpoint.size
        ));
    }
    Ok(walk.found)
}

fn minisig(seal: &Seal, found: &mut Vec<String>) {
    let checked = || -> Result<bool, SealError> {
        seal.is_minisigned(&seal.last()?.note, &seal.last_minisig()?)
    };
    match checked() {
        Ok(true) => {}
        Ok(false) => found.push("audit/checkpoint.minisig does not sign audit/checkpoint".into()),
        Err(error) => found.push(words(&error)),
    }
}

fn shorter(
    store: &Store,
    checkpoint: &Checkpoint,
    found: &mut Vec<String>,
) -> Result<(), SealError> {
    let (head, end) = store.read(|db| {
        let head = crate::head(db).map_err(StoreError::from)?;
        Ok::<_, StoreError>((head, sql::end(db).map_err(StoreError::from)?))
    })?;
    let (head, end) = (
        u64::try_from(head.size).unwrap_or(0),
        u64::try_from(end).unwrap_or(0),
    );
    let sealed = checkpoint.size;
    if end < sealed && head == end {
        found.push(format!(
            "the database has {end} audit entries and says so itself, but {sealed} are sealed: an \
             old backup was restored over it"
        ));
    } else if end < sealed {
        found.push(format!(
            "the database ends at audit entry {end} and {sealed} are sealed: its tail was cut off"
        ));
    }
    Ok(())
}

struct Walk<'a> {
    seal: &'a Seal,
    size: u64,
    found: Vec<String>,
    rows: [Vec<Hash>; LEVELS as usize],
}

impl Walk<'_> {
    /// One tile of leaves: against the database, against the entries beside it.
    fn leaves(&mut self, tile: Tile, lines: &[crate::Line], grown: &mut Frontier) {
        let (sealed, kept) = (self.tile(tile), self.file(&tile.entries_path()));
        let kept = kept.unwrap_or_default();
        let kept = entries(&kept).unwrap_or_else(|| {
            let path = tile.entries_path();
            self.found.push(format!(
                "audit/{path} was changed: its lengths do not add up"
            ));
            Vec::new()
        });
        let first = tile.index * TILE_WIDTH;
        for (place, index) in (first..first + tile.width).enumerate() {
            let line = lines
                .iter()
                .find(|line| u64::try_from(line.seq.0) == Ok(index));
            let leaf = sealed.as_ref().map(|hashes| hashes[place]);
            if let Some(line) = line {
                let hash = leaf_hash(line.text.as_bytes());
                if leaf.is_some_and(|leaf| leaf != hash) {
                    self.found.push(format!(
                        "audit entry {index} is not the one that was sealed"
                    ));
                }
            } else {
                self.found.push(format!(
                    "audit entry {index} was sealed and is not in the database"
                ));
            }
            match (kept.get(place), leaf) {
                (Some(entry), Some(leaf)) if !entry.is_empty() && leaf_hash(entry) != leaf => {
                    let path = tile.entries_path();
                    self.found.push(format!(
                        "audit/{path} was changed: entry {index} is not the one that was sealed"
                    ));
                }
                (None, _) if !kept.is_empty() => {
                    self.found
                        .push(format!("audit/{} has too few entries", tile.entries_path()));
                }
                _ => {}
            }
            if let Some(leaf) = leaf {
                grown.push(leaf);
                self.rows[0].push(leaf);
            }
        }
        self.climb(tile.index + 1);
    }

    /// Compares each tile above that is full by now; `done` tiles of leaves were seen.
    fn climb(&mut self, done: u64) {
        for level in 0..LEVELS - 1 {
            let row = &self.rows[usize::from(level)];
            if row.len() as u64 != TILE_WIDTH {
                return;
            }
            let hashes = std::mem::take(&mut self.rows[usize::from(level)]);
            let mut whole = Frontier::default();
            hashes.iter().for_each(|hash| whole.push(*hash));
            if level > 0 {
                self.compare(level, TILE_WIDTH, done * TILE_WIDTH, &hashes);
            }
            self.rows[usize::from(level) + 1].push(whole.root());
        }
    }

    /// The tile of `level` that ends a log of `seen` entries must have these hashes.
    fn compare(&mut self, level: u8, width: u64, seen: u64, hashes: &[Hash]) {
        let index = ((seen >> (8 * u32::from(level))) - 1) / TILE_WIDTH;
        let tile = Tile {
            level,
            index,
            width,
        };
        if self.tile(tile).is_some_and(|sealed| sealed != hashes) {
            self.found.push(format!(
                "audit/{} was changed: it does not have the hashes of the tiles below it",
                tile.path()
            ));
        }
    }

    fn tile(&mut self, tile: Tile) -> Option<Vec<Hash>> {
        let bytes = self.file(&tile.path())?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if hashes.len() as u64 != tile.width || !rest.is_empty() {
            self.found
                .push(format!("audit/{} has the wrong length", tile.path()));
            return None;
        }
        Some(hashes.to_vec())
    }

    fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        match self.seal.folder.read(name) {
            Ok(bytes) => Some(bytes),
            Err(SealError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let size = self.size;
                self.found.push(format!(
                    "audit/{name} was deleted: a log of {size} entries has it"
                ));
                None
            }
            Err(error) => {
                self.found.push(words(&error));
                None
            }
        }
    }
}

/// An error with its cause.
fn words(error: &SealError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
