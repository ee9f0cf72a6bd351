//! Browser sessions: a cookie, of which only the hash is kept.

use std::time::{Duration, SystemTime};

use audit::{Auditor, Entry, Kind, Who};
use store::{Db, Tx};
use vocab::{SessionId, UserId, from_unix_ms, unix_ms};

use crate::{AccessError, Principal, sql};

/// How long a session lasts at most.
pub const SESSION_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A session that was just opened.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The cookie's value. Nobody can read it again.
    pub cookie: String,
    /// When it ends.
    pub expires: SystemTime,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSession({})", self.id.tagged())
    }
}

/// A session as its user's list shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// When it was opened.
    pub created: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
}

/// Why a cookie opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum SessionRefused {
    /// No session has it.
    #[error("this session has ended; sign in again")]
    Unknown,
    /// Its session is over.
    #[error("this session has expired; sign in again")]
    Expired,
    /// Its user may not sign in.
    #[error("this user is suspended; ask an administrator")]
    Suspended,
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// Opens a session for a user whose sign-in was just judged good.
pub fn open_session(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    user: UserId,
) -> Result<NewSession, AccessError> {
    let now = log.now();
    let cookie = format!("cfs_{}", log.entropy().hex(32));
    let expires = now + SESSION_LIFE;
    let id = sql::insert_session(tx, user, &hash(&cookie), unix_ms(now), unix_ms(expires))?;
    let entry = Entry::success(Kind::SessionCreate)
        .unnamed_object("user", user.tagged())
        .detail("session", id.tagged());
    log.append(tx, who, entry)?;
    Ok(NewSession {
        id,
        cookie,
        expires,
    })
}

/// Who has the session that `cookie` opens.
pub fn session(db: &Db, cookie: &str, now: SystemTime) -> Result<Principal, SessionRefused> {
    if cookie.len() > 100 {
        return Err(SessionRefused::Unknown);
    }
    let (info, user) = sql::session_by_hash(db, &hash(cookie))?.ok_or(SessionRefused::Unknown)?;
    if info.expires <= now {
        return Err(SessionRefused::Expired);
    }
    if user.suspended.is_some() {
        return Err(SessionRefused::Suspended);
    }
    Ok(Principal::User {
        user: user.id,
        name: user.name,
        role: user.role,
        session: info.id,
    })
}

/// The sessions of a user that have not ended, newest first.
pub fn sessions(db: &Db, user: UserId, now: SystemTime) -> rusqlite::Result<Vec<SessionInfo>> {
    sql::sessions(db, user, unix_ms(now))
}

/// Ends a session: a sign-out when its own user does it from that session (`own`), else a
/// revocation. Returns whether there was one.
pub fn close_session(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: SessionId,
    own: bool,
) -> Result<bool, AccessError> {
    let Some(user) = sql::remove_session(tx, id)? else {
        return Ok(false);
    };
    let kind = if own {
        Kind::Logout
    } else {
        Kind::SessionRevoke
    };
    let entry = Entry::success(kind)
        .unnamed_object("user", user.tagged())
        .detail("session", id.tagged());
    log.append(tx, who, entry)?;
    Ok(true)
}

/// Removes sessions whose time is over. They opened nothing any more, so no entry is made.
pub fn sweep_sessions(tx: &mut Tx<'_>, now: SystemTime) -> rusqlite::Result<usize> {
    sql::sweep_sessions(tx, unix_ms(now))
}

/// What a form must send back besides the cookie: derived from it, so that another site, which
/// cannot read the cookie, cannot know it.
#[must_use]
pub fn csrf_token(cookie: &str) -> String {
    vocab::Digest::of(format!("cofferdam-csrf/1 {cookie}").as_bytes()).hex()
}

fn hash(cookie: &str) -> [u8; 32] {
    *vocab::Digest::of(cookie.as_bytes()).as_bytes()
}

pub(crate) fn info(id: i64, user: UserId, created_ms: i64, expires_ms: i64) -> SessionInfo {
    SessionInfo {
        id: SessionId(id),
        user,
        created: from_unix_ms(created_ms),
        expires: from_unix_ms(expires_ms),
    }
}

#[cfg(test)]
mod tests;
