//! The key that attests: made once, readable by nobody else; its public half beside the log.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use evidence::dsse::{DsseKey, DsseSigner};
use vocab::Entropy;

use crate::{AttestError, io as failed};

const PRIVATE: &str = "attest.key";
const PUBLIC: &str = "attest.pub";

/// The key that attests.
#[derive(Debug)]
pub struct AttestKeys(DsseSigner);

impl AttestKeys {
    /// Opens the key of the data directory `data`; when none was ever made, one is.
    ///
    /// Errors: `Deleted` when only its public half is there, `Changed` when it is another.
    pub fn open(data: &Path, entropy: &Entropy) -> Result<Self, AttestError> {
        let (keys, beside) = (data.join("keys"), data.join("audit"));
        let (private, public) = (keys.join(PRIVATE), beside.join(PUBLIC));
        match (private.exists(), public.exists()) {
            (false, true) => return Err(AttestError::Deleted),
            (false, false) => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&keys)
                    .map_err(|e| failed(&keys, e))?;
                store::put_private(&keys, PRIVATE, &entropy.bytes::<32>())
                    .map_err(|e| failed(&private, e))?;
            }
            (true, _) => {}
        }
        let seed = read(&private).map_err(|e| failed(&private, e))?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| AttestError::Changed)?;
        let signer = DsseSigner::new(&seed)?;
        let pem = signer.key().pem();
        if !public.exists() {
            fs::create_dir_all(&beside).map_err(|e| failed(&beside, e))?;
            store::put_private(&beside, PUBLIC, pem.as_bytes()).map_err(|e| failed(&public, e))?;
        }
        match fs::read_to_string(&public).map_err(|e| failed(&public, e))? {
            text if text == pem => Ok(Self(signer)),
            _ => Err(AttestError::Changed),
        }
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn public(&self) -> &DsseKey {
        self.0.key()
    }

    pub(crate) fn signer(&self) -> &DsseSigner {
        &self.0
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(io::Error::other(format!(
            "others can read it (mode {mode:o}); run chmod 600 on it"
        )));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_its_loss_or_change_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let open = |seed| AttestKeys::open(dir.path(), &Entropy::scripted(seed));
        let first = open(1).unwrap().public().clone();
        assert_eq!(open(2).unwrap().public(), &first);
        let private = dir.path().join("keys/attest.key");
        let mode = fs::metadata(&private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The public half alone is made again.
        fs::remove_file(dir.path().join("audit/attest.pub")).unwrap();
        assert_eq!(open(3).unwrap().public(), &first);

        let seed = fs::read(&private).unwrap();
        fs::write(&private, [9; 32]).unwrap();
        assert!(matches!(open(4), Err(AttestError::Changed)));
        fs::write(&private, &seed).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(5), Err(AttestError::Io { .. })));
        fs::remove_file(&private).unwrap();
        assert!(matches!(open(6), Err(AttestError::Deleted)));
        assert!(!private.exists());
    }
}
