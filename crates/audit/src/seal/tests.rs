//! What was sealed is seen to be tampered with, and named.

use std::fs;

use evidence::tree::{extends, includes};

use super::*;
use crate::testing::{Bed, Error, bed};
use crate::{Entry, Kind, Who};

impl Bed {
    fn leaf(&self, index: u64) -> Hash {
        self.store
            .read::<_, Error>(|db| Ok(sql::lines(db, index, index + 1)?))
            .unwrap()[0]
            .leaf
    }
}

use crate::sql;

/// `entries` of them, sealed in two steps, and nothing wrong.
fn sealed_bed(entries: u64) -> Bed {
    let bed = bed(entries / 2);
    bed.sealed();
    bed.append(entries - entries / 2);
    bed.sealed();
    assert_eq!(bed.unsealed(), Vec::<String>::new());
    bed
}

fn names(found: &[String], words: &str) -> bool {
    found.iter().any(|one| one.contains(words))
}

#[test]
fn every_entry_has_its_proof_and_every_log_grew_from_the_one_before() {
    let bed = bed(0);
    let mut before = bed.sealed();
    assert_eq!(before.size, 0);
    for more in [1, 1, 253, 1, 1, 300, 65_200] {
        bed.append(more);
        let now = bed.sealed();
        let (proof, signed) = bed.seal.prove_growth(before.size).unwrap();
        assert_eq!(signed.checkpoint, now);
        assert!(extends(
            before.size,
            &before.root,
            now.size,
            &now.root,
            &proof
        ));
        for index in [0, before.size, now.size - 1] {
            let proof = bed.seal.prove(index).unwrap();
            let leaf = bed.leaf(index);
            assert!(includes(&leaf, index, now.size, &proof.hashes, &now.root));
        }
        before = now;
    }
    assert!(bed.seal.prove(before.size).is_err());
    assert_eq!(bed.unsealed(), Vec::<String>::new());
    let again = Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(2)).unwrap();
    bed.append(5);
    assert_eq!(
        again.seal(&bed.store).unwrap().checkpoint.size,
        before.size + 5
    );
    assert_eq!(again.check(&bed.store).unwrap(), Vec::<String>::new());
}

#[test]
fn an_edited_row_is_named_even_when_its_hash_was_mended() {
    let bed = sealed_bed(300);
    let line = r#"{"act":"git.fetch","forged":true}"#;
    let leaf = hex::encode(evidence::tree::leaf_hash(line.as_bytes()));
    bed.alter(&format!(
        "UPDATE audit_entry SET line = '{line}', leaf = x'{leaf}' WHERE seq = 7"
    ));
    assert_eq!(
        bed.unsealed(),
        ["audit entry 7 is not the one that was sealed"]
    );
}

#[test]
fn a_gap_is_named() {
    let bed = sealed_bed(300);
    bed.alter("DELETE FROM audit_entry WHERE seq = 260");
    assert_eq!(
        bed.unsealed(),
        ["audit entry 260 was sealed and is not in the database"]
    );
}

#[test]
fn a_cut_tail_is_told_from_a_restored_backup() {
    let cut = sealed_bed(20);
    cut.alter("DELETE FROM audit_entry WHERE seq >= 15");
    assert!(names(&cut.unsealed(), "its tail was cut off"));
    assert!(names(
        &cut.unsealed(),
        "audit entry 19 was sealed and is not in the database"
    ));

    let restored = sealed_bed(20);
    restored.alter(
        "DELETE FROM audit_entry WHERE seq >= 15;
         UPDATE audit_head SET size = 15, leaf = (SELECT leaf FROM audit_entry WHERE seq = 14)",
    );
    assert!(names(&restored.unsealed(), "an old backup was restored"));
    let refused = restored.seal.seal(&restored.store).unwrap_err();
    assert!(matches!(
        refused,
        SealError::Shorter {
            got: 15,
            sealed: 20
        }
    ));
}

#[test]
fn another_history_after_a_restored_backup_is_named_and_not_sealed() {
    let bed = sealed_bed(20);
    bed.alter(
        "DELETE FROM audit_entry WHERE seq >= 15;
         UPDATE audit_head SET size = 15, leaf = (SELECT leaf FROM audit_entry WHERE seq = 14)",
    );
    bed.store
        .write::<_, Error>(|tx| {
            for _ in 0..9 {
                bed.log
                    .append(tx, &Who::system(), Entry::success(Kind::GitFetch))?;
            }
            Ok(())
        })
        .unwrap();
    assert!(names(
        &bed.unsealed(),
        "audit entry 15 is not the one that was sealed"
    ));
}

