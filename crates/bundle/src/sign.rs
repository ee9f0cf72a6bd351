//! Minisign keys and signatures: made on the connected side, checked on every side.
//!
//! Only prehashed signatures are taken. The signer of a document is told by key id; which keys
//! may sign is [`crate::root`]'s to say. Source: the minisign format, jedisct1.github.io/minisign.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::refusal::Refusal;

/// Largest signature file that is read.
pub const SIGNATURE_MAX_BYTES: u64 = 4096;

/// Names a key: 16 upper-case hex digits, as `minisign` prints it.
#[derive(
    Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(String);

impl KeyId {
    fn of(bytes: &[u8]) -> Self {
        let mut number: Vec<u8> = bytes.to_vec();
        number.reverse();
        Self(hex::encode_upper(number))
    }

    /// The 16 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digit = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
        if text.len() == 16 && text.bytes().all(digit) {
            Ok(Self(text))
        } else {
            Err("a key id is 16 upper-case hex digits".to_owned())
        }
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.0
    }
}

/// Why a key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no minisign key.
    #[error(
        "this is not a minisign {what} key that can be used here; make one with `cofferdam bundle \
         keygen` (one of `minisign -G -W` has no checksum)"
    )]
    NotAKey {
        /// `public` or `secret`.
        what: &'static str,
    },
    /// The password does not open the key.
    #[error("the password does not open this key")]
    Password,
    /// Signing failed.
    #[error("the key could not be used: {reason}")]
    Failed {
        /// What minisign said.
        reason: String,
    },
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    base64: String,
}

impl PublicKey {
    /// Reads the text of a `.pub` file, or its second line alone.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = KeyError::NotAKey { what: "public" };
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with("untrusted comment:"));
        let Some(line) = line else { return Err(wrong) };
        let Ok(bytes) = STANDARD.decode(line) else {
            return Err(wrong);
        };
        if bytes.len() != 42 || &bytes[..2] != b"Ed" {
            return Err(wrong);
        }
        Ok(Self {
            id: KeyId::of(&bytes[2..10]),
            base64: line.to_owned(),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The key in base64: the second line of its file.
    #[must_use]
    pub fn as_base64(&self) -> &str {
        &self.base64
    }

    /// The text of its `.pub` file.
    #[must_use]
    pub fn to_file(&self) -> String {
        format!(
            "untrusted comment: minisign public key {}\n{}\n",
            self.id, self.base64
        )
    }
}

/// A secret key, open for signing.
pub struct SecretKey {
    id: KeyId,
    inner: minisign::SecretKey,
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.id)
    }
}

/// A new pair: the public key, and the text of the `.key` file (encrypted when `password` is
/// given and not empty).
pub fn generate(password: Option<&str>) -> Result<(PublicKey, String), KeyError> {
    let failed = |e: minisign::PError| KeyError::Failed {
        reason: e.to_string(),
    };
    let password = password.filter(|p| !p.is_empty());
    let pair = match password {
        Some(password) => minisign::KeyPair::generate_encrypted_keypair(Some(password.to_owned())),
        None => minisign::KeyPair::generate_unencrypted_keypair(),
    }
    .map_err(failed)?;
    let public = PublicKey::parse(&pair.pk.to_base64())?;
    let comment = format!("minisign secret key {}", public.id);
    let secret = pair.sk.to_box(Some(&comment)).map_err(failed)?;
    Ok((public, secret.into_string()))
}

impl SecretKey {
    /// Whether the text of a `.key` file needs a password.
    #[must_use]
    pub fn is_encrypted(text: &str) -> bool {
        // Bytes 2 and 3 name the derivation; zeros stand for none.
        text.lines()
            .nth(1)
            .and_then(|line| STANDARD.decode(line.trim()).ok())
            .is_none_or(|bytes| bytes.get(2..4) != Some(&[0, 0]))
    }

