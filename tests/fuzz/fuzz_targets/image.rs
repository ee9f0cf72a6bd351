//! The manifest and the configuration of an OCI image, as a bundle brings them.

#![no_main]

use bundle::image_of_manifest;
use libfuzzer_sys::fuzz_target;
use vocab::Digest;

fuzz_target!(|bytes: &[u8]| {
    // Half of the input is the manifest, the rest is whatever this names.
    let split = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let (manifest, other) = bytes.split_at(split);
    let digest = Digest::of(manifest);
    let of = |asked: &Digest| if *asked == digest { manifest } else { other };
    let find = |asked: &Digest| Some(of(asked).len() as u64);
    let read = |asked: &Digest| Ok(of(asked).strip_prefix(b"\0").unwrap_or(of(asked)).to_vec());
    if let Ok(image) = image_of_manifest(digest, &find, &read) {
        assert_eq!(image.digest, digest);
    }
});