#[test]
fn every_deleted_or_changed_file_is_named() {
    let tiles = [
        "tile/0/000",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/44",
    ];
    for name in tiles {
        let bed = sealed_bed(300);
        let path = bed.file(&format!("audit/{name}"));
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(
            names(&bed.unsealed(), &format!("audit/{name} was deleted")),
            "{:?}",
            bed.unsealed()
        );
        let mut changed = bytes.clone();
        changed[5] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert!(!bed.unsealed().is_empty(), "{name} was changed");
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(!bed.unsealed().is_empty(), "{name} was cut short");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(bed.unsealed(), Vec::<String>::new());
    }
}

#[test]
fn rows_and_tiles_forged_together_do_not_have_the_signed_root() {
    let bed = sealed_bed(20);
    let line = r#"{"forged":true}"#;
    let leaf = evidence::tree::leaf_hash(line.as_bytes());
    bed.alter(&format!(
        "UPDATE audit_entry SET line = '{line}', leaf = x'{}' WHERE seq = 7",
        hex::encode(leaf)
    ));
    let tile = bed.file("audit/tile/0/000.p/20");
    let mut hashes = fs::read(&tile).unwrap();
    hashes[7 * 32..8 * 32].copy_from_slice(&leaf);
    fs::write(&tile, hashes).unwrap();
    assert!(names(
        &bed.unsealed(),
        "do not have the root that was signed"
    ));
}

#[test]
fn a_lost_checkpoint_or_key_is_named_at_the_start() {
    let open = |bed: &Bed| {
        Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(3))
            .map(drop)
            .unwrap_err()
    };
    for name in ["audit/checkpoint", "keys/audit.key"] {
        let bed = sealed_bed(20);
        fs::remove_file(bed.file(name)).unwrap();
        assert!(
            matches!(open(&bed), SealError::Deleted(lost) if lost == name),
            "{name}"
        );
    }
    let bed = sealed_bed(20);
    let note = fs::read_to_string(bed.file("audit/checkpoint")).unwrap();
    fs::write(
        bed.file("audit/checkpoint"),
        note.replace("\n20\n", "\n19\n"),
    )
    .unwrap();
    assert!(matches!(open(&bed), SealError::Checkpoint(_)));
    assert!(names(&bed.unsealed(), "audit/checkpoint was changed"));
    let bed = sealed_bed(20);
    fs::remove_file(bed.file("audit/checkpoint.minisig")).unwrap();
    assert!(names(&bed.unsealed(), "checkpoint.minisig"));
}

#[test]
fn whoever_is_killed_between_checkpoint_and_signature_has_both_at_the_next_start() {
    let bed = sealed_bed(20);
    let (sig, next) = (
        bed.file("audit/checkpoint.minisig"),
        bed.file("audit/checkpoint.minisig.next"),
    );
    let old = fs::read(&sig).unwrap();
    bed.append(5);
    bed.sealed();
    let open = || Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(2)).unwrap();
    // After the checkpoint was put in its place.
    fs::rename(&sig, &next).unwrap();
    fs::write(&sig, &old).unwrap();
    assert!(names(&bed.unsealed(), "does not sign"));
    assert_eq!(open().check(&bed.store).unwrap(), [""; 0]);
    assert!(!next.exists());
    // Before it was: what was about to be signed is nothing.
    fs::write(&next, &old).unwrap();
    assert_eq!(open().check(&bed.store).unwrap(), [""; 0]);
}

#[test]
fn a_tile_that_was_changed_is_not_built_upon() {
    let bed = sealed_bed(300);
    let path = bed.file("audit/tile/0/001.p/44");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, bytes).unwrap();
    bed.append(1);
    let again = Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(2)).unwrap();
    assert!(matches!(again.seal(&bed.store), Err(SealError::Root)));
}

#[test]
fn keys_are_readable_by_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = bed(0);
    for name in ["keys/audit.key", "keys/audit.minisign"] {
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(bed.file(name)), 0o600);
        fs::set_permissions(bed.file(name), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Seal::open(bed.dir.path(), "lab-0001", &Entropy::scripted(2)).is_err());
        fs::set_permissions(bed.file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(
        fs::metadata(bed.file("keys")).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_log_that_refuses_takes_no_entry_and_says_why() {
    let bed = bed(3);
    bed.log.refuse("entry 2 was changed");
    let refused = bed
        .store
        .write::<_, Error>(|tx| {
            Ok(bed
                .log
                .append(tx, &Who::system(), Entry::success(Kind::GitPush))?)
        })
        .unwrap_err();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("entry 2 was changed"), "{why}");
}
