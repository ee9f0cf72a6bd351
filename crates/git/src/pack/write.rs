//! Writing a pack: entries copied from the packs they are in, deltas and all, where the base
//! goes along; everything else deflated anew.

use std::io::{self, Write};

use gix::hash::ObjectId;
use gix::parallel::InOrderIter;
use gix_pack::data::output::entry::iter_from_counts::{Mode, Options};
use gix_pack::data::output::{Count, Entry};
use gix_pack::data::{Version, header, output};

use super::IndexEntry;
use crate::objects::Objects;

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The other end went away, or the disk failed.
    #[error("the pack could not be written out")]
    Io(#[from] io::Error),
    /// An object could not be read.
    #[error("the pack could not be made")]
    Objects(#[source] gix::Error),
    /// An object that history names is not there.
    #[error("the repository is damaged: one of the objects to send is missing")]
    Missing,
    /// More objects than the format can count.
    #[error("more objects than one pack can hold")]
    TooMany,
}

struct Hashed<'a> {
    out: &'a mut dyn Write,
    hasher: gix::hash::Hasher,
    written: u64,
}

impl Hashed<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// Writes the pack of `counts` to `out` and returns its checksum and where each object stands.
pub(crate) fn write_pack(
    objects: &Objects,
    counts: Vec<Count>,
    threads: usize,
    out: &mut dyn Write,
) -> Result<(ObjectId, Vec<IndexEntry>), PackError> {
    let total = counts.len();
    let num = u32::try_from(total).map_err(|_| PackError::TooMany)?;
    let mut out = Hashed {
        out,
        hasher: gix::hash::hasher(objects.hash()),
        written: 0,
    };
    out.put(&header::encode(Version::V2, num))?;
    let options = Options {
        thread_limit: Some(if total < 512 { 1 } else { threads.max(1) }),
        mode: Mode::PackCopyAndBaseObjects,
        allow_thin_pack: false,
        chunk_size: 64,
        version: Version::V2,
        ..Options::default()
    };
    let chunks = output::entry::iter_from_counts(
        counts,
        objects.main().clone(),
        Box::new(gix::progress::Discard),
        options,
    )
    .map_err(PackError::Objects)?;
    let mut placed: Vec<IndexEntry> = Vec::with_capacity(total);
    let mut head = Vec::with_capacity(64);
    for chunk in InOrderIter::from(chunks) {
        for entry in chunk.map_err(PackError::Objects)? {
            let entry: Entry = entry;
            if entry.is_invalid() {
                return Err(PackError::Missing);
            }
            let offset = out.written;
            let entry_head =
                entry.to_entry_header(Version::V2, |base| offset - placed[base].offset);
            head.clear();
            entry_head.write_to(entry.decompressed_size as u64, &mut head)?;
            out.put(&head)?;
            out.put(&entry.compressed_data)?;
            let mut crc = flate2::Crc::new();
            crc.update(&head);
            crc.update(&entry.compressed_data);
            placed.push(IndexEntry {
                id: entry.id,
                offset,
                crc32: crc.sum(),
            });
        }
    }
    if placed.len() != total {
        return Err(PackError::Missing);
    }
    let checksum = out.hasher.try_finalize().map_err(PackError::Objects)?;
    out.out.write_all(checksum.as_slice())?;
    Ok((checksum, placed))
}
