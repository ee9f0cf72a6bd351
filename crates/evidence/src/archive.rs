//! The container of an export: plain ustar in the one way that this format allows.
//!
//! Written in one pass, since what is signed about it comes last. Read by seeking, never unpacked.
//! Invariant: the bytes of an archive are a function of its files; any other byte is refused.
//! Source: docs/audit.md, "The file"; POSIX.1-2017 pax, "ustar interchange format".

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

const BLOCK: usize = 512;
/// Most files of an archive.
pub const FILES_MAX: usize = 200_000;
/// Largest file of an archive: what the size field can say.
const SIZE_MAX: u64 = 0o77_777_777_777;

/// Where one file of an archive stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Where its bytes begin in the archive.
    pub offset: u64,
    /// How many there are.
    pub size: u64,
}

/// What was written: a file's name, size and digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// Whether a file of an archive may be called so.
#[must_use]
pub fn good_name(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"._-/".contains(&b);
    let parts = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.len() <= 99 && name.bytes().all(letters) && name.split('/').all(parts)
}

fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
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
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// Writes an archive. Keeps names and digests, never contents.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    files: Vec<Written>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    name: String,
    size: u64,
    left: u64,
    hash: Sha256,
}

impl<W: Write> Writer<W> {
    /// An empty archive.
    pub fn new(out: W) -> Self {
        Self {
            out,
            files: Vec::new(),
            open: None,
        }
    }

    /// Adds a whole file.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.begin(name, bytes.len() as u64)?;
        self.put(bytes)?;
        self.end()
    }

    /// Begins a file of exactly `size` bytes.
    pub fn begin(&mut self, name: &str, size: u64) -> io::Result<()> {
        if !good_name(name) || size > SIZE_MAX || self.open.is_some() {
            return Err(io::Error::other(format!(
                "{name} cannot stand in an export"
            )));
        }
        if self.files.len() >= FILES_MAX {
            return Err(io::Error::other(
                "an export of so many files; take a shorter time",
            ));
        }
        self.out.write_all(&header(name, size))?;
        self.open = Some(Open {
            name: name.to_owned(),
            size,
            left: size,
            hash: Sha256::new(),
        });
        Ok(())
    }

    /// Adds bytes to the file that was begun.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let open = self
            .open
            .as_mut()
            .filter(|open| open.left >= bytes.len() as u64);
        let open = open.ok_or_else(|| io::Error::other("more bytes than were announced"))?;
        open.left -= bytes.len() as u64;
        open.hash.update(bytes);
        self.out.write_all(bytes)
    }

    /// Ends the file that was begun.
    pub fn end(&mut self) -> io::Result<()> {
        let open = self.open.take().filter(|open| open.left == 0);
        let open = open.ok_or_else(|| io::Error::other("fewer bytes than were announced"))?;
        self.out.write_all(&[0; BLOCK][..padding(open.size)])?;
        self.files.push(Written {
            name: open.name,
            size: open.size,
            sha256: open.hash.finalize().into(),
        });
        Ok(())
    }

    /// What was written so far.
    #[must_use]
    pub fn files(&self) -> &[Written] {
        &self.files
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// What is wrong with an archive, and at which byte.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("cannot read the export")]
    Io(#[from] io::Error),
    /// The bytes are not what this format allows.
    #[error("byte {offset} of the export: {what}")]
    Shape {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

fn wrong<T>(offset: u64, what: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError::Shape {
        offset,
        what: what.into(),
    })
}

/// Opens a regular file; none where there is something else. What it is, is asked before it is
/// opened: to open a pipe is to wait until somebody writes into it.
pub(crate) fn regular(path: &Path) -> io::Result<Option<File>> {
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Lists the files of an archive of `length` bytes without reading their contents.
pub fn list<R: Read + Seek>(from: &mut R, length: u64) -> Result<Vec<Place>, ArchiveError> {
    let mut places: Vec<Place> = Vec::new();
    let mut at = 0;
    loop {
        let mut block = [0; BLOCK];
        if at + BLOCK as u64 > length {
            return wrong(at, "it ends here and should go on");
        }
        from.seek(SeekFrom::Start(at))?;
        from.read_exact(&mut block)?;
        if block == [0; BLOCK] {
            let mut last = [0; BLOCK];
            if at + 2 * BLOCK as u64 != length {
                return wrong(at, "this should be its end, and it is not");
            }
            from.read_exact(&mut last)?;
            return match last == [0; BLOCK] {
                true => Ok(places),
                false => wrong(at + BLOCK as u64, "its end is not empty"),
            };
        }
        let place = entry(&block, at)?;
        if places.len() >= FILES_MAX {
            return wrong(at, "it has too many files");
        }
        let end = place.offset + place.size;
        let pad = padding(place.size);
        if end + pad as u64 > length {
            return wrong(at, format!("{} goes beyond its end", place.name));
        }
        let mut rest = [0; BLOCK];
        from.seek(SeekFrom::Start(end))?;
        from.read_exact(&mut rest[..pad])?;
        if rest != [0; BLOCK] {
            return wrong(
                end,
                format!("the padding after {} is not empty", place.name),
            );
        }
        at = end + pad as u64;
        places.push(place);
    }
}

fn entry(block: &[u8; BLOCK], at: u64) -> Result<Place, ArchiveError> {
    let text = |range: std::ops::Range<usize>| {
        let bytes = block[range].split(|b| *b == 0).next().unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default().to_owned()
    };
    let name = text(0..100);
    let size = u64::from_str_radix(&text(124..136), 8).unwrap_or(u64::MAX);
    if !good_name(&name) || size > SIZE_MAX || *block != header(&name, size) {
        return wrong(
            at,
            "this is no header of a file, as this format writes them",
        );
    }
    Ok(Place {
        name,
        offset: at + BLOCK as u64,
        size,
    })
}

/// A reader of the bytes of one file of an archive.
pub fn reader<'a, R: Read + Seek>(
    from: &'a mut R,
    place: &Place,
) -> io::Result<impl Read + use<'a, R>> {
    from.seek(SeekFrom::Start(place.offset))?;
    Ok(from.take(place.size))
}

/// The bytes of one file of an archive, at most `most`.
pub fn content<R: Read + Seek>(
    from: &mut R,
    place: &Place,
    most: u64,
) -> Result<Vec<u8>, ArchiveError> {
    if place.size > most {
        let words = format!(
            "{} has {} bytes, and at most {most} are read",
            place.name, place.size
        );
        return wrong(place.offset, words);
    }
    let mut bytes = Vec::new();
    reader(from, place)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
