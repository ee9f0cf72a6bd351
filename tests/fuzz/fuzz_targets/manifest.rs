//! The manifest of a bundle: what is accepted says the same once it is written again, and places
//! every entry inside its volume.

#![no_main]

use bundle::Manifest;
use bundle::volume::places;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    let again = Manifest::parse(&manifest.to_bytes()).expect("what was accepted is accepted");
    assert_eq!(again.to_bytes(), manifest.to_bytes());
    for (index, volume) in (1u32..).zip(&manifest.volumes) {
        let mut end = 0;
        for place in places(&manifest, index) {
            assert!(place.offset >= end, "entries do not overlap");
            end = place.offset + 512 + place.size;
            assert!(end <= volume.size, "an entry ends inside its volume");
        }
    }
});
