//! Have and need slips, without a key to hold them against: whatever is in the file, it is read or
//! refused.

#![no_main]

use bundle::slip::{Have, Need, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let have = open::<Have>(bytes, None).is_ok();
    let need = open::<Need>(bytes, None).is_ok();
    assert!(!(have && need), "a file is one slip, not both");
});
