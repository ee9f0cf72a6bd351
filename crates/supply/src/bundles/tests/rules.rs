//! Rules of what may come in: sequences, clocks, deltas, pins, persons.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use audit::{Actor, Via, Who};
use testkit::noise;
use vocab::{Digest, UserId};

use super::site::{Here, Lab, NOW_MS};
use crate::bundles::pin;

const DAY_MS: i64 = 86_400_000;

/// The database as it was, to be put back.
struct Backup {
    dir: PathBuf,
    files: Vec<(&'static str, Option<Vec<u8>>)>,
}

impl Backup {
    fn of(dir: &Path) -> Self {
        let files = ["cofferdam.db", "cofferdam.db-wal"];
        Self {
            dir: dir.to_owned(),
            files: files
                .map(|name| (name, fs::read(dir.join(name)).ok()))
                .to_vec(),
        }
    }

    fn restore(&self) {
        drop(fs::remove_file(self.dir.join("cofferdam.db-shm")));
        for (name, bytes) in &self.files {
            drop(fs::remove_file(self.dir.join(name)));
            if let Some(bytes) = bytes {
                fs::write(self.dir.join(name), bytes).unwrap();
            }
        }
    }
}

#[test]
fn t05_a_bundle_never_goes_back_even_under_a_restored_database() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let six = lab.good(6, &[("a", b"6")]);
    let mut draft = Lab::draft(7);
    draft.replaces = BTreeMap::from([("file:a".to_owned(), "*".to_owned())]);
    let seven = lab.bundle(draft, &[("a", b"7")]);
    assert_eq!(here.code(&six), "ok");
    drop(here);
    let saved = Backup::of(data.path());
    let here = Here::at(data.path(), NOW_MS);
    assert_eq!(here.code(&seven), "ok");
    assert_eq!(here.code(&six), "E_ROLLBACK");
    assert!(here.import(&seven).unwrap().notices[0].contains("already"));
    assert!(
        here.told()
            .contains(&"bundle.rejected E_ROLLBACK".to_owned())
    );

    // Somebody puts the old database back: what was sealed beside it counts.
    drop(here);
    saved.restore();
    let here = Here::at(data.path(), NOW_MS);
    assert!(here.serves(&[("a", b"6")]));
    let other = lab.bundle(
        bundle::pack::Draft {
            channel: "stable".to_owned(),
            seq: 7,
            content: "2026.12.0".to_owned(),
            replaces: BTreeMap::from([("file:a".to_owned(), "*".to_owned())]),
            ..Lab::draft(7)
        },
        &[("a", b"other seven")],
    );
    assert_eq!(here.code(&other), "E_ROLLBACK");
    let mut draft = Lab::draft(7);
    draft.replaces = BTreeMap::from([("file:a".to_owned(), "*".to_owned())]);
    let seven = lab.bundle(draft, &[("a", b"7")]);
    assert_eq!(
        here.code(&seven),
        "ok",
        "the very bundle that set the floor"
    );
    // The control: without the seal the old database would take another seven.
    drop(here);
    saved.restore();
    fs::remove_file(data.path().join("trust/floors.json")).unwrap();
    let here = Here::at(data.path(), NOW_MS);
    let other = lab.bundle(
        bundle::pack::Draft {
            content: "2026.12.0".to_owned(),
            replaces: BTreeMap::from([("file:a".to_owned(), "*".to_owned())]),
            ..Lab::draft(7)
        },
        &[("a", b"other seven")],
    );
    assert_eq!(here.code(&other), "ok");
}

#[test]
fn t05_a_root_statement_in_force_stays_so_under_a_restored_database() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    assert_eq!(here.code(&lab.good(1, &[("a", b"1")])), "ok");
    drop(here);
    let saved = Backup::of(data.path());
    let here = Here::at(data.path(), NOW_MS);
    let two = lab.good(2, &[("a", b"1"), ("b", b"2")]);
    lab.write_root(&two, &lab.statement(2));
    assert_eq!(here.code(&two), "ok");
    drop(here);
    saved.restore();
    let here = Here::at(data.path(), NOW_MS);
    let three = lab.good(3, &[("a", b"1"), ("b", b"2")]);
    assert_eq!(here.code(&three), "E_ROOT", "it knows only statement 1");
    lab.write_root(&three, &lab.statement(2));
    assert_eq!(here.code(&three), "ok");
}

