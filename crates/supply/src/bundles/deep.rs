//! Reads every byte of a medium against its manifest and keeps nothing.

use bundle::manifest::Blob;
use bundle::{Refusal, Sealed, Verified};
use sha2::{Digest as _, Sha256};
use vocab::Digest;

use super::BundleError;
use super::progress::{Phase, Progress};
use super::walk::{self, BUFFER_BYTES, Damage, Taker, Wanted};

/// Compares every volume of the medium with what was signed, byte by byte. All volumes must be
/// there.
pub fn deep(sealed: &Sealed, verified: &Verified, progress: &Progress) -> Result<(), BundleError> {
    let manifest = &verified.manifest;
    let bytes = manifest.blobs.iter().map(|blob| blob.n).sum();
    progress.reads(bytes, manifest.blobs.len() as u64);
    let mut whole = Whole {
        buffer: Vec::with_capacity(BUFFER_BYTES),
        large: None,
        progress,
    };
    let mut damage: Vec<Damage> = Vec::new();
    for (volume, index) in manifest.volumes.iter().zip(1u32..) {
        progress.phase(Phase::Checking, &volume.name);
        let file = walk::open(&sealed.dir, manifest, index)?.ok_or_else(|| Refusal::NoVolume {
            volume: volume.name.clone(),
        })?;
        damage.extend(walk::walk(file, manifest, index, &mut whole, progress)?);
    }
    match damage.first() {
        Some(first) => Err(first.refusal(damage.len() - 1).into()),
        None => {
            progress.done(None);
            Ok(())
        }
    }
}

struct Whole<'a> {
    buffer: Vec<u8>,
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
        Ok(Wanted::Chunks(vec![false; blob.c.len()]))
    }

    fn buffer(&mut self) -> Result<Vec<u8>, BundleError> {
        Ok(std::mem::take(&mut self.buffer))
    }

    fn bytes(&mut self, _: u64, mut bytes: Vec<u8>) -> Result<(), BundleError> {
        if let Some((_, hash, count)) = &mut self.large {
            hash.update(&bytes);
            *count += bytes.len() as u64;
        }
        bytes.clear();
        self.buffer = bytes;
        Ok(())
    }

    fn chunk(&mut self, _: usize, good: bool) -> Result<(), BundleError> {
        if !good {
            self.large = None;
        }
        Ok(())
    }

    fn end(&mut self, blob: &Blob, _: bool) -> Result<(), BundleError> {
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
