//! What a filter hides is counted and told; that it exists is never hidden, nor that it is hidden.

use super::forge::{Files, part, refused_at};
use super::*;
use crate::{Actor, Entry, Kind, Via, Who};
use vocab::UserId;

/// A log of 20 entries and one more, a refused push; its place and its line.
fn with_a_denial() -> (Bed, u64, String) {
    let bed = bed(10);
    let actor = Actor::User {
        id: UserId(17),
        name: "dev".parse().unwrap(),
    };
    let who = Who::new(actor, Via::Ssh);
    let denied = Entry::denied(Kind::GitPush, "E_FORBIDDEN");
    let seq = u64::try_from(bed.try_one(&who, denied).unwrap().0).unwrap();
    bed.append(10);
    let lines = bed.told(Kind::GitPush);
    let line = lines.iter().find(|line| line["seq"] == seq).unwrap();
    assert_eq!(line["out"], "denied");
    (bed, seq, line.to_string())
}

fn bundles() -> Wanted {
    Wanted {
        kind: Some("bundle.*".into()),
        ..Wanted::default()
    }
}

fn shows(path: &Path, text: &str) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

#[test]
fn a_denial_that_a_filter_hides_is_counted_and_told_and_its_hash_is_there() {
    let (bed, seq, line) = with_a_denial();
    // The control: without a filter it is shown.
    let whole = bed.export("whole.cfa", Wanted::default());
    let verdict = judged(&whole, &bed.anchors());
    assert!(verdict.good && shows(&whole, &line), "{}", words(&verdict));
    assert_eq!((verdict.shown, verdict.hidden), (21, 0));
    assert!(!shows(&whole, "others are hidden"));

    let path = bed.export("cut.cfa", bundles());
    let verdict = judged(&path, &bed.anchors());
    assert!(verdict.good, "{}", words(&verdict));
    assert!(!shows(&path, &line), "the body is hidden");
    assert_eq!((verdict.shown, verdict.hidden), (10, 11));
    assert!(
        shows(&path, "others are hidden"),
        "the table of controls says so"
    );
    assert!(
        shows(&path, r#""kind": "bundle.*""#),
        "the manifest says so"
    );
    let mut file = fs::File::open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    let places = evidence::archive::list(&mut file, length).unwrap();
    let place = places
        .iter()
        .find(|place| place.name == "leaves.bin")
        .unwrap();
    let leaves = evidence::archive::content(&mut file, place, 1 << 20).unwrap();
    assert_eq!(leaves.len(), 21 * 32);
    let at = usize::try_from(seq).unwrap() * 32;
    let leaf = evidence::tree::leaf_hash(line.as_bytes());
    assert_eq!(leaves[at..at + 32], leaf);
}

#[test]
fn that_a_denial_is_hidden_cannot_be_hidden_by_whoever_has_the_keys() {
    let (bed, seq, line) = with_a_denial();
    let own = bed.anchors();
    let again = remade(&bed, bundles(), |_, _| {});
    assert!(judged(&again, &own).good, "the control: signed again");

    let silent = remade(&bed, bundles(), |manifest, _| manifest.filter = None);
    let words = "names no filter, and the bodies of 11 entries are not shown";
    refused_at(&silent, &own, "MANIFEST.json", words);
    // The denial alone is taken out of an export of everything.
    let without = |manifest: &mut Manifest, files: &mut Files| {
        let events = part(files, "events/000000.jsonl");
        let text = String::from_utf8(events.clone()).unwrap();
        let shorter = text.replace(&format!("{line}\n"), "");
        assert_eq!(shorter.len() + line.len() + 1, text.len());
        *events = shorter.into_bytes();
        manifest.shown -= 1;
    };
    let cut = judged(&remade(&bed, Wanted::default(), without), &own);
    let said = super::words(&cut);
    assert!(
        said.contains("names no filter, and the bodies of 1 entries"),
        "{said}"
    );
    assert_eq!(cut.hidden, 1);

    let all = remade(&bed, bundles(), |manifest, _| manifest.shown = 21);
    let words = "10 bodies are shown, and the manifest says 21";
    refused_at(&all, &own, "MANIFEST.json", words);
    let table = remade(&bed, bundles(), |_, files| {
        let table = part(files, "controls/controls.csv");
        let text = String::from_utf8(table.clone()).unwrap();
        *table = text.replace("; others are hidden", "").into_bytes();
    });
    let words = "is not what the entries and the mapping beside it give";
    refused_at(&table, &own, "controls/controls.csv", words);
    // Its hash is left out, or another stands in its place.
    let at = usize::try_from(seq).unwrap() * 32;
    let gone = remade(&bed, bundles(), |_, files| {
        part(files, "leaves.bin").drain(at..at + 32);
    });
    refused_at(
        &gone,
        &own,
        "leaves.bin",
        "does not have the hashes of 21 entries",
    );
    let other = remade(&bed, bundles(), |_, files| {
        part(files, "leaves.bin")[at] ^= 1
    });
    refused_at(
        &other,
        &own,
        "leaves.bin",
        "are not those under the signed root",
    );
}

#[test]
fn a_shell_and_a_verifier_from_the_specifications_miss_hidden_bodies_too() {
    let (bed, _, _) = with_a_denial();
    for (wanted, silent) in [(bundles(), false), (bundles(), true)] {
        let path = remade(&bed, wanted, |manifest, _| {
            if silent {
                manifest.filter = None;
            }
        });
        let (good, said) = super::statements::by_python(&path);
        assert_eq!(good, !silent, "{said}");
        let (good, said) = super::statements::by_shell(&path);
        assert_eq!(good, !silent, "{said}");
        assert_eq!(said.contains("11 bodies are not shown"), silent, "{said}");
    }
}
