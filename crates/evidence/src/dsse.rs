//! DSSE: the envelope in which a statement travels with its signature.
//!
//! Ed25519 alone, and one spelling of each envelope: what is read is written again and must be the
//! very same bytes. Nothing in an envelope is believed before [`Envelope::verified`].
//! Source: DSSE v1.0.2, protocol and envelope.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The type of a payload that is an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The largest envelope that is read.
pub const ENVELOPE_MAX_BYTES: usize = 8 << 20;
/// The most signatures of an envelope.
const SIGNATURES_MAX: usize = 16;
/// An Ed25519 key as SubjectPublicKeyInfo, all but the key: RFC 8410, 4.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----\n";
const PEM_END: &str = "\n-----END PUBLIC KEY-----\n";

/// Why an envelope is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DsseError {
    /// The bytes are no envelope.
    #[error("this is no DSSE envelope: {0}")]
    Shape(String),
    /// Its payload is of another type.
    #[error("its payload is of the type '{0}', not of '{IN_TOTO}'")]
    Type(String),
    /// No signature by the key that was asked for.
    #[error("it carries no signature by the key {0}")]
    Unsigned(String),
    /// A signature is there and wrong.
    #[error("the signature by the key {0} is not right")]
    Wrong(String),
    /// The text is no key.
    #[error("this is no Ed25519 public key in PEM")]
    Key,
    /// The private key cannot be used.
    #[error("this is no Ed25519 key of 32 bytes")]
    Secret,
}

/// What is signed: the type and the payload, each with its length, so that neither can be taken
/// for the other.
#[must_use]
pub fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// An Ed25519 public key that signs envelopes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DsseKey([u8; 32]);

impl DsseKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(public: [u8; 32]) -> Self {
        Self(public)
    }

    /// The key's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    /// Its name: SHA-256 of its SubjectPublicKeyInfo, in hex.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(Sha256::digest(self.spki()))
    }

    /// The key in PEM, as openssl takes it.
    #[must_use]
    pub fn pem(&self) -> String {
        format!("{PEM_BEGIN}{}{PEM_END}", STANDARD.encode(self.spki()))
    }

    /// The key in a PEM text, in the one spelling of [`DsseKey::pem`].
    pub fn from_pem(text: &str) -> Result<Self, DsseError> {
        let read = || {
            let encoded = text.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
            let bytes = STANDARD.decode(encoded).ok()?;
            let key = Self(bytes.strip_prefix(&SPKI)?.try_into().ok()?);
            (key.pem() == text).then_some(key)
        };
        read().ok_or(DsseError::Key)
    }
}

/// A key that can sign. Its bytes are never shown.
pub struct DsseSigner {
    key: DsseKey,
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for DsseSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DsseSigner({})", self.key.id())
    }
}

impl DsseSigner {
    /// The signer with the private key `seed`.
    pub fn new(seed: &[u8; 32]) -> Result<Self, DsseError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| DsseError::Secret)?;
        let public = pair.public_key().as_ref().try_into();
        Ok(Self {
            key: DsseKey(public.map_err(|_| DsseError::Secret)?),
            pair,
        })
    }

    /// What others check its signatures with.
    #[must_use]
    pub fn key(&self) -> &DsseKey {
        &self.key
    }

    /// The envelope of `payload`, as it is stored and handed out.
    #[must_use]
    pub fn seal(&self, kind: &str, payload: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&pae(kind, payload));
        let written = Written {
            payload: STANDARD.encode(payload),
            kind: kind.to_owned(),
            signatures: vec![Signature {
                keyid: self.key.id(),
                sig: STANDARD.encode(signature.as_ref()),
            }],
        };
        written.bytes()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    payload: String,
    #[serde(rename = "payloadType")]
    kind: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

impl Written {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("texts and lists have no other form");
        bytes.push(b'\n');
        bytes
    }
}

/// An envelope that was read; nothing in it is believed yet.
#[derive(Debug)]
pub struct Envelope {
    kind: String,
    payload: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
}

impl Envelope {
    /// Takes an envelope apart. Any other spelling of the same content is refused.
    pub fn read(bytes: &[u8]) -> Result<Self, DsseError> {
        let shape = |what: &str| DsseError::Shape(what.to_owned());
        if bytes.len() > ENVELOPE_MAX_BYTES {
            return Err(shape("it is too large"));
        }
        let written: Written =
            serde_json::from_slice(bytes).map_err(|e| DsseError::Shape(e.to_string()))?;
        let plain = |text: &str| STANDARD.decode(text).ok();
        let payload = plain(&written.payload).ok_or_else(|| shape("its payload is no base64"))?;
        if written.signatures.is_empty() || written.signatures.len() > SIGNATURES_MAX {
            return Err(shape("it has no signature, or too many"));
        }
        let mut signatures = Vec::new();
        for one in &written.signatures {
            let sig = plain(&one.sig).ok_or_else(|| shape("a signature is no base64"))?;
            signatures.push((one.keyid.clone(), sig));
        }
        if written.bytes() != bytes {
            return Err(shape("it is not spelled as it was signed"));
        }
        Ok(Self {
            kind: written.kind,
            payload,
            signatures,
        })
    }

