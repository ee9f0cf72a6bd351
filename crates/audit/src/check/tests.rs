//! What the log promises, tried on temporary stores.

use std::time::Duration;

use serde_json::Value;
use store::StoreError;
use vocab::{Clock, Entropy, RepoId, UserId, from_unix_ms};

use super::*;
use crate::testing::{Bed, Error};
use crate::{
    Actor, AppendError, Auditor, Cause, Entry, Filter, Kind, Origin, Seq, State, Via, Who,
};

fn bed() -> Bed {
    crate::testing::bed(0)
}

fn dev() -> Who {
    let actor = Actor::User {
        id: UserId(17),
        name: "dev".parse().unwrap(),
    };
    Who::new(actor, Via::Http)
        .from_peer("10.0.0.7:4242".parse().unwrap())
        .in_request("req-1")
}

fn push() -> Entry {
    Entry::success(Kind::GitPush)
        .object("repo", RepoId(5).tagged(), "lab/tasks-app")
        .detail("refs", 1)
        .private("mail", "dev@lab")
}

fn append(bed: &Bed, entry: Entry) -> Seq {
    bed.try_one(&dev(), entry).unwrap()
}

fn alter(bed: &Bed, statement: &str) -> Vec<String> {
    bed.alter(statement);
    bed.rows_found()
}

fn list(bed: &Bed, filter: &Filter) -> Vec<i64> {
    bed.store
        .read::<_, Error>(|db| Ok(crate::list(db, filter, 100)?))
        .unwrap()
        .iter()
        .map(|line| line.seq.0)
        .collect()
}

#[test]
fn an_entry_is_one_canonical_line_without_personal_values() {
    let bed = bed();
    let seq = append(&bed, push());
    let line = bed
        .store
        .read::<_, Error>(|db| Ok(crate::line(db, seq)?))
        .unwrap()
        .unwrap();
    assert_eq!(line.leaf, leaf_hash(line.text.as_bytes()));
    for personal in ["dev@lab", "10.0.0.7", "\"dev\""] {
        assert!(!line.text.contains(personal), "{personal} in {}", line.text);
    }
    let value: Value = serde_json::from_str(&line.text).unwrap();
    assert_eq!(value["seq"], 0);
    assert_eq!(value["t"], "2026-09-21T14:13:20.123000Z");
    assert_eq!(value["act"], "git.push");
    assert_eq!(value["who"]["id"], "u:17");
    assert_eq!(value["obj"]["name"], "lab/tasks-app");
    assert_eq!(value["link"]["req"], "req-1");
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let openings = bed
        .store
        .read::<_, Error>(|db| Ok(crate::openings(db, seq)?))
        .unwrap();
    assert_eq!(openings.len(), 3);
    assert!(openings.contains(&("d.mail_c".into(), "dev@lab".into())));
    assert_eq!(bed.rows_found(), Vec::<String>::new());
}

#[test]
fn a_clock_that_went_back_does_not_take_the_log_back() {
    let bed = bed();
    append(&bed, push());
    let early = Auditor::new(
        Clock::scripted(from_unix_ms(5)),
        Entropy::scripted(1),
        Origin {
            host: "h".into(),
            boot: "b1".into(),
        },
    );
    bed.store
        .write::<_, Error>(|tx| Ok(early.append(tx, &Who::system(), push())?))
        .unwrap();
    let lines = bed
        .store
        .read::<_, Error>(|db| Ok(crate::list(db, &Filter::default(), 9)?))
        .unwrap();
    let value: Value = serde_json::from_str(&lines[0].text).unwrap();
    assert_eq!(value["clk"], "floor");
    assert_eq!(value["t"], "2026-09-21T14:13:20.123000Z");
    assert_eq!(bed.rows_found(), Vec::<String>::new());
}

#[test]
fn every_kind_of_tampering_is_named() {
    for (statement, finding) in [
        (
            "UPDATE audit_entry SET line = replace(line, 'success', 'denied') WHERE seq = 1",
            "entry 1 is not the line",
        ),
        (
            "UPDATE audit_entry SET kind = 'git.fetch' WHERE seq = 1",
            "entry 1: its kind column",
        ),
        (
            "UPDATE audit_entry SET actor = 'u:3' WHERE seq = 1",
            "its actor column",
        ),
        (
            "UPDATE audit_entry SET leaf = zeroblob(32) WHERE seq = 2",
            "entry 2 is not the line",
        ),
        (
            "DELETE FROM audit_entry WHERE seq = 1; DELETE FROM audit_opening WHERE seq = 1",
            "entries 1 to 1 are missing",
        ),
        (
            "DELETE FROM audit_entry WHERE seq = 2; DELETE FROM audit_opening WHERE seq = 2",
            "ends at 2 entries and should have 3",
        ),
        (
            "UPDATE audit_opening SET value = 'eve' WHERE seq = 0 AND field = 'who.name_c'",
            "who.name_c of audit entry 0",
        ),
        (
            "UPDATE audit_entry SET seq = 9 WHERE seq = 2",
            "entries 2 to 8 are missing",
        ),
    ] {
        let bed = bed();
        for _ in 0..3 {
            append(&bed, push());
        }
        assert_eq!(bed.rows_found(), Vec::<String>::new());
        let said = alter(&bed, statement);
        assert!(
            said.iter().any(|f| f.contains(finding)),
            "{statement}: {said:?}"
        );
    }
}

