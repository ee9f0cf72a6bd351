//! Signed notes: a text, and the signatures of those who stand by it.
//!
//! Ed25519 alone: the log's own signatures (algorithm 1) and the dated cosignatures of witnesses
//! (algorithm 4). Source: C2SP signed-note, C2SP tlog-cosignature.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};

/// The longest note that is read.
pub const NOTE_MAX_BYTES: usize = 64 << 10;
/// The most signatures that are looked at.
const SIGNATURES_MAX: usize = 64;

const SIGNS: u8 = 1;
const COSIGNS: u8 = 4;

/// What a note is not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// The bytes are no note.
    #[error("this is no signed note: {0}")]
    Shape(&'static str),
    /// The text names no key.
    #[error("'{0}' is no key of a log or witness; one looks like name+1a2b3c4d+base64")]
    Key(String),
    /// No signature by the key that was asked for.
    #[error("it carries no signature by {0}")]
    Unsigned(String),
    /// A signature is there and wrong.
    #[error("the signature by {0} is not right")]
    Wrong(String),
    /// The private key cannot be used.
    #[error("this is no Ed25519 key of 32 bytes")]
    Secret,
}

/// A key that signs notes, by name. Text: `name+hash+base64`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteKey {
    name: String,
    algorithm: u8,
    public: [u8; 32],
}

impl NoteKey {
    /// Whose key it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// What notes tell signatures apart by: the first four bytes of
    /// SHA-256(name || "\n" || algorithm || key).
    #[must_use]
    pub fn hash(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', self.algorithm])
            .chain_update(self.public)
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.algorithm][..], &self.public].concat();
        let hash = hex::encode(self.hash());
        write!(f, "{}+{hash}+{}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = || NoteError::Key(text.chars().take(200).collect());
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let bytes = STANDARD.decode(key).map_err(|_| wrong())?;
        let Some((algorithm @ (SIGNS | COSIGNS), public)) =
            bytes.split_first().map(|(first, rest)| (*first, rest))
        else {
            return Err(wrong());
        };
        let key = Self {
            name: name.to_owned(),
            algorithm,
            public: public.try_into().map_err(|_| wrong())?,
        };
        if !good_name(name) || hex::encode(key.hash()) != hash {
            return Err(wrong());
        }
        Ok(key)
    }
}

fn good_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// A key that can sign. Its bytes are never shown.
pub struct NoteSigner {
    key: NoteKey,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NoteSigner({})", self.key)
    }
}

impl NoteSigner {
    /// The signer called `name` with the private key `seed`.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        if !good_name(name) {
            return Err(NoteError::Key(name.to_owned()));
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::Secret)?;
        let public = pair.public_key().as_ref().try_into();
        let key = NoteKey {
            name: name.to_owned(),
            algorithm: SIGNS,
            public: public.map_err(|_| NoteError::Secret)?,
        };
        Ok(Self { key, pair })
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn key(&self) -> &NoteKey {
        &self.key
    }

    /// Signs `text`, which must end in a line end: a whole note.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let bytes = [&self.key.hash()[..], signature.as_ref()].concat();
        format!("{text}\n— {} {}\n", self.key.name, STANDARD.encode(bytes))
    }

    /// The key of its dated cosignatures, which differs from the one of its notes.
    #[must_use]
    pub fn cosigner(&self) -> NoteKey {
        NoteKey {
            algorithm: COSIGNS,
            ..self.key.clone()
        }
    }

    /// Cosigns the text of a checkpoint as seen at `at_secs` (since 1970 UTC): a whole note.
    #[must_use]
    pub fn cosign(&self, text: &str, at_secs: u64) -> String {
        let said = format!("cosignature/v1\ntime {at_secs}\n{text}");
        let signature = self.pair.sign(said.as_bytes());
        let hash = self.cosigner().hash();
        let bytes = [&hash[..], &at_secs.to_be_bytes(), signature.as_ref()].concat();
        format!("{text}\n— {} {}\n", self.key.name, STANDARD.encode(bytes))
    }

    /// Signs arbitrary bytes: for envelopes that are no notes.
    #[must_use]
    pub fn sign_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.pair.sign(bytes).as_ref().to_vec()
    }
}

struct Signature {
    name: String,
    hash: [u8; 4],
    bytes: Vec<u8>,
}