#[test]
fn t09_a_clock_that_was_set_back_makes_nothing_valid_again() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let mut newer = Lab::draft(1);
    newer.created = "2027-06-01".to_owned();
    newer.not_after = "2028-01-01".to_owned();
    assert_eq!(here.code(&lab.bundle(newer, &[("a", b"1")])), "ok");
    let here = here.killed(NOW_MS - 3650 * DAY_MS);
    let expired = lab.good(2, &[("a", b"1")]);
    assert_eq!(here.code(&expired), "E_EXPIRED");
    assert!(here.told().contains(&"clock.regressed".to_owned()));
}

#[test]
fn t10_a_clock_that_ran_ahead_blocks_nothing_once_it_is_right_again() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    here.clock.advance(Duration::from_secs(50 * 365 * 86_400));
    let first = lab.good(1, &[("a", b"1")]);
    assert_eq!(here.code(&first), "E_EXPIRED");
    let mut lasting = Lab::draft(2);
    lasting.not_after = "2099-01-01".to_owned();
    assert_eq!(here.code(&lab.bundle(lasting, &[("a", b"1")])), "ok");
    let here = here.killed(NOW_MS);
    assert_eq!(here.code(&lab.good(3, &[("a", b"1")])), "ok");
}

#[test]
fn t11_without_a_clock_the_day_of_the_build_counts() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::at(data.path(), 0);
    here.trust(&lab);
    let mut old = Lab::draft(1);
    old.not_after = "2026-10-01".to_owned();
    assert_eq!(here.code(&lab.bundle(old, &[("a", b"1")])), "E_EXPIRED");
    assert_eq!(here.code(&lab.good(2, &[("a", b"1")])), "ok");
}

/// A delta over a generation that holds `base`, adding `more`.
fn delta(lab: &Lab, seq: u64, base: &[u8], more: &[u8]) -> PathBuf {
    let mut draft = Lab::draft(seq);
    draft.have_sha256 = Some(Digest::of(b"have"));
    draft.assumed = BTreeMap::from([(Digest::of(base), base.len() as u64)]);
    lab.bundle(draft, &[("base", base), ("more", more)])
}

#[test]
fn t13_t52_a_delta_on_another_base_is_refused_and_the_need_slip_says_what_is_lacking() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let base = noise(5, 3000);
    // A have slip that lied: the base was never here.
    let forged = delta(&lab, 1, &base, b"more");
    assert_eq!(here.code(&forged), "E_BASE_MISSING");
    assert_eq!(here.active(), None);
    assert_eq!(here.code(&lab.good(2, &[("base", &base)])), "ok");
    // It is here, and not itself any more.
    let path = here.store.blobs().path(&Digest::of(&base));
    let mut rotten = base.clone();
    rotten[100] ^= 1;
    fs::write(&path, &rotten).unwrap();
    let good = delta(&lab, 3, &base, b"more");
    assert_eq!(here.code(&good), "E_BASE_MISSING");
    let told = here.told();
    assert!(
        told.contains(&"blob.quarantined E_HASH".to_owned()),
        "{told:?}"
    );
    let slip = here.intake.need(&Who::system()).unwrap();
    let key = here.intake.slip_key();
    let (need, _) =
        bundle::slip::open::<bundle::slip::Need>(slip.text.as_bytes(), Some(key)).unwrap();
    assert_eq!(need.damaged, [Digest::of(&base)]);
    // The control: with the base healed by the old bundle again, the same delta comes in.
    let old = lab.good(2, &[("base", &base)]);
    let healed = here.import(&old).unwrap();
    assert!(
        healed.notices.iter().any(|n| n.contains("here again")),
        "{healed:?}"
    );
    assert_eq!(here.code(&good), "ok");
    assert!(here.serves(&[("base", &base), ("more", b"more")]));
}

#[test]
fn t45_undo_never_goes_below_the_security_epoch() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    assert_eq!(here.code(&lab.good(1, &[("a", b"1")])), "ok");
    assert_eq!(here.code(&lab.good(2, &[("a", b"1")])), "ok");
    assert_eq!(here.intake.undo(&Who::system(), false).unwrap().to, 1);
    let mut draft = Lab::draft(3);
    draft.security_epoch = 2;
    assert_eq!(here.code(&lab.bundle(draft, &[("a", b"1")])), "ok");
    let refused = here.intake.undo(&Who::system(), false).unwrap_err();
    assert_eq!(refused.code(), "E_EPOCH");
    assert_eq!(here.code(&lab.good(4, &[("a", b"1")])), "E_EPOCH");
}

