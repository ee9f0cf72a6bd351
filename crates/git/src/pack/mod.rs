//! Making packs: which objects go in, and their bytes.

mod closed;
mod index;
mod select;
mod set;
mod sum;
mod turn;
mod write;

pub(crate) use closed::{ClosedPack, ClosedPackCache, FEWEST, is_public};
pub(crate) use index::{IndexEntry, write_index};
pub(crate) use select::{Filter, Selection, select};
pub(crate) use set::{PackFile, PackSet, PackSetCache};
pub(crate) use sum::PackSum;
pub use write::PackError;
pub(crate) use write::{PackPlan, write_pack};

/// A new read-only file for a pack or an index.
pub(crate) fn create(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o444)
        .open(path)
}