#[test]
fn redaction_of_a_value_leaves_the_line_sound() {
    let bed = bed();
    append(&bed, push());
    let said = alter(&bed, "DELETE FROM audit_opening WHERE field = 'src.ip_c'");
    assert_eq!(said, Vec::<String>::new());
}

#[test]
fn an_action_that_fails_leaves_no_entry() {
    let bed = bed();
    let failed = bed.store.write::<(), Error>(|tx| {
        bed.log.append(tx, &dev(), push())?;
        Err(StoreError::Full.into())
    });
    assert!(failed.is_err());
    assert_eq!(append(&bed, push()), Seq(0));
    assert_eq!(bed.rows_found(), Vec::<String>::new());
}

#[test]
fn filters_find_by_time_kind_actor_and_object() {
    let bed = bed();
    append(&bed, push());
    bed.clock.advance(Duration::from_secs(60));
    append(&bed, Entry::denied(Kind::RepoDelete, "E_ROLE"));
    bed.store
        .write::<_, Error>(|tx| {
            Ok(bed
                .log
                .append(tx, &Who::system(), Entry::success(Kind::Boot))?)
        })
        .unwrap();
    let text = |s: &str| Some(s.to_owned());
    let filter = Filter::default;
    let minute = from_unix_ms(1_790_000_060_000);
    for (filter, seqs) in [
        (filter(), vec![2, 1, 0]),
        (
            Filter {
                kind: text("git.*"),
                ..filter()
            },
            vec![0],
        ),
        (
            Filter {
                kind: text("repo."),
                ..filter()
            },
            vec![1],
        ),
        (
            Filter {
                kind: text("git.pus"),
                ..filter()
            },
            vec![],
        ),
        (
            Filter {
                kind: text("boot"),
                ..filter()
            },
            vec![2],
        ),
        (
            Filter {
                actor: text("u:17"),
                ..filter()
            },
            vec![1, 0],
        ),
        (
            Filter {
                actor: text("system"),
                ..filter()
            },
            vec![2],
        ),
        (
            Filter {
                object: text("r:5"),
                ..filter()
            },
            vec![0],
        ),
        (
            Filter {
                since: Some(minute),
                ..filter()
            },
            vec![2, 1],
        ),
        (
            Filter {
                until: Some(minute),
                ..filter()
            },
            vec![0],
        ),
        (
            Filter {
                before: Some(Seq(2)),
                ..filter()
            },
            vec![1, 0],
        ),
    ] {
        assert_eq!(list(&bed, &filter), seqs, "{filter:?}");
    }
}

#[test]
fn an_entry_without_bounds_is_refused() {
    let bed = bed();
    let long: Vec<String> = (0..300).map(|_| "x".repeat(4_000)).collect();
    let refused = bed
        .store
        .write::<_, Error>(|tx| Ok(bed.log.append(tx, &dev(), push().detail("all", long))?));
    assert!(matches!(
        refused,
        Err(Error::Append(AppendError::TooLong { .. }))
    ));
}

#[test]
fn without_space_the_action_is_undone_and_said_so() {
    let bed = bed();
    append(&bed, push());
    let refused = bed.store.write::<(), Error>(|tx| {
        tx.execute_batch("CREATE TABLE acted (x INT) STRICT; PRAGMA max_page_count = 1")?;
        loop {
            bed.log.append(tx, &dev(), push())?;
        }
    });
    assert!(matches!(
        refused,
        Err(Error::Append(AppendError::Blocked(_)))
    ));
    assert!(matches!(bed.log.state(), State::Blocked(b) if b.cause == Cause::Space));
    assert_eq!(list(&bed, &Filter::default()), [0]);
    assert!(alter(&bed, "PRAGMA max_page_count = 1000000").is_empty());
    let acted = bed
        .store
        .write::<_, Error>(|tx| Ok(tx.execute_batch("SELECT * FROM acted")?));
    assert!(acted.is_err(), "the action is undone");
    assert!(bed.log.settle(&bed.store, None).unwrap());
    // In between stand the two entries that tell of it.
    assert_eq!(append(&bed, push()), Seq(3));
}
