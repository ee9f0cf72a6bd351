//! Sessions from cookie to end.

use audit::{Actor, Via};

use super::*;
use crate::testing::{Bed, Error, operator};
use crate::{PasswordHash, Role, User, UserError, create_user, set_password, set_role};

fn open(bed: &Bed, user: &User) -> NewSession {
    let who = Who::new(
        Actor::User {
            id: user.id,
            name: user.name.clone(),
        },
        Via::Http,
    );
    bed.write(|tx| Ok(open_session(tx, &bed.log, &who, user.id)?))
}

fn by_cookie(bed: &Bed, cookie: &str) -> Result<Principal, SessionRefused> {
    bed.store
        .read::<_, SessionRefused>(|db| session(db, cookie, bed.clock.now()))
}

#[test]
fn a_cookie_opens_its_session_until_it_expires() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Admin, false);
    let new = open(&bed, &dev);
    let principal = by_cookie(&bed, &new.cookie).unwrap();
    assert_eq!(
        principal,
        Principal::User {
            user: dev.id,
            name: dev.name.clone(),
            role: Role::Admin,
            session: new.id,
        }
    );
    assert!(!bed.on_disk(&new.cookie));
    assert!(!bed.on_disk(&new.cookie[4..]));
    let forged = format!("cfs_{}", "0".repeat(64));
    assert!(matches!(
        by_cookie(&bed, &forged),
        Err(SessionRefused::Unknown)
    ));
    bed.clock.advance(SESSION_LIFE);
    assert!(matches!(
        by_cookie(&bed, &new.cookie),
        Err(SessionRefused::Expired)
    ));
    let now = bed.clock.now();
    assert_eq!(bed.write(|tx| Ok(sweep_sessions(tx, now)?)), 1);
    assert_eq!(bed.write(|tx| Ok(sweep_sessions(tx, now)?)), 0);
}

#[test]
fn sessions_end_by_sign_out_revocation_and_a_new_password() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    let all = [open(&bed, &dev), open(&bed, &dev), open(&bed, &dev)];
    let close = |id, own| bed.write(|tx| Ok(close_session(tx, &bed.log, &operator(), id, own)?));
    assert!(close(all[0].id, true));
    assert!(!close(all[0].id, true));
    assert!(close(all[1].id, false));
    let left = bed.read(|db| sessions(db, dev.id, bed.clock.now()));
    assert_eq!(left.len(), 1);
    let hash = PasswordHash::of("another password", bed.log.entropy()).unwrap();
    bed.write(|tx| Ok(set_password(tx, &bed.log, &operator(), dev.id, &hash)?));
    for session in &all {
        assert!(by_cookie(&bed, &session.cookie).is_err());
    }
    assert_eq!(
        bed.kinds(4),
        [
            "logout success",
            "session.revoke success",
            "password.reset success"
        ]
    );
}

#[test]
fn a_changed_role_holds_in_open_sessions() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Admin, false);
    let new = open(&bed, &dev);
    bed.write(|tx| Ok(set_role(tx, &bed.log, &operator(), dev.id, Role::Member)?));
    let principal = by_cookie(&bed, &new.cookie).unwrap();
    assert!(matches!(
        principal,
        Principal::User {
            role: Role::Member,
            ..
        }
    ));
    assert_eq!(bed.kinds(2), ["role.revoke success"]);
}

#[test]
fn a_form_token_follows_from_the_cookie_and_not_back() {
    let one = csrf_token("cfs_1");
    assert_eq!(one, csrf_token("cfs_1"));
    assert_ne!(one, csrf_token("cfs_2"));
    assert!(!one.contains("cfs_1"));
}

#[test]
fn users_whose_names_differ_only_by_case_conflict() {
    let bed = Bed::new();
    bed.user("Dev", Role::Member, false);
    let new = crate::NewUser {
        name: "dEV".parse().unwrap(),
        password: None,
        role: Role::Admin,
    };
    let refused = bed.try_write(|tx| Ok(create_user(tx, &bed.log, &operator(), &new)?));
    assert!(matches!(refused, Err(Error::User(UserError::Taken { .. }))));
    assert_eq!(bed.read(crate::users).len(), 1);
    assert!(!bed.entries()[0].to_string().contains("Dev"));
}
