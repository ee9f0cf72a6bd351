//! A volume, compared byte by byte with what was signed: nothing but itself passes.

#![no_main]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use bundle::manifest::{FileItem, Origin};
use bundle::{Item, Sealed, Trust, Verified};
use libfuzzer_sys::fuzz_target;
use supply::bundles::{Progress, deep};
use supply::testing::{Load, Stick};

/// A signed bundle of one volume, and that volume as it was written.
struct Medium {
    sealed: Sealed,
    verified: Verified,
    volume: PathBuf,
    whole: Vec<u8>,
}

impl Medium {
    /// In memory where there is a file system of that kind.
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(base).expect("there is room").keep();
        let mut load = Load::default();
        for (name, content) in [("a", &b""[..]), ("b", b"one"), ("c", &[7; 1500])] {
            let d = load.blob(content);
            let (name, source) = (name.to_owned(), Origin::default());
            load.items.push(Item::File(FileItem { name, d, source }));
        }
        let dir = Stick::new(&folder).bundle(1, load);
        let sealed = Sealed::open(&dir).expect("it was just written");
        let first = sealed.roots[&1].fingerprint();
        let verified = sealed.verify(&Trust::Pinned(first)).expect("it was just signed");
        let volume = dir.join("vol-0001-of-0001.tar");
        let whole = std::fs::read(&volume).expect("it was just written");
        let medium = Self { sealed, verified, volume, whole };
        assert!(medium.passes(&medium.whole), "the control: the volume itself");
        medium
    }

    fn passes(&self, bytes: &[u8]) -> bool {
        let file = File::create(&self.volume).expect("it is ours");
        file.write_all_at(bytes, 0).expect("there is room");
        let progress = Progress::new("fuzz".to_owned(), 0);
        deep(&self.sealed, &self.verified, &progress).is_ok()
    }
}

static MEDIUM: OnceLock<Medium> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let medium = MEDIUM.get_or_init(Medium::new);
    // What lies over the volume, from an offset on: an odd length tells nobody anything new.
    let Some((at, over)) = bytes.split_at_checked(2) else {
        return;
    };
    let at = usize::from(u16::from_le_bytes([at[0], at[1]])) % medium.whole.len();
    let mut volume = medium.whole.clone();
    let end = (at + over.len()).min(volume.len());
    volume[at..end].copy_from_slice(&over[..end - at]);
    assert_eq!(medium.passes(&volume), volume == medium.whole, "changed at {at}");
    if bytes.len() % 16 == 0 {
        assert_eq!(medium.passes(bytes), bytes == medium.whole);
    }
});
