//! Exports verify; every change to one, and every other history, does not.

mod agree;
mod dates;
mod endless;
mod forge;
mod hidden;
mod histories;
mod statements;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use evidence::checkpoint::Checkpoint;
use evidence::note::NoteKey;
use evidence::verify::{Anchors, Verdict, anchors_of, verify};
use vocab::{Entropy, from_unix_ms};

use super::*;
use crate::testing::{Bed, Error, START_MS, bed, bed_called};
use forge::{forged, forged_in, remade};

impl Bed {
    fn bytes(&self, wanted: Wanted) -> Result<(Exported, Vec<u8>), ExportError> {
        let export = Export::begin(&self.store, &self.seal, wanted)?;
        export.write(Vec::new(), from_unix_ms(START_MS), [], &mut |_| {})
    }

    fn export(&self, name: &str, wanted: Wanted) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, self.bytes(wanted).unwrap().1).unwrap();
        path
    }

    fn anchors(&self) -> Anchors {
        Anchors {
            key: Some(self.seal.key().clone()),
            ..Anchors::default()
        }
    }
}

fn at(minutes: u64) -> Option<SystemTime> {
    Some(from_unix_ms(START_MS) + Duration::from_secs(60 * minutes))
}

fn judged(path: &Path, anchors: &Anchors) -> Verdict {
    verify(path, anchors).unwrap()
}

fn after(previous: &Path) -> Anchors {
    let (key, checkpoint): (NoteKey, Checkpoint) = anchors_of(previous).unwrap().unwrap();
    Anchors {
        key: Some(key),
        previous: Some(checkpoint),
        witnesses: Vec::new(),
    }
}

