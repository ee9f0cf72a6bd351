//! What is redacted is in no byte that is left; everything else still verifies.

use std::net::SocketAddr;
use std::path::Path;

use evidence::verify::{Anchors, verify};
use vocab::{UserId, from_unix_ms};

use super::*;
use crate::testing::{Bed, START_MS, bed_called};
use crate::{Actor, Export, Line, Via, Wanted, openings};

const NAME: &str = "petra-quellwasser";
const ADDRESS: &str = "203.0.113.77";
const OTHER: &str = "198.51.100.23";
const PETRA: UserId = UserId(17);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error(transparent)]
    Redact(#[from] RedactError),
}

fn user(id: UserId, name: &str, address: &str) -> Who {
    let peer: SocketAddr = format!("{address}:40000").parse().unwrap();
    let name = name.parse().unwrap();
    Who::new(Actor::User { id, name }, Via::Http).from_peer(peer)
}

/// Entries of Petra among many of somebody else, so that pages of the table were split.
fn filled() -> Bed {
    let bed = bed_called("lab-0001", 1);
    bed.store
        .write::<_, crate::testing::Error>(|tx| {
            for i in 0..3_000 {
                let who = match i % 7 {
                    0 => user(PETRA, NAME, ADDRESS),
                    _ => user(UserId(4), "dev", OTHER),
                };
                bed.log.append(tx, &who, Entry::success(Kind::GitPush))?;
            }
            let made = Entry::success(Kind::UserCreate)
                .unnamed_object("user", PETRA.tagged())
                .private("name", NAME);
            bed.log.append(tx, &user(UserId(4), "dev", OTHER), made)?;
            let who = Who::new(Actor::Anonymous, Via::Http)
                .from_peer(format!("{ADDRESS}:40001").parse().unwrap());
            let failed =
                Entry::denied(Kind::LoginFail, "E_PASSWORD").unnamed_object("user", PETRA.tagged());
            bed.log.append(tx, &who, failed)?;
            Ok(())
        })
        .unwrap();
    bed.sealed();
    bed
}

fn petra() -> Redaction {
    Redaction::Person {
        account: Some(PETRA),
        name: NAME.to_owned(),
    }
}

fn one(seq: i64, field: Option<&str>) -> Redaction {
    Redaction::Entry {
        seq: Seq(seq),
        field: field.map(str::to_owned),
    }
}

impl Bed {
    fn redact(&self, what: &Redaction, reason: &str) -> Result<Redacted, RedactError> {
        let who = Who::new(Actor::Operator { uid: 0 }, Via::Control);
        let done = self
            .store
            .write::<_, Error>(|tx| Ok(self.log.redact(tx, &who, what, reason)?));
        match done {
            Ok(done) => Ok(done),
            Err(Error::Redact(error)) => Err(error),
            Err(Error::Store(error)) => panic!("{error}"),
        }
    }

    /// The files below the data directory that hold `needle`.
    fn files_with(&self, needle: &str) -> Vec<String> {
        let mut found = Vec::new();
        search(self.dir.path(), needle.as_bytes(), &mut found);
        found.sort();
        found
    }

