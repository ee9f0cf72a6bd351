//! Goes through one volume, entry by entry: what is read is compared with what must stand there.
//!
//! No tar is parsed. Every byte of content that is wanted is read once, and hashed in the buffer
//! that is handed on; every other byte must be the only one that is legal there. Blobs that nobody
//! wants are passed over. Damage to a blob's content is noted and the walk goes on; anything else
//! ends it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use bundle::manifest::{Blob, CHUNK_BYTES, Manifest};
use bundle::volume::{Place, padded, places, segment_bytes};
use bundle::{Refusal, open_plain};
use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};
use vocab::Digest;

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
    /// The chunks that are not set, each by its own digest.
    Chunks(Vec<bool>),
}

/// Who takes what a walk reads.
pub(super) trait Taker {
    /// Which parts of `blob` to read.
    fn wants(&mut self, blob: &Blob) -> Result<Wanted, BundleError>;
    /// An empty buffer of [`BUFFER_BYTES`].
    fn buffer(&mut self) -> Result<Vec<u8>, BundleError>;
    /// Bytes of the blob that was asked about last, and where in it they stand.
    fn bytes(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), BundleError>;
    /// The chunk whose last bytes were just given is good, or not.
    fn chunk(&mut self, index: usize, good: bool) -> Result<(), BundleError>;
    /// All that was wanted of the entry was given. A whole blob is good, or not.
    fn end(&mut self, blob: &Blob, good: bool) -> Result<(), BundleError>;
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
    if let Err(error) = fadvise(&file, 0, None, Advice::Sequential) {
        tracing::debug!(%error, "the kernel took no advice");
    }
    Ok(Some(file))
}

/// Goes through volume `index`, giving `taker` what it wants. Gives the damage that was found.
pub(super) fn walk(
    file: File,
    manifest: &Manifest,
    index: u32,
    taker: &mut dyn Taker,
    progress: &Progress,
) -> Result<Vec<Damage>, BundleError> {
    let volume = &manifest.volumes[index as usize - 1];
    let mut walk = Walk {
        name: &volume.name,
        size: volume.size,
        from: BufReader::with_capacity(BUFFER_BYTES, file),
        at: 0,
        damage: Vec::new(),
        progress,
    };
    for place in places(manifest, index) {
        progress.check()?;
        walk.header(&place)?;
        match place.blob {
            None => walk.label(&place)?,
            Some((number, segment)) => {
                walk.blob(&manifest.blobs[number], segment, &place, taker)?;
            }
        }
    }
    walk.zeros(volume.size)?;
    let file = walk.from.into_inner();
    if let Err(error) = fadvise(&file, 0, None, Advice::DontNeed) {
        tracing::debug!(%error, "the kernel took no advice");
    }
    Ok(walk.damage)
}

struct Walk<'a> {
    name: &'a str,
    size: u64,
    from: BufReader<File>,
    at: u64,
    damage: Vec<Damage>,
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

    fn skip(&mut self, count: u64) -> Result<(), BundleError> {
        // Within the buffer where it can be, so that small neighbours cost no further reads.
        let moved = match i64::try_from(count) {
            Ok(by) => self.from.seek_relative(by),
            Err(_) => self.from.seek(SeekFrom::Start(self.at + count)).map(drop),
        };
        moved.map_err(|e| self.failed(e))?;
        self.at += count;
        Ok(())
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
        let start = self.at;
        match taker.wants(blob)? {
            Wanted::Nothing => return self.skip(padded(place.size)),
            Wanted::Whole => self.whole(blob, taker)?,
            Wanted::Chunks(have) => self.chunks(blob, segment, &have, taker)?,
        }
        self.zeros(start + padded(place.size))
    }

    fn whole(&mut self, blob: &Blob, taker: &mut dyn Taker) -> Result<(), BundleError> {
        let offset = self.at;
        let mut hash = Sha256::new();
        let mut done = 0;
        while done < blob.n {
            let bytes = self.fill(blob.n - done, taker, &mut hash)?;
            let count = bytes.len() as u64;
            taker.bytes(done, bytes)?;
            done += count;
        }
        let got = Digest::from_bytes(hash.finalize().into());
        let good = got == blob.d;
        if !good {
            self.note(blob, None, offset, &got);
        }
        taker.end(blob, good)
    }

    fn chunks(
        &mut self,
        blob: &Blob,
        segment: usize,
        have: &[bool],
        taker: &mut dyn Taker,
    ) -> Result<(), BundleError> {
        let begin = segment as u64 * bundle::manifest::SEGMENT_BYTES;
        let end = begin + segment_bytes(blob.n, segment as u64);
        let mut at = begin;
        while at < end {
            let index = usize::try_from(at / CHUNK_BYTES).unwrap_or(usize::MAX);
            let size = CHUNK_BYTES.min(end - at);
            if have.get(index) == Some(&true) {
                self.skip(size)?;
            } else {
                self.chunk(blob, index, (at, size), taker)?;
            }
            at += size;
        }
        taker.end(blob, true)
    }

    fn chunk(
        &mut self,
        blob: &Blob,
        index: usize,
        (begin, size): (u64, u64),
        taker: &mut dyn Taker,
    ) -> Result<(), BundleError> {
        let offset = self.at;
        let mut hash = Sha256::new();
        let mut done = 0;
        while done < size {
            let bytes = self.fill(size - done, taker, &mut hash)?;
            let count = bytes.len() as u64;
            taker.bytes(begin + done, bytes)?;
            done += count;
        }
        let got = Digest::from_bytes(hash.finalize().into());
        let good = blob.c.get(index) == Some(&got);
        if !good {
            self.note(blob, Some(index), offset, &got);
        }
        taker.chunk(index, good)
    }

    /// Reads up to `left` bytes into a buffer of the taker's, and hashes them there.
    fn fill(
        &mut self,
        left: u64,
        taker: &mut dyn Taker,
        hash: &mut Sha256,
    ) -> Result<Vec<u8>, BundleError> {
        self.progress.check()?;
        let mut bytes = taker.buffer()?;
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        bytes.resize(most.min(BUFFER_BYTES), 0);
        self.read(&mut bytes)?;
        hash.update(&bytes);
        self.progress.moved(bytes.len() as u64);
        Ok(bytes)
    }

    fn note(&mut self, blob: &Blob, chunk: Option<usize>, offset: u64, got: &Digest) {
        let which = chunk.map_or_else(String::new, |index| {
            format!("chunk {index} of {} of ", blob.c.len())
        });
        self.damage.push(Damage {
            blob: blob.d,
            refusal_what: format!("{which}blob {} in {} at offset {offset}", blob.d, self.name),
            reason: format!("its bytes hash to {got}"),
        });
    }
}

fn tail(volume: &str, reason: String) -> BundleError {
    Refusal::Tail {
        volume: volume.to_owned(),
        reason,
    }
    .into()
}
