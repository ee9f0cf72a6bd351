//! What is kept, what goes, what is found rotten, what is carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use audit::Who;
use bundle::slip::{Have, Need, open};
use store::BlobError;
use testkit::noise;
use vocab::{Digest, Entropy};

use super::site::{Here, Lab, NOW_MS};
use crate::{GenerationId, generation};

/// Bundle `seq` with one file of its own and one that all share.
fn numbered(lab: &Lab, seq: u64) -> (PathBuf, Vec<u8>) {
    let own = noise(seq, 3000);
    let mut draft = Lab::draft(seq);
    draft.replaces.insert("file:own".to_owned(), "*".to_owned());
    let dir = lab.bundle(draft, &[("own", &own), ("shared", b"shared")]);
    (dir, own)
}

#[test]
fn undo_goes_back_generation_by_generation_and_the_last_bundle_may_come_again() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let all: Vec<(PathBuf, Vec<u8>)> = (1..=3).map(|seq| numbered(&lab, seq)).collect();
    for (dir, _) in &all {
        assert_eq!(here.code(dir), "ok");
    }
    let who = Who::system();
    let looked = here.intake.undo(&who, true).unwrap();
    assert_eq!((looked.from, looked.to), (3, 2));
    assert_eq!(looked.diff.moved[0].key, "file:own");
    assert_eq!(here.active(), Some(GenerationId(3)), "it only looked");
    for number in [2, 1] {
        assert_eq!(here.intake.undo(&who, false).unwrap().to, number);
        let own = &all[usize::try_from(number - 1).unwrap()].1;
        assert!(here.serves(&[("own", own), ("shared", b"shared")]));
    }
    assert_eq!(
        here.intake.undo(&who, false).unwrap_err().code(),
        "E_NO_PARENT"
    );
    assert_eq!(
        here.code(&all[1].0),
        "E_ROLLBACK",
        "only the newest may come again"
    );
    assert_eq!(here.code(&all[2].0), "ok");
    assert_eq!(here.intake.undo(&who, false).unwrap().to, 1);
    assert_eq!(here.activated.lock().unwrap().len(), 7);
}

#[test]
fn collecting_keeps_three_generations_and_whatever_a_job_uses() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let who = Who::system();
    let mut owns = Vec::new();
    for seq in 1..=3 {
        let (dir, own) = numbered(&lab, seq);
        assert_eq!(here.code(&dir), "ok");
        owns.push(Digest::of(&own));
    }
    here.pinned.lock().unwrap().push(GenerationId(1));
    for seq in 4..=6 {
        let (dir, own) = numbered(&lab, seq);
        assert_eq!(here.code(&dir), "ok");
        owns.push(Digest::of(&own));
    }
    let dry = here.intake.collect(&who, false, true).unwrap();
    let before = here.store.blobs().list().unwrap().len();
    let gone = here.intake.collect(&who, false, false).unwrap();
    assert_eq!(gone, dry, "a dry run says exactly what goes");
    assert_eq!(
        before - gone.blobs,
        here.store.blobs().list().unwrap().len()
    );
    let has = |n: usize| here.store.blobs().has(&owns[n - 1]);
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(has),
        [true, false, false, true, true, true]
    );
    here.pinned.lock().unwrap().clear();
    here.intake.collect(&who, false, false).unwrap();
    assert!(!here.store.blobs().has(&owns[0]));
    let refused = here.intake.undo(&who, false);
    assert!(refused.is_ok());
    let history = here.store.read(super::super::history).unwrap();
    assert_eq!(history.len(), 6);
    assert_eq!(history.iter().filter(|g| g.retained).count(), 3);
}

