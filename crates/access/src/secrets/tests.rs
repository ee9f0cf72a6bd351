//! Secrets and variables on temporary stores.

use vocab::{Attempt, Entropy, JobId, Visibility};

use super::*;
use crate::testing::{Bed, Error, operator, repo};
use crate::{KeysError, forget_repo, list_vars, remove_var, set_var, vars_for_job};

const VALUE: &str = "hunter2-hunter2-hunter2";

fn fence() -> Fence {
    Fence {
        job: JobId(4),
        attempt: Attempt(1),
        epoch: 1,
    }
}

fn keys(seed: u64) -> Keys {
    let dir = tempfile::tempdir().unwrap();
    Keys::open_or_create(dir.path(), &Entropy::scripted(seed)).unwrap()
}

fn set(bed: &Bed, keys: &Keys, home: Home<'_>, name: &str, value: &str) -> Result<SecretId, Error> {
    bed.try_write(|tx| {
        Ok(set_secret(
            tx,
            &bed.log,
            &operator(),
            keys,
            home,
            name,
            value,
        )?)
    })
}

fn reveal(
    bed: &Bed,
    keys: &Keys,
    repo: &RepoFacts,
    names: &[&str],
) -> Result<Vec<(String, String)>, Error> {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    bed.try_write(|tx| {
        let secrets = reveal_for_job(tx, &bed.log, keys, fence(), repo, &names)?;
        let open = |s: Secret| (s.name, s.value.expose().to_owned());
        Ok(secrets.into_iter().map(open).collect())
    })
}

#[test]
fn a_secret_is_sealed_at_rest_and_opens_for_a_job() {
    let bed = Bed::new();
    let keys = keys(1);
    let lab = repo(1, None, Visibility::Private);
    set(&bed, &keys, Home::Repo(&lab), "TOKEN", VALUE).unwrap();
    assert!(bed.on_disk("TOKEN"), "the search sees what is there");
    assert!(!bed.on_disk(VALUE), "sealed");
    let got = reveal(&bed, &keys, &lab, &["TOKEN", "NONE", "TOKEN"]).unwrap();
    assert_eq!(got, [("TOKEN".to_owned(), VALUE.to_owned())]);
    assert!(!bed.on_disk(VALUE), "the log has names only");
    assert_eq!(
        bed.kinds(0),
        ["secret.create success", "secret.exposed_to_job success"]
    );
    let entry = bed.entries().pop().unwrap();
    assert_eq!(entry["d"]["names"], serde_json::json!(["TOKEN"]));
    assert_eq!(entry["link"]["job"], "job:4");
    assert_eq!(entry["who"]["type"], "job");
}

#[test]
fn the_same_value_is_sealed_differently_each_time() {
    let bed = Bed::new();
    let keys = keys(1);
    let lab = repo(1, None, Visibility::Private);
    let sealed = |name| {
        set(&bed, &keys, Home::Repo(&lab), name, VALUE).unwrap();
        bed.read(|db| sql::sealed(db, lab.id, name)).unwrap().sealed
    };
    let first = sealed("A");
    assert_ne!(first, sealed("B"));
    assert_ne!(first, sealed("A"), "set again");
    assert_eq!(
        bed.kinds(0),
        [
            "secret.create success",
            "secret.create success",
            "secret.update success"
        ]
    );
}

#[test]
fn another_key_an_altered_row_and_a_moved_row_do_not_open() {
    let bed = Bed::new();
    let lab = repo(1, None, Visibility::Private);
    let keys_a = keys(1);
    set(&bed, &keys_a, Home::Repo(&lab), "TOKEN", VALUE).unwrap();
    let other = reveal(&bed, &keys(2), &lab, &["TOKEN"]);
    assert!(matches!(
        other,
        Err(Error::Secret(SecretError::OtherKey { .. }))
    ));
    let row = bed.read(|db| sql::sealed(db, lab.id, "TOKEN")).unwrap();
    let put = |name: &str, row: &sql::Sealed| {
        bed.write(|tx| Ok(sql::set_secret(tx, lab.id, name, row, 0)?));
    };
    put("MOVED", &row);
    let moved = reveal(&bed, &keys_a, &lab, &["MOVED"]);
    assert!(matches!(
        moved,
        Err(Error::Secret(SecretError::Altered { .. }))
    ));
    let mut altered = row;
    altered.sealed[0] ^= 1;
    put("TOKEN", &altered);
    let altered = reveal(&bed, &keys_a, &lab, &["TOKEN"]);
    assert!(matches!(
        altered,
        Err(Error::Secret(SecretError::Altered { .. }))
    ));
    assert!(!bed.kinds(0).iter().any(|k| k.contains("exposed")));
}

