//! A valid bundle, changed at random in one place: none is taken.
//!
//! Only what nobody relies on may change without being noticed: the untrusted comment, which is
//! the first line of a minisig file, and how that file's lines end. `cargo xtask mutations` tries
//! many more of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use audit::Who;
use testkit::noise;
use vocab::Entropy;

use super::site::{Here, Lab};

struct Dice(Entropy);

impl Dice {
    fn below(&self, n: usize) -> usize {
        let number = u64::from_le_bytes(self.0.bytes());
        usize::try_from(number % n.max(1) as u64).unwrap()
    }
}

/// Changes `bytes` somewhere; what was done, in words.
fn mutate(dice: &Dice, bytes: &mut Vec<u8>) -> String {
    let at = dice.below(bytes.len());
    match dice.below(8) {
        0 | 1 => {
            let bit = dice.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at}")
        }
        2 => {
            let new = u8::try_from(dice.below(256)).unwrap();
            bytes[at] = new;
            format!("byte {at} is {new}")
        }
        3 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        4 => {
            let more = noise(at as u64, 1 + dice.below(2000));
            bytes.extend(&more);
            format!("{} more bytes", more.len())
        }
        5 => {
            bytes.remove(at);
            format!("byte {at} is gone")
        }
        6 => {
            let new = u8::try_from(dice.below(256)).unwrap();
            bytes.insert(at, new);
            format!("{new} put in at {at}")
        }
        _ => {
            let other = dice.below(bytes.len());
            let len = 1 + dice.below(600);
            let (from, to) = (at.min(bytes.len() - 1), other);
            let len = len.min(bytes.len() - from.max(to));
            bytes.copy_within(from..from + len, to);
            format!("{len} bytes of {from} over those at {to}")
        }
    }
}

/// Whether two minisig files say the same beyond their untrusted comment.
fn same_signature(a: &[u8], b: &[u8]) -> bool {
    let lines = |bytes: &[u8]| -> Option<Vec<String>> {
        let text = String::from_utf8(bytes.to_vec()).ok()?;
        Some(text.lines().skip(1).map(str::to_owned).collect())
    };
    lines(a).is_some() && lines(a) == lines(b)
}

fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        // Read by people and by sha256sum, never by the import.
        .filter(|(name, _)| name != "SHA256SUMS")
        .collect()
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |n| n.parse().unwrap())
}

#[test]
fn no_mutation_of_a_valid_bundle_is_taken() {
    let count = number("COFFERDAM_MUTATIONS", 1000);
    let lab = Lab::new();
    let contents: Vec<Vec<u8>> = (0..8)
        .map(|n: u8| noise(n.into(), 700 * usize::from(n)))
        .collect();
    let names: Vec<String> = (0..8).map(|n| format!("f{n}")).collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&contents)
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let dir = lab.good(1, &files);
    let whole = files_of(&dir);
    let names: Vec<&String> = whole.keys().collect();
    let dice = Dice(Entropy::scripted(number("COFFERDAM_SEED", 20_261_126)));
    let mut data = tempfile::tempdir().unwrap();
    let mut here = Here::trusting(data.path(), &lab);
    let (mut tried, mut harmless) = (0, 0);
    let mut codes: BTreeMap<&str, usize> = BTreeMap::new();
    while tried < count {
        let name = names[dice.below(names.len())];
        let mut bytes = whole[name].clone();
        let what = mutate(&dice, &mut bytes);
        if bytes == whole[name] {
            continue;
        }
        tried += 1;
        fs::write(dir.join(name), &bytes).unwrap();
        match here.import(&dir) {
            Err(error) => {
                assert_eq!(here.active(), None, "{name}: {what}");
                *codes.entry(error.code()).or_default() += 1;
                here.intake.collect(&Who::system(), true, false).unwrap();
            }
            Ok(_) => {
                let fine = name.ends_with(".minisig") && same_signature(&whole[name], &bytes);
                assert!(fine, "taken: {name}: {what}");
                assert!(here.serves(&files));
                harmless += 1;
                drop(here);
                data = tempfile::tempdir().unwrap();
                here = Here::trusting(data.path(), &lab);
            }
        }
        fs::write(dir.join(name), &whole[name]).unwrap();
    }
    println!("{tried} mutations, {harmless} of an untrusted comment only, the rest: {codes:?}");
    assert!(codes.len() >= 6, "{codes:?}");
    assert_eq!(here.code(&dir), "ok", "the control: the bundle itself");
}
