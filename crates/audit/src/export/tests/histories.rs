//! An export held to the one before, to its own log and to witnesses.

use super::*;

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
    bed.store
        .write::<_, Error>(|tx| {
            Ok(tx.execute_batch(
                "DELETE FROM audit_entry WHERE seq >= 30; DELETE FROM audit_opening WHERE seq >= 30;
                 UPDATE audit_head SET size = 30, leaf = (SELECT leaf FROM audit_entry WHERE seq = 29)",
            )?)
        })
        .unwrap();
    bed.append(50);
    fs::remove_dir_all(bed.dir.path().join("audit")).unwrap();
    let forked = Bed {
        seal: Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(1)).unwrap(),
        ..bed
    };
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
