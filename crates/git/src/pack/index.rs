//! Writing the index of a pack whose objects' places are known (format version 2).

use std::io::{self, Write};

use gix::hash::{Kind, ObjectId};

/// Where one object stands in a pack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexEntry {
    pub(crate) id: ObjectId,
    pub(crate) offset: u64,
    pub(crate) crc32: u32,
}

/// Writes the index of the pack with this checksum.
pub(crate) fn write_index(
    mut entries: Vec<IndexEntry>,
    pack_checksum: ObjectId,
    hash: Kind,
    out: &mut dyn Write,
) -> io::Result<()> {
    entries.sort_by_key(|e| e.id);
    let mut bytes = Vec::with_capacity(8 + 1024 + entries.len() * (hash.len_in_bytes() + 8) + 64);
    bytes.extend_from_slice(b"\xfftOc\0\0\0\x02");
    let mut at = 0;
    for first in 0..=255u8 {
        while entries.get(at).is_some_and(|e| e.id.first_byte() <= first) {
            at += 1;
        }
        bytes.extend_from_slice(&u32::try_from(at).map_err(too_many)?.to_be_bytes());
    }
    for entry in &entries {
        bytes.extend_from_slice(entry.id.as_slice());
    }
    for entry in &entries {
        bytes.extend_from_slice(&entry.crc32.to_be_bytes());
    }
    let mut large = Vec::new();
    for entry in &entries {
        let offset = match u32::try_from(entry.offset) {
            Ok(small) if small < 1 << 31 => small,
            _ => {
                let nth = u32::try_from(large.len()).map_err(too_many)?;
                large.push(entry.offset);
                nth | 1 << 31
            }
        };
        bytes.extend_from_slice(&offset.to_be_bytes());
    }
    for offset in large {
        bytes.extend_from_slice(&offset.to_be_bytes());
    }
    bytes.extend_from_slice(pack_checksum.as_slice());
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(&bytes);
    let checksum = hasher.try_finalize().map_err(io::Error::other)?;
    out.write_all(&bytes)?;
    out.write_all(checksum.as_slice())
}

fn too_many<E>(_: E) -> io::Error {
    io::Error::other("more objects than one pack can hold")
}