    /// Opens the text of a `.key` file.
    pub fn open(text: &str, password: Option<&str>) -> Result<Self, KeyError> {
        let wrong = |_| KeyError::NotAKey { what: "secret" };
        let sealed = minisign::SecretKeyBox::from_string(text).map_err(wrong)?;
        let inner = if Self::is_encrypted(text) {
            // An empty password would make the library ask on a terminal.
            let password = password.ok_or(KeyError::Password)?;
            sealed
                .into_secret_key(Some(password.to_owned()))
                .map_err(|_| KeyError::Password)?
        } else {
            sealed.into_unencrypted_secret_key().map_err(wrong)?
        };
        Ok(Self {
            id: KeyId::of(inner.keynum()),
            inner,
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its public half.
    pub fn public(&self) -> Result<PublicKey, KeyError> {
        let public =
            minisign::PublicKey::from_secret_key(&self.inner).map_err(|e| KeyError::Failed {
                reason: e.to_string(),
            })?;
        PublicKey::parse(&public.to_base64())
    }

    /// The text of a `.minisig` file over `document`, with `comment` as its trusted comment.
    pub fn sign(&self, document: &[u8], comment: &str) -> Result<String, KeyError> {
        let untrusted = format!("signature from key {}", self.id);
        minisign::sign(None, &self.inner, document, Some(comment), Some(&untrusted))
            .map(minisign::SignatureBox::into_string)
            .map_err(|e| KeyError::Failed {
                reason: e.to_string(),
            })
    }
}

/// A signature as it was read, not yet checked.
#[derive(Clone)]
pub struct Signature {
    /// The file it came from, for messages.
    pub file: String,
    /// The key that it claims.
    pub key: KeyId,
    /// Its trusted comment; to be believed only after [`Signature::check`].
    pub comment: String,
    inner: minisign_verify::Signature,
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} by {})", self.file, self.key)
    }
}

impl Signature {
    /// Reads the text of a `.minisig` file. Refuses the legacy kind and anything beyond the four
    /// lines of the format.
    pub fn parse(file: &str, text: &str) -> Result<Self, Refusal> {
        let bad = |reason: &str| Refusal::Signature {
            what: file.to_owned(),
            reason: reason.to_owned(),
        };
        let lines: Vec<&str> = text.lines().collect();
        let [_, packed, comment, _] = lines[..] else {
            return Err(bad("a signature has four lines"));
        };
        let bytes = STANDARD
            .decode(packed)
            .map_err(|_| bad("its second line is not base64"))?;
        if bytes.starts_with(b"Ed") {
            return Err(Refusal::Legacy {
                file: file.to_owned(),
            });
        }
        if bytes.len() != 74 || !bytes.starts_with(b"ED") {
            return Err(bad("it is not a minisign signature"));
        }
        let comment = comment
            .strip_prefix("trusted comment: ")
            .ok_or_else(|| bad("it has no trusted comment"))?;
        if comment.len() > 1024 || comment.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
            return Err(bad("its trusted comment is not short, plain ASCII"));
        }
        let inner = minisign_verify::Signature::decode(text)
            .map_err(|e| bad(&format!("it cannot be read: {e}")))?;
        Ok(Self {
            file: file.to_owned(),
            key: KeyId::of(&bytes[2..10]),
            comment: comment.to_owned(),
            inner,
        })
    }

    /// Whether `key` made it over `document`, its trusted comment included.
    pub fn check(&self, key: &PublicKey, document: &[u8]) -> Result<(), Refusal> {
        let bad = |reason: String| Refusal::Signature {
            what: self.file.clone(),
            reason,
        };
        let known = minisign_verify::PublicKey::from_base64(&key.base64)
            .map_err(|e| bad(format!("key {} cannot be used: {e}", key.id)))?;
        known
            .verify(document, &self.inner, false)
            .map_err(|e| bad(format!("key {} did not make it: {e}", key.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_signs_and_only_its_own_document_and_comment_hold() {
        let (public, file) = generate(None).unwrap();
        let secret = SecretKey::open(&file, None).unwrap();
        assert_eq!(secret.id(), public.id());
        assert_eq!(secret.public().unwrap(), public);
        let text = secret.sign(b"document", "who=me").unwrap();
        let signature = Signature::parse("s", &text).unwrap();
        assert_eq!(
            (signature.comment.as_str(), &signature.key),
            ("who=me", public.id())
        );
        signature.check(&public, b"document").unwrap();
        assert!(signature.check(&public, b"documenT").is_err());
        let forged = text.replace("who=me", "who=us");
        let forged = Signature::parse("s", &forged).unwrap();
        assert_eq!(
            forged.check(&public, b"document").unwrap_err().code(),
            "E_SIG"
        );
        let (other, _) = generate(None).unwrap();
        assert!(signature.check(&other, b"document").is_err());
    }

    #[test]
    fn a_password_is_needed_where_one_was_set() {
        let (public, file) = generate(Some("hunter2")).unwrap();
        assert!(SecretKey::is_encrypted(&file));
        assert!(matches!(
            SecretKey::open(&file, None),
            Err(KeyError::Password)
        ));
        assert!(matches!(
            SecretKey::open(&file, Some("wrong")),
            Err(KeyError::Password)
        ));
        assert_eq!(
            SecretKey::open(&file, Some("hunter2")).unwrap().id(),
            public.id()
        );
        assert_eq!(PublicKey::parse(&public.to_file()).unwrap(), public);
    }
}
