//! Sign-in by password, and the brake on guessing.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use audit::{Actor, AppendError, Auditor, Entry, Kind, Who};
use store::{Store, StoreError, Tx};
use vocab::{UserName, from_unix_ms, unix_ms};

use crate::{User, password, sql, user};

/// How many failures in a row lock a name.
const FAILURES: i64 = 5;
/// How long the first lock lasts; each further failure doubles it.
const FIRST_LOCK: Duration = Duration::from_secs(60);
/// How long a lock lasts at most.
const LONGEST_LOCK: Duration = Duration::from_secs(15 * 60);
/// After how long without a failure the count starts afresh.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);
/// How many names are counted at a time.
const NAMES: i64 = 10_000;

/// One sign-in is judged at a time, so that many at once cannot outrun the count of failures.
static TURN: Mutex<()> = Mutex::new(());

/// Why a sign-in is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginRefused {
    /// The name or the password is wrong; which, is not told.
    #[error("wrong name or password")]
    Wrong,
    /// There were too many failures for this name.
    #[error("too many failed sign-ins for this name; try again in {} s", wait.as_secs() + 1)]
    Locked {
        /// How long to wait.
        wait: Duration,
    },
    /// The password is right; the user may not sign in.
    #[error("this user is suspended; ask an administrator")]
    Suspended,
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

/// Judges a name and password. Slow on purpose (argon2id); not inside a transaction.
///
/// `who` says by which door; its actor is not used. Wrong passwords and unknown names take the
/// same time, make the same count and get the same answer.
pub fn authenticate_password(
    store: &Store,
    log: &Auditor,
    who: &Who,
    name: &str,
    password: &str,
) -> Result<User, LoginRefused> {
    let Ok(name) = name.parse::<UserName>() else {
        password::matches(password, None);
        return Err(LoginRefused::Wrong);
    };
    let key = user::key(name.as_str());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = log.now();
    let (lock, found) = store.read::<_, LoginRefused>(|db| {
        Ok((sql::login_failure(db, &key)?, sql::password(db, &key)?))
    })?;
    if let Some(wait) = lock.as_ref().and_then(|l| locked(l, now)) {
        store.write::<_, LoginRefused>(|tx| Ok(sql::turn_away(tx, &key)?))?;
        return Err(LoginRefused::Locked { wait });
    }
    let stored = found.as_ref().and_then(|(_, hash)| hash.as_deref());
    let right = password::matches(password, stored);
    match found {
        Some((user, _)) if right => store.write(|tx| succeed(tx, log, who, &key, user)),
        found => {
            let known = found.map(|(user, _)| user);
            store.write::<_, LoginRefused>(|tx| fail(tx, log, who, &key, known.as_ref()))?;
            Err(LoginRefused::Wrong)
        }
    }?
}

/// Forgets the failures of a name, so that its user can sign in at once.
pub fn clear_lockout(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    user: &User,
) -> Result<(), LoginRefused> {
    let key = user::key(user.name.as_str());
    if let Some(failure) = sql::login_failure(tx, &key)? {
        sql::forget_failures(tx, &key)?;
        note_end(tx, log, who, user, &failure)?;
    }
    Ok(())
}

fn locked(failure: &sql::LoginFailure, now: SystemTime) -> Option<Duration> {
    let until = from_unix_ms(failure.locked_until_ms);
    until
        .duration_since(now)
        .ok()
        .filter(|wait| !wait.is_zero())
}

/// The refusal of a suspended user is a value, so that what was noted of it is kept.
fn succeed(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    key: &str,
    user: User,
) -> Result<Result<User, LoginRefused>, LoginRefused> {
    let who = who.acting_as(Actor::User {
        id: user.id,
        name: user.name.clone(),
    });
    let object = |entry: Entry| entry.unnamed_object("user", user.id.tagged());
    if user.suspended.is_some() {
        log.append(
            tx,
            &who,
            object(Entry::denied(Kind::LoginFail, "E_SUSPENDED")),
        )?;
        return Ok(Err(LoginRefused::Suspended));
    }
    if let Some(failure) = sql::login_failure(tx, key)? {
        sql::forget_failures(tx, key)?;
        if failure.failures >= FAILURES {
            note_end(tx, log, &who, &user, &failure)?;
        }
    }
    log.append(tx, &who, object(Entry::success(Kind::LoginOk)))?;
    Ok(Ok(user))
}

fn note_end(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    user: &User,
    failure: &sql::LoginFailure,
) -> Result<(), AppendError> {
    let entry = Entry::success(Kind::LockoutClear)
        .unnamed_object("user", user.id.tagged())
        .detail("failures", failure.failures)
        .detail("turned_away", failure.turned_away);
    log.append(tx, who, entry).map(|_| ())
}

fn fail(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    key: &str,
    known: Option<&User>,
) -> Result<(), LoginRefused> {
    let now = log.now();
    let now_ms = unix_ms(now);
    let long_ago = now.checked_sub(FORGOTTEN).map_or(0, unix_ms);
    sql::forget_old_failures(tx, long_ago, NAMES)?;
    let failures = sql::login_failure(tx, key)?.map_or(0, |f| f.failures) + 1;
    let lock = lock_after(failures);
    let until_ms = lock.map_or(0, |lock| unix_ms(now + lock));
    sql::set_login_failure(tx, key, failures, now_ms, until_ms)?;
    // A name that nobody has may be a password typed into the wrong field: it is not kept.
    let object = |entry: Entry| match known {
        Some(user) => entry.unnamed_object("user", user.id.tagged()),
        None => entry.detail("known", false),
    };
    let who = who.acting_as(Actor::Anonymous);
    let entry = object(Entry::denied(Kind::LoginFail, "E_PASSWORD")).detail("failures", failures);
    let failed = log.append(tx, &who, entry)?;
    if let Some(lock) = lock {
        let entry = object(Entry::success(Kind::LockoutStart))
            .detail("seconds", lock.as_secs())
            .parent(failed);
        log.append(tx, &who, entry)?;
    }
    Ok(())
}

fn lock_after(failures: i64) -> Option<Duration> {
    let further = u32::try_from(failures - FAILURES).ok()?;
    Some((FIRST_LOCK * 2u32.pow(further.min(10))).min(LONGEST_LOCK))
}

#[cfg(test)]
mod tests;
