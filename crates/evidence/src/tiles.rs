//! Tiles: the tree's hashes in files of 256, and the entries beside them.
//!
//! Source: C2SP tlog-tiles. A tile of level L and index N holds the hashes of 256 subtrees of
//! 256^L leaves each; the last tile of a level may be partial and says so in its path.

use crate::tree::{Hash, Nodes, node_hash};

/// Hashes in a full tile: 2^8.
pub const TILE_WIDTH: u64 = 256;
/// Longest entry that a bundle of entries can hold.
pub const ENTRY_MAX_BYTES: usize = 0xffff;

/// One tile of the tree of a given size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tile {
    /// The level, in steps of eight levels of the tree.
    pub level: u8,
    /// The place in its level.
    pub index: u64,
    /// How many hashes it has: 1 to 256.
    pub width: u64,
}

impl Tile {
    /// The tile in a tree of `size` leaves; none where the tree has no hashes for it.
    #[must_use]
    pub fn of(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let width = hashes
            .saturating_sub(index.checked_mul(TILE_WIDTH)?)
            .min(TILE_WIDTH);
        (width > 0).then_some(Self {
            level,
            index,
            width,
        })
    }

    /// All hash tiles of a tree of `size` leaves that are not in one of `old` leaves, or are
    /// wider.
    #[must_use]
    pub fn new_since(old: u64, size: u64) -> Vec<Self> {
        let mut tiles = Vec::new();
        for level in 0..8 {
            let shift = 8 * u32::from(level);
            let (before, hashes) = (old >> shift, size >> shift);
            let range = before / TILE_WIDTH..hashes.div_ceil(TILE_WIDTH);
            if before < hashes {
                tiles.extend(range.filter_map(|index| Self::of(level, index, size)));
            }
        }
        tiles
    }

    /// Where its hashes stand: `tile/0/x001/067`, with `.p/12` when it is partial.
    #[must_use]
    pub fn path(&self) -> String {
        format!("tile/{}/{}", self.level, self.place())
    }

    /// Where the entries below it stand, for a tile of level 0: `tile/entries/…`.
    #[must_use]
    pub fn entries_path(&self) -> String {
        format!("tile/entries/{}", self.place())
    }

    fn place(&self) -> String {
        let mut text = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            text = format!("x{:03}/{text}", rest % 1000);
            rest /= 1000;
        }
        match self.width {
            TILE_WIDTH => text,
            width => format!("{text}.p/{width}"),
        }
    }
}

/// Gives tiles: hashes in order, 32 bytes each.
pub trait Tiles {
    /// Why one cannot be had.
    type Error;

    /// The bytes of `tile`; exactly 32 for each of its hashes.
    fn tile(&mut self, tile: Tile) -> Result<Vec<u8>, Self::Error>;
}

/// The nodes of a tree of `size` leaves, from its tiles. Keeps the tile read last of each level.
#[derive(Debug)]
pub struct TileNodes<T> {
    tiles: T,
    size: u64,
    last: [Option<(Tile, Vec<u8>)>; 8],
}

/// Why a node cannot be had from tiles.
#[derive(Debug, thiserror::Error)]
pub enum TileError<E> {
    /// The tree has no such node.
    #[error("the tree of {size} leaves has no node {index} on level {level}")]
    Outside {
        /// The level.
        level: u8,
        /// The place in it.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// A tile has the wrong length.
    #[error("{path} has {got} bytes and must have {want}")]
    Length {
        /// The tile's path.
        path: String,
        /// Its bytes.
        got: usize,
        /// What they should be.
        want: u64,
    },
    /// The tile cannot be read.
    #[error(transparent)]
    Source(E),
}

impl<T: Tiles> TileNodes<T> {
    /// Nodes of the tree of `size` leaves.
    pub fn new(tiles: T, size: u64) -> Self {
        Self {
            tiles,
            size,
            last: Default::default(),
        }
    }

