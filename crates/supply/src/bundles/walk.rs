//! Goes through one volume, entry by entry: what is read is compared with what must stand there.
//!
//! No tar is parsed. Every byte of content that is wanted is read once, into the buffer that is
//! handed on to be hashed and written; every other byte must be the only one that is legal there. Entries that nobody
//! wants are passed over unread. Damage to a blob's content is the taker's to note; anything else ends
//! the walk.

mod source;

use std::fs::File;
use std::io;
use std::path::Path;

use bundle::manifest::{Blob, CHUNK_BYTES, Manifest};
use bundle::volume::{BLOCK, Place, padded, places, segment_bytes};
use bundle::{Refusal, open_plain};
use vocab::Digest;

pub(super) use self::source::Buffer;
use self::source::Source;
use super::BundleError;
use super::progress::Progress;

/// What is read at once.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// Which parts of a blob are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// It is here already.
    Nothing,
    /// All of it; its own digest is checked.
    Whole,
    /// Of each chunk what lies beyond so many bytes, which are here; each chunk has a digest of its
    /// own.
    Chunks(Vec<u64>),
}

/// Who takes what a walk reads.
pub(super) trait Taker {
    /// Whether what is taken goes to the disk that it is read from. One disk that does both does
    /// so faster in the order that the kernel's cache makes of it.
    fn shares_disk(&self) -> bool {
        false
    }
    /// Which parts of `blob` to read.
    fn wants(&mut self, blob: &Blob) -> Result<Wanted, BundleError>;
    /// A buffer with room for [`BUFFER_BYTES`], whatever is in it.
    fn buffer(&mut self) -> Result<Buffer, BundleError>;
    /// Bytes of the blob that was asked about last, and where in it they stand.
    fn bytes(&mut self, offset: u64, bytes: Buffer) -> Result<(), BundleError>;
    /// The bytes of a chunk that are here already belong to the piece that comes.
    fn resume(&mut self) -> Result<(), BundleError> {
        Ok(())
    }
    /// The bytes since the last piece are this one; its digest is to be compared.
    fn piece(&mut self, piece: Piece) -> Result<(), BundleError>;
    /// As `piece`, after `resume`: whether the digest is right. If not, the whole piece is read,
    /// because what was here may be what is wrong.
    fn resumed(&mut self, piece: Piece) -> Result<bool, BundleError> {
        self.piece(piece).map(|()| true)
    }
    /// All that was wanted of the entry was given.
    fn end(&mut self, blob: &Blob) -> Result<(), BundleError>;
}

/// What has a digest of its own: a blob of one chunk, or one chunk of a larger blob.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) blob: Digest,
    /// Its number, and of how many.
    pub(super) chunk: Option<(usize, usize)>,
    pub(super) expected: Digest,
    pub(super) volume: String,
    pub(super) offset: u64,
}

impl Piece {
    /// Its number; a blob of one chunk is number 0.
    pub(super) fn index(&self) -> usize {
        self.chunk.map_or(0, |(index, _)| index)
    }

    /// What is wrong when its bytes hash to something else.
    pub(super) fn damage(&self, got: &Digest) -> Option<Damage> {
        if *got == self.expected {
            return None;
        }
        let which = self.chunk.map_or_else(String::new, |(index, of)| {
            format!("chunk {index} of {of} of ")
        });
        let (blob, volume, offset) = (self.blob, &self.volume, self.offset);
        Some(Damage {
            blob,
            refusal_what: format!("{which}blob {blob} in {volume} at offset {offset}"),
            reason: format!("its bytes hash to {got}"),
        })
    }
}

/// A blob whose bytes on the medium are not its own.
#[derive(Clone, Debug)]
pub(super) struct Damage {
    pub(super) blob: Digest,
    pub(super) refusal_what: String,
    pub(super) reason: String,
}

