//! Searches of logs that are long, and what the database says of each way.

use std::time::Duration;

use store::{Store, StoreError, StoreOptions};
use vocab::from_unix_ms;

use super::*;
use crate::{MIGRATIONS, Out, Went};

const START_MS: i64 = 1_795_000_000_000;

fn open(dir: &std::path::Path) -> Store {
    Store::open(dir, &[MIGRATIONS], StoreOptions::default()).unwrap()
}

/// A log of `size` entries, one a second: one in a thousand is a refused push, one in three a
/// start of a job, the rest fetches; the actor changes in stripes that the kinds never meet.
fn long(size: i64) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store
        .write(|tx| {
            tx.execute(
                "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
                 INSERT INTO audit_entry (seq, t_us, kind, actor, object, out, line, leaf)
                 SELECT i, (?2 + i * 1000) * 1000,
                        CASE WHEN i % 1000 = 7 THEN 'git.push_rejected'
                             WHEN i % 3 = 0 THEN 'job.started' ELSE 'git.fetch' END,
                        'u:' || (i % 3), 'r:' || (i % 11),
                        CASE WHEN i % 1000 = 7 THEN 'denied' ELSE 'success' END,
                        '{\"seq\":' || i || '}', zeroblob(32) FROM n",
                [size, START_MS],
            )
            .map(drop)
            .map_err(StoreError::from)
        })
        .unwrap();
    (dir, store)
}

fn seqs(found: &Found) -> Vec<i64> {
    found.lines.iter().map(|line| line.seq.0).collect()
}

fn read<T>(store: &Store, look: impl FnOnce(&Db) -> rusqlite::Result<T>) -> T {
    store.read(|db| look(db).map_err(StoreError::from)).unwrap()
}

#[test]
fn no_look_reads_the_whole_log_or_sorts_it() {
    let (_dir, store) = long(1_000);
    let (one, two) = (["git.fetch".to_owned()], ["a".to_owned(), "b".to_owned()]);
    let ways: [(Way, &[Option<&[String]>]); 5] = [
        (Way::Rows, &[None, Some(&one), Some(&two)]),
        // More than one are taken one by one on this way.
        (Way::Kind, &[Some(&one)]),
        (Way::Actor, &[None, Some(&one), Some(&two)]),
        (Way::Object, &[None, Some(&one), Some(&two)]),
        (Way::Amiss, &[None, Some(&one), Some(&two)]),
    ];
    for (way, kinds) in ways {
        for kinds in kinds {
            let look = Narrow {
                range: 10..900,
                kinds: *kinds,
                actor: (way == Way::Actor).then_some("u:1"),
                object: (way == Way::Object).then_some("r:1"),
                went: (way == Way::Amiss).then_some(Went::Amiss),
                generation: None,
                way,
                ascending: false,
            };
            let steps = read(&store, |db| sql::explained(db, &look));
            assert_eq!(steps.len(), 1, "{way:?}: {steps:?}");
            assert!(steps[0].starts_with("SEARCH"), "{way:?}: {steps:?}");
        }
    }
}

#[test]
fn pages_go_through_all_that_fits_and_meet_nothing_twice() {
    let (_dir, store) = long(60_000);
    let wanted = Filter {
        went: Some(Went::Amiss),
        ..Filter::default()
    };
    let (mut before, mut all) = (None, Vec::new());
    loop {
        let filter = Filter {
            before,
            ..wanted.clone()
        };
        let found = read(&store, |db| search(db, &filter, 25));
        all.extend(seqs(&found));
        match found.lines.last() {
            Some(last) if found.lines.len() == 25 => before = Some(last.seq),
            _ => break,
        }
    }
    let expected: Vec<i64> = (0..60).rev().map(|n| n * 1_000 + 7).collect();
    assert_eq!(all, expected);
}

#[test]
fn what_is_common_in_parts_and_rare_together_is_looked_for_a_bounded_way() {
    let size = 600_000;
    let (_dir, store) = long(size);
    // Both are a third of the log, and they never meet.
    let mut filter = Filter {
        kind: Some("job.started".into()),
        actor: Some("u:1".into()),
        ..Filter::default()
    };
    let first = read(&store, |db| search(db, &filter, 50));
    let reached = size - WINDOW * WINDOWS;
    assert_eq!(
        (seqs(&first), first.reached),
        (Vec::<i64>::new(), Some(Seq(reached)))
    );
    filter.before = first.reached;
    let rest = read(&store, |db| search(db, &filter, 50));
    assert_eq!((seqs(&rest), rest.reached), (Vec::<i64>::new(), None));
    // With the actor that meets them there is no way to go.
    filter.actor = Some("u:0".into());
    let found = read(&store, |db| search(db, &filter, 2));
    assert_eq!(seqs(&found), [199_998, 199_995]);
}

#[test]
fn every_condition_is_kept() {
    let (_dir, store) = long(3_000);
    let at = |n: i64| Some(from_unix_ms(START_MS) + Duration::from_secs(n.unsigned_abs()));
    let none: [i64; 0] = [];
    let find = |filter: Filter| seqs(&read(&store, |db| search(db, &filter, 3)));
    let all = Filter::default;
    assert_eq!(find(all()), [2_999, 2_998, 2_997]);
    assert_eq!(
        find(Filter {
            until: at(10),
            ..all()
        }),
        [9, 8, 7]
    );
    assert_eq!(
        find(Filter {
            since: at(2_998),
            ..all()
        }),
        [2_999, 2_998]
    );
    let refused = Filter {
        kind: Some("git.*".into()),
        went: Some(Went::As(Out::Denied)),
        actor: Some("u:1".into()),
        ..all()
    };
    assert_eq!(find(refused.clone()), [7]);
    assert_eq!(
        find(Filter {
            object: Some("r:7".into()),
            ..refused.clone()
        }),
        [7]
    );
    assert_eq!(
        find(Filter {
            object: Some("r:8".into()),
            ..refused.clone()
        }),
        none
    );
    assert_eq!(
        find(Filter {
            went: Some(Went::As(Out::Failure)),
            ..refused
        }),
        none
    );
    assert_eq!(
        find(Filter {
            severity: Some(2),
            ..all()
        }),
        [2_007, 1_007, 7]
    );
    assert_eq!(
        find(Filter {
            severity: Some(3),
            ..all()
        }),
        none
    );
    assert_eq!(
        find(Filter {
            kind: Some("no.such".into()),
            ..all()
        }),
        none
    );
    assert_eq!(
        find(Filter {
            after: Some(Seq(2_997)),
            ..all()
        }),
        [2_999, 2_998]
    );
    let kinds = read(&store, |db| crate::by_kind(db, at(0), at(9), 2));
    let told: Vec<_> = kinds
        .iter()
        .map(|k| (k.kind.as_str(), k.count, k.first.clone()))
        .collect();
    assert_eq!(
        told,
        [
            ("git.fetch", 5, vec![1, 2]),
            ("git.push_rejected", 1, vec![7]),
            ("job.started", 3, vec![0, 3]),
        ]
    );
}
