//! Dates: a range in time proves its ends, a clock that was set back is told, and dates that were
//! set back are refused.

use super::forge::{part, refused_at};
use super::histories::rewritten;
use super::*;
use crate::{Auditor, Entry, Kind, Origin, Who};
use vocab::Clock;

fn ranged() -> Wanted {
    Wanted {
        since: at(10),
        until: at(20),
        ..Wanted::default()
    }
}

#[test]
fn a_range_whose_ends_do_not_prove_its_time_is_refused() {
    let bed = bed(40);
    let own = bed.anchors();
    let good = judged(&remade(&bed, ranged(), |_, _| {}), &own);
    assert!(good.good, "the control: {}", words(&good));
    assert_eq!((good.first, good.end), (9, 21));

    // The same entries under the name of a longer time.
    let early = remade(&bed, ranged(), |manifest, _| {
        manifest.since = at(5).map(time)
    });
    let before = "no entry from before the time shows that the range begins at its start";
    refused_at(&early, &own, "MANIFEST.json", before);
    let late = remade(&bed, ranged(), |manifest, _| {
        manifest.until = at(25).map(time)
    });
    let after = "no entry from after the time shows that the range goes on to its end";
    refused_at(&late, &own, "MANIFEST.json", after);
    // A time at which an entry was made belongs to the range: that entry is no bound before it.
    let exact = remade(&bed, ranged(), |manifest, _| {
        manifest.since = at(9).map(time)
    });
    refused_at(&exact, &own, "MANIFEST.json", before);
    // In another form times are no texts to be compared.
    let form = remade(&bed, ranged(), |manifest, _| {
        manifest.until = Some("2026".into())
    });
    refused_at(&form, &own, "MANIFEST.json", "names a time in another form");
    // The body of a bound is hidden, as if by a filter.
    for (line, what) in [(0, before), (11, after)] {
        let cut = remade(&bed, ranged(), |manifest, files| {
            let events = part(files, "events/000000.jsonl");
            let mut lines: Vec<&[u8]> = events.split_inclusive(|b| *b == b'\n').collect();
            lines.remove(line);
            *events = lines.concat();
            manifest.shown -= 1;
            manifest.filter = Some(Shown {
                kind: Some("git.*".into()),
                ..Shown::default()
            });
            files.retain(|(name, _)| !name.starts_with("controls/"));
        });
        refused_at(&cut, &own, "MANIFEST.json", what);
    }
}

#[test]
fn a_clock_that_was_set_back_is_told_and_not_refused() {
    let bed = bed(4);
    let told = |bed: &Bed| {
        let verdict = judged(&bed.export("c.cfa", Wanted::default()), &bed.anchors());
        assert!(verdict.good, "{}", words(&verdict));
        verdict.notes.join("\n")
    };
    assert!(!told(&bed).contains("clock"), "the control");
    let host = Origin {
        host: "lab-0001".into(),
        boot: "b1".into(),
    };
    let early = Auditor::new(Clock::scripted(from_unix_ms(5)), Entropy::scripted(3), host);
    for _ in 0..2 {
        bed.store
            .write::<_, Error>(|tx| {
                let entry = Entry::success(Kind::GitPush);
                Ok(early.append(tx, &Who::system(), entry)?)
            })
            .unwrap();
    }
    bed.append(3);
    let said = told(&bed);
    let words = "the clock was set back: 2 entries, the first of them 4, were made while";
    assert!(said.contains(words), "{said}");
}

#[test]
fn a_log_whose_dates_were_set_back_is_refused() {
    let bed = bed(20);
    assert!(judged(&bed.export("d.cfa", Wanted::default()), &bed.anchors()).good);
    // Whoever has the keys dates entry 7 six minutes back and seals all of it anew.
    let line = bed.told(if 7 % 2 == 0 {
        Kind::GitPush
    } else {
        Kind::BundleCommitted
    });
    let line = line
        .iter()
        .find(|line| line["seq"] == 7)
        .unwrap()
        .to_string();
    let (was, is) = (at(7).map(time).unwrap(), at(1).map(time).unwrap());
    let other = line.replace(&was, &is);
    assert_ne!(line, other);
    let leaf = hex::encode(evidence::tree::leaf_hash(other.as_bytes()));
    let bed = rewritten(
        bed,
        &format!("UPDATE audit_entry SET line = '{other}', leaf = x'{leaf}' WHERE seq = 7"),
    );
    let verdict = judged(&bed.export("d.cfa", Wanted::default()), &bed.anchors());
    let said = words(&verdict);
    assert!(said.starts_with("events/000000.jsonl@"), "{said}");
    assert!(said.contains("entry 7 is dated before entry 6"), "{said}");
    // Under a range in time it stands outside of, and is there.
    let wanted = Wanted {
        since: at(6),
        until: at(12),
        ..Wanted::default()
    };
    let ranged = judged(&bed.export("r.cfa", wanted), &bed.anchors());
    assert!(words(&ranged).contains("entry 7 is dated before entry 6"));
}