/// A note that was read; nothing in it is believed yet.
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Takes a note apart. It must be exactly one note: a single wrong byte is refused.
    pub fn read(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_MAX_BYTES {
            return Err(NoteError::Shape("it is too long"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NoteError::Shape("it is not UTF-8"))?;
        if all.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Shape("it has control characters"));
        }
        let at = all
            .rfind("\n\n")
            .ok_or(NoteError::Shape("it has no signatures"))?;
        let (text, lines) = (&all[..=at], &all[at + 2..]);
        let lines = lines
            .strip_suffix('\n')
            .ok_or(NoteError::Shape("its last line has no end"))?;
        let signatures = lines.split('\n').map(signature).collect::<Option<Vec<_>>>();
        let signatures = signatures
            .filter(|found| found.len() <= SIGNATURES_MAX)
            .ok_or(NoteError::Shape("a signature line is not right"))?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, once `key` is seen to have signed it.
    pub fn verified(&self, key: &NoteKey) -> Result<&str, NoteError> {
        let public = UnparsedPublicKey::new(&ED25519, key.public);
        let mut own = self
            .signatures
            .iter()
            .filter(|signature| signature.name == key.name && signature.hash == key.hash())
            .peekable();
        if own.peek().is_none() {
            return Err(NoteError::Unsigned(key.name.clone()));
        }
        for signature in own {
            let good = match key.algorithm {
                COSIGNS => signature
                    .bytes
                    .split_first_chunk::<8>()
                    .is_some_and(|(at, bytes)| {
                        let at = u64::from_be_bytes(*at);
                        let signed = format!("cosignature/v1\ntime {at}\n{}", self.text);
                        public.verify(signed.as_bytes(), bytes).is_ok()
                    }),
                _ => public
                    .verify(self.text.as_bytes(), &signature.bytes)
                    .is_ok(),
            };
            if !good {
                return Err(NoteError::Wrong(key.name.clone()));
            }
        }
        Ok(&self.text)
    }

    /// When `key` cosigned it, by its own clock: seconds since 1970 UTC. Only to be asked once
    /// [`Note::verified`] holds.
    #[must_use]
    pub fn dated(&self, key: &NoteKey) -> Option<u64> {
        let own = |s: &&Signature| s.name == key.name && s.hash == key.hash();
        let signature = self.signatures.iter().find(own)?;
        let (at, _) = signature.bytes.split_first_chunk::<8>()?;
        (key.algorithm == COSIGNS).then(|| u64::from_be_bytes(*at))
    }

    /// Who signed, by their own account.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.signatures
            .iter()
            .map(|signature| signature.name.as_str())
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (hash, bytes) = bytes.split_first_chunk::<4>()?;
    // Only one spelling of the same bytes is taken.
    (good_name(name) && STANDARD.encode([hash, bytes].concat()) == encoded).then(|| Signature {
        name: name.to_owned(),
        hash: *hash,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_verifies() {
        // Source: golang.org/x/mod/sumdb/note, documentation.
        let key: NoteKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
            .parse()
            .unwrap();
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let read = Note::read(note.as_bytes()).unwrap();
        assert!(read.verified(&key).unwrap().starts_with("If you think"));
        for at in 0..note.len() {
            let mut bytes = note.as_bytes().to_vec();
            bytes[at] ^= 1;
            let refused = Note::read(&bytes).and_then(|note| note.verified(&key).map(drop));
            assert!(refused.is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_key_comes_back_from_its_text_and_others_are_refused() {
        let signer = NoteSigner::new("lab-0001", &[7; 32]).unwrap();
        let text = signer.key().to_string();
        assert_eq!(&text.parse::<NoteKey>().unwrap(), signer.key());
        assert!(text.replace("lab", "lob").parse::<NoteKey>().is_err());
        let note = Note::read(signer.sign("a\n").as_bytes()).unwrap();
        assert_eq!(note.verified(signer.key()).unwrap(), "a\n");
        let stranger = NoteSigner::new("lab-0001", &[8; 32]).unwrap();
        let refused = note.verified(stranger.key()).unwrap_err();
        assert_eq!(refused, NoteError::Unsigned("lab-0001".into()));
        assert!(NoteSigner::new("two words", &[7; 32]).is_err());
    }

    #[test]
    fn a_witness_signs_text_and_time() {
        let pair = NoteSigner::new("witness", &[9; 32]).unwrap();
        let key = NoteKey {
            algorithm: COSIGNS,
            ..pair.key().clone()
        };
        let text = "log\n1\nAAAA\n";
        let signed = pair.sign_bytes(format!("cosignature/v1\ntime 77\n{text}").as_bytes());
        let of = |at: u64| {
            let bytes = [&key.hash()[..], &at.to_be_bytes(), &signed].concat();
            format!("{text}\n— witness {}\n", STANDARD.encode(bytes))
        };
        let verified = |at| {
            Note::read(of(at).as_bytes())
                .unwrap()
                .verified(&key)
                .map(drop)
        };
        assert_eq!(verified(77), Ok(()));
        assert_eq!(verified(78), Err(NoteError::Wrong("witness".into())));
    }
}
