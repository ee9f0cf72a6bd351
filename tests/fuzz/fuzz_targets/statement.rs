//! Envelopes and the statements in them: whatever is in the file, it is read or refused, and what
//! is read was spelled in the one way that is allowed.

#![no_main]

use evidence::attestation::{Which, read};
use evidence::dsse::{DsseSigner, Envelope, IN_TOTO};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let signer = DsseSigner::new(&[7; 32]).expect("32 bytes are a key");
    if let Ok(envelope) = Envelope::read(bytes)
        && let Ok(payload) = envelope.verified(signer.key())
    {
        assert_eq!(signer.seal(IN_TOTO, payload), bytes, "Ed25519 has one signature");
    }
    let provenance = read(Which::Provenance, bytes).is_ok();
    let receipt = read(Which::Receipt, bytes).is_ok();
    assert!(!(provenance && receipt), "a statement is one of the two");
});