    fn exported(&self, name: &str) -> std::path::PathBuf {
        let wanted = Wanted {
            with_names: true,
            ..Wanted::default()
        };
        let export = Export::begin(&self.store, &self.seal, wanted).unwrap();
        let at = from_unix_ms(START_MS);
        let bytes = export.write(Vec::new(), at, [], &mut |_| {}).unwrap().1;
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn line(&self, seq: i64) -> Line {
        let read = |db: &Db| -> Result<_, crate::testing::Error> { Ok(crate::line(db, Seq(seq))?) };
        self.store.read(read).unwrap().unwrap()
    }

    fn redacted_of(&self, seq: i64) -> Vec<String> {
        let line = self.line(seq);
        let read = |db: &Db| -> Result<_, crate::testing::Error> {
            Ok(redacted(db, Seq(seq), &line.text)?)
        };
        self.store.read(read).unwrap()
    }
}

fn search(dir: &Path, needle: &[u8], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, needle, found);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if memchr::memmem::find(&bytes, needle).is_some() {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
}

fn good(path: &Path) -> u64 {
    let verdict = verify(path, &Anchors::default()).unwrap();
    assert!(verdict.good, "{:?}", verdict.findings);
    verdict.shown
}

#[test]
fn no_byte_of_a_person_is_left_and_all_else_still_verifies() {
    let bed = filled();
    let before = bed.line(0);
    for value in [NAME, ADDRESS] {
        assert!(
            bed.files_with(value).iter().any(|f| f.contains(".db")),
            "control"
        );
    }
    let early = bed.exported("early.cfa");
    good(&early);
    assert!(bed.files_with(NAME).contains(&"early.cfa".to_owned()));
    std::fs::remove_file(early).unwrap();

    let done = bed.redact(&petra(), "asked for on paper").unwrap();
    // 429 entries of hers with name and address, the name at its making, one failed sign-in.
    assert_eq!(done.values, 2 * 429 + 2);
    assert!(bed.store.empty_wal().unwrap());
    bed.sealed();
    let late = bed.exported("late.cfa");
    for value in [NAME, ADDRESS] {
        assert_eq!(bed.files_with(value), Vec::<String>::new(), "{value}");
    }
    assert!(bed.files_with(OTHER).contains(&"cofferdam.db".to_owned()));
    assert_eq!(good(&late), 3_002 + done.noted.len() as u64);
    assert_eq!(bed.line(0), before);
    assert!(bed.rows_found().is_empty() && bed.unsealed().is_empty());
    assert!(bed.store.integrity().unwrap().is_empty());
    assert_eq!(bed.redacted_of(0), ["src.ip_c", "who.name_c"]);
    assert!(bed.redacted_of(1).is_empty());
}

/// The same bytes, deleted as a plain statement deletes them: the search finds them.
#[test]
fn control_a_plain_deletion_leaves_the_bytes() {
    let bed = filled();
    bed.alter(&format!(
        "DELETE FROM audit_opening WHERE value IN ('{NAME}', '{ADDRESS}')"
    ));
    let wal = bed.files_with(NAME);
    assert!(wal.contains(&"cofferdam.db-wal".to_owned()), "{wal:?}");
    assert!(bed.store.empty_wal().unwrap());
    for value in [NAME, ADDRESS] {
        assert_eq!(bed.files_with(value), ["cofferdam.db"], "{value}");
    }
}

/// Overwriting the deleted cells alone misses what was copied when pages were split.
#[test]
fn control_overwriting_the_deleted_rows_alone_leaves_copies() {
    let bed = filled();
    bed.alter(&format!(
        "PRAGMA secure_delete = ON;
         DELETE FROM audit_opening WHERE value IN ('{NAME}', '{ADDRESS}')"
    ));
    assert!(bed.store.empty_wal().unwrap());
    assert_eq!(bed.files_with(NAME), ["cofferdam.db"]);
}

#[test]
fn a_reader_of_an_earlier_state_is_said_and_the_next_call_empties() {
    let bed = filled();
    bed.store
        .read::<_, Error>(|db| {
            db.query_row("SELECT count(*) FROM audit_entry", [], |_| Ok(()))
                .map_err(store::StoreError::from)?;
            bed.redact(&one(0, None), "asked for").unwrap();
            assert!(!bed.store.empty_wal()?);
            Ok(())
        })
        .unwrap();
    assert!(bed.store.empty_wal().unwrap());
}

#[test]
fn one_field_of_one_entry_goes_and_its_other_stays() {
    let bed = filled();
    for field in ["src.ip", "src.ip_c"] {
        let seq = if field == "src.ip" { 7 } else { 14 };
        let done = bed.redact(&one(seq, Some(field)), "asked for").unwrap();
        assert_eq!((done.values, done.noted.len()), (1, 1));
        assert_eq!(bed.redacted_of(seq), ["src.ip_c"]);
        let kept = bed
            .store
            .read::<_, crate::testing::Error>(|db| Ok(openings(db, Seq(seq))?));
        let kept = kept.unwrap();
        assert_eq!(kept, [("who.name_c".to_owned(), NAME.to_owned())]);
        let told = &bed.told(Kind::AuditRedacted)[0];
        assert_eq!(told["d"]["fields"], serde_json::json!(["src.ip_c"]));
        assert_eq!(told["d"]["seqs"], serde_json::json!([seq]));
        assert_eq!(told["d"]["reason"], "asked for");
        assert_eq!(told["link"]["parent"], seq);
    }
}

#[test]
fn many_places_are_told_in_several_entries() {
    let bed = filled();
    let dev = Redaction::Person {
        account: Some(UserId(4)),
        name: "DEV".to_owned(),
    };
    for _ in 0..2 {
        bed.store
            .write::<_, crate::testing::Error>(|tx| {
                for _ in 0..2_000 {
                    let who = user(UserId(4), "dev", OTHER);
                    bed.log.append(tx, &who, Entry::success(Kind::GitFetch))?;
                }
                Ok(())
            })
            .unwrap();
    }
    let done = bed.redact(&dev, "asked for").unwrap();
    assert_eq!(done.noted.len(), 2, "6,572 places, 4,000 to an entry");
    let told = bed.told(Kind::AuditRedacted);
    let places = |at: usize| told[at]["d"]["seqs"].as_array().unwrap().len();
    assert_eq!(places(0) + places(1), 6_572);
    assert_eq!(told[0]["obj"]["id"], "u:4");
}

#[test]
fn a_redaction_of_nothing_or_without_a_fit_reason_changes_nothing() {
    let bed = filled();
    let stranger = Redaction::Person {
        account: None,
        name: "nobody".to_owned(),
    };
    for (what, reason, words) in [
        (one(99_999, None), "x", "there is no audit entry 99999"),
        (
            one(0, Some("d.label")),
            "x",
            "nothing is kept for the field d.label of audit entry 0",
        ),
        (stranger, "x", "nothing is kept for a person of that name"),
        (petra(), "  ", "needs a reason"),
        (petra(), &"x".repeat(501), "needs a reason"),
        (petra(), "Petra-Quellwasser has left", "repeats a value"),
        (petra(), "was at 203.0.113.77", "repeats a value"),
    ] {
        let said = bed.redact(&what, reason).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    }
    assert!(bed.redacted_of(0).is_empty() && bed.told(Kind::AuditRedacted).is_empty());
    bed.redact(&one(0, None), "asked for").unwrap();
    let again = bed.redact(&one(0, None), "asked for").unwrap_err();
    assert!(
        again
            .to_string()
            .contains("nothing is kept for audit entry 0")
    );
}

#[test]
fn a_log_that_takes_no_entries_redacts_nothing() {
    let bed = filled();
    bed.log.refuse("a line was changed");
    let refused = bed.redact(&petra(), "asked for").unwrap_err();
    assert!(matches!(
        refused,
        RedactError::Append(AppendError::Blocked(_))
    ));
    assert!(bed.redacted_of(0).is_empty());
}