#[test]
fn t39_rot_in_the_store_is_found_set_aside_asked_for_and_healed() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let (dir, own) = numbered(&lab, 1);
    assert_eq!(here.code(&dir), "ok");
    let who = Who::system();
    let clean = here.intake.begin_scrub(&who).unwrap().run().unwrap();
    assert_eq!(clean.bad, 0);
    let (rotten, lost) = (Digest::of(&own), Digest::of(b"shared"));
    let path = here.store.blobs().path(&rotten);
    let mut bytes = own.clone();
    bytes[7] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(here.store.blobs().path(&lost)).unwrap();
    let found = here.intake.begin_scrub(&who).unwrap().run().unwrap();
    assert_eq!(found.bad, 2);
    // Whoever needs it fails, instead of using it.
    assert!(matches!(
        here.store.blobs().read(&rotten),
        Err(BlobError::Missing(_))
    ));
    assert!(here.told().contains(&"blob.quarantined E_HASH".to_owned()));
    let need = here.intake.need(&who).unwrap();
    let (need, _) = open::<Need>(need.text.as_bytes(), Some(here.intake.slip_key())).unwrap();
    let mut both = [rotten, lost];
    both.sort();
    assert_eq!(need.damaged, both);
    let have = here.intake.have(&who, None).unwrap();
    let (have, _) = open::<Have>(have.text.as_bytes(), Some(here.intake.slip_key())).unwrap();
    assert!(!have.blobs.contains(&rotten.hex()), "a delta will bring it");
    assert_eq!(here.code(&dir), "ok");
    assert!(here.serves(&[("own", &own), ("shared", b"shared")]));
    let need = here.intake.need(&who).unwrap();
    let (need, _) = open::<Need>(need.text.as_bytes(), None).unwrap();
    assert!(need.damaged.is_empty());
}

#[test]
fn a_scrub_that_was_cancelled_goes_on_where_it_was() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    assert_eq!(here.code(&numbered(&lab, 1).0), "ok");
    let who = Who::system();
    let scrub = here.intake.begin_scrub(&who).unwrap();
    assert_eq!(
        here.intake.begin_scrub(&who).err().unwrap().code(),
        "E_BUSY"
    );
    scrub.progress().cancel();
    assert_eq!(scrub.run().unwrap_err().code(), "E_CANCELLED");
    assert!(here.intake.scrubbing().is_none());
    let here = here.killed(NOW_MS);
    let done = here.intake.begin_scrub(&who).unwrap().run().unwrap();
    assert_eq!(done.blobs, 3, "two files and the manifest");
}

#[test]
fn a_scrub_comes_by_itself_when_it_is_due_and_never_beside_an_import() {
    const DAY: Duration = Duration::from_secs(86_400);
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    let due = |days| here.intake.scrub_that_is_due(days).unwrap();
    here.clock.advance(1000 * DAY);
    assert!(due(30).is_none(), "there is nothing to read");
    let here = here.killed(NOW_MS);
    let due = |days| here.intake.scrub_that_is_due(days).unwrap();
    assert_eq!(here.code(&numbered(&lab, 1).0), "ok");
    here.clock.advance(29 * DAY);
    assert!(due(30).is_none(), "all of it was read 29 days ago");
    here.clock.advance(DAY);
    assert!(due(0).is_none(), "none is wanted");
    let scrub = due(30).unwrap();
    assert!(due(30).is_none(), "one runs");
    scrub.progress().cancel();
    assert!(scrub.run().is_err());
    let scrub = due(30).unwrap();
    assert_eq!(scrub.progress().snapshot().who, "system");
    assert_eq!(scrub.run().unwrap().blobs, 3);
    assert!(due(30).is_none(), "it was just done");
    assert_eq!(here.told().last().unwrap(), "blob.scrubbed");
    here.clock.advance(30 * DAY);
    let second = numbered(&lab, 2).0;
    let begun = here.intake.begin(&second, &Who::system(), false).unwrap();
    assert!(due(30).is_none(), "an import runs");
    begun.run().unwrap();
    assert!(due(30).is_some());
}

/// The digests that must be there whatever happens.
fn must_be_there(here: &Here) -> BTreeSet<Digest> {
    let mut kept: Vec<GenerationId> = here.pinned.lock().unwrap().clone();
    kept.extend(here.active());
    let mut all = BTreeSet::new();
    for id in kept {
        let items = here.store.read(|db| generation::items_of(db, id, "file"));
        all.extend(items.unwrap().iter().flat_map(bundle::Item::blobs));
    }
    all
}

