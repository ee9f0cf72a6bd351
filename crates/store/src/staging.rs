//! Many blobs on their way in: written one after the other, made durable together.
//!
//! A blob stands under its name only after its bytes are durable ([`Unsettled::settle`]). Until
//! then it grows in `blobs/staging/<hex>.part`, which outlives the process so that it can be taken
//! up again. Whoever writes here has hashed exactly the bytes that it writes; whoever takes up a
//! part hashes it first, because nothing says which of its bytes reached the disk.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags, fadvise, syncfs};
use vocab::Digest;

use crate::blobs::sync_dir;
use crate::{BlobError, Blobs};

/// After so many bytes the batch is to be made durable: no more than twice as much, and what was
/// given meanwhile, is read again after a power cut.
const SETTLE_BYTES: u64 = 32 << 20;
/// After so many blobs, too.
const SETTLE_BLOBS: usize = 4096;
/// Up to so many files are synced one by one; more are synced with their file system.
const SINGLY: usize = 32;
/// The disk is told to begin writing after so many bytes, so that a sync finds little to do.
const WRITE_OUT_BYTES: u64 = 8 << 20;
/// So many bytes or more are written past the kernel's cache, where the file system can: nothing
/// is copied, no other file's pages make room, and a sync finds nothing to do.
const DIRECT_BYTES: usize = 256 << 10;
/// What place in the file and in memory must be a multiple of for that.
const PAGE: usize = 4096;

/// Blobs that were written and are not durable yet.
#[derive(Debug)]
pub struct Batch<'a> {
    blobs: &'a Blobs,
    waiting: Unsettled<'a>,
    bytes: u64,
}

/// What is to be made durable, on whichever thread. Dropped, its blobs stay parts.
#[derive(Debug)]
#[must_use]
pub struct Unsettled<'a> {
    blobs: &'a Blobs,
    whole: Vec<(PathBuf, Digest)>,
    growing: Option<File>,
}

/// A blob that grows in pieces, in any order, over several tries.
#[derive(Debug)]
pub struct Part {
    digest: Digest,
    file: File,
    direct: Direct,
    path: PathBuf,
    since: u64,
    /// The bytes that were written in a row and that the disk was not told of: from, to.
    run: (u64, u64),
}

/// The same file, past the kernel's cache.
#[derive(Debug)]
enum Direct {
    Untried,
    Open(File),
    Impossible,
}

impl Blobs {
    /// Begins a batch.
    #[must_use]
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            blobs: self,
            waiting: Unsettled::none(self),
            bytes: 0,
        }
    }

    /// Opens the unfinished blob of that digest, or begins it.
    pub fn part(&self, digest: &Digest) -> io::Result<Part> {
        self.open_part(digest, false)
    }

    /// Begins the blob of that digest, whatever was there of it.
    pub fn new_part(&self, digest: &Digest) -> io::Result<Part> {
        self.open_part(digest, true)
    }

    fn open_part(&self, digest: &Digest, anew: bool) -> io::Result<Part> {
        let path = self.part_path(digest);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(anew)
            .open(&path)?;
        Ok(Part {
            digest: *digest,
            file,
            direct: Direct::Untried,
            path,
            since: 0,
            run: (0, 0),
        })
    }

    /// Every unfinished blob.
    pub fn parts(&self) -> io::Result<BTreeSet<Digest>> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(self.dir.join("staging"))? {
            let name = entry?.file_name();
            let hex = name.to_str().and_then(|name| name.strip_suffix(".part"));
            let digest = hex.map(|hex| format!("sha256:{hex}").parse());
            if let Some(Ok(digest)) = digest {
                found.insert(digest);
            }
        }
        Ok(found)
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

impl<'a> Batch<'a> {
    /// Takes a finished part whose bytes hash to its digest.
    pub fn add(&mut self, part: Part) {
        self.bytes += part.since;
        let Part { path, digest, .. } = part;
        self.waiting.whole.push((path, digest));
    }

    /// Counts what was written to a part that is not finished.
    pub fn wrote(&mut self, part: &mut Part) -> io::Result<()> {
        if part.since >= SETTLE_BYTES {
            self.bytes += std::mem::take(&mut part.since);
            self.waiting.growing = Some(part.file.try_clone()?);
        }
        Ok(())
    }

    /// What is to be settled now, once enough has come together.
    pub fn due(&mut self) -> Option<Unsettled<'a>> {
        let due = self.bytes >= SETTLE_BYTES || self.waiting.whole.len() >= SETTLE_BLOBS;
        due.then(|| self.rest())
    }

    /// All that is not settled.
    pub fn rest(&mut self) -> Unsettled<'a> {
        self.bytes = 0;
        std::mem::replace(&mut self.waiting, Unsettled::none(self.blobs))
    }
}

impl<'a> Unsettled<'a> {
    fn none(blobs: &'a Blobs) -> Self {
        Self {
            blobs,
            whole: Vec::new(),
            growing: None,
        }
    }

