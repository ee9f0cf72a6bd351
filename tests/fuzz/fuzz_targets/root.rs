//! A root statement: what is accepted says the same once it is written again.

#![no_main]

use bundle::root::Root;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(root) = Root::kept(bytes.to_vec()) else {
        return;
    };
    let written = root.statement().to_bytes();
    let again = Root::kept(written.clone()).expect("what was accepted is accepted");
    assert_eq!(again.statement().to_bytes(), written);
});
