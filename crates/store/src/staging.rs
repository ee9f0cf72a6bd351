//! Many blobs on their way in: written one after the other, made durable together.
//!
//! A blob stands under its name only after its bytes are durable ([`Batch::settle`]). A large one
//! grows in `blobs/staging/<hex>.part`, which outlives the process so that it can be taken up
//! again. Whoever writes here has hashed exactly the bytes that it writes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, syncfs};
use vocab::Digest;

use crate::blobs::sync_dir;
use crate::{BlobError, Blobs};

/// After so many bytes the batch is made durable.
const SETTLE_BYTES: u64 = 256 << 20;
/// After so many blobs, too.
const SETTLE_BLOBS: usize = 4096;
/// Up to so many files are synced one by one; more are synced with their file system.
const SINGLY: usize = 32;
/// The disk is told to begin writing after so many bytes, so that a sync finds little to do.
const WRITE_OUT_BYTES: u64 = 8 << 20;

/// Blobs that were written and are not durable yet.
#[derive(Debug)]
pub struct Batch<'a> {
    blobs: &'a Blobs,
    waiting: Vec<(PathBuf, Digest)>,
    bytes: u64,
}

/// A file that is being filled and has no name yet.
#[derive(Debug)]
pub struct Fresh {
    file: File,
    path: PathBuf,
    at: u64,
    told: u64,
}

/// A large blob that grows in pieces, in any order, over several tries.
#[derive(Debug)]
pub struct Part {
    digest: Digest,
    file: File,
    path: PathBuf,
    since: u64,
}

impl Blobs {
    /// Begins a batch.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            blobs: self,
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Opens the unfinished blob of that digest, or begins it.
    pub fn part(&self, digest: &Digest) -> io::Result<Part> {
        let path = self.part_path(digest);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        Ok(Part {
            digest: *digest,
            file,
            path,
            since: 0,
        })
    }

    /// How many bytes of an unfinished blob are there, checked or not; a hole counts as nothing.
    #[must_use]
    pub fn part_bytes(&self, digest: &Digest) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(self.part_path(digest)).map_or(0, |meta| meta.blocks() * 512)
    }

    /// Removes every unfinished blob that `keep` does not name; how many bytes that frees.
    pub fn sweep_parts(&self, keep: &BTreeSet<Digest>) -> io::Result<u64> {
        let kept: BTreeSet<PathBuf> = keep.iter().map(|d| self.part_path(d)).collect();
        let mut freed = 0;
        for entry in fs::read_dir(self.dir.join("staging"))? {
            let entry = entry?;
            if !kept.contains(&entry.path()) {
                freed += entry.metadata()?.len();
                fs::remove_file(entry.path())?;
            }
        }
        Ok(freed)
    }

    fn part_path(&self, digest: &Digest) -> PathBuf {
        self.dir
            .join("staging")
            .join(format!("{}.part", digest.hex()))
    }
}

impl Batch<'_> {
    /// A new file to fill.
    pub fn fresh(&self) -> io::Result<Fresh> {
        let path = self.blobs.fresh_path();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Fresh {
            file,
            path,
            at: 0,
            told: 0,
        })
    }

    /// Takes a filled file whose bytes hash to `digest`.
    pub fn add(&mut self, fresh: Fresh, digest: Digest) -> io::Result<()> {
        self.bytes += fresh.at;
        let Fresh { path, .. } = fresh;
        self.waiting.push((path, digest));
        self.settle_if_due()
    }

    /// Takes a finished part whose bytes hash to its digest.
    pub fn add_part(&mut self, part: Part) -> io::Result<()> {
        self.bytes += part.since;
        let Part { path, digest, .. } = part;
        self.waiting.push((path, digest));
        self.settle_if_due()
    }

    /// Counts what was written to a part, and makes it durable when enough has come together.
    pub fn wrote(&mut self, part: &mut Part) -> io::Result<()> {
        if part.since >= SETTLE_BYTES {
            part.since = 0;
            if !self.blobs.skip_fsync {
                part.file.sync_data()?;
            }
        }
        Ok(())
    }

    fn settle_if_due(&mut self) -> io::Result<()> {
        if self.bytes >= SETTLE_BYTES || self.waiting.len() >= SETTLE_BLOBS {
            self.settle()?;
        }
        Ok(())
    }

    /// Makes everything durable: bytes first, then names, then the folders that hold the names.
    pub fn settle(&mut self) -> io::Result<()> {
        if !self.blobs.skip_fsync && !self.waiting.is_empty() {
            if self.waiting.len() <= SINGLY {
                for (path, _) in &self.waiting {
                    File::open(path)?.sync_all()?;
                }
            } else {
                syncfs(File::open(&self.blobs.dir)?)?;
            }
        }
        let mut shelves: BTreeSet<PathBuf> = BTreeSet::new();
        let all = self.blobs.dir.join("sha256");
        for (path, digest) in self.waiting.drain(..) {
            let home = self.blobs.path(&digest);
            let shelf = home.parent().expect("a blob's path has a parent");
            if !shelf.exists() {
                fs::create_dir_all(shelf)?;
                shelves.insert(all.clone());
            }
            fs::rename(path, &home)?;
            shelves.insert(shelf.to_owned());
        }
        self.bytes = 0;
        if !self.blobs.skip_fsync {
            for shelf in &shelves {
                sync_dir(shelf)?;
            }
        }
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // What was not settled was never there; a part stays for the next try.
        for (path, _) in self.waiting.drain(..) {
            if path.extension().is_none_or(|kind| kind != "part") {
                discard(&path);
            }
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a half-written blob stays until restart");
    }
}

