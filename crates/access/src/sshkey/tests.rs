//! The life of a key.

use audit::Via;
use vocab::Visibility;

use super::*;
use crate::testing::{Bed, Error, operator, repo};
use crate::{Role, forget_repo, restore_user, suspend_user};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBdk1epCe4N2xMDZa7bA5qG+0s0P878qrr6Us9PbV6vY dev\
    @lab";
const PRINT: &str = "SHA256:RAC/5wsAFdcsqYYI4Oq0CfWJsyvEcYmecVZ7qV9whf4";

fn add(bed: &Bed, home: KeyHome) -> Result<SshKeyInfo, Error> {
    let key = KeyText::parse(KEY).unwrap();
    let new = NewKey {
        home,
        label: String::new(),
    };
    bed.try_write(|tx| Ok(add_ssh_key(tx, &bed.log, &operator(), &new, &key)?))
}

fn come(bed: &Bed) -> Result<Principal, KeyRefused> {
    let door = Who::new(audit::Actor::Anonymous, Via::Ssh);
    authenticate_key(&bed.store, &bed.log, &door, PRINT, "ssh-ed25519")
}

#[test]
fn a_key_is_its_person_until_it_is_removed_and_each_step_is_in_the_log() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    assert!(matches!(come(&bed), Err(KeyRefused::Unknown)));
    let key = add(&bed, KeyHome::User(dev.id)).unwrap();
    assert_eq!((key.label.as_str(), key.used), ("dev@lab", None));
    let Principal::SshKey { user, .. } = come(&bed).unwrap() else {
        panic!("a person's key");
    };
    assert_eq!(user, dev.id);
    assert!(bed.read(|db| ssh_keys(db, dev.id))[0].used.is_some());
    assert!(bed.write(|tx| Ok(remove_ssh_key(tx, &bed.log, &operator(), key.id)?)));
    assert!(!bed.write(|tx| Ok(remove_ssh_key(tx, &bed.log, &operator(), key.id)?)));
    assert!(matches!(come(&bed), Err(KeyRefused::Unknown)));
    let entries = &bed.entries()[1..];
    let kinds: Vec<_> = entries.iter().map(|e| e["act"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["sshkey.add", "sshkey.auth_ok", "sshkey.remove"]);
    let who = &entries[1]["who"];
    assert_eq!(who["type"], "key");
    assert_eq!(who["id"], dev.id.tagged());
    assert_eq!((&who["auth"], &who["cred"]), (&"ssh".into(), &PRINT.into()));
    assert_eq!(entries[1]["src"]["via"], "ssh");
    // A comment is a person's: it stands beside the log, not in it.
    assert!(!entries[0].to_string().contains("dev@lab"));
}

#[test]
fn a_suspended_person_comes_in_with_no_key_and_the_log_cannot_be_filled_with_it() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    add(&bed, KeyHome::User(dev.id)).unwrap();
    bed.write(|tx| Ok(suspend_user(tx, &bed.log, &operator(), dev.id)?));
    let before = bed.entries().len();
    assert_eq!(bed.read(|db| key_owner(db, PRINT)), None);
    for _ in 0..5 {
        assert!(matches!(come(&bed), Err(KeyRefused::Suspended)));
    }
    assert_eq!(bed.kinds(before), ["sshkey.auth_fail denied"]);
    bed.clock.advance(DENIAL_NOTED);
    assert!(come(&bed).is_err());
    assert_eq!(bed.kinds(before).len(), 2);
    bed.write(|tx| Ok(restore_user(tx, &bed.log, &operator(), dev.id)?));
    let came = come(&bed).unwrap();
    assert_eq!(bed.read(|db| key_owner(db, PRINT)), Some(came));
}

#[test]
fn a_key_is_one_persons_or_one_repos() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    let eve = bed.user("eve", Role::Member, false);
    add(&bed, KeyHome::User(dev.id)).unwrap();
    let of_repo = KeyHome::Repo {
        repo: RepoId(1),
        writes: true,
    };
    for home in [KeyHome::User(eve.id), KeyHome::User(dev.id), of_repo] {
        let said = add(&bed, home).unwrap_err().to_string();
        assert!(said.contains("in use on this appliance"), "{said}");
    }
}

#[test]
fn a_deploy_key_is_its_repos_and_goes_with_it() {
    let bed = Bed::new();
    let home = repo(1, None, Visibility::Private);
    let of_repo = KeyHome::Repo {
        repo: home.id,
        writes: false,
    };
    let key = add(&bed, of_repo).unwrap();
    let came = come(&bed).unwrap();
    assert!(matches!(
        came,
        Principal::DeployKey { repo, writes: false, .. } if repo == home.id
    ));
    assert_eq!(came.actor().tagged(), key.id.tagged());
    let kinds = ["deploykey.add success", "sshkey.auth_ok success"];
    assert_eq!(bed.kinds(0), kinds);
    let used = Some(bed.clock.now());
    let listed = bed.read(|db| deploy_keys(db, home.id));
    assert_eq!(listed, [SshKeyInfo { used, ..key }]);
    bed.write(|tx| Ok(forget_repo(tx, home.id)?));
    assert!(matches!(come(&bed), Err(KeyRefused::Unknown)));
}
