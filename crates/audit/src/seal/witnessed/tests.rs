//! Cosignatures come in from trusted witnesses of this history, each once.

use evidence::note::NoteSigner;
use evidence::witness::{Seen, consistent};
use store::StoreOptions;
use vocab::{Clock, Entropy, from_unix_ms};

use super::*;
use crate::testing::Error;
use crate::{Auditor, Entry, MIGRATIONS, Origin, Who};

struct Bed {
    store: Store,
    seal: Seal,
    log: Auditor,
    _dir: tempfile::TempDir,
}

fn bed(seed: u64) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &[MIGRATIONS], StoreOptions { skip_fsync: true }).unwrap();
    let host = Origin {
        host: "lab-0001".into(),
        boot: "b0".into(),
    };
    let clock = Clock::scripted(from_unix_ms(1_790_000_000_000));
    Bed {
        log: Auditor::new(clock, Entropy::scripted(seed), host),
        // One key for all: a fork has the key.
        seal: Seal::open(dir.path(), "lab-0001", &Entropy::scripted(1)).unwrap(),
        store,
        _dir: dir,
    }
}

impl Bed {
    fn append(&self, entries: usize) {
        let put = self.store.write::<_, Error>(|tx| {
            for number in 0..entries {
                let entry = Entry::success(Kind::Boot).detail("number", number);
                self.log.append(tx, &Who::system(), entry)?;
            }
            Ok(())
        });
        put.unwrap();
    }

    fn import(&self, note: &str, trusted: &[NoteKey]) -> Result<Cosigned, CosignError> {
        let read = self.seal.read_cosignature(note.as_bytes(), trusted)?;
        self.seal.keep_cosignature(&read)?;
        Ok(read.cosigned)
    }
}

/// Another history under the same key.
fn fork() -> Bed {
    bed(2)
}

fn witness(name: &str) -> (NoteSigner, Vec<NoteKey>) {
    let signer = NoteSigner::new(name, &[9; 32]).unwrap();
    let key = signer.cosigner();
    (signer, vec![key])
}

fn signed(signer: &NoteSigner, growing: &Growing, at_secs: u64) -> String {
    let text = growing.note.split_once("\n\n").unwrap().0;
    signer.cosign(&format!("{text}\n"), at_secs)
}

#[test]
fn a_slip_goes_out_and_its_cosignature_comes_back_again_and_again() {
    let (bed, (signer, trusted)) = (bed(1), witness("auditor"));
    let mut seen: Option<Seen> = None;
    for (round, entries) in [(1, 5), (2, 300), (3, 0), (4, 700)] {
        bed.append(entries);
        let growing = bed.seal.growing(&bed.store).unwrap();
        let now = consistent(&growing, bed.seal.key(), seen.as_ref()).unwrap();
        seen = Some(Seen {
            key: bed.seal.key().to_string(),
            size: now.size,
            root: hex::encode(now.root),
        });
        let taken = bed
            .import(&signed(&signer, &growing, round), &trusted)
            .unwrap();
        assert_eq!((taken.size, taken.at_secs), (now.size, round));
        assert_eq!(bed.seal.witnessed(&trusted).unwrap(), [taken]);
    }
    // Who is not trusted any more has seen nothing.
    assert!(bed.seal.witnessed(&witness("other").1).unwrap().is_empty());
}

#[test]
fn every_cosignature_that_does_not_belong_here_is_refused() {
    let (bed, (signer, trusted)) = (bed(1), witness("auditor"));
    bed.append(5);
    let first = bed.seal.growing(&bed.store).unwrap();
    let old = signed(&signer, &first, 1);
    let refused = |note: &str, trusted: &[NoteKey]| bed.import(note, trusted).unwrap_err();
    let stranger = NoteSigner::new("auditor", &[8; 32]).unwrap();
    let by_stranger = signed(&stranger, &first, 1);
    assert!(matches!(
        refused(&by_stranger, &trusted),
        CosignError::Untrusted
    ));
    assert!(matches!(refused(&old, &[]), CosignError::Untrusted));
    assert!(matches!(
        refused(&first.note, &trusted),
        CosignError::Untrusted
    ));
    let changed = old.replacen("lab", "lob", 1);
    assert!(matches!(
        refused(&changed, &trusted),
        CosignError::Untrusted
    ));

    // The same key of the log, another history of it.
    let fork = fork();
    fork.append(4);
    let forked = signed(&signer, &fork.seal.growing(&fork.store).unwrap(), 2);
    assert!(matches!(
        refused(&forked, &trusted),
        CosignError::Forked { size: 4, .. }
    ));
    fork.append(9);
    let ahead = signed(&signer, &fork.seal.growing(&fork.store).unwrap(), 2);
    assert!(matches!(
        refused(&ahead, &trusted),
        CosignError::Ahead { size: 13, .. }
    ));
    let text = first.note.split_once("\n\n").unwrap().0;
    let foreign = signer.cosign(&format!("{}\n", text.replace("0001\n", "0002\n")), 2);
    assert!(matches!(
        refused(&foreign, &trusted),
        CosignError::Foreign { .. }
    ));

    bed.import(&old, &trusted).unwrap();
    assert!(matches!(
        refused(&old, &trusted),
        CosignError::Replayed { size: 5, .. }
    ));
    bed.append(3);
    let next = signed(&signer, &bed.seal.growing(&bed.store).unwrap(), 3);
    bed.import(&next, &trusted).unwrap();
    assert!(matches!(
        refused(&old, &trusted),
        CosignError::Replayed { size: 8, .. }
    ));
}
