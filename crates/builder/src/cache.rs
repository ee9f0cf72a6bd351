//! The cache: whatever was fetched, under its digest, so that nothing is fetched twice.
//!
//! A folder of the user's, shared by all recipes. Nothing in it is trusted: whoever reads a blob
//! out of it hashes it again. Invariant: a file is complete before it has its name.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempDir};
use vocab::Digest;

/// The cache.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// Why the cache failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file of it.
    #[error("the cache cannot be used at {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else than what was asked for.
    #[error("{what} has digest {got}, the lock says {expected}")]
    Mismatch {
        /// What was fetched.
        what: String,
        /// As locked.
        expected: Digest,
        /// As found.
        got: Digest,
    },
}

/// A blob in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

impl Cache {
    /// Opens the cache in `folder`, making it when it is new.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        let cache = Self {
            folder: folder.to_owned(),
        };
        for part in ["blobs/sha256", "tmp"] {
            let path = cache.folder.join(part);
            std::fs::create_dir_all(&path).map_err(|source| CacheError::Io { path, source })?;
        }
        Ok(cache)
    }

    /// Where a blob lies, if it is there.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob of this size is there. Its bytes are checked by who reads them.
    #[must_use]
    pub fn has(&self, digest: &Digest, size_bytes: u64) -> bool {
        let found = std::fs::metadata(self.path(digest));
        found.is_ok_and(|meta| meta.is_file() && meta.len() == size_bytes)
    }

    /// An empty folder in the cache, gone when it is dropped.
    pub fn scratch(&self) -> Result<TempDir, CacheError> {
        let path = self.folder.join("tmp");
        TempDir::new_in(&path).map_err(|source| CacheError::Io { path, source })
    }

    /// A folder that stays, for the files of another program.
    fn lasting(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.folder.join(name);
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(CacheError::Io { path, source }),
        }
    }

    /// What was noted under `key`, a digest of all that it depends on.
    pub(crate) fn noted(&self, key: &Digest) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join("notes").join(key.hex())).ok()
    }

    /// Notes something that is costly to find out again.
    pub(crate) fn note(&self, key: &Digest, bytes: &[u8]) -> Result<(), CacheError> {
        let path = self.lasting("notes")?.join(key.hex());
        let io = |source| CacheError::Io {
            path: path.clone(),
            source,
        };
        let mut file = NamedTempFile::new_in(self.folder.join("tmp")).map_err(io)?;
        file.write_all(bytes).map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// Starts a new blob.
    pub(crate) fn begin(&self) -> Result<NewBlob, CacheError> {
        let path = self.folder.join("tmp");
        match NamedTempFile::new_in(&path) {
            Ok(file) => Ok(NewBlob {
                file,
                hash: Sha256::new(),
                size_bytes: 0,
            }),
            Err(source) => Err(CacheError::Io { path, source }),
        }
    }

    /// Ends a blob and gives it its name.
    pub(crate) fn end(&self, mut blob: NewBlob) -> Result<Kept, CacheError> {
        let digest = Digest::from_bytes(blob.hash.finalize().into());
        let path = self.path(&digest);
        let size_bytes = blob.size_bytes;
        let failed = |source| CacheError::Io {
            path: path.clone(),
            source,
        };
        blob.file.flush().map_err(failed)?;
        blob.file.persist(&path).map_err(|e| failed(e.error))?;
        Ok(Kept { digest, size_bytes })
    }

    /// Keeps all of `from`.
    pub fn keep(&self, from: &mut dyn Read) -> Result<Kept, CacheError> {
        let mut blob = self.begin()?;
        let path = self.folder.join("tmp");
        io::copy(from, &mut blob).map_err(|source| CacheError::Io { path, source })?;
        self.end(blob)
    }

    /// Keeps these bytes.
    pub fn keep_bytes(&self, bytes: &[u8]) -> Result<Kept, CacheError> {
        self.keep(&mut &*bytes)
    }

    /// Keeps a copy of the file at `path`.
    pub fn keep_file(&self, path: &Path) -> Result<Kept, CacheError> {
        let failed = |source| CacheError::Io {
            path: path.to_owned(),
            source,
        };
        self.keep(&mut File::open(path).map_err(failed)?)
    }

    /// Keeps a copy of the file at `path`, which must be `expected`; `what` is its name for people.
    pub fn keep_expected(
        &self,
        path: &Path,
        expected: &Digest,
        what: &str,
    ) -> Result<Kept, CacheError> {
        let kept = self.keep_file(path)?;
        if kept.digest == *expected {
            return Ok(kept);
        }
        Err(CacheError::Mismatch {
            what: what.to_owned(),
            expected: *expected,
            got: kept.digest,
        })
    }

    /// Reads a whole small blob, checked.
    pub fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, CacheError> {
        let path = self.path(digest);
        let bytes = std::fs::read(&path).map_err(|source| CacheError::Io {
            path: path.clone(),
            source,
        })?;
        let got = Digest::of(&bytes);
        if got == *digest {
            return Ok(bytes);
        }
        Err(CacheError::Mismatch {
            what: path.display().to_string(),
            expected: *digest,
            got,
        })
    }
}

/// A blob that is being written.
pub(crate) struct NewBlob {
    file: NamedTempFile,
    hash: Sha256,
    size_bytes: u64,
}

impl Write for NewBlob {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        self.hash.update(&data[..count]);
        self.size_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_found_under_its_digest_and_a_changed_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let kept = cache.keep_bytes(b"wheel").unwrap();
        assert_eq!(kept.digest, Digest::of(b"wheel"));
        assert!(cache.has(&kept.digest, 5) && !cache.has(&kept.digest, 6));
        assert_eq!(cache.bytes(&kept.digest).unwrap(), b"wheel");
        std::fs::write(cache.path(&kept.digest), b"whale").unwrap();
        let said = cache.bytes(&kept.digest).unwrap_err().to_string();
        assert!(said.contains("the lock says"), "{said}");
    }
}
