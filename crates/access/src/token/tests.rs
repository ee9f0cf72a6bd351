//! The life of a token.

use super::*;
use crate::testing::{Bed, door, operator};
use crate::{Role, Scope, suspend_user};

const HOUR: Duration = Duration::from_secs(3_600);

fn make(bed: &Bed, user: &User, life: Option<Duration>) -> TokenCreated {
    let new = NewToken {
        user: user.id,
        label: "laptop".into(),
        scopes: [Scope::RepoWrite, Scope::RunRead].into_iter().collect(),
        expires: life.map(|life| bed.clock.now() + life),
    };
    bed.write(|tx| Ok(create_token(tx, &bed.log, &operator(), &new)?))
}

fn come(bed: &Bed, text: &str) -> Result<Principal, TokenRefused> {
    authenticate_token(&bed.store, &bed.log, &door(), text)
}

fn used(bed: &Bed, user: &User) -> Option<SystemTime> {
    bed.read(|db| tokens(db, user.id))[0].used
}

#[test]
fn a_token_brings_its_user_and_scopes_and_is_nowhere_in_clear() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    let made = make(&bed, &dev, None);
    assert!(made.text.starts_with("cft_"));
    let Principal::Token { user, scopes, .. } = come(&bed, &made.text).unwrap() else {
        panic!("a token");
    };
    assert_eq!(user, dev.id);
    assert_eq!(scopes.to_string(), "repo:write,run:read");
    assert!(!bed.on_disk(&made.text[4..]));
    assert!(!format!("{made:?}").contains(&made.text));
    assert_eq!(bed.entries()[1]["d"]["scopes"], "repo:write,run:read");
}

#[test]
fn other_texts_are_no_tokens() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    let made = make(&bed, &dev, None);
    let altered = format!("{}0", &made.text[..67]);
    let altered = if altered == made.text {
        format!("{}1", &made.text[..67])
    } else {
        altered
    };
    for text in ["", "cft_", &made.text[4..], &altered, &"x".repeat(1 << 20)] {
        assert!(matches!(come(&bed, text), Err(TokenRefused::Unknown)));
    }
}

#[test]
fn uses_are_noted_by_the_hour() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    let made = make(&bed, &dev, None);
    assert_eq!(used(&bed, &dev), None);
    come(&bed, &made.text).unwrap();
    let first = bed.clock.now();
    assert_eq!(used(&bed, &dev), Some(first));
    bed.clock.advance(HOUR / 2);
    come(&bed, &made.text).unwrap();
    assert_eq!(used(&bed, &dev), Some(first));
    bed.clock.advance(HOUR / 2);
    come(&bed, &made.text).unwrap();
    assert_eq!(used(&bed, &dev), Some(bed.clock.now()));
}

#[test]
fn expired_revoked_and_suspended_are_told_apart_and_noted_once_an_hour() {
    let bed = Bed::new();
    let dev = bed.user("dev", Role::Member, false);
    let short = make(&bed, &dev, Some(HOUR));
    let gone = make(&bed, &dev, None);
    let good = make(&bed, &dev, None);
    come(&bed, &short.text).unwrap();
    let revoke = |id| bed.write(|tx| Ok(revoke_token(tx, &bed.log, &operator(), id)?));
    assert!(revoke(gone.id));
    assert!(!revoke(gone.id));
    bed.clock.advance(HOUR);
    let skip = bed.entries().len();
    for _ in 0..3 {
        assert!(matches!(
            come(&bed, &short.text),
            Err(TokenRefused::Expired)
        ));
        assert!(matches!(come(&bed, &gone.text), Err(TokenRefused::Revoked)));
    }
    come(&bed, &good.text).unwrap();
    bed.write(|tx| Ok(suspend_user(tx, &bed.log, &operator(), dev.id)?));
    assert!(matches!(
        come(&bed, &good.text),
        Err(TokenRefused::Suspended)
    ));
    assert_eq!(
        bed.kinds(skip),
        [
            "token.use_denied denied",
            "token.use_denied denied",
            "user.suspend success",
            "token.use_denied denied"
        ]
    );
    let whys: Vec<_> = bed.entries()[skip..]
        .iter()
        .map(|e| e["why"].as_str().unwrap_or("").to_owned())
        .collect();
    assert_eq!(whys, ["E_EXPIRED", "E_REVOKED", "", "E_SUSPENDED"]);
    bed.clock.advance(HOUR);
    assert!(come(&bed, &short.text).is_err());
    assert_eq!(bed.kinds(skip).len(), 5, "an hour later it is noted again");
}
