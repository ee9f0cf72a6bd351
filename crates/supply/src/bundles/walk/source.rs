//! What a walk reads from: the medium itself, past the kernel's cache where the file system can.
//!
//! Nothing is read ahead that a pulled medium would have given in vain, nothing is copied that
//! the device can write into the buffer, and no other program's pages make room for a payload
//! that is read once.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl, fcntl_setfl};

/// What is read at once for headers and small blobs.
const AHEAD_BYTES: usize = 128 << 10;
/// What offsets and memory must be a multiple of, so that the device fills a buffer by itself.
const SECTOR: usize = 512;
/// Where a buffer begins in memory.
const PAGE: usize = 4096;

/// Memory that a device can fill.
#[derive(Default)]
pub(in super::super) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// With room for `most` bytes, and none in it.
    pub(in super::super) fn new(most: usize) -> Self {
        let memory = vec![0; most + PAGE];
        // Where it cannot be told, the kernel copies.
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Self {
            memory,
            start,
            len: 0,
        }
    }

    /// Has `len` bytes, whatever these are; at most its room.
    pub(super) fn set_len(&mut self, len: usize) {
        self.len = len.min(self.memory.len().saturating_sub(PAGE));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// A volume that is read from its beginning to its end, with gaps.
pub(super) struct Source {
    file: File,
    direct: bool,
    /// Where the medium is read next.
    next: u64,
    ahead: Buffer,
    /// What of `ahead` was not given yet.
    left: (usize, usize),
}

impl Source {
    /// Through the cache, or past it where that can be.
    pub(super) fn new(file: File, cached: bool) -> Self {
        let mut ahead = Buffer::new(AHEAD_BYTES);
        ahead.set_len(AHEAD_BYTES);
        let mut source = Self {
            direct: !cached && set_direct(&file, true),
            file,
            next: 0,
            ahead,
            left: (0, 0),
        };
        if !source.direct {
            source.use_cache();
        }
        source
    }

    fn use_cache(&mut self) {
        self.direct = false;
        set_direct(&self.file, false);
        advise(&self.file, Advice::Sequential);
    }

    /// Goes to `offset`, without a read.
    pub(super) fn go_to(&mut self, offset: u64) {
        let (from, to) = self.left;
        let begin = self.next - (to - from) as u64;
        match usize::try_from(offset.wrapping_sub(begin)) {
            Ok(gap) if offset >= begin && gap <= to - from => self.left.0 += gap,
            _ => (self.next, self.left) = (offset, (0, 0)),
        }
    }

    /// Fills `out`.
    pub(super) fn read_exact(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        loop {
            let (from, to) = self.left;
            let n = out.len().min(to - from);
            out[..n].copy_from_slice(&self.ahead[from..from + n]);
            self.left.0 += n;
            out = &mut out[n..];
            if out.is_empty() {
                return Ok(());
            }
            let whole = out.len() / SECTOR * SECTOR;
            let fits =
                self.next.is_multiple_of(SECTOR as u64) && out.as_ptr().align_offset(SECTOR) == 0;
            if whole < AHEAD_BYTES || !fits {
                self.read_ahead()?;
                continue;
            }
            let n = self.device(self.next, &mut out[..whole])?;
            self.next += some(n)?;
            out = &mut out[n..];
        }
    }

    fn read_ahead(&mut self) -> io::Result<()> {
        let begin = self.next - self.next % SECTOR as u64;
        let before = usize::try_from(self.next - begin).unwrap_or(0);
        let mut ahead = std::mem::take(&mut self.ahead);
        let read = self.device(begin, &mut ahead);
        self.ahead = ahead;
        let n = read?;
        some(n.saturating_sub(before))?;
        self.left = (before, n);
        self.next = begin + n as u64;
        Ok(())
    }

    fn device(&mut self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(out, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Its sectors are larger, or it can only be read through the cache after all.
                Err(e) if self.direct && e.kind() == io::ErrorKind::InvalidInput => {
                    self.use_cache();
                }
                done => return done,
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if !self.direct {
            advise(&self.file, Advice::DontNeed);
        }
    }
}

fn some(n: usize) -> io::Result<u64> {
    match n {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => Ok(n as u64),
    }
}

/// Has the file read past the cache, or not; whether that is so now.
fn set_direct(file: &File, direct: bool) -> bool {
    let set = fcntl_getfl(file).and_then(|mut flags| {
        flags.set(OFlags::DIRECT, direct);
        fcntl_setfl(file, flags)
    });
    set.is_ok() && direct
}

fn advise(file: &File, advice: Advice) {
    if let Err(error) = fadvise(file, 0, None, advice) {
        tracing::debug!(%error, "the kernel took no advice");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Reads of every kind and gaps of every size give what a plain read gives.
    fn compare(file: File, cached: bool, bytes: &[u8]) {
        let mut source = Source::new(file, cached);
        let mut at = 0;
        let steps: [(usize, usize); 9] = [
            (512, 0),
            (1 << 20, 0),
            (700, 3),
            (300_000, 0),
            (5, 511),
            (200_000, 1 << 20),
            (1, 4096),
            (262_144, 77),
            (4096, 0),
        ];
        for (len, gap) in steps {
            let mut out = Buffer::new(1 << 20);
            out.set_len(len);
            source.read_exact(&mut out).unwrap();
            assert!(*out == bytes[at..at + len], "{len} at {at}");
            at += len + gap;
            source.go_to(at as u64);
        }
        // Back, and on to the end, and beyond.
        source.go_to(512);
        let mut rest = vec![0; bytes.len() - 512];
        source.read_exact(&mut rest).unwrap();
        assert!(rest == bytes[512..]);
        let end = source.read_exact(&mut [0]).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_read_is_the_same_past_the_cache_and_through_it() {
        let bytes = testkit::noise(9, (4 << 20) + 100);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        compare(file.reopen().unwrap(), false, &bytes);
        compare(file.reopen().unwrap(), true, &bytes);
        if let Ok(mut memory) = tempfile::NamedTempFile::new_in("/dev/shm") {
            memory.write_all(&bytes).unwrap();
            compare(memory.reopen().unwrap(), false, &bytes);
        }
    }
}