impl Damage {
    pub(super) fn refusal(&self, more: usize) -> Refusal {
        let more = match more {
            0 => String::new(),
            n => format!(" (and {n} more places)"),
        };
        Refusal::Hash {
            what: format!("{}{more}", self.refusal_what),
            reason: self.reason.clone(),
        }
    }
}

/// Opens volume `index` (from 1) in `dir`; `None` when it is not there.
pub(super) fn open(
    dir: &Path,
    manifest: &Manifest,
    index: u32,
) -> Result<Option<File>, BundleError> {
    let volume = &manifest.volumes[index as usize - 1];
    let file = match open_plain(&dir.join(&volume.name)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let what = volume.name.clone();
            return Err(Refusal::Medium { what, source }.into());
        }
    };
    let size = file
        .metadata()
        .map_err(|source| BundleError::Pulled {
            what: volume.name.clone(),
            source,
        })?
        .len();
    if size != volume.size {
        let reason = if size < volume.size {
            format!("ends after {size} of {} bytes; copy it again", volume.size)
        } else {
            format!("goes on for {size} bytes, and ends at {}", volume.size)
        };
        return Err(tail(&volume.name, reason));
    }
    Ok(Some(file))
}

/// Goes through volume `index`, giving `taker` what it wants.
pub(super) fn walk(
    file: File,
    manifest: &Manifest,
    index: u32,
    taker: &mut dyn Taker,
    progress: &Progress,
) -> Result<(), BundleError> {
    let volume = &manifest.volumes[index as usize - 1];
    let mut walk = Walk {
        name: &volume.name,
        size: volume.size,
        from: Source::new(file, taker.shares_disk()),
        at: 0,
        progress,
    };
    for place in places(manifest, index) {
        progress.check()?;
        match place.blob {
            None => walk.label(&place)?,
            Some((number, segment)) => {
                walk.blob(&manifest.blobs[number], segment, &place, taker)?;
            }
        }
    }
    walk.zeros(volume.size)
}

struct Walk<'a> {
    name: &'a str,
    size: u64,
    from: Source,
    at: u64,
    progress: &'a Progress,
}