#[test]
fn a_repos_secret_hides_the_instances_and_others_see_neither() {
    let bed = Bed::new();
    let keys = keys(1);
    let (lab, other) = (
        repo(1, None, Visibility::Private),
        repo(2, None, Visibility::Private),
    );
    set(&bed, &keys, Home::Instance, "TOKEN", "of-the-instance").unwrap();
    set(&bed, &keys, Home::Repo(&lab), "TOKEN", "of-the-repo").unwrap();
    set(&bed, &keys, Home::Repo(&lab), "ONLY", "of-the-repo").unwrap();
    let value = |repo, name| {
        let got = reveal(&bed, &keys, repo, &[name]).unwrap();
        got.into_iter().next().map(|(_, value)| value)
    };
    assert_eq!(value(&lab, "TOKEN").unwrap(), "of-the-repo");
    assert_eq!(value(&other, "TOKEN").unwrap(), "of-the-instance");
    assert_eq!(value(&other, "ONLY"), None);
    let listed = bed.read(|db| list_secrets(db, Home::Repo(&lab)));
    let names: Vec<&str> = listed.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["ONLY", "TOKEN"]);
    let remove = || {
        bed.write(|tx| {
            Ok(remove_secret(
                tx,
                &bed.log,
                &operator(),
                Home::Repo(&lab),
                "TOKEN",
            )?)
        })
    };
    assert!(remove());
    assert!(!remove());
    assert_eq!(value(&lab, "TOKEN").unwrap(), "of-the-instance");
    bed.write(|tx| Ok(forget_repo(tx, lab.id)?));
    assert_eq!(value(&lab, "ONLY"), None);
}

#[test]
fn bad_names_and_values_are_refused_and_leave_no_entry() {
    let bed = Bed::new();
    let keys = keys(1);
    for (name, value) in [
        ("lower", VALUE),
        ("GITHUB_TOKEN", VALUE),
        ("SHORT", "abc"),
        ("LONG", &"x".repeat((48 << 10) + 1)),
    ] {
        let refused = set(&bed, &keys, Home::Instance, name, value);
        let Err(Error::Secret(SecretError::Value(error))) = refused else {
            panic!("{name} was taken");
        };
        assert!(!error.to_string().contains(value), "{error}");
    }
    assert!(bed.entries().is_empty());
}

#[test]
fn there_is_a_most_of_secrets() {
    let bed = Bed::new();
    let keys = keys(1);
    bed.write(|tx| {
        for n in 0..NAMED_VALUES_MAX {
            let name = format!("S{n}");
            set_secret(
                tx,
                &bed.log,
                &operator(),
                &keys,
                Home::Instance,
                &name,
                VALUE,
            )?;
        }
        Ok(())
    });
    assert!(set(&bed, &keys, Home::Instance, "ONE_MORE", VALUE).is_err());
    set(&bed, &keys, Home::Instance, "S0", "another value").unwrap();
}

#[test]
fn the_key_file_is_kept_private_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("keys");
    let path = dir.join("secrets.key");
    assert!(matches!(Keys::open(&dir), Err(KeysError::Missing { .. })));
    let made = Keys::open_or_create(&dir, &Entropy::scripted(1)).unwrap();
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&dir)), (0o600, 0o700));
    let again = Keys::open_or_create(&dir, &Entropy::scripted(2)).unwrap();
    assert_eq!(made.id(), again.id());
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Keys::open(&dir),
        Err(KeysError::Open { mode: 0o640, .. })
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "short").unwrap();
    assert!(matches!(Keys::open(&dir), Err(KeysError::Shape { .. })));
}

#[test]
fn variables_are_seen_by_jobs_the_repos_over_the_instances() {
    let bed = Bed::new();
    let lab = repo(1, None, Visibility::Private);
    let set = |home, name: &str, value: &str| {
        bed.try_write(|tx| Ok(set_var(tx, &bed.log, &operator(), home, name, value)?))
    };
    set(Home::Instance, "REGION", "north").unwrap();
    set(Home::Instance, "MODE", "x").unwrap();
    set(Home::Repo(&lab), "REGION", "").unwrap();
    assert!(set(Home::Instance, "github", "x").is_err());
    let seen = bed.read(|db| vars_for_job(db, lab.id));
    assert_eq!((seen["REGION"].as_str(), seen["MODE"].as_str()), ("", "x"));
    let remove = || {
        bed.write(|tx| {
            Ok(remove_var(
                tx,
                &bed.log,
                &operator(),
                Home::Repo(&lab),
                "REGION",
            )?)
        })
    };
    assert!(remove());
    assert!(!remove());
    assert!(bed.read(|db| list_vars(db, Home::Repo(&lab))).is_empty());
    assert_eq!(bed.read(|db| vars_for_job(db, lab.id))["REGION"], "north");
    assert_eq!(bed.kinds(0), vec!["variable.change success"; 4]);
}
