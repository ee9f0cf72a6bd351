//! Content-addressed files: `blobs/sha256/xx/<64 hex>`, written once, durable, never changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use vocab::Digest;

/// The blobs of one data directory.
#[derive(Debug)]
pub struct Blobs {
    pub(crate) dir: PathBuf,
    pub(crate) skip_fsync: bool,
    next: AtomicU64,
}

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not what their digest says; nothing was kept.
    #[error("content does not match its digest: expected {expected}, got {got}")]
    Mismatch {
        /// As declared.
        expected: Digest,
        /// As read.
        got: Digest,
    },
    /// More bytes than the caller allowed; nothing was kept.
    #[error("content is larger than the {limit_bytes} bytes allowed")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// No such blob.
    #[error("blob {0} is not here; import what contains it again")]
    Missing(Digest),
    /// The source or the disk failed.
    #[error("cannot store or read a blob")]
    Io(#[from] io::Error),
}

impl Blobs {
    pub(crate) fn open(dir: &Path, skip_fsync: bool) -> io::Result<Self> {
        let tmp = dir.join("tmp");
        fs::create_dir_all(dir.join("sha256"))?;
        // What a dead process left half-written is nobody's.
        if tmp.exists() {
            fs::remove_dir_all(&tmp)?;
        }
        // Nobody else may touch what is on its way in.
        let mut private = fs::DirBuilder::new();
        private.mode(0o700);
        private.create(&tmp)?;
        private.recursive(true).create(dir.join("staging"))?;
        if !skip_fsync {
            sync_dir(dir)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            skip_fsync,
            next: AtomicU64::new(0),
        })
    }

    /// The folder that they lie in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the blob of `digest` stands, present or not.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        below(&self.dir, digest)
    }

    /// Whether the blob is here.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The size of a blob that is here.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|meta| meta.len())
    }

    /// Opens a blob for reading.
    pub fn read(&self, digest: &Digest) -> Result<File, BlobError> {
        File::open(self.path(digest)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*digest),
            _ => BlobError::Io(e),
        })
    }

    /// Every blob that is here, in no order.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for shelf in fs::read_dir(self.dir.join("sha256"))? {
            for entry in fs::read_dir(shelf?.path())? {
                let name = entry?.file_name();
                let digest = name.to_str().map(|hex| format!("sha256:{hex}").parse());
                if let Some(Ok(digest)) = digest {
                    found.push(digest);
                }
            }
        }
        Ok(found)
    }

    /// Reads a blob to its end and compares it with its name.
    pub fn check(&self, digest: &Digest) -> Result<(), BlobError> {
        let mut hash = Sha256::new();
        let mut file = self.read(digest)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
        let got = Digest::from_bytes(hash.finalize().into());
        if got == *digest {
            Ok(())
        } else {
            Err(BlobError::Mismatch {
                expected: *digest,
                got,
            })
        }
    }

    /// Removes a blob; absent is fine. The caller knows that nobody needs it.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Moves a blob that is not what its name says out of the way, for people to look at. From
    /// then on it is not here.
    pub fn set_aside(&self, digest: &Digest) -> io::Result<()> {
        let aside = self.dir.join("quarantine");
        fs::create_dir_all(&aside)?;
        let home = self.path(digest);
        fs::rename(&home, aside.join(digest.hex()))?;
        if !self.skip_fsync {
            sync_dir(&aside)?;
            sync_dir(home.parent().expect("a blob's path has a parent"))?;
        }
        Ok(())
    }

    /// Removes what was set aside; how many bytes that frees.
    pub fn clear_aside(&self) -> io::Result<u64> {
        let aside = self.dir.join("quarantine");
        let mut freed = 0;
        if aside.exists() {
            for entry in fs::read_dir(&aside)? {
                let entry = entry?;
                freed += entry.metadata()?.len();
                fs::remove_file(entry.path())?;
            }
        }
        Ok(freed)
    }

    /// Streams `from` into the store, durable on return. `expected` is checked where given.
    pub fn put(
        &self,
        mut from: impl Read,
        expected: Option<Digest>,
        limit_bytes: u64,
    ) -> Result<(Digest, u64), BlobError> {
        let tmp = self.fresh_path();
        let stored = self.copy(&mut from, &tmp, expected, limit_bytes);
        if stored.is_err()
            && let Err(e) = fs::remove_file(&tmp)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %tmp.display(), error = %e, "a half-written blob stays until restart");
        }
        stored
    }

    /// A place for bytes on their way in, different at each call.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        self.dir.join("tmp").join(name)
    }

    fn copy(
        &self,
        from: &mut impl Read,
        tmp: &Path,
        expected: Option<Digest>,
        limit_bytes: u64,
    ) -> Result<(Digest, u64), BlobError> {
        let mut out = OpenOptions::new().write(true).create_new(true).open(tmp)?;
        let mut hash = Sha256::new();
        let mut size_bytes = 0u64;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            size_bytes += n as u64;
            if size_bytes > limit_bytes {
                return Err(BlobError::TooLarge { limit_bytes });
            }
            hash.update(&buffer[..n]);
            out.write_all(&buffer[..n])?;
        }
        let got = Digest::from_bytes(hash.finalize().into());
        if let Some(expected) = expected.filter(|e| *e != got) {
            return Err(BlobError::Mismatch { expected, got });
        }
        let home = self.path(&got);
        let parent = home.parent().expect("a blob's path has a parent");
        let fresh = !parent.exists();
        fs::create_dir_all(parent)?;
        if !self.skip_fsync {
            out.sync_all()?;
        }
        fs::rename(tmp, &home)?;
        if !self.skip_fsync {
            sync_dir(parent)?;
            if fresh {
                sync_dir(&self.dir.join("sha256"))?;
            }
        }
        Ok((got, size_bytes))
    }
}

/// Where the blob of `digest` stands in the data directory `data`, for who looks from outside.
#[must_use]
pub fn blob_path(data: &Path, digest: &Digest) -> PathBuf {
    below(&data.join("blobs"), digest)
}

fn below(dir: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    dir.join("sha256").join(&hex[..2]).join(hex)
}

/// Puts a secret at `dir/name`, readable by its owner alone: durable, whole or not at all. What an
/// earlier try left half-written is replaced.
pub fn put_private(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let new = dir.join(format!("{name}.new"));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(name))?;
    sync_dir(dir)
}

/// Makes the names in `dir` durable: fsync of a directory.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_comes_back_and_a_wrong_digest_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), false).unwrap();
        let (digest, size) = blobs.put(&b"hello"[..], None, 10).unwrap();
        assert_eq!((digest, size), (Digest::of(b"hello"), 5));
        let mut back = String::new();
        blobs
            .read(&digest)
            .unwrap()
            .read_to_string(&mut back)
            .unwrap();
        assert_eq!(back, "hello");

        let wrong = blobs.put(&b"other"[..], Some(digest), 10);
        assert!(matches!(wrong, Err(BlobError::Mismatch { .. })));
        assert!(matches!(
            blobs.put(&b"long"[..], None, 3),
            Err(BlobError::TooLarge { .. })
        ));
        assert!(!blobs.has(&Digest::of(b"other")));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        drop(Blobs::open(dir.path(), false).unwrap());
        fs::write(dir.path().join("tmp/1-1"), "half").unwrap();
        Blobs::open(dir.path(), false).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
