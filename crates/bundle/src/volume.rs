//! Volumes: plain ustar in the one way that this format allows.
//!
//! The header of an entry is a function of its name and size, and the order of entries is the
//! manifest's, so that nothing here parses a tar: what is read is compared with what must stand
//! there. GNU tar writes the same bytes, and any tar reads them.
//! Source: docs/bundle-format.md, "Volumes"; POSIX.1-2017 pax, "ustar interchange format".

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};
use vocab::Digest;

use crate::manifest::{Manifest, SEGMENT_BYTES, VOLUME_MAX_BYTES, Volume};

/// A block of tar.
pub const BLOCK: u64 = 512;
/// Volumes end on a multiple of this, as tar's records do.
const RECORD: u64 = 10_240;
/// Name of the first entry of each volume.
pub const LABEL: &str = "COFFERDAM-VOLUME";

/// The 512 bytes before an entry of `size` bytes called `name`.
///
/// Mode 0644, owner 0, time 0, type `0`, no user or group name. `name` is one of ours: ASCII of
/// at most 100 bytes; `size` is below 8 GiB.
#[must_use]
pub fn header(name: &str, size: u64) -> [u8; 512] {
    let mut block = [0u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// `size` rounded up to whole blocks.
#[must_use]
pub fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}

/// The name of volume `index` (from 1) of `count`.
#[must_use]
pub fn volume_name(index: u32, count: u32) -> String {
    format!("vol-{index:04}-of-{count:04}.tar")
}

/// The file name of a blob's segment: plain when it is the only one.
#[must_use]
pub fn entry_name(blob: &Digest, segment: usize, segments: usize) -> String {
    if segments == 1 {
        format!("blobs/sha256/{}", blob.hex())
    } else {
        format!("blobs/sha256/{}.{segment:04}", blob.hex())
    }
}

/// How many segments a blob of `size` bytes has; one even when it is empty.
#[must_use]
pub fn segments_of(size: u64) -> u64 {
    size.div_ceil(SEGMENT_BYTES).max(1)
}

/// How long segment `index` of a blob of `size` bytes is.
#[must_use]
pub fn segment_bytes(size: u64, index: u64) -> u64 {
    size.saturating_sub(index * SEGMENT_BYTES)
        .min(SEGMENT_BYTES)
}

/// What the label of a volume says: which bundle, which part of it. Never the manifest's digest,
/// because the manifest holds the volume's.
#[derive(Clone, Debug)]
pub struct Label<'a> {
    /// As in the manifest.
    pub product: &'a str,
    /// As in the manifest.
    pub channel: &'a str,
    /// As in the manifest.
    pub seq: u64,
    /// As in the manifest.
    pub lock_sha256: Digest,
}

impl Label<'_> {
    /// Its text in volume `index` of `count`.
    #[must_use]
    pub fn text(&self, index: u32, count: u32) -> String {
        format!(
            "{{\"product\":\"{}\",\"channel\":\"{}\",\"seq\":{},\"lock_sha256\":\"{}\",\
             \"index\":{index},\"count\":{count}}}\n",
            self.product, self.channel, self.seq, self.lock_sha256
        )
    }
}

/// Where everything lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// For each blob, the volume (from 1) and the header's offset of each segment.
    pub places: Vec<Vec<(u32, u64)>>,
    /// For each volume, where its last entry ends.
    pub ends: Vec<u64>,
}

/// Where the first blob's header stands: behind the label, which fits in one block.
pub const FIRST: u64 = 2 * BLOCK;

/// Lays blobs of these sizes out in volumes of at most `limit` bytes, in order. A segment that
/// is larger than the limit has a volume of its own.
#[must_use]
pub fn lay_out(sizes: &[u64], limit: u64) -> Layout {
    let limit = limit.min(VOLUME_MAX_BYTES);
    let mut places = Vec::with_capacity(sizes.len());
    let mut ends = Vec::new();
    let (mut volume, mut at) = (1, FIRST);
    for size in sizes {
        let mut segments = Vec::new();
        for index in 0..segments_of(*size) {
            let entry = BLOCK + padded(segment_bytes(*size, index));
            if at > FIRST && total(at + entry) > limit {
                ends.push(at);
                (volume, at) = (volume + 1, FIRST);
            }
            segments.push((volume, at));
            at += entry;
        }
        places.push(segments);
    }
    ends.push(at);
    Layout { places, ends }
}

/// Size of a volume whose last entry ends at `end`: two empty blocks, rounded up to records.
#[must_use]
pub fn total(end: u64) -> u64 {
    (end + 2 * BLOCK).div_ceil(RECORD) * RECORD
}