    /// The payload, a statement, once `key` is seen to have signed it.
    pub fn verified(&self, key: &DsseKey) -> Result<&[u8], DsseError> {
        if self.kind != IN_TOTO {
            return Err(DsseError::Type(self.kind.clone()));
        }
        let id = key.id();
        let own = |(keyid, _): &&(String, Vec<u8>)| *keyid == id;
        let mut signed = false;
        for (_, sig) in self.signatures.iter().filter(own) {
            UnparsedPublicKey::new(&ED25519, key.bytes())
                .verify(&pae(&self.kind, &self.payload), sig)
                .map_err(|_| DsseError::Wrong(id.clone()))?;
            signed = true;
        }
        match signed {
            true => Ok(&self.payload),
            false => Err(DsseError::Unsigned(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_spelled_as_published() {
        // Source: DSSE, protocol, "Test vectors".
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        // Source: the reference implementations' own tests: lengths count bytes.
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        assert_eq!(
            pae("x", "\u{c3}".as_bytes()),
            [&b"DSSEv1 1 x 2 "[..], "\u{c3}".as_bytes()].concat()
        );
    }

    #[test]
    fn a_published_key_signs_as_published() {
        // Source: RFC 8032, 7.1, TEST 2: the key's seed, its public half, a signature over 0x72.
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let seed: [u8; 32] = hex::decode(seed).unwrap().try_into().unwrap();
        let signer = DsseSigner::new(&seed).unwrap();
        assert_eq!(
            hex::encode(signer.key().bytes()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            &hex::encode(signer.pair.sign(&[0x72]))[..16],
            "92a009a9f0d4cab8"
        );
        let pem = signer.key().pem();
        assert_eq!(&DsseKey::from_pem(&pem).unwrap(), signer.key());
        assert_eq!(DsseKey::from_pem(pem.trim_end()), Err(DsseError::Key));
    }

    #[test]
    fn every_changed_byte_of_an_envelope_is_refused() {
        let signer = DsseSigner::new(&[7; 32]).unwrap();
        let sealed = signer.seal(IN_TOTO, b"{\"a\":1}");
        let read = Envelope::read(&sealed).unwrap();
        assert_eq!(read.verified(signer.key()).unwrap(), b"{\"a\":1}");
        for at in 0..sealed.len() {
            for bit in [1, 0x20] {
                let mut bytes = sealed.clone();
                bytes[at] ^= bit;
                let taken = Envelope::read(&bytes)
                    .and_then(|read| read.verified(signer.key()).map(<[u8]>::to_vec));
                assert!(taken.is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn other_keys_types_and_shapes_are_refused() {
        let signer = DsseSigner::new(&[7; 32]).unwrap();
        let stranger = DsseSigner::new(&[8; 32]).unwrap();
        let foreign = Envelope::read(&stranger.seal(IN_TOTO, b"{}")).unwrap();
        let unsigned = DsseError::Unsigned(signer.key().id());
        assert_eq!(foreign.verified(signer.key()), Err(unsigned));
        let odd = Envelope::read(&signer.seal("text/plain", b"{}")).unwrap();
        assert!(matches!(
            odd.verified(signer.key()),
            Err(DsseError::Type(_))
        ));
        // The right name under a foreign signature does not help.
        let text = String::from_utf8(stranger.seal(IN_TOTO, b"{}")).unwrap();
        let named = text.replace(&stranger.key().id(), &signer.key().id());
        let named = Envelope::read(named.as_bytes()).unwrap();
        assert!(matches!(
            named.verified(signer.key()),
            Err(DsseError::Wrong(_))
        ));
        for shape in [
            &b""[..],
            b"{}",
            b"{\"payload\":\"\",\"payloadType\":\"\",\"signatures\":[]}\n",
            b"{\"payload\":\"e30\",\"payloadType\":\"\",\"signatures\":[{\"keyid\":\"\",\"sig\":\"\"}]}\n",
        ] {
            assert!(matches!(Envelope::read(shape), Err(DsseError::Shape(_))));
        }
        assert!(Envelope::read(text.trim_end().as_bytes()).is_err());
        assert!(Envelope::read(&vec![b' '; ENVELOPE_MAX_BYTES + 1]).is_err());
    }
}
