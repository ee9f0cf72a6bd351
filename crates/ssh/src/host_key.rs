//! The key by which clients know this server: made once, private, ed25519.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::ssh_key::{HashAlg, LineEnding, PrivateKey};
use vocab::Entropy;

/// The file in `DATA/keys`.
const FILE: &str = "ssh_host_ed25519_key";
/// Larger than any such file.
const FILE_BYTES: u64 = 16 << 10;

/// The host key.
#[derive(Clone)]
pub struct HostKey(PrivateKey);

/// Why the host key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// Others can read the file.
    #[error("{} can be read by others (mode {mode:o}); run chmod 600 on it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "{} is no ed25519 host key; restore it from a backup, or remove it and the next start \
         makes another, of which clients will warn",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or made.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.fingerprint())
    }
}

impl HostKey {
    /// Opens the key in the directory `dir` (`DATA/keys`), or makes it.
    pub fn open_or_create(dir: &Path, entropy: &Entropy) -> Result<Self, HostKeyError> {
        let path = dir.join(FILE);
        if !path.exists() {
            create(dir, entropy).map_err(|source| HostKeyError::Io {
                path: path.clone(),
                source,
            })?;
        }
        Self::read(path)
    }

    /// Opens the key in the directory `dir`; none where there is no such file.
    pub fn open(dir: &Path) -> Result<Option<Self>, HostKeyError> {
        let path = dir.join(FILE);
        match path.exists() {
            true => Self::read(path).map(Some),
            false => Ok(None),
        }
    }

    fn read(path: PathBuf) -> Result<Self, HostKeyError> {
        let io = |source| HostKeyError::Io {
            path: path.clone(),
            source,
        };
        let file = fs::File::open(&path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(HostKeyError::Open { path, mode });
        }
        let mut text = String::new();
        file.take(FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(io)?;
        let key = PrivateKey::from_openssh(&text).ok();
        match key.filter(|key| key.key_data().is_ed25519() && !key.is_encrypted()) {
            Some(key) => Ok(Self(key)),
            None => Err(HostKeyError::Shape { path }),
        }
    }

    /// `SHA256:` and 43 letters of base64, as clients show it at their first connection.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The public half as a line of `known_hosts` has it, without the host.
    #[must_use]
    pub fn public(&self) -> String {
        let public = self.0.public_key().to_openssh();
        public.unwrap_or_default().trim().to_owned()
    }

    pub(crate) fn private(&self) -> PrivateKey {
        self.0.clone()
    }
}

fn create(dir: &Path, entropy: &Entropy) -> io::Result<()> {
    let pair = Ed25519Keypair::from_seed(&entropy.bytes::<32>());
    let key = PrivateKey::new(KeypairData::Ed25519(pair), "").map_err(io::Error::other)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    store::put_private(dir, FILE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_read_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let entropy = Entropy::system();
        assert!(HostKey::open(dir.path()).unwrap().is_none());
        let made = HostKey::open_or_create(dir.path(), &entropy).unwrap();
        let again = HostKey::open_or_create(dir.path(), &entropy).unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        let path = dir.path().join(FILE);
        let shown = std::process::Command::new("ssh-keygen")
            .args(["-l", "-f"])
            .arg(&path)
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains(&made.fingerprint()), "{shown}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let said = HostKey::open(dir.path()).unwrap_err().to_string();
        assert!(said.contains("chmod 600"), "{said}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "something else").unwrap();
        let said = HostKey::open_or_create(dir.path(), &entropy).unwrap_err();
        assert!(matches!(said, HostKeyError::Shape { .. }), "{said}");
    }
}