impl Fresh {
    /// Appends.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.told >= WRITE_OUT_BYTES {
            write_out(&self.file, self.told, self.at - self.told);
            self.told = self.at;
        }
        Ok(())
    }

    /// Throws the file away.
    pub fn discard(self) {
        discard(&self.path);
    }
}

impl Part {
    /// Writes at `offset`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.since += bytes.len() as u64;
        let end = offset + bytes.len() as u64;
        if end.is_multiple_of(WRITE_OUT_BYTES) {
            write_out(&self.file, end - WRITE_OUT_BYTES, WRITE_OUT_BYTES);
        }
        Ok(())
    }

    /// Reads what was written at `offset` before; less at the end.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// How long it is so far.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Whether there are bytes at all in this range, not only a hole.
    pub fn has_data(&self, offset: u64, len: u64) -> bool {
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => at < offset + len,
            Err(rustix::io::Errno::NXIO) => false,
            // A file system that knows no holes.
            Err(_) => true,
        }
    }

    /// Cuts off what lies beyond `len`.
    pub fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// Throws the part away.
    pub fn discard(self) {
        discard(&self.path);
    }

    /// The digest that it is to have.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Reads the whole part and compares it with its digest.
    pub fn check(&self) -> Result<(), BlobError> {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            match self.read(at, &mut buffer)? {
                0 => break,
                n => {
                    hash.update(&buffer[..n]);
                    at += n as u64;
                }
            }
        }
        let got = Digest::from_bytes(hash.finalize().into());
        if got == self.digest {
            return Ok(());
        }
        Err(BlobError::Mismatch {
            expected: self.digest,
            got,
        })
    }
}

/// Has the kernel begin to write this range, and keep no more of it in memory than it must.
fn write_out(file: &File, offset: u64, len: u64) {
    let Some(len) = std::num::NonZeroU64::new(len) else {
        return;
    };
    if let Err(error) = fadvise(file, offset, Some(len), Advice::DontNeed) {
        tracing::debug!(%error, "the kernel took no advice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_there_only_once_it_is_settled_and_a_dropped_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), false).unwrap();
        let write = |batch: &mut Batch<'_>, text: &[u8]| {
            let mut fresh = batch.fresh().unwrap();
            fresh.write(text).unwrap();
            batch.add(fresh, Digest::of(text)).unwrap();
        };
        let mut batch = blobs.batch();
        for n in 0..40u8 {
            write(&mut batch, &[n]);
        }
        assert!(!blobs.has(&Digest::of(&[0])));
        batch.settle().unwrap();
        assert!((0..40u8).all(|n| blobs.check(&Digest::of(&[n])).is_ok()));
        write(&mut batch, b"lost");
        drop(batch);
        assert!(!blobs.has(&Digest::of(b"lost")));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn a_part_outlives_the_process_until_nobody_wants_it() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"onetwo");
        let blobs = Blobs::open(dir.path(), false).unwrap();
        blobs.part(&digest).unwrap().write(3, b"two").unwrap();
        let blobs = Blobs::open(dir.path(), false).unwrap();
        blobs.sweep_parts(&BTreeSet::from([digest])).unwrap();
        let mut part = blobs.part(&digest).unwrap();
        part.write(0, b"one").unwrap();
        part.check().unwrap();
        let mut batch = blobs.batch();
        batch.add_part(part).unwrap();
        batch.settle().unwrap();
        blobs.check(&digest).unwrap();
        blobs
            .part(&Digest::of(b"x"))
            .unwrap()
            .write(0, b"x")
            .unwrap();
        assert_eq!(blobs.sweep_parts(&BTreeSet::new()).unwrap(), 1);
    }

    #[test]
    fn others_cannot_enter_where_blobs_come_in() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Blobs::open(dir.path(), false).unwrap();
        for name in ["tmp", "staging"] {
            let mode = fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700, "{name}");
        }
    }
}