#[test]
fn t47_of_two_imports_at_once_the_second_is_told_who_and_since_when() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let dir = lab.good(1, &[("a", b"1")]);
    let who = Who::new(Actor::Operator { uid: 7 }, Via::Control);
    let first = here.intake.begin(&dir, &who, false).unwrap();
    let second = here.import(&dir).unwrap_err();
    assert_eq!(second.code(), "E_BUSY");
    let words = second.to_string();
    assert!(
        words.contains("user 7") && words.contains("2026-11-26"),
        "{words}"
    );
    assert_eq!(here.intake.undo(&who, false).unwrap_err().code(), "E_BUSY");
    let collected = here.intake.collect(&who, false, false);
    assert_eq!(collected.unwrap_err().code(), "E_BUSY");
    first.run().unwrap();
    assert!(here.serves(&[("a", b"1")]));
}

#[test]
fn t49_a_pin_moves_only_when_the_bundle_says_so() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    assert_eq!(here.code(&lab.good(1, &[("a", b"1"), ("b", b"b")])), "ok");
    assert_eq!(
        here.code(&lab.good(2, &[("a", b"2"), ("b", b"b")])),
        "E_TAG_MOVED"
    );
    assert_eq!(here.code(&lab.good(3, &[("a", b"1")])), "E_TAG_MOVED");
    let mut draft = Lab::draft(4);
    draft.replaces = BTreeMap::from([("file:a".to_owned(), Digest::of(b"1").to_string())]);
    draft.removes = vec!["file:b".to_owned()];
    assert_eq!(here.code(&lab.bundle(draft, &[("a", b"2")])), "ok");
    assert!(here.serves(&[("a", b"2")]));
}

#[test]
fn t50_where_two_persons_are_asked_for_one_cannot_do_both() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::open(data.path(), NOW_MS, true);
    here.trust(&lab);
    let dir = lab.good(1, &[("a", b"1")]);
    let person = |id: i64, name: &str| {
        let name = name.parse().unwrap();
        Who::new(
            Actor::User {
                id: UserId(id),
                name,
            },
            Via::Http,
        )
    };
    let import = |who: &Who| here.intake.begin(&dir, who, false).unwrap().run().unwrap();
    for _ in 0..2 {
        let first = import(&person(1, "ann"));
        assert_eq!(first.generation, None);
        assert!(first.notices[0].contains("another person"), "{first:?}");
        assert_eq!(here.active(), None);
    }
    let second = import(&person(2, "bob"));
    assert_eq!(second.generation, Some(1));
    assert!(here.told().contains(&"bundle.approved".to_owned()));
}

#[test]
fn a_fingerprint_is_fixed_once_the_first_statement_was_accepted() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::at(data.path(), NOW_MS);
    let wrong = Digest::of(b"mistyped");
    pin(&here.store, &here.auditor, &Who::system(), &wrong).unwrap();
    let dir = lab.good(1, &[("a", b"1")]);
    assert_eq!(here.code(&dir), "E_ROOT");
    here.trust(&lab);
    assert_eq!(here.code(&dir), "ok");
    let refused = pin(&here.store, &here.auditor, &Who::system(), &wrong).unwrap_err();
    assert_eq!(refused.code(), "E_TRUST_FIXED");
    here.trust(&lab);
}

#[test]
fn refusals_are_told_and_cannot_flood_the_log() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let empty = tempfile::tempdir().unwrap();
    for _ in 0..200 {
        assert_eq!(here.code(empty.path()), "E_NO_BUNDLE");
    }
    let count = |here: &Here| {
        let told = here.told();
        told.iter()
            .filter(|k| k.starts_with("bundle.rejected"))
            .count()
    };
    assert_eq!(count(&here), 60);
    here.clock.advance(Duration::from_secs(3600));
    assert_eq!(here.code(empty.path()), "E_NO_BUNDLE");
    assert_eq!(count(&here), 61);
}
