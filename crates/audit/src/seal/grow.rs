//! Growing the tiles: new entries from the database, old hashes only from what was sealed.

use evidence::checkpoint::Checkpoint;
use evidence::tiles::{TILE_WIDTH, Tile, TileNodes, put_entry};
use evidence::tree::{Frontier, Hash, leaf_hash};
use store::{Store, StoreError};

use super::SealError;
use super::folder::Folder;
use crate::sql;

/// Levels of tiles that 2^64 entries would need.
pub(super) const LEVELS: u8 = 8;

/// The right edge of the tiles, as it stands under the last checkpoint.
pub(super) struct Growth {
    frontier: Frontier,
    /// The hashes of the unfinished tile of each level.
    rows: [Vec<Hash>; LEVELS as usize],
    /// The entries of the unfinished tile of level 0.
    entries: Vec<u8>,
}

impl Growth {
    /// Reads the edge from disk and checks it against `checkpoint`.
    pub(super) fn load(folder: &Folder, checkpoint: &Checkpoint) -> Result<Self, SealError> {
        let size = checkpoint.size;
        let frontier = Frontier::at(&mut TileNodes::new(folder, size), size)?;
        if frontier.root() != checkpoint.root {
            return Err(SealError::Root);
        }
        let mut rows: [Vec<Hash>; LEVELS as usize] = Default::default();
        for (level, row) in (0..).zip(&mut rows) {
            if let Some(tile) = edge(level, size) {
                *row = folder.read(&tile.path())?.as_chunks::<32>().0.to_vec();
            }
        }
        let entries = match edge(0, size) {
            Some(tile) => folder.read(&tile.entries_path())?,
            None => Vec::new(),
        };
        Ok(Self {
            frontier,
            rows,
            entries,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(super) fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Adds the database's entries up to `size` and writes every tile that changed.
    pub(super) fn grow(
        &mut self,
        folder: &Folder,
        store: &Store,
        size: u64,
    ) -> Result<(), SealError> {
        while self.size() < size {
            let from = self.size();
            let to = size.min((from / TILE_WIDTH + 1) * TILE_WIDTH);
            let lines = store.read(|db| sql::lines(db, from, to).map_err(StoreError::from))?;
            for (index, line) in (from..to).zip(&lines) {
                let leaf = leaf_hash(line.text.as_bytes());
                if line.leaf != leaf || u64::try_from(line.seq.0) != Ok(index) {
                    return Err(SealError::Broken(index));
                }
                self.frontier.push(leaf);
                self.rows[0].push(leaf);
                put_entry(&mut self.entries, line.text.as_bytes());
            }
            if self.size() < to {
                return Err(SealError::Broken(self.size()));
            }
            if to.is_multiple_of(TILE_WIDTH) {
                self.finish(folder)?;
            }
        }
        for level in 0..LEVELS {
            if let Some(tile) = edge(level, size) {
                self.write(folder, tile)?;
            }
        }
        Ok(())
    }

    /// Writes the tiles that the last entry has filled, and starts new ones.
    fn finish(&mut self, folder: &Folder) -> Result<(), SealError> {
        for level in 0..LEVELS {
            let row = &self.rows[usize::from(level)];
            if row.len() as u64 != TILE_WIDTH {
                break;
            }
            let mut whole = Frontier::default();
            row.iter().for_each(|hash| whole.push(*hash));
            let index = (self.size() >> (8 * (u32::from(level) + 1))) - 1;
            let tile = Tile {
                level,
                index,
                width: TILE_WIDTH,
            };
            self.write(folder, tile)?;
            self.rows[usize::from(level)].clear();
            if level == 0 {
                self.entries.clear();
            }
            if level + 1 < LEVELS {
                self.rows[usize::from(level) + 1].push(whole.root());
            }
        }
        Ok(())
    }

    fn write(&self, folder: &Folder, tile: Tile) -> Result<(), SealError> {
        folder.write(
            &tile.path(),
            self.rows[usize::from(tile.level)].as_flattened(),
        )?;
        if tile.level == 0 {
            folder.write(&tile.entries_path(), &self.entries)?;
        }
        Ok(())
    }
}

/// The partial tile of `level` in a log of `size` entries, if there is one.
pub(super) fn edge(level: u8, size: u64) -> Option<Tile> {
    let hashes = size >> (8 * u32::from(level));
    Tile::of(level, hashes / TILE_WIDTH, size)
}

/// Removes the partial tiles of a log of `old` entries that has grown to `size`.
pub(super) fn forget_partials(folder: &Folder, old: u64, size: u64) {
    for level in 0..LEVELS {
        if let Some(tile) = edge(level, old)
            && edge(level, size) != Some(tile)
        {
            folder.forget(&tile.path());
            if level == 0 {
                folder.forget(&tile.entries_path());
            }
        }
    }
}
