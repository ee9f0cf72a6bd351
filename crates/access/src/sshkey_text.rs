//! A public key as people paste it: read under limits, judged by kind and length.

use ssh_key::{Algorithm, HashAlg, PublicKey};

/// The longest line that is read as a key; an RSA key of 16,384 bits has some 2,800 bytes.
const TEXT_BYTES: usize = 8 << 10;
/// The least length of an RSA key, in bits.
const RSA_BITS_MIN: u32 = 2048;
/// The greatest, so that checking a signature stays cheap.
const RSA_BITS_MAX: u32 = 16_384;

/// A public key that is fit for use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyText {
    /// `SHA256:` and 43 letters of base64, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// The key without its comment: kind, space, base64.
    pub text: String,
    /// What stood behind the key; may be empty.
    pub comment: String,
}

/// Why a text is no key that could be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyTextError {
    /// It is a private key.
    #[error("this is a private key; keep it to yourself, and give the file that ends in .pub")]
    Private,
    /// It is no key.
    #[error(
        "this is no SSH public key; give the one line of a file such as id_ed25519.pub, which \
         begins with ssh-ed25519"
    )]
    Shape,
    /// It is a key of a kind that is not taken.
    #[error("{why}; make another with `ssh-keygen -t ed25519`")]
    Kind {
        /// What is wrong with the kind.
        why: String,
    },
    /// It is a certificate.
    #[error("certificates are not taken; give the plain public key")]
    Certificate,
    /// The RSA key is too short or too long.
    #[error(
        "this RSA key has {bits} bits, it must have {RSA_BITS_MIN} to {RSA_BITS_MAX}; make \
         another with `ssh-keygen -t ed25519`"
    )]
    RsaLength {
        /// How many it has.
        bits: u32,
    },
}

impl KeyText {
    /// Reads the one line of a `.pub` file.
    ///
    /// Taken are ed25519, RSA of 2,048 to 16,384 bits, and ECDSA on the curves p256, p384 and
    /// p521. Options before the key, as `authorized_keys` has them, are refused.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let text = text.trim();
        if text.contains("PRIVATE KEY") {
            return Err(KeyTextError::Private);
        }
        if text.len() > TEXT_BYTES || text.contains(['\n', '\r', '\0']) {
            return Err(KeyTextError::Shape);
        }
        let kind = text.split(' ').next().unwrap_or_default();
        refuse_kind(kind)?;
        let key = PublicKey::from_openssh(text).map_err(|_| KeyTextError::Shape)?;
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
            Algorithm::Rsa { .. } => {
                let bits = key
                    .key_data()
                    .rsa()
                    .map_or(0, ssh_key::public::RsaPublicKey::key_size);
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(KeyTextError::RsaLength { bits });
                }
            }
            other => {
                return Err(KeyTextError::Kind {
                    why: format!("keys of kind {other} are not taken"),
                });
            }
        }
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let comment = key.comment().as_str_lossy().to_owned();
        let bare = PublicKey::new(key.key_data().clone(), "");
        Ok(Self {
            fingerprint,
            text: bare.to_openssh().map_err(|_| KeyTextError::Shape)?,
            comment,
        })
    }
}

/// Names what is wrong with kinds that people may well have.
fn refuse_kind(kind: &str) -> Result<(), KeyTextError> {
    let why = match kind {
        "ssh-dss" => "DSA keys are too weak and are not taken",
        kind if kind.contains("-cert-v01") => return Err(KeyTextError::Certificate),
        kind if kind.starts_with("sk-") => "keys of security tokens (sk-…) are not taken yet",
        _ => return Ok(()),
    };
    Err(KeyTextError::Kind {
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests;
