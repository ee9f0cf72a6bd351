//! A proof holds, and each part of it that is changed, foreign or another job's does not.

use serde_json::json;

use super::*;
use crate::attestation::{BUILD_TYPE, PROVENANCE, STATEMENT, WHERE_IT_RAN, invocation};
use crate::dsse::{DsseSigner, IN_TOTO};
use crate::note::NoteSigner;
use crate::tree::Frontier;

const LOG_DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn payload(which: Which, job: i64, attempt: i64) -> Vec<u8> {
    let invocation = invocation("urn:x", job, attempt);
    let predicate = match which {
        Which::Provenance => json!({
            "buildDefinition": {
                "buildType": BUILD_TYPE, "externalParameters": {}, "internalParameters": {},
                "resolvedDependencies": [],
            },
            "runDetails": {
                "builder": { "id": "urn:x", "version": {}, "builderDependencies": [] },
                "metadata": { "invocationId": invocation }, "byproducts": [],
            },
        }),
        Which::Receipt => json!({
            "invocationId": invocation, "outcome": "success",
            "place": {}, "could": {}, "did": {}, "unread": [],
        }),
    };
    let statement = json!({
        "_type": STATEMENT,
        "subject": [{ "name": "log", "digest": { "sha256": LOG_DIGEST } }],
        "predicateType": match which {
            Which::Provenance => PROVENANCE,
            Which::Receipt => WHERE_IT_RAN,
        },
        "predicate": predicate,
    });
    statement.to_string().into_bytes()
}

fn line(seq: u64, job: i64, key: &str, envelopes: &[Vec<u8>; 2]) -> Vec<u8> {
    let digest = |at: usize| format!("sha256:{}", hex::encode(Sha256::digest(&envelopes[at])));
    json!({
        "seq": seq, "act": ATTESTED, "obj": { "id": format!("job:{job}") },
        "d": {
            "attempt": 1, "key": key, "provenance": digest(0), "receipt": digest(1),
            "log": format!("sha256:{LOG_DIGEST}"),
        },
    })
    .to_string()
    .into_bytes()
}

/// A log whose entry `seq` 1 of 2 names the statements of job 7, all by these keys.
fn proof_by(attester: &DsseSigner, log: &NoteSigner, job: i64) -> Proof {
    let envelopes = Which::ALL.map(|which| attester.seal(IN_TOTO, &payload(which, job, 1)));
    let entry = line(1, job, &attester.key().id(), &envelopes);
    let first = leaf_hash(b"{}");
    let mut tree = Frontier::default();
    tree.push(first);
    tree.push(leaf_hash(&entry));
    let checkpoint = Checkpoint {
        origin: log.key().name().to_owned(),
        size: 2,
        root: tree.root(),
    };
    Proof {
        envelopes,
        entry,
        inclusion: Inclusion {
            index: 1,
            hashes: vec![hex::encode(first)],
        },
        checkpoint: checkpoint.sign(log).into_bytes(),
        key: attester.key().pem(),
        log: Some(LOG_DIGEST.to_owned()),
    }
}

fn keys() -> (DsseSigner, NoteSigner) {
    let log = NoteSigner::new("lab-0001", &[1; 32]).unwrap();
    (DsseSigner::new(&[2; 32]).unwrap(), log)
}

fn wrong(proof: &Proof, log: &NoteSigner) -> String {
    let checks = proof.check(log.key());
    let bad = checks.iter().filter(|check| check.holds == Some(false));
    bad.map(|check| format!("{}: {}\n", check.what, check.found))
        .collect()
}

#[test]
fn a_whole_proof_holds_and_comes_back_from_its_folder() {
    let (attester, log) = keys();
    let proof = proof_by(&attester, &log, 7);
    let checks = proof.check(log.key());
    assert!(good(&checks), "{checks:?}");
    assert!(checks.iter().all(|check| check.holds == Some(true)));

    let dir = std::env::temp_dir().join(format!("proof-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    proof.write(&dir).unwrap();
    let read = Proof::read(&dir).unwrap();
    assert_eq!(read.log, None);
    assert!(good(&read.check(log.key())));
    std::fs::write(dir.join("log"), b"").unwrap();
    assert_eq!(Proof::read(&dir).unwrap(), proof);
    std::fs::write(dir.join("log"), b"another").unwrap();
    let other = wrong(&Proof::read(&dir).unwrap(), &log);
    assert!(other.contains("the job's log"), "{other}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn each_part_that_was_changed_is_named() {
    let (attester, log) = keys();
    let whole = proof_by(&attester, &log, 7);
    type Change<'a> = &'a dyn Fn(&mut Proof);
    let cases: [(&str, Change<'_>); 6] = [
        ("provenance.dsse.json", &|p| p.envelopes[0][40] ^= 1),
        ("receipt.dsse.json", &|p| p.envelopes[1][40] ^= 1),
        ("under the signed root", &|p| {
            let text = String::from_utf8(p.entry.clone()).unwrap();
            p.entry = text.replace("\"attempt\":1", "\"attempt\":2").into_bytes();
        }),
        ("under the signed root", &|p| {
            p.inclusion.hashes[0].replace_range(0..2, "00")
        }),
        ("under the signed root", &|p| p.inclusion.index = 0),
        ("the checkpoint", &|p| p.checkpoint[3] ^= 1),
    ];
    for (words, change) in cases {
        let mut proof = whole.clone();
        change(&mut proof);
        let found = wrong(&proof, &log);
        assert!(found.contains(words), "{words}: {found}");
    }
}

#[test]
fn foreign_keys_are_named() {
    let (attester, log) = keys();
    let whole = proof_by(&attester, &log, 7);
    let stranger = DsseSigner::new(&[9; 32]).unwrap();
    // Another key in the place of the appliance's own.
    let mut proof = whole.clone();
    proof.key = stranger.key().pem();
    assert!(wrong(&proof, &log).contains("the signing key"));
    // An envelope of the same content, by the stranger.
    let mut proof = whole.clone();
    proof.envelopes[0] = stranger.seal(IN_TOTO, &payload(Which::Provenance, 7, 1));
    assert!(wrong(&proof, &log).contains("no signature by the key"));
    // All of it by another log, which is whole in itself.
    let other = NoteSigner::new("lab-0001", &[5; 32]).unwrap();
    let proof = proof_by(&stranger, &other, 7);
    assert!(good(&proof.check(other.key())));
    assert!(wrong(&proof, &log).contains("the checkpoint"));
}

#[test]
fn the_statements_of_another_job_or_kind_are_named() {
    let (attester, log) = keys();
    let whole = proof_by(&attester, &log, 7);
    let mut proof = whole.clone();
    proof.envelopes = proof_by(&attester, &log, 8).envelopes;
    let found = wrong(&proof, &log);
    assert!(found.contains("not of attempt 1 at job 7"), "{found}");
    let mut proof = whole;
    proof.envelopes.swap(0, 1);
    assert!(wrong(&proof, &log).contains("not well-formed"));
}
