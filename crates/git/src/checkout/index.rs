//! The `index` file of a checkout: every file with its id and size. The first command of stock
//! git that compares stat data finds it stale, compares contents, and finds them equal.

use std::io;

use gix::hash::Kind;

use super::FileEntry;
use crate::read::EntryKind;

/// The index (version 2) of `files`, which are sorted by path.
pub(crate) fn write(files: &[FileEntry], hash: Kind, time: i64) -> io::Result<Vec<u8>> {
    let count = u32::try_from(files.len()).map_err(io::Error::other)?;
    let time = u32::try_from(time).unwrap_or(0);
    let mut bytes = b"DIRC\0\0\0\x02".to_vec();
    bytes.extend_from_slice(&count.to_be_bytes());
    for file in files {
        let start = bytes.len();
        let mode: u32 = match file.kind {
            EntryKind::Executable => 0o100_755,
            EntryKind::Symlink => 0o120_000,
            EntryKind::Submodule => 0o160_000,
            EntryKind::File | EntryKind::Directory => 0o100_644,
        };
        // The size is kept modulo 2^32, as the format has it.
        let size = u32::try_from(file.size & 0xffff_ffff).unwrap_or(0);
        // Change time, modification time, device, inode, mode, user, group, size.
        for field in [0, 0, time, 0, 0, 0, mode, 0, 0, size] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(file.id.as_slice());
        let name_len = u16::try_from(file.path.len()).unwrap_or(0xfff).min(0xfff);
        bytes.extend_from_slice(&name_len.to_be_bytes());
        bytes.extend_from_slice(&file.path);
        let len = bytes.len() - start;
        bytes.resize(start + (len / 8 + 1) * 8, 0);
    }
    let mut hasher = gix::hash::hasher(hash);
    hasher.update(&bytes);
    let checksum = hasher.try_finalize().map_err(io::Error::other)?;
    bytes.extend_from_slice(checksum.as_slice());
    Ok(bytes)
}
