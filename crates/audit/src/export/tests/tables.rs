//! What an export carries beside its entries is held to them: the table of controls, witnesses.

use evidence::note::NoteSigner;

use super::*;

#[test]
fn a_table_of_controls_that_the_entries_do_not_give_is_refused_even_when_signed_again() {
    let bed = bed(9);
    assert!(forged_in(&bed, "controls/controls.csv", |_| {}).good);
    let said = "is not what the entries and the mapping beside it give";
    let more = forged_in(&bed, "controls/controls.csv", |lines| {
        lines[1] = lines[1].replace(",9,", ",10,");
    });
    assert!(words(&more).contains(said), "{}", words(&more));
    assert_eq!(more.findings[0].file, "controls/controls.csv");
    let fewer = forged_in(&bed, "controls/controls.csv", |lines| drop(lines.pop()));
    assert!(words(&fewer).contains(said), "{}", words(&fewer));
    let mapping = forged_in(&bed, "controls/mapping.csv", |lines| drop(lines.pop()));
    assert!(words(&mapping).contains(said), "{}", words(&mapping));
    let cut = Wanted {
        kind: Some("bundle.*".to_owned()),
        ..Wanted::default()
    };
    let verdict = judged(&bed.export("cut.cfa", cut), &bed.anchors());
    assert!(verdict.good && verdict.hidden == 5, "{}", words(&verdict));
}

#[test]
fn a_witness_of_an_earlier_state_counts_when_the_log_goes_on_from_there() {
    let bed = bed(5);
    let early = bed.seal.seal(&bed.store).unwrap().checkpoint;
    bed.append(6);
    let witness = NoteSigner::new("auditor", &[9; 32]).unwrap();
    let anchors = Anchors {
        witnesses: vec![witness.cosigner()],
        ..bed.anchors()
    };
    let with = |checkpoint: &Checkpoint, earlier: Vec<u64>| {
        let wanted = Wanted {
            earlier,
            ..Wanted::default()
        };
        let export = Export::begin(&bed.store, &bed.seal, wanted).unwrap();
        let note = witness.cosign(&checkpoint.text(), 77).into_bytes();
        let extra = [Ok(("cosigs/auditor".to_owned(), note))];
        let made = from_unix_ms(START_MS);
        let (_, bytes) = export.write(Vec::new(), made, extra, &mut |_| {}).unwrap();
        let path = bed.dir.path().join("seen.cfa");
        fs::write(&path, bytes).unwrap();
        judged(&path, &anchors)
    };
    let good = with(&early, vec![5]);
    assert!(good.good, "{}", words(&good));
    assert_eq!(good.witnesses, ["auditor"]);
    assert!(
        good.notes[0].contains("saw the first 5 of 11 entries at 77"),
        "{:?}",
        good.notes
    );
    // Another history of the same size, a log that was longer, a proof that is not there.
    let mut other = early.clone();
    other.root[0] ^= 1;
    let forked = with(&other, vec![5]);
    assert!(words(&forked).contains("was forked"), "{}", words(&forked));
    other.size = 12;
    let longer = with(&other, vec![5]);
    assert!(
        words(&longer).contains("was rolled back"),
        "{}",
        words(&longer)
    );
    let unproved = with(&early, Vec::new());
    assert!(
        words(&unproved).contains("nothing proves"),
        "{}",
        words(&unproved)
    );
    let mut foreign = early.clone();
    foreign.origin = "lab-0002".to_owned();
    let foreign = with(&foreign, vec![5]);
    assert!(
        words(&foreign).contains("of the log lab-0002"),
        "{}",
        words(&foreign)
    );
}
