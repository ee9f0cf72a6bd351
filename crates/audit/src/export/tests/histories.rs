//! An export held to the one before, to its own log and to witnesses.

use super::forge::refused_at;
use super::*;

/// Takes all from entry 30 on out of the log.
const CUT: &str = "DELETE FROM audit_entry WHERE seq >= 30;
    DELETE FROM audit_opening WHERE seq >= 30;
    UPDATE audit_head SET size = 30, leaf = (SELECT leaf FROM audit_entry WHERE seq = 29)";

/// The log after `statement`, under the same keys but with no seal of what it was before.
pub(super) fn rewritten(bed: Bed, statement: &str) -> Bed {
    bed.alter(statement);
    fs::remove_dir_all(bed.dir.path().join("audit")).unwrap();
    Bed {
        seal: Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(1)).unwrap(),
        ..bed
    }
}

#[test]
fn an_export_continues_the_one_before() {
    let bed = bed(40);
    let old = bed.export("q1.cfa", Wanted::default());
    bed.append(300);
    // The earlier end lies in the range, or a proof leads from it.
    for wanted in [
        Wanted::default(),
        Wanted {
            since: at(100),
            earlier: vec![40],
            ..Wanted::default()
        },
    ] {
        let new = bed.export("q2.cfa", wanted);
        let verdict = judged(&new, &after(&old));
        assert!(verdict.good, "{}", words(&verdict));
        assert_eq!(verdict.continues, Some(40));
    }
    let unproved = bed.export(
        "q3.cfa",
        Wanted {
            since: at(100),
            ..Wanted::default()
        },
    );
    assert!(words(&judged(&unproved, &after(&old))).contains("no proof from 40 entries"));
    let backwards = judged(&old, &after(&bed.export("q4.cfa", Wanted::default())));
    assert!(
        words(&backwards).contains("the log was cut off"),
        "{}",
        words(&backwards)
    );
}

#[test]
fn a_forked_log_and_a_signed_again_tail_are_refused() {
    let bed = bed(40);
    let old = bed.export("q1.cfa", Wanted::default());
    // Whoever has the keys writes another history from entry 30 on, and seals it anew.
    let forked = rewritten(bed, CUT);
    forked.append(50);
    let new = forked.export(
        "q2.cfa",
        Wanted {
            earlier: vec![40],
            ..Wanted::default()
        },
    );
    assert!(judged(&new, &forked.anchors()).good, "alone it is sound");
    assert!(words(&judged(&new, &after(&old))).contains("the log forked"));
    let ranged = Wanted {
        since: at(60),
        earlier: vec![40],
        ..Wanted::default()
    };
    let ranged = forked.export("q3.cfa", ranged);
    assert!(words(&judged(&ranged, &after(&old))).contains("the log forked"));
}

#[test]
fn a_foreign_log_and_a_foreign_checkpoint_are_refused() {
    let (own, other) = (bed(12), bed_called("lab-0002", 5));
    other.append(12);
    let foreign = other.export("o.cfa", Wanted::default());
    assert!(judged(&foreign, &other.anchors()).good);
    let refused = judged(&foreign, &own.anchors());
    assert!(words(&refused).contains("is not the key that was given"));
    // Another log's checkpoint in place of the own one, byte for byte.
    let (_, bytes) = own.bytes(Wanted::default()).unwrap();
    let mut from = std::io::Cursor::new(&bytes);
    let mut writer = Writer::new(Vec::new());
    for place in evidence::archive::list(&mut from, bytes.len() as u64).unwrap() {
        let mut content = evidence::archive::content(&mut from, &place, 1 << 30).unwrap();
        if place.name == "checkpoint" {
            content = other.seal.last().unwrap().note.into_bytes();
        }
        writer.file(&place.name, &content).unwrap();
    }
    let path = own.dir.path().join("foreign.cfa");
    fs::write(&path, writer.finish().unwrap()).unwrap();
    let verdict = judged(&path, &own.anchors());
    assert!(
        words(&verdict).contains("checkpoint@"),
        "{}",
        words(&verdict)
    );
    assert!(words(&verdict).contains("is not signed by this log"));
}

#[test]
fn a_witness_who_signed_is_named_and_one_who_did_not_is_missed() {
    use evidence::note::NoteSigner;
    let bed = bed(5);
    let path = bed.export("w.cfa", Wanted::default());
    let witness = NoteSigner::new("auditor", &[9; 32]).unwrap();
    let anchors = Anchors {
        witnesses: vec![witness.key().clone()],
        ..bed.anchors()
    };
    assert!(words(&judged(&path, &anchors)).contains("no signature by the witness auditor"));
    let text = bed.seal.last().unwrap().checkpoint.text();
    let signed = |text: &str| {
        let export = Export::begin(&bed.store, &bed.seal, Wanted::default()).unwrap();
        let extra = ("cosigs/auditor".to_owned(), witness.sign(text).into_bytes());
        let bytes = export
            .write(Vec::new(), bed.clock.now(), [Ok(extra)], &mut |_| {})
            .unwrap()
            .1;
        fs::write(&path, bytes).unwrap();
        judged(&path, &anchors)
    };
    assert_eq!(signed(&text).witnesses, ["auditor"]);
    assert!(!signed(&text.replace("\n5\n", "\n4\n")).good);
}

