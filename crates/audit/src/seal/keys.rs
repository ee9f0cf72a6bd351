//! The keys that seal the log: one for notes, one for minisign; made once, readable by nobody else.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use evidence::note::NoteSigner;
use vocab::Entropy;

use super::SealError;

const NOTE_KEY: &str = "audit.key";
const MINISIGN_KEY: &str = "audit.minisign";

pub(super) struct SealKeys {
    pub(super) signer: NoteSigner,
    minisign: minisign::SecretKey,
    pub(super) minisign_public: String,
}

/// Whether a log was ever sealed with keys in `dir`.
pub(super) fn exist(dir: &Path) -> bool {
    dir.join(NOTE_KEY).exists()
}

/// Makes both keys in `dir`; the note key last, so that it is there only when all is.
pub(super) fn create(dir: &Path, entropy: &Entropy) -> Result<(), SealError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| SealError::io(dir, e))?;
    let pair = minisign::KeyPair::generate_unencrypted_keypair().map_err(SealError::minisign)?;
    let sealed = pair.sk.to_box(None).map_err(SealError::minisign)?;
    write(dir, MINISIGN_KEY, sealed.into_string().as_bytes())?;
    write(dir, NOTE_KEY, &entropy.bytes::<32>())
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), SealError> {
    store::put_private(dir, name, bytes).map_err(|e| SealError::io(&dir.join(name), e))
}

impl SealKeys {
    /// Opens both keys in `dir`; the log is called `origin`.
    pub(super) fn open(dir: &Path, origin: &str) -> Result<Self, SealError> {
        let seed = read(&dir.join(NOTE_KEY))?;
        let seed = seed.try_into().map_err(|_| SealError::Key)?;
        let signer = NoteSigner::new(origin, &seed).map_err(|_| SealError::Key)?;
        let text = String::from_utf8(read(&dir.join(MINISIGN_KEY))?);
        let text = text.map_err(|_| SealError::Key)?;
        let minisign = minisign::SecretKeyBox::from_string(&text)
            .and_then(minisign::SecretKeyBox::into_unencrypted_secret_key)
            .map_err(SealError::minisign)?;
        let public = minisign::PublicKey::from_secret_key(&minisign);
        let public = public
            .and_then(|key| key.to_box())
            .map_err(SealError::minisign)?;
        Ok(Self {
            signer,
            minisign,
            minisign_public: public.into_string(),
        })
    }

    /// A minisign signature over `document`.
    pub(super) fn minisign(&self, document: &[u8], comment: &str) -> Result<String, SealError> {
        let untrusted = evidence::verify::UNTRUSTED;
        minisign::sign(
            None,
            &self.minisign,
            document,
            Some(comment),
            Some(untrusted),
        )
        .map(minisign::SignatureBox::into_string)
        .map_err(SealError::minisign)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SealError> {
    let look = || {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(io::Error::other(format!(
                "others can read it (mode {mode:o}); run chmod 600 on it"
            )));
        }
        fs::read(path)
    };
    look().map_err(|e| SealError::io(path, e))
}