impl Walk<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), BundleError> {
        self.from.read_exact(buffer).map_err(|e| self.failed(e))?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> BundleError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return tail(
                self.name,
                format!("ended while it was read, of {} bytes", self.size),
            );
        }
        BundleError::Pulled {
            what: self.name.to_owned(),
            source,
        }
    }

    fn skip(&mut self, count: u64) {
        self.at += count;
        self.from.go_to(self.at);
    }

    fn wrong_header(&self, offset: u64) -> BundleError {
        Refusal::Header {
            volume: self.name.to_owned(),
            offset,
        }
        .into()
    }

    fn header(&mut self, place: &Place) -> Result<(), BundleError> {
        debug_assert_eq!(self.at, place.offset, "the manifest was checked");
        let mut block = [0; 512];
        self.read(&mut block)?;
        if block == place.header {
            return Ok(());
        }
        Err(self.wrong_header(place.offset))
    }

    fn label(&mut self, place: &Place) -> Result<(), BundleError> {
        self.header(place)?;
        let expected = place.content.as_deref().unwrap_or_default();
        let mut found = vec![0; expected.len()];
        let at = self.at;
        self.read(&mut found)?;
        if found != expected {
            return Err(self.wrong_header(at));
        }
        self.zeros(at + padded(place.size))
    }

    /// Reads on to `end`, which only zeros may lead to.
    fn zeros(&mut self, end: u64) -> Result<(), BundleError> {
        let mut buffer = [0; 4096];
        while self.at < end {
            let most = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            let part = &mut buffer[..most.min(4096)];
            let at = self.at;
            self.from.read_exact(part).map_err(|e| self.failed(e))?;
            if let Some(wrong) = part.iter().position(|b| *b != 0) {
                let reason = format!(
                    "has bytes at offset {}, where only zeros may be",
                    at + wrong as u64
                );
                return Err(tail(self.name, reason));
            }
            self.at += most.min(4096) as u64;
        }
        Ok(())
    }

    fn blob(
        &mut self,
        blob: &Blob,
        segment: usize,
        place: &Place,
        taker: &mut dyn Taker,
    ) -> Result<(), BundleError> {
        let wanted = taker.wants(blob)?;
        if wanted == Wanted::Nothing {
            self.skip(BLOCK + padded(place.size));
            return Ok(());
        }
        self.header(place)?;
        let start = self.at;
        match wanted {
            Wanted::Nothing => {}
            Wanted::Whole => self.whole(blob, taker)?,
            Wanted::Chunks(have) => self.chunks(blob, segment, &have, taker)?,
        }
        self.zeros(start + padded(place.size))
    }

    fn whole(&mut self, blob: &Blob, taker: &mut dyn Taker) -> Result<(), BundleError> {
        self.bytes(0, blob.n, taker)?;
        taker.piece(self.read_piece(blob, 0, blob.n))?;
        taker.end(blob)
    }

    fn chunks(
        &mut self,
        blob: &Blob,
        segment: usize,
        have: &[u64],
        taker: &mut dyn Taker,
    ) -> Result<(), BundleError> {
        let begin = segment as u64 * bundle::manifest::SEGMENT_BYTES;
        let end = begin + segment_bytes(blob.n, segment as u64);
        let mut at = begin;
        while at < end {
            let index = usize::try_from(at / CHUNK_BYTES).unwrap_or(usize::MAX);
            let size = CHUNK_BYTES.min(end - at);
            let kept = have.get(index).map_or(0, |kept| size.min(*kept));
            self.skip(kept);
            if kept < size {
                self.chunk(blob, (index, at), (kept, size), taker)?;
            }
            at += size;
        }
        taker.end(blob)
    }

    /// Reads chunk `index`, which begins at `begin` of the blob, but for the `kept` bytes that are
    /// here and were passed over.
    fn chunk(
        &mut self,
        blob: &Blob,
        (index, begin): (usize, u64),
        (kept, size): (u64, u64),
        taker: &mut dyn Taker,
    ) -> Result<(), BundleError> {
        if kept > 0 {
            taker.resume()?;
            self.bytes(begin + kept, size - kept, taker)?;
            if taker.resumed(self.read_piece(blob, index, size))? {
                return Ok(());
            }
            self.at -= size;
            self.from.go_to(self.at);
        }
        self.bytes(begin, size, taker)?;
        taker.piece(self.read_piece(blob, index, size))
    }

    /// The piece of `size` bytes whose end was read just now.
    fn read_piece(&self, blob: &Blob, index: usize, size: u64) -> Piece {
        let chunk = (!blob.c.is_empty()).then_some((index, blob.c.len()));
        Piece {
            blob: blob.d,
            chunk,
            expected: *blob.c.get(index).unwrap_or(&blob.d),
            volume: self.name.to_owned(),
            offset: self.at - size,
        }
    }

    /// Hands on `size` bytes that stand at `begin` of the blob.
    fn bytes(&mut self, begin: u64, size: u64, taker: &mut dyn Taker) -> Result<(), BundleError> {
        let mut done = 0;
        while done < size {
            let bytes = self.fill(size - done, taker)?;
            let count = bytes.len() as u64;
            taker.bytes(begin + done, bytes)?;
            done += count;
        }
        Ok(())
    }

    /// Reads up to `left` bytes into a buffer of the taker's.
    fn fill(&mut self, left: u64, taker: &mut dyn Taker) -> Result<Buffer, BundleError> {
        self.progress.check()?;
        let mut bytes = taker.buffer()?;
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        bytes.set_len(most.min(BUFFER_BYTES));
        self.read(&mut bytes)?;
        self.progress.moved(bytes.len() as u64);
        Ok(bytes)
    }
}

fn tail(volume: &str, reason: String) -> BundleError {
    Refusal::Tail {
        volume: volume.to_owned(),
        reason,
    }
    .into()
}
