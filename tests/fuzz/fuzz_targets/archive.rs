//! An image archive, packed or not: its paths stay inside, its size and number are bounded.

#![no_main]

use std::io::Read;

use bundle::{Limits, Sink, Stored, read_archive};
use libfuzzer_sys::fuzz_target;
use vocab::Digest;

/// Most bytes that all files together may have.
const TOTAL_BYTES: u64 = 1 << 20;

/// Reads everything, keeps nothing.
struct Drain {
    bytes: u64,
}

impl Sink for Drain {
    fn keep(
        &mut self,
        content: &mut dyn Read,
        expected: Option<Digest>,
        limit_bytes: u64,
    ) -> Result<Stored, String> {
        let mut bytes = Vec::new();
        let mut limited = content.take(limit_bytes);
        limited.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        let digest = Digest::of(&bytes);
        if expected.is_some_and(|expected| expected != digest) {
            return Err("not what its name says".to_owned());
        }
        self.bytes += bytes.len() as u64;
        Ok(Stored {
            digest,
            size_bytes: bytes.len() as u64,
        })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut drain = Drain { bytes: 0 };
    let limits = Limits {
        entries: 64,
        total_bytes: TOTAL_BYTES,
    };
    let Ok(archive) = read_archive(bytes, &mut drain, &limits) else {
        return;
    };
    assert!(drain.bytes <= TOTAL_BYTES);
    for path in archive.files.keys() {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."));
    }
});