fn words(verdict: &Verdict) -> String {
    let all = verdict
        .findings
        .iter()
        .map(|f| format!("{}@{}: {}", f.file, f.offset, f.what));
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_range_verifies_and_shows_what_was_asked_for() {
    let bed = bed(600);
    for (since, until, first, end) in [
        (None, None, 0, 600),
        (at(10), at(20), 9, 21),
        (at(0), at(600), 0, 600),
        (at(255), at(257), 254, 258),
        (at(590), None, 589, 600),
        (None, at(1), 0, 2),
        (at(900), at(950), 599, 600),
    ] {
        let path = bed.export(
            "r.cfa",
            Wanted {
                since,
                until,
                ..Wanted::default()
            },
        );
        let verdict = judged(&path, &bed.anchors());
        assert!(verdict.good, "{first}..{end}: {}", words(&verdict));
        assert_eq!(
            (verdict.first, verdict.end, verdict.shown),
            (first, end, end - first)
        );
    }
    let backwards = Wanted {
        since: at(50),
        until: at(10),
        ..Wanted::default()
    };
    assert!(matches!(bed.bytes(backwards), Err(ExportError::Empty)));
}

#[test]
fn an_empty_log_exports_and_verifies() {
    let bed = bed(0);
    let verdict = judged(&bed.export("e.cfa", Wanted::default()), &bed.anchors());
    assert!(verdict.good, "{}", words(&verdict));
    assert_eq!((verdict.size, verdict.end), (0, 0));
}

#[test]
fn a_filter_hides_bodies_and_never_existence() {
    let bed = bed(100);
    for (wanted, shown) in [
        (
            Wanted {
                kind: Some("bundle.*".into()),
                ..Wanted::default()
            },
            50,
        ),
        (
            Wanted {
                actor: Some("u:4".into()),
                ..Wanted::default()
            },
            34,
        ),
        (
            Wanted {
                actor: Some("u:99".into()),
                ..Wanted::default()
            },
            0,
        ),
    ] {
        let path = bed.export("f.cfa", wanted);
        let verdict = judged(&path, &bed.anchors());
        assert!(verdict.good, "{}", words(&verdict));
        assert_eq!((verdict.shown, verdict.hidden), (shown, 100 - shown));
    }
}

#[test]
fn names_are_shown_when_asked_for_and_open_what_they_should() {
    let bed = bed(10);
    let plain = bed.bytes(Wanted::default()).unwrap().1;
    assert!(!String::from_utf8_lossy(&plain).contains("\"dev\""));
    let path = bed.export(
        "n.cfa",
        Wanted {
            with_names: true,
            ..Wanted::default()
        },
    );
    let verdict = judged(&path, &bed.anchors());
    assert!(verdict.good, "{}", words(&verdict));
    assert_eq!(verdict.openings, 10);
}

#[test]
fn every_changed_byte_is_refused_with_what_and_where() {
    let bed = bed(7);
    let (_, bytes) = bed
        .bytes(Wanted {
            with_names: true,
            ..Wanted::default()
        })
        .unwrap();
    let path = bed.dir.path().join("changed.cfa");
    fs::write(&path, &bytes).unwrap();
    assert!(judged(&path, &Anchors::default()).good);
    let mut from = std::io::Cursor::new(&bytes);
    let places = evidence::archive::list(&mut from, bytes.len() as u64).unwrap();
    // What is long and nothing but text of this program: any byte of it is like the next.
    const TEXTS: [&str; 4] = ["README", "verify.sh", "schema/", "controls/"];
    let text = |at: u64| {
        let of_text = |p: &&evidence::archive::Place| TEXTS.iter().any(|t| p.name.starts_with(t));
        let mut texts = places.iter().filter(of_text);
        texts.any(|p| p.offset <= at && at < p.offset + p.size)
    };
    for place in (0..bytes.len()).filter(|at| at % 61 == 0 || !text(*at as u64)) {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        fs::write(&path, &changed).unwrap();
        // Without any anchor: the file alone must be sound.
        let verdict = judged(&path, &Anchors::default());
        assert!(!verdict.good, "byte {place} was changed and nobody saw");
        let finding = &verdict.findings[0];
        assert!(!finding.what.is_empty());
    }
    for cut in (0..bytes.len()).step_by(97) {
        fs::write(&path, &bytes[..cut]).unwrap();
        assert!(!judged(&path, &Anchors::default()).good, "cut at {cut}");
    }
}

#[test]
fn removed_reordered_inserted_and_edited_entries_are_refused_even_when_signed_again() {
    let bed = bed(9);
    assert!(forged(&bed, |_| {}).good);
    let removed = forged(&bed, |lines| drop(lines.remove(4)));
    assert!(words(&removed).contains("8 bodies are shown, and the manifest says 9"));
    let swapped = forged(&bed, |lines| lines.swap(3, 4));
    assert!(
        words(&swapped).contains("entry 3 stands here, after entry 4"),
        "{}",
        words(&swapped)
    );
    let twice = forged(&bed, |lines| lines.insert(5, lines[4].clone()));
    assert!(words(&twice).contains("entry 4 stands here, after entry 4"));
    let inserted = forged(&bed, |lines| {
        lines.push(lines[8].replace("\"seq\":8", "\"seq\":9"))
    });
    assert!(words(&inserted).contains("entry 9 stands here"));
    let edited = forged(&bed, |lines| {
        lines[6] = lines[6].replace("success", "denied")
    });
    assert!(words(&edited).contains("entry 6 is not the one that was logged"));
    assert!(edited.findings[0].offset > 0);
}

#[test]
fn a_database_that_disagrees_with_its_seal_exports_nothing() {
    let bed = bed(20);
    bed.seal.seal(&bed.store).unwrap();
    let line = r#"{"seq":7}"#;
    let leaf = hex::encode(evidence::tree::leaf_hash(line.as_bytes()));
    bed.store
        .write::<_, Error>(|tx| {
            Ok(tx.execute_batch(&format!(
                "UPDATE audit_entry SET line = '{line}', leaf = x'{leaf}' WHERE seq = 7"
            ))?)
        })
        .unwrap();
    assert!(matches!(
        bed.bytes(Wanted::default()),
        Err(ExportError::Broken)
    ));
}

#[test]
fn a_report_has_people_and_controls_and_what_is_missing() {
    let bed = bed(30);
    let path = bed.export(
        "p.cfa",
        Wanted {
            with_names: true,
            ..Wanted::default()
        },
    );
    let verdict = judged(&path, &bed.anchors());
    let out = bed.dir.path().join("report");
    evidence::report::write(&path, &verdict, &out).unwrap();
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert!(
        read("people.csv").contains("u:4,dev,10,0,"),
        "{}",
        read("people.csv")
    );
    assert_eq!(read("changes.csv").lines().count(), 16);
    assert_eq!(read("bundles.csv").lines().count(), 16);
    let controls = read("controls.csv");
    assert!(
        controls.contains("AU-12,Audit Record Generation,yes,30,0 1 2"),
        "{controls}"
    );
    assert!(
        controls.contains("IA-2,Identification and Authentication (Organizational Users),missing"),
        "{controls}"
    );
    let page = read("index.html");
    assert!(page.contains("evidence toward") && !page.to_lowercase().contains("compliant"));
}
