//! Making packs: which objects go in, and their bytes.

mod index;
mod select;
mod write;

pub(crate) use index::{IndexEntry, write_index};
pub(crate) use select::{Filter, Selection, select};
pub use write::PackError;
pub(crate) use write::write_pack;