#[test]
fn what_a_witness_saw_refuses_a_tail_that_was_signed_again() {
    use evidence::note::NoteSigner;
    let bed = bed(40);
    let witness = NoteSigner::new("auditor", &[9; 32]).unwrap();
    let seen = witness.cosign(&bed.sealed().text(), 77);
    let export = |bed: &Bed, note: Option<&str>| {
        let wanted = Wanted {
            earlier: vec![40],
            ..Wanted::default()
        };
        let export = Export::begin(&bed.store, &bed.seal, wanted).unwrap();
        let extra = note.map(|note| Ok(("cosigs/auditor".to_owned(), note.into())));
        let made = from_unix_ms(START_MS);
        let (_, bytes) = export.write(Vec::new(), made, extra, &mut |_| {}).unwrap();
        let path = bed.dir.path().join("seen.cfa");
        fs::write(&path, bytes).unwrap();
        path
    };
    let anchors = Anchors {
        witnesses: vec![witness.cosigner()],
        ..bed.anchors()
    };
    bed.append(10);
    let good = judged(&export(&bed, Some(&seen)), &anchors);
    assert!(good.good, "the control: {}", words(&good));
    assert!(
        good.notes[0].contains("saw the first 40 of 50"),
        "{:?}",
        good.notes
    );

    let cut = rewritten(bed, CUT);
    let path = export(&cut, Some(&seen));
    assert!(judged(&path, &cut.anchors()).good, "alone it is sound");
    let said = words(&judged(&path, &anchors));
    assert!(
        said.contains("the log of lab-0001 was rolled back: it has 30 entries, and 40 were signed"),
        "{said}"
    );
    assert!(said.contains("cosigs/auditor@"), "{said}");
    cut.append(50);
    let path = export(&cut, Some(&seen));
    assert!(judged(&path, &cut.anchors()).good, "alone it is sound");
    let said = words(&judged(&path, &anchors));
    assert!(said.contains("the log of lab-0001 was forked"), "{said}");
    assert!(said.contains("cosigs/auditor@"), "{said}");
    let none = "no signature by the witness auditor on this checkpoint";
    refused_at(&export(&cut, None), &anchors, "checkpoint", none);
}

#[test]
fn entries_whose_hashes_were_changed_with_them_are_refused() {
    use super::forge::part;
    let bed = bed(9);
    let own = bed.anchors();
    type Change<'a> = &'a dyn Fn(&mut Vec<Vec<u8>>, &mut Manifest);
    let cases: [(&str, &str, Option<Change<'_>>); 6] = [
        ("", "", None),
        // The last is removed.
        (
            "range.proof",
            "does not lead from the range to the end of the log",
            Some(&|lines, manifest| {
                lines.pop();
                (manifest.end, manifest.shown) = (8, 8);
            }),
        ),
        // One within is removed, and those after it move up.
        (
            "range.proof",
            "does not lead from the range to the end of the log",
            Some(&|lines, manifest| {
                lines.remove(4);
                renumber(lines);
                (manifest.end, manifest.shown) = (8, 8);
            }),
        ),
        (
            "leaves.bin",
            "entries 0 to 9 are not those under the signed root",
            Some(&|lines, _| {
                lines.swap(3, 4);
                renumber(lines);
            }),
        ),
        (
            "MANIFEST.json",
            "does not fit the checkpoint beside it",
            Some(&|lines, manifest| {
                lines.insert(5, lines[5].clone());
                renumber(lines);
                (manifest.end, manifest.shown) = (10, 10);
            }),
        ),
        (
            "leaves.bin",
            "entries 0 to 9 are not those under the signed root",
            Some(&|lines, _| {
                let text = String::from_utf8(lines[6].clone()).unwrap();
                lines[6] = text.replace("success", "denied").into_bytes();
            }),
        ),
    ];
    for (file, what, change) in cases {
        let path = remade(&bed, Wanted::default(), |manifest, files| {
            let Some(change) = change else { return };
            let events = part(files, "events/000000.jsonl");
            let lines = events.split_inclusive(|b| *b == b'\n');
            let mut lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
            change(&mut lines, manifest);
            *events = lines.concat();
            let leaf = |line: &Vec<u8>| evidence::tree::leaf_hash(&line[..line.len() - 1]);
            *part(files, "leaves.bin") = lines.iter().flat_map(leaf).collect();
            files.retain(|(name, _)| !name.starts_with("controls/"));
        });
        match change {
            None => assert!(judged(&path, &own).good, "the control"),
            Some(_) => refused_at(&path, &own, file, what),
        }
    }
}

/// Gives each line its place and its time, as if it had been made there.
fn renumber(lines: &mut [Vec<u8>]) {
    for (seq, line) in lines.iter_mut().enumerate() {
        let mut value: serde_json::Value = serde_json::from_slice(line).unwrap();
        value["seq"] = seq.into();
        value["t"] = at(seq as u64).map(time).unwrap().into();
        *line = format!("{value}\n").into_bytes();
    }
}