    fn hashes(&mut self, tile: Tile) -> Result<&[u8], TileError<T::Error>> {
        let slot = &mut self.last[usize::from(tile.level)];
        if slot.as_ref().is_none_or(|(held, _)| *held != tile) {
            let bytes = self.tiles.tile(tile).map_err(TileError::Source)?;
            if bytes.len() as u64 != tile.width * 32 {
                return Err(TileError::Length {
                    path: tile.path(),
                    got: bytes.len(),
                    want: tile.width * 32,
                });
            }
            *slot = Some((tile, bytes));
        }
        Ok(slot.as_ref().map_or(&[], |(_, bytes)| bytes))
    }
}

impl<T: Tiles> Nodes for TileNodes<T> {
    type Error = TileError<T::Error>;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let outside = TileError::Outside {
            level,
            index,
            size: self.size,
        };
        let (tile_level, above) = (level / 8, level % 8);
        let first = index << above;
        let found = Tile::of(tile_level, first / TILE_WIDTH, self.size);
        let (Some(tile), offset) = (found, first % TILE_WIDTH) else {
            return Err(outside);
        };
        let count = 1u64 << above;
        if offset + count > tile.width {
            return Err(outside);
        }
        let range = usize::try_from(offset).unwrap_or(0) * 32
            ..usize::try_from(offset + count).unwrap_or(0) * 32;
        let mut row: Vec<Hash> = self.hashes(tile)?[range].as_chunks::<32>().0.to_vec();
        while row.len() > 1 {
            row = row
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[l, r]| node_hash(l, r))
                .collect();
        }
        Ok(row[0])
    }
}

/// Adds one entry to a bundle of entries. One that is too long stands as an empty entry: its hash
/// is in the tile all the same.
pub fn put_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let entry = if entry.len() > ENTRY_MAX_BYTES {
        &[]
    } else {
        entry
    };
    let length = u16::try_from(entry.len()).unwrap_or(0);
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// The entries of a bundle in order; none where its lengths do not add up.
#[must_use]
pub fn entries(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut entries) = (bundle, Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        rest = after;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tree::{Frontier, leaf_hash, root};

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |index, width| Tile {
            level: 0,
            index,
            width,
        };
        assert_eq!(tile(1_234_067, 256).path(), "tile/0/x001/x234/067");
        assert_eq!(tile(0, 256).path(), "tile/0/000");
        assert_eq!(tile(273, 112).path(), "tile/0/273.p/112");
        assert_eq!(tile(1_000, 5).entries_path(), "tile/entries/x001/000.p/5");
        // The specification's own example: a tree of 70,000 leaves.
        let all: Vec<String> = Tile::new_since(0, 70_000).iter().map(Tile::path).collect();
        assert_eq!(all.len(), 274 + 2 + 1);
        for path in [
            "tile/0/272",
            "tile/0/273.p/112",
            "tile/1/000",
            "tile/1/001.p/17",
            "tile/2/000.p/1",
        ] {
            assert!(all.contains(&path.to_owned()), "{path}");
        }
        // And its other one: a whole tile stands in the tile above.
        let all: Vec<String> = Tile::new_since(0, 256).iter().map(Tile::path).collect();
        assert_eq!(all, ["tile/0/000", "tile/1/000.p/1"]);
    }

    struct Kept(HashMap<Tile, Vec<u8>>);

    impl Tiles for Kept {
        type Error = String;

        fn tile(&mut self, tile: Tile) -> Result<Vec<u8>, String> {
            self.0.get(&tile).cloned().ok_or(tile.path())
        }
    }

    /// The tiles of a tree, each level from the one below.
    fn kept(leaves: &[Hash]) -> Kept {
        let size = leaves.len() as u64;
        let mut tiles = HashMap::new();
        let mut row = leaves.to_vec();
        for level in 0..3 {
            for (index, hashes) in (0..).zip(row.chunks(256)) {
                tiles.insert(Tile::of(level, index, size).unwrap(), hashes.concat());
            }
            let whole = row.as_chunks::<256>().0;
            row = whole
                .iter()
                .map(|hashes| {
                    let mut part = Frontier::default();
                    hashes.iter().for_each(|hash| part.push(*hash));
                    part.root()
                })
                .collect();
        }
        Kept(tiles)
    }

    #[test]
    fn a_tree_read_from_tiles_has_the_root_of_its_leaves() {
        for n in [1, 2, 255, 256, 257, 511, 513, 65_535, 65_536, 66_000] {
            let leaves: Vec<Hash> = (0..n).map(|i: u64| leaf_hash(&i.to_be_bytes())).collect();
            let mut grown = Frontier::default();
            leaves.iter().for_each(|leaf| grown.push(*leaf));
            let mut nodes = TileNodes::new(kept(&leaves), n);
            assert_eq!(root(&mut nodes, n).unwrap(), grown.root(), "{n}");
            assert!(nodes.node(0, n).is_err());
        }
    }

    #[test]
    fn entries_come_back_and_broken_bundles_do_not() {
        let mut bundle = Vec::new();
        put_entry(&mut bundle, b"one");
        put_entry(&mut bundle, &vec![b'x'; ENTRY_MAX_BYTES + 1]);
        put_entry(&mut bundle, b"three");
        assert_eq!(entries(&bundle).unwrap(), [&b"one"[..], b"", b"three"]);
        for cut in 1..bundle.len() {
            assert!(entries(&bundle[..cut]).is_none_or(|found| found.len() < 3));
        }
    }
}