/// One entry that must stand in a volume.
#[derive(Clone, Debug)]
pub struct Place {
    /// Offset of its header.
    pub offset: u64,
    /// The header.
    pub header: [u8; 512],
    /// Length of its content.
    pub size: u64,
    /// Index of its blob in the manifest and number of the segment; `None` for the label.
    pub blob: Option<(usize, usize)>,
    /// What it holds, when that is known from the manifest alone: the label.
    pub content: Option<Vec<u8>>,
}

/// The entries of volume `index` (from 1), in order. The manifest has been checked, so they
/// follow each other without gaps.
#[must_use]
pub fn places(manifest: &Manifest, index: u32) -> Vec<Place> {
    let count = u32::try_from(manifest.volumes.len()).unwrap_or(u32::MAX);
    let label = Label {
        product: &manifest.product,
        channel: &manifest.channel,
        seq: manifest.seq,
        lock_sha256: manifest.lock_sha256,
    }
    .text(index, count);
    let mut found = vec![Place {
        offset: 0,
        header: header(LABEL, label.len() as u64),
        size: label.len() as u64,
        blob: None,
        content: Some(label.into_bytes()),
    }];
    for (number, blob) in manifest.blobs.iter().enumerate() {
        for (segment, (volume, offset)) in blob.at.iter().enumerate() {
            if *volume != index {
                continue;
            }
            let size = segment_bytes(blob.n, segment as u64);
            found.push(Place {
                offset: *offset,
                header: header(&entry_name(&blob.d, segment, blob.at.len()), size),
                size,
                blob: Some((number, segment)),
                content: None,
            });
        }
    }
    found
}

/// Writes one volume, hashing as it goes.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    hash: Sha256,
    at: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the label.
    pub fn start(out: W, label: &str) -> io::Result<Self> {
        let mut writer = Self {
            out,
            hash: Sha256::new(),
            at: 0,
        };
        writer.entry(LABEL, label.len() as u64, &mut label.as_bytes())?;
        Ok(writer)
    }

    /// Where the next header goes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Appends one entry of exactly `size` bytes from `content`, which may hold more.
    pub fn entry(&mut self, name: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.put(&header(name, size))?;
        let mut left = size;
        let mut buffer = vec![0; 256 << 10];
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let n = match content.read(&mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.put(&buffer[..n])?;
            left -= n as u64;
        }
        self.zeros(padded(size) - size)
    }

    /// Ends the volume; gives back the writer, the size and the digest.
    pub fn finish(mut self) -> io::Result<(W, u64, Digest)> {
        self.zeros(total(self.at) - self.at)?;
        self.out.flush()?;
        Ok((
            self.out,
            self.at,
            Digest::from_bytes(self.hash.finalize().into()),
        ))
    }

    fn zeros(&mut self, count: u64) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(count).expect("padding is below one record")];
        self.put(&zeros)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

/// The text of `SHA256SUMS`, as `sha256sum -c` reads it.
#[must_use]
pub fn sums(volumes: &[Volume]) -> String {
    volumes
        .iter()
        .map(|v| format!("{}  {}\n", v.sha256.hex(), v.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_what_the_tar_library_reads_too() {
        let mut volume = Writer::start(Vec::new(), "label\n").unwrap();
        let digest = Digest::of(b"content");
        let name = entry_name(&digest, 0, 1);
        volume.entry(&name, 7, &mut &b"content"[..]).unwrap();
        let (bytes, size, hash) = volume.finish().unwrap();
        assert_eq!((size, size % RECORD), (bytes.len() as u64, 0));
        assert_eq!(hash, Digest::of(&bytes));
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|e| e.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, [LABEL.to_owned(), name]);
    }

    #[test]
    fn blobs_are_laid_out_in_order_and_segments_never_pass_the_limit() {
        let gib = 1u64 << 30;
        let layout = lay_out(&[0, 10, 5 * gib / 2, gib], 2 * gib);
        assert_eq!(layout.places[0], [(1, 1024)]);
        assert_eq!(layout.places[1], [(1, 1536)]);
        assert_eq!(layout.places[2].len(), 3);
        assert_eq!(layout.places[2][0], (1, 2560));
        assert_eq!(layout.places[2][1], (2, 1024));
        assert!(layout.ends.iter().all(|end| total(*end) <= 2 * gib));
        assert_eq!(segment_bytes(5 * gib / 2, 2), gib / 2);
    }
}
