//! The key that seals secrets: one file, readable by nobody else.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use vocab::{Digest, Entropy};

/// The key of `DATA/keys/secrets.key`.
#[derive(Clone)]
pub struct Keys {
    cipher: XChaCha20Poly1305,
    id: [u8; 8],
}

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file is missing.
    #[error(
        "{} is missing: the secrets in this data directory cannot be read without it; restore \
         it from a backup", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the file.
    #[error("{} can be read by others (mode {mode:o}); run chmod 600 on it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} is not a key: it must have 32 bytes", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or made.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// Opens the key in the directory `dir` (`DATA/keys`), or makes both: for `init`.
    pub fn open_or_create(dir: &Path, entropy: &Entropy) -> Result<Self, KeysError> {
        let path = dir.join("secrets.key");
        if !path.exists() {
            create(dir, entropy).map_err(|source| KeysError::Io {
                path: path.clone(),
                source,
            })?;
        }
        Self::open(dir)
    }

    /// Opens the key in the directory `dir`: for a data directory that has one.
    pub fn open(dir: &Path) -> Result<Self, KeysError> {
        let path = dir.join("secrets.key");
        let io = |source| KeysError::Io {
            path: path.clone(),
            source,
        };
        let file = match OpenOptions::new().read(true).open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(KeysError::Missing { path });
            }
            other => other.map_err(io)?,
        };
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Open { path, mode });
        }
        let mut bytes = Vec::with_capacity(33);
        file.take(33).read_to_end(&mut bytes).map_err(io)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| KeysError::Shape { path })?;
        Ok(Self::from_bytes(key))
    }

    fn from_bytes(key: [u8; 32]) -> Self {
        let digest = Digest::of(&[b"cofferdam-key-id/1 ".as_slice(), &key].concat());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.as_bytes()[..8]);
        Self {
            cipher: XChaCha20Poly1305::new(&key.into()),
            id,
        }
    }

    /// Tells this key from others, without telling what it is.
    pub(crate) fn id(&self) -> &[u8; 8] {
        &self.id
    }

    /// Seals `value` for the place that `context` names; it opens nowhere else.
    pub(crate) fn seal(&self, nonce: &[u8; 24], context: &str, value: &str) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: value.as_bytes(),
            aad: context.as_bytes(),
        };
        self.cipher.encrypt(XNonce::from_slice(nonce), payload).ok()
    }

    /// Opens what [`Keys::seal`] sealed; none if it was altered, moved or sealed by another key.
    pub(crate) fn unseal(&self, nonce: &[u8], context: &str, sealed: &[u8]) -> Option<String> {
        if nonce.len() != 24 {
            return None;
        }
        let payload = Payload {
            msg: sealed,
            aad: context.as_bytes(),
        };
        let bytes = self
            .cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .ok()?;
        String::from_utf8(bytes).ok()
    }
}

fn create(dir: &Path, entropy: &Entropy) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    store::put_private(dir, "secrets.key", &entropy.bytes::<32>())?;
    dir.parent().map_or(Ok(()), store::sync_dir)
}
