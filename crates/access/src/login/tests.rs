//! Sign-ins, good and bad.

use super::*;
use crate::testing::{Bed, door, operator};
use crate::{PasswordHash, Role, restore_user, set_password, suspend_user};

fn sign_in(bed: &Bed, name: &str, password: &str) -> Result<User, LoginRefused> {
    authenticate_password(&bed.store, &bed.log, &door(), name, password)
}

#[test]
fn the_right_password_signs_in_whatever_the_names_case() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, true);
    bed.user("tokens-only", Role::Member, false);
    assert_eq!(sign_in(&bed, "DEV", "dev password").unwrap(), dev);
    for (name, password) in [
        ("dev", "dev passworD"),
        ("dev", ""),
        ("nobody", "dev password"),
        ("tokens-only", ""),
        ("not a name", "dev password"),
    ] {
        let refused = sign_in(&bed, name, password).unwrap_err();
        assert!(matches!(refused, LoginRefused::Wrong), "{name}: {refused}");
    }
    assert_eq!(bed.kinds(2)[0], "login.ok success");
    assert_eq!(bed.kinds(3), vec!["login.fail denied"; 4]);
    let entries = bed.entries();
    assert_eq!(entries[2]["who"]["id"], "u:1");
    assert_eq!(entries[3]["obj"]["id"], "u:1");
    assert_eq!(entries[5]["d"]["known"], false);
    assert!(!bed.on_disk("dev password"));
    assert!(!entries[5].to_string().contains("nobody"));
}

#[test]
fn guessing_locks_the_name_for_longer_and_longer() {
    for name in ["dev", "nobody"] {
        let bed = Bed::new();
        bed.user("dev", Role::Member, true);
        let wait = || match sign_in(&bed, name, "wrong password") {
            Err(LoginRefused::Locked { wait }) => Some(wait.as_secs()),
            Err(LoginRefused::Wrong) => None,
            other => panic!("{other:?}"),
        };
        for _ in 0..FAILURES {
            assert_eq!(wait(), None);
        }
        for seconds in [60, 120, 240, 480, 900, 900] {
            assert_eq!(wait(), Some(seconds), "{name}");
            bed.clock.advance(Duration::from_secs(seconds));
            assert_eq!(wait(), None);
        }
    }
}

#[test]
fn a_locked_name_refuses_the_right_password_until_the_lock_ends() {
    let bed = Bed::new();
    bed.user("dev", Role::Member, true);
    for _ in 0..FAILURES {
        sign_in(&bed, "dev", "wrong password").unwrap_err();
    }
    let refused = sign_in(&bed, "dev", "dev password").unwrap_err();
    assert!(
        refused.to_string().contains("try again in 61 s"),
        "{refused}"
    );
    bed.clock.advance(FIRST_LOCK);
    sign_in(&bed, "dev", "dev password").unwrap();
    assert_eq!(
        bed.kinds(5),
        [
            "login.fail denied",
            "lockout.start success",
            "lockout.clear success",
            "login.ok success"
        ]
    );
    assert_eq!(bed.entries()[7]["d"]["turned_away"], 1);
    sign_in(&bed, "dev", "wrong password").unwrap_err();
    sign_in(&bed, "dev", "dev password").unwrap();
}

#[test]
fn an_administrator_can_clear_a_lock() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, true);
    for _ in 0..FAILURES {
        sign_in(&bed, "dev", "wrong password").unwrap_err();
    }
    bed.write(|tx| Ok(clear_lockout(tx, &bed.log, &operator(), &dev)?));
    sign_in(&bed, "dev", "dev password").unwrap();
}

#[test]
fn failures_are_forgotten_after_a_day() {
    let bed = Bed::new();
    bed.user("dev", Role::Member, true);
    for _ in 1..FAILURES {
        sign_in(&bed, "dev", "wrong password").unwrap_err();
    }
    bed.clock.advance(FORGOTTEN + Duration::from_secs(1));
    for _ in 1..FAILURES {
        let refused = sign_in(&bed, "dev", "wrong password").unwrap_err();
        assert!(matches!(refused, LoginRefused::Wrong));
    }
}

#[test]
fn a_suspended_user_is_told_so_only_with_the_right_password() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, true);
    bed.write(|tx| Ok(suspend_user(tx, &bed.log, &operator(), dev.id)?));
    let wrong = sign_in(&bed, "dev", "wrong password").unwrap_err();
    assert!(matches!(wrong, LoginRefused::Wrong));
    let right = sign_in(&bed, "dev", "dev password").unwrap_err();
    assert!(matches!(right, LoginRefused::Suspended));
    assert_eq!(bed.entries().pop().unwrap()["why"], "E_SUSPENDED");
    bed.write(|tx| Ok(restore_user(tx, &bed.log, &operator(), dev.id)?));
    sign_in(&bed, "dev", "dev password").unwrap();
}

#[test]
fn a_new_password_ends_the_old_one() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, true);
    let hash = PasswordHash::of("another password", bed.log.entropy()).unwrap();
    bed.write(|tx| Ok(set_password(tx, &bed.log, &operator(), dev.id, &hash)?));
    assert_eq!(bed.kinds(1), ["password.reset success"]);
    sign_in(&bed, "dev", "dev password").unwrap_err();
    sign_in(&bed, "dev", "another password").unwrap();
}