#[test]
fn t46_no_interleaving_of_imports_jobs_undo_and_collection_loses_a_live_blob() {
    let lab = Lab::new();
    let steps: usize = std::env::var("COFFERDAM_ROUNDS").map_or(1000, |n| n.parse().unwrap());
    let bundles: Vec<PathBuf> = (1..=40).map(|seq| numbered(&lab, seq).0).collect();
    let chance = Entropy::scripted(46);
    let who = Who::system();
    let (mut done, mut count) = (0, BTreeMap::new());
    while done < steps {
        let data = tempfile::tempdir().unwrap();
        let here = Here::trusting(data.path(), &lab);
        let mut next = 0;
        while next < bundles.len() && done < steps {
            let [what, more] = chance.bytes::<2>();
            let name = match what % 7 {
                0 => {
                    next += usize::from(here.code(&bundles[next]) == "ok");
                    "import"
                }
                1 => {
                    let begun = here.intake.begin(&bundles[next], &who, false).unwrap();
                    begun.progress().cancel();
                    assert_eq!(begun.run().unwrap_err().code(), "E_CANCELLED");
                    "cancelled import"
                }
                2 => {
                    if here.intake.undo(&who, false).is_ok() {
                        "undo"
                    } else {
                        "refused undo"
                    }
                }
                3 => {
                    here.pinned.lock().unwrap().extend(here.active());
                    "job starts"
                }
                4 => {
                    let mut pinned = here.pinned.lock().unwrap();
                    if !pinned.is_empty() {
                        let at = usize::from(more) % pinned.len();
                        pinned.swap_remove(at);
                    }
                    "job ends"
                }
                5 => {
                    here.intake.collect(&who, more % 4 == 0, false).unwrap();
                    "collection"
                }
                _ => {
                    crate::sweep(&here.store).unwrap();
                    "sweep"
                }
            };
            *count.entry(name).or_insert(0) += 1;
            done += 1;
            for digest in must_be_there(&here) {
                let size = here.store.blobs().size(&digest);
                assert!(size.is_some(), "step {done}, {name}: {digest} is gone");
            }
        }
    }
    assert!(count.len() >= 7, "{count:?}");
}

#[test]
fn t46_collections_beside_imports_on_other_threads_lose_nothing() {
    let lab = Lab::new();
    let bundles: Vec<PathBuf> = (1..=12).map(|seq| numbered(&lab, seq).0).collect();
    let data = tempfile::tempdir().unwrap();
    let here = Here::trusting(data.path(), &lab);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    match here.intake.collect(&Who::system(), false, false) {
                        Ok(_) => {}
                        Err(error) => assert_eq!(error.code(), "E_BUSY"),
                    }
                }
            });
        }
        for dir in &bundles {
            loop {
                match here.import(dir) {
                    Ok(_) => break,
                    Err(error) => assert_eq!(error.code(), "E_BUSY", "{error}"),
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let own = noise(12, 3000);
    assert!(here.serves(&[("own", &own), ("shared", b"shared")]));
}

#[test]
fn t51_slips_hold_digests_counters_and_names_and_nothing_else() {
    let (lab, data) = (Lab::new(), tempfile::tempdir().unwrap());
    let here = Here::trusting(data.path(), &lab);
    assert_eq!(here.code(&numbered(&lab, 1).0), "ok");
    let chance = Entropy::scripted(51);
    here.store
        .write(|tx| {
            generation::want(tx, "pypi", "requests", None, 0)?;
            generation::want(tx, "pypi", "requests", None, 0)?;
            generation::want(tx, "action", "actions/cache@v4", None, 0)?;
            for n in 0..2000 {
                let bytes = chance.bytes::<24>();
                let text = String::from_utf8_lossy(&bytes);
                generation::want(tx, "pypi", &text, None, n)?;
            }
            for leak in [
                "the password is hunter2",
                "a\u{1b}[31m",
                "é",
                "\"",
                "{}",
                "a b",
            ] {
                generation::want(tx, "oci", leak, None, 0)?;
            }
            Ok::<_, store::StoreError>(())
        })
        .unwrap();
    let who = Who::system();
    let need = here.intake.need(&who).unwrap();
    assert!(need.text.len() <= 4 << 20);
    let (slip, _) = open::<Need>(need.text.as_bytes(), Some(here.intake.slip_key())).unwrap();
    assert_eq!(slip.wants[0].name, "requests", "most asked first");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-/@:+~=<>!".contains(&b);
    assert!(slip.wants.iter().all(|w| w.name.bytes().all(plain)));
    assert!(slip.wants.iter().any(|w| w.name == "actions/cache@v4"));
    let document = need.text.lines().next().unwrap();
    for leak in ["hunter2", "password", "\u{1b}"] {
        assert!(!document.contains(leak));
    }
    // Nothing that was changed on the way is believed.
    let forged = need.text.replacen("requests", "requestz", 1);
    let refused = open::<Need>(forged.as_bytes(), Some(here.intake.slip_key())).unwrap_err();
    assert_eq!(refused.code(), "E_SIG");
    assert!(here.told().contains(&"slip.exported".to_owned()));
}
