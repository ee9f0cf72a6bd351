//! Reads every byte of a medium against its manifest and keeps nothing.

use bundle::manifest::Blob;
use bundle::{Refusal, Sealed, Verified};
use sha2::{Digest as _, Sha256};
use vocab::Digest;

use super::BundleError;
use super::progress::{Phase, Progress};
use super::walk::{self, BUFFER_BYTES, Buffer, Damage, Piece, Taker, Wanted};

/// Compares every volume of the medium with what was signed, byte by byte. All volumes must be
/// there.
pub fn deep(sealed: &Sealed, verified: &Verified, progress: &Progress) -> Result<(), BundleError> {
    let manifest = &verified.manifest;
    let bytes = manifest.blobs.iter().map(|blob| blob.n).sum();
    progress.reads(bytes, manifest.blobs.len() as u64);
    let mut whole = Whole {
        buffer: Buffer::new(BUFFER_BYTES),
        hash: Sha256::new(),
        damage: Vec::new(),
        large: None,
        progress,
    };
    for (volume, index) in manifest.volumes.iter().zip(1u32..) {
        progress.phase(Phase::Checking, &volume.name);
        let file = walk::open(&sealed.dir, manifest, index)?.ok_or_else(|| Refusal::NoVolume {
            volume: volume.name.clone(),
        })?;
        walk::walk(file, manifest, index, &mut whole, progress)?;
    }
    match whole.damage.first() {
        Some(first) => Err(first.refusal(whole.damage.len() - 1).into()),
        None => {
            progress.done(None);
            Ok(())
        }
    }
}

struct Whole<'a> {
    buffer: Buffer,
    /// Of the piece that is being read.
    hash: Sha256,
    damage: Vec<Damage>,
    /// The large blob that is being read: its digest, the hash so far, of how many bytes.
    large: Option<(Digest, Sha256, u64)>,
    progress: &'a Progress,
}

impl Taker for Whole<'_> {
    fn wants(&mut self, blob: &Blob) -> Result<Wanted, BundleError> {
        if blob.c.is_empty() {
            return Ok(Wanted::Whole);
        }
        if self.large.as_ref().is_none_or(|(d, ..)| *d != blob.d) {
            self.large = Some((blob.d, Sha256::new(), 0));
        }
        Ok(Wanted::Chunks(vec![0; blob.c.len()]))
    }

    fn buffer(&mut self) -> Result<Buffer, BundleError> {
        Ok(std::mem::take(&mut self.buffer))
    }

    fn bytes(&mut self, _: u64, bytes: Buffer) -> Result<(), BundleError> {
        self.hash.update(&*bytes);
        if let Some((_, hash, count)) = &mut self.large {
            hash.update(&*bytes);
            *count += bytes.len() as u64;
        }
        self.buffer = bytes;
        Ok(())
    }

    fn piece(&mut self, piece: Piece) -> Result<(), BundleError> {
        let got = Digest::from_bytes(std::mem::take(&mut self.hash).finalize().into());
        let damage = piece.damage(&got);
        if damage.is_some() {
            self.large = None;
        }
        self.damage.extend(damage);
        Ok(())
    }

    fn end(&mut self, blob: &Blob) -> Result<(), BundleError> {
        if let Some((digest, hash, count)) = self.large.take() {
            if count < blob.n {
                self.large = Some((digest, hash, count));
                return Ok(());
            }
            if Digest::from_bytes(hash.finalize().into()) != blob.d {
                return Err(Refusal::Hash {
                    what: format!("blob {}", blob.d),
                    reason: "its chunks are those of the manifest, the whole is not".to_owned(),
                }
                .into());
            }
        }
        self.progress.finished_blob();
        Ok(())
    }
}