    /// Makes everything durable: bytes first, then names, then the folders that hold the names.
    pub fn settle(self) -> io::Result<()> {
        if !self.blobs.skip_fsync {
            self.sync()?;
        }
        let mut shelves: BTreeSet<PathBuf> = BTreeSet::new();
        let all = self.blobs.dir.join("sha256");
        for (path, digest) in self.whole {
            let home = self.blobs.path(&digest);
            let shelf = home.parent().expect("a blob's path has a parent");
            if !shelf.exists() {
                fs::create_dir_all(shelf)?;
                shelves.insert(all.clone());
            }
            fs::rename(path, &home)?;
            shelves.insert(shelf.to_owned());
        }
        if !self.blobs.skip_fsync {
            for shelf in &shelves {
                sync_dir(shelf)?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(file) = &self.growing {
            file.sync_data()?;
        }
        if self.whole.len() > SINGLY {
            syncfs(File::open(&self.blobs.dir)?)?;
            return Ok(());
        }
        let mut files = Vec::new();
        for (path, _) in &self.whole {
            let file = File::open(path)?;
            write_out(&file, 0, file.metadata()?.len());
            files.push(file);
        }
        files.iter().try_for_each(File::sync_all)
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a half-written blob stays until it is swept");
    }
}

impl Part {
    /// Writes at `offset`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let done = self.write_direct(offset, bytes)?;
        self.since += bytes.len() as u64;
        let (bytes, offset) = (&bytes[done..], offset + done as u64);
        self.file.write_all_at(bytes, offset)?;
        let end = offset + bytes.len() as u64;
        let from = if self.run.1 == offset {
            self.run.0
        } else {
            offset
        };
        self.run = (from, end);
        if end - from >= WRITE_OUT_BYTES {
            write_out(&self.file, from, end - from);
            self.run = (end, end);
        }
        Ok(())
    }

    /// Has everything go through the kernel's cache.
    pub fn through_cache(&mut self) {
        self.direct = Direct::Impossible;
    }

    /// Writes what it can of `bytes` past the kernel's cache; how much that is.
    fn write_direct(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len() / PAGE * PAGE;
        let fits = offset.is_multiple_of(PAGE as u64) && bytes.as_ptr().align_offset(PAGE) == 0;
        if whole < DIRECT_BYTES || !fits {
            return Ok(0);
        }
        if let Direct::Untried = self.direct {
            let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.direct = match rustix::fs::open(&self.path, flags, Mode::empty()) {
                Ok(file) => Direct::Open(file.into()),
                Err(_) => Direct::Impossible,
            };
        }
        let Direct::Open(file) = &self.direct else {
            return Ok(0);
        };
        match file.write_all_at(&bytes[..whole], offset) {
            Ok(()) => Ok(whole),
            // Its blocks are larger than a page.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.direct = Direct::Impossible;
                Ok(0)
            }
            Err(e) => Err(e),
        }
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

    fn written(blobs: &Blobs, bytes: &[u8]) -> Part {
        let mut part = blobs.new_part(&Digest::of(bytes)).unwrap();
        part.write(0, bytes).unwrap();
        part
    }

    #[test]
    fn a_batch_is_there_only_once_it_is_settled_and_stays_a_part_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), false).unwrap();
        let mut batch = blobs.batch();
        for n in 0..40u8 {
            batch.add(written(&blobs, &[n]));
        }
        assert!(!blobs.has(&Digest::of(&[0])));
        batch.rest().settle().unwrap();
        assert!((0..40u8).all(|n| blobs.check(&Digest::of(&[n])).is_ok()));
        assert!(blobs.parts().unwrap().is_empty());
        batch.add(written(&blobs, b"later"));
        drop(batch);
        let later = Digest::of(b"later");
        assert!(!blobs.has(&later));
        let blobs = Blobs::open(dir.path(), false).unwrap();
        assert_eq!(blobs.parts().unwrap(), BTreeSet::from([later]));
        blobs.part(&later).unwrap().check().unwrap();
    }

    #[test]
    fn a_batch_is_due_after_so_many_bytes_of_whole_and_of_growing_blobs() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), true).unwrap();
        let mut batch = blobs.batch();
        let piece = vec![7; 1 << 20];
        let mut part = blobs.part(&Digest::of(b"large")).unwrap();
        let mut due = 0;
        let pieces = (4 * SETTLE_BYTES) >> 20;
        for n in 0..pieces {
            part.write(n << 20, &piece).unwrap();
            batch.wrote(&mut part).unwrap();
            due += usize::from(batch.due().is_some());
        }
        assert_eq!(due, 4);
        batch.add(part);
        assert!(batch.due().is_none());
        for n in 0..SETTLE_BYTES >> 16 {
            let mut bytes = vec![1; 1 << 16];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            batch.add(written(&blobs, &bytes));
        }
        let unsettled = batch.due().unwrap();
        unsettled.settle().unwrap();
        assert!(blobs.has(&Digest::of(b"large")));
        assert!(batch.due().is_none());
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
        batch.add(part);
        batch.rest().settle().unwrap();
        blobs.check(&digest).unwrap();
        drop(written(&blobs, b"x"));
        assert_eq!(blobs.sweep_parts(&BTreeSet::new()).unwrap(), 1);
        // Begun anew, nothing of an earlier try is in it.
        drop(written(&blobs, b"x"));
        assert!(
            blobs
                .new_part(&Digest::of(b"x"))
                .unwrap()
                .is_empty()
                .unwrap()
        );
    }

    #[test]
    fn what_goes_past_the_cache_and_what_goes_through_it_make_one_blob() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), false).unwrap();
        let mut memory = vec![0; (3 << 20) + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        let bytes = &mut memory[start..start + (2 << 20) + 777];
        for (byte, n) in bytes.iter_mut().zip(0u32..) {
            *byte = n.wrapping_mul(2_654_435_761).to_be_bytes()[0];
        }
        let digest = Digest::of(bytes);
        let mut part = blobs.new_part(&digest).unwrap();
        // Aligned with a tail; at no page; small; over what is there.
        part.write(1 << 20, &bytes[1 << 20..]).unwrap();
        part.write(0, &bytes[..500_000]).unwrap();
        part.write(500_000, &bytes[500_000..1 << 20]).unwrap();
        part.write(0, &bytes[..300_000]).unwrap();
        part.check().unwrap();
        let mut batch = blobs.batch();
        batch.add(part);
        batch.rest().settle().unwrap();
        blobs.check(&digest).unwrap();
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
