//! The chain of custody: what it tells, and that no part of it can be changed unseen.

use std::collections::BTreeMap;

use evidence::checkpoint::Checkpoint;
use evidence::tree::{self, Hash, Nodes, leaf_hash};

use super::site::{Here, Lab, NOW_MS};
use crate::bundles::{self, Custody, What, check_custody};

/// The tree over lines in memory.
struct Lines(Vec<Hash>);

impl Nodes for Lines {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        let from = usize::try_from(index << level).unwrap();
        Ok(whole(&self.0[from..from + (1 << level)]))
    }
}

fn whole(leaves: &[Hash]) -> Hash {
    match leaves {
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            tree::node_hash(&whole(left), &whole(right))
        }
    }
}

type Files = BTreeMap<String, Vec<u8>>;

/// What an export carries of bundle 1, and the log that it is held against.
fn carried(here: &Here) -> (Files, Checkpoint, Custody) {
    let store = &here.store;
    store
        .read(|db| {
            let row = bundles::numbered(db, 1)?.remove(0);
            let mut custody = bundles::custody(db, store, &row)?;
            let mut files: Files = bundles::custody_files(db, store, &row)?
                .into_iter()
                .collect();
            let mut lines = audit::list(db, &audit::Filter::default(), 10_000)?;
            lines.reverse();
            let mut nodes = Lines(lines.iter().map(|l| leaf_hash(l.text.as_bytes())).collect());
            let size = lines.len() as u64;
            for step in &mut custody.steps {
                let at = u64::try_from(step.seq).unwrap();
                let proof = tree::inclusion(&mut nodes, at, size).unwrap();
                step.proof = proof.iter().map(hex::encode).collect();
            }
            let root = tree::root(&mut nodes, size).unwrap();
            let origin = "lab".to_owned();
            files.insert(
                "custody.json".to_owned(),
                serde_json::to_vec(&custody).unwrap(),
            );
            let checkpoint = Checkpoint { origin, size, root };
            Ok::<_, store::StoreError>((files, checkpoint, custody))
        })
        .unwrap()
}

fn taken_in() -> (Lab, Here, tempfile::TempDir) {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::at(data.path(), NOW_MS);
    here.trust(&lab);
    here.import(&lab.good(1, &[("a", b"a")])).unwrap();
    (lab, here, data)
}

#[test]
fn a_chain_tells_every_step_and_holds_against_the_log() {
    let (lab, here, _data) = taken_in();
    let mut draft = Lab::draft(2);
    draft.replaces.insert("file:a".to_owned(), "*".to_owned());
    here.import(&lab.bundle(draft, &[("a", b"b")])).unwrap();
    here.intake.undo(&audit::Who::system(), false).unwrap();
    here.intake.have(&audit::Who::system(), None).unwrap();
    let (files, checkpoint, custody) = carried(&here);
    let what: Vec<What> = custody.steps.iter().map(|step| step.what).collect();
    assert_eq!(
        what,
        [
            What::Trusted,
            What::Verified,
            What::Staged,
            What::Committed,
            What::Restored,
            What::Slip
        ]
    );
    assert_eq!(custody.generations, [1]);
    assert_eq!(custody.root_fingerprint, Some(lab.fingerprint().hex()));
    assert!(
        custody.steps[1].line.contains("\"volumes\":1"),
        "{}",
        custody.steps[1].line
    );
    let checked = check_custody(&files, &checkpoint).unwrap();
    assert_eq!(checked.root_fingerprint, lab.fingerprint().hex());
    let second = here.store.read(|db| {
        let row = bundles::numbered(db, 2)?.remove(0);
        bundles::custody(db, &here.store, &row)
    });
    assert!(
        second
            .unwrap()
            .steps
            .iter()
            .any(|step| step.what == What::Undone)
    );
}

#[test]
fn whatever_is_changed_in_a_chain_is_named() {
    let (_lab, here, _data) = taken_in();
    let (files, checkpoint, custody) = carried(&here);
    assert!(check_custody(&files, &checkpoint).is_ok());
    for name in files.keys() {
        let mut changed = files.clone();
        let bytes = changed.get_mut(name).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        assert!(
            check_custody(&changed, &checkpoint).is_err(),
            "{name} changed"
        );
        changed.remove(name);
        assert!(
            check_custody(&changed, &checkpoint).is_err(),
            "{name} removed"
        );
    }
    let mut stray = files.clone();
    stray.insert("notes.txt".to_owned(), Vec::new());
    assert_eq!(
        check_custody(&stray, &checkpoint).unwrap_err().0,
        "notes.txt"
    );

    // Whoever writes the record anew, with the keys of the export at hand, does not get through.
    type Change = fn(&mut Custody);
    let lies: &[(&str, Change)] = &[
        ("another manifest", |c| c.manifest = vocab::Digest::of(b"x")),
        ("another bundle", |c| c.seq = 7),
        ("what the manifest says", |c| {
            "2099-01-01".clone_into(&mut c.not_after)
        }),
        ("another lock", |c| c.lock = None),
        ("other signers", |c| drop(c.signers.pop())),
        ("another root statement", |c| {
            c.root_fingerprint = Some("0".repeat(64))
        }),
        ("out of order", |c| c.steps.swap(0, 1)),
        ("not in the log", |c| {
            c.steps[1].line = c.steps[1].line.replace("release-a", "release-c")
        }),
        ("not in the log", |c| c.steps[1].proof[0] = "0".repeat(64)),
        ("another place", |c| "u:99".clone_into(&mut c.steps[1].who)),
        ("another kind", |c| c.steps[1].what = What::Approved),
        ("lacks the entries", |c| {
            c.steps.retain(|s| s.what != What::Committed)
        }),
        ("does not speak of this bundle", |c| c.generations = vec![9]),
        ("lacks the entry of its root", |c| {
            c.steps.retain(|s| s.what != What::Trusted)
        }),
        ("not of the form", |c| {
            "cofferdam-custody/2".clone_into(&mut c.format)
        }),
    ];
    for (words, change) in lies {
        let (mut changed, mut record) = (files.clone(), custody.clone());
        change(&mut record);
        changed.insert(
            "custody.json".to_owned(),
            serde_json::to_vec(&record).unwrap(),
        );
        let (file, what) = check_custody(&changed, &checkpoint).unwrap_err();
        assert_eq!(file, "custody.json", "{words}: {what}");
        assert!(what.contains(words), "{words}: {what}");
    }
}
