//! A blob on its way in: what of it is here, and whether that is good.

use bundle::manifest::{Blob, CHUNK_BYTES};
use sha2::{Digest as _, Sha256};
use store::{Blobs, Part};
use vocab::Digest;

use super::super::BundleError;
use super::super::progress::Progress;
use super::super::walk::{BUFFER_BYTES, Damage, Piece};
use super::failed;
use super::hashing::Hashing;

/// The writing side of a blob.
pub(super) struct Growing {
    pub(super) digest: Digest,
    /// The file, once it is open.
    pub(super) part: Option<Part>,
    size: u64,
    /// Which pieces are good, or will be if the whole is.
    have: Vec<bool>,
    /// Pieces that only the whole's hash tells of.
    untold: Vec<Piece>,
}

/// What an earlier try left of a blob.
pub(super) struct Found {
    /// Bytes at the beginning of each chunk. Those of a whole one are good; those of another are
    /// not known to be.
    pub(super) have: Vec<u64>,
    /// The hash of the chunk's beginning that is not known to be good.
    pub(super) hash: Option<Sha256>,
}

/// Opens what is there of `blob` and looks which chunks of it are good: our own file is read,
/// never the medium.
pub(super) fn open(
    blobs: &Blobs,
    blob: &Blob,
    progress: &Progress,
) -> Result<(Found, Hashing, Growing), BundleError> {
    let io = failed(blobs);
    let part = blobs.part(&blob.d).map_err(&io)?;
    let mut len = part.len().map_err(&io)?;
    if len > blob.n {
        part.truncate(blob.n).map_err(&io)?;
        len = blob.n;
    }
    let mut hashing = Hashing::new(blob);
    let mut growing = Growing::new(blob);
    let mut found = Found {
        have: vec![0; growing.have.len()],
        hash: None,
    };
    let mut buffer = Vec::new();
    for (index, (begin, size)) in chunks(blob.n).enumerate() {
        let mut there = size.min(len.saturating_sub(begin));
        if there < size {
            // Where a buffer ended, so that the next can go past the kernel's cache again.
            there -= there % BUFFER_BYTES as u64;
        }
        if there == 0 || !part.has_data(begin, there) {
            continue;
        }
        buffer.resize(BUFFER_BYTES, 0);
        let mut chunk = Sha256::new();
        let before = (hashing.hashed == begin).then(|| hashing.whole.clone());
        let mut done = 0;
        while done < there {
            progress.check()?;
            let most = usize::try_from(there - done).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            let n = part.read(begin + done, &mut buffer[..most]).map_err(&io)?;
            if n == 0 {
                break;
            }
            chunk.update(&buffer[..n]);
            if before.is_some() {
                hashing.whole.update(&buffer[..n]);
            }
            done += n as u64;
        }
        let expected = blob.c.get(index).unwrap_or(&blob.d);
        let whole = done == size;
        if whole && Digest::from_bytes(chunk.clone().finalize().into()) == *expected {
            growing.have[index] = true;
        } else if whole || done == 0 {
            // It rotted, or a power cut left a hole: all of it is read again.
            if let Some(before) = before {
                hashing.whole = before;
            }
            continue;
        } else {
            found.hash = Some(chunk);
        }
        found.have[index] = done;
        if before.is_some() {
            hashing.hashed = begin + done;
        }
    }
    growing.part = Some(part);
    Ok((found, hashing, growing))
}

/// Where the chunks of so many bytes begin, and how long each is.
fn chunks(size: u64) -> impl Iterator<Item = (u64, u64)> {
    let count = size.div_ceil(CHUNK_BYTES).max(1);
    (0..count).map(move |index| {
        let begin = index * CHUNK_BYTES;
        (begin, CHUNK_BYTES.min(size - begin))
    })
}

impl Growing {
    /// Nothing of `blob` yet.
    pub(super) fn new(blob: &Blob) -> Self {
        Self {
            digest: blob.d,
            part: None,
            size: blob.n,
            have: vec![false; blob.c.len().max(1)],
            untold: Vec::new(),
        }
    }

    /// Notes the last piece, whose bytes hash to `got`; what is wrong with it.
    pub(super) fn judged(&mut self, piece: Piece, got: Option<Digest>) -> Option<Damage> {
        let index = piece.index();
        let damage = got.and_then(|got| piece.damage(&got));
        self.have[index] = damage.is_none();
        if got.is_none() {
            self.untold.push(piece);
        }
        damage
    }

    /// The last piece is not good.
    pub(super) fn again(&mut self, piece: &Piece) {
        self.have[piece.index()] = false;
    }

    /// Whether every piece is here and may be good.
    pub(super) fn is_complete(&self) -> bool {
        self.have.iter().all(|have| *have)
    }

    /// Whether a part of it is worth keeping when not all of it is good.
    pub(super) fn has_chunks(&self) -> bool {
        self.have.len() > 1
    }

    /// The pieces that are wrong, once the whole was found to be.
    pub(super) fn wrong(&mut self) -> std::io::Result<Vec<Damage>> {
        let mut damage = Vec::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let places: Vec<(u64, u64)> = chunks(self.size).collect();
        for piece in std::mem::take(&mut self.untold) {
            let index = piece.index();
            let (begin, size) = places[index];
            let mut hash = Sha256::new();
            let mut done = 0;
            while let Some(part) = &self.part
                && done < size
            {
                let most = usize::try_from(size - done).unwrap_or(usize::MAX);
                let most = most.min(buffer.len());
                let n = part.read(begin + done, &mut buffer[..most])?;
                if n == 0 {
                    break;
                }
                hash.update(&buffer[..n]);
                done += n as u64;
            }
            let bad = piece.damage(&Digest::from_bytes(hash.finalize().into()));
            self.have[index] = bad.is_none();
            damage.extend(bad);
        }
        Ok(damage)
    }
}
