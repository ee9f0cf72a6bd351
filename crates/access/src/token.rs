//! Access tokens: `cft_` and 64 hex digits, of which only the hash is kept.

use std::time::{Duration, SystemTime};

use audit::{Actor, AppendError, Auditor, Entry, Kind, Who};
use store::{Db, Store, StoreError, Tx};
use vocab::{TokenId, UserId, unix_ms};

use crate::{AccessError, Principal, Scopes, User, sql};

/// How often a use is noted at most.
const NOTED: Duration = Duration::from_secs(3_600);
/// The longest label, in characters.
const LABEL_CHARS: usize = 100;

/// A token to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewToken {
    /// Whose it shall be.
    pub user: UserId,
    /// What its user calls it.
    pub label: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it ends; none is never.
    pub expires: Option<SystemTime>,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenCreated {
    /// Its id.
    pub id: TokenId,
    /// Its text. Nobody can read it again.
    pub text: String,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCreated({})", self.id.tagged())
    }
}

/// A token as its user's list shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenInfo {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserId,
    /// What its user calls it.
    pub label: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends; none is never.
    pub expires: Option<SystemTime>,
    /// When it was last used, to the hour; none is never.
    pub used: Option<SystemTime>,
    /// When it was revoked, if so.
    pub revoked: Option<SystemTime>,
}

/// Why a token cannot be made or is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefused {
    /// It is no token of this instance.
    #[error("this is no access token of this instance")]
    Unknown,
    /// Its time is over.
    #[error("this access token has expired; make a new one")]
    Expired,
    /// It was revoked.
    #[error("this access token was revoked; make a new one")]
    Revoked,
    /// Its user may not sign in.
    #[error("the user of this access token is suspended; ask an administrator")]
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

/// Makes a token. Labels are cut at 100 characters.
pub fn create_token(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    new: &NewToken,
) -> Result<TokenCreated, AccessError> {
    let text = format!("cft_{}", log.entropy().hex(32));
    let label: String = new.label.chars().take(LABEL_CHARS).collect();
    let id = sql::insert_token(tx, new, &label, &hash(&text), unix_ms(log.now()))?;
    let entry = Entry::success(Kind::TokenCreate)
        .object("token", id.tagged(), label)
        .detail("user", new.user.tagged())
        .detail("scopes", new.scopes.to_string())
        .detail("expires_ms", new.expires.map(unix_ms));
    log.append(tx, who, entry)?;
    Ok(TokenCreated { id, text })
}

/// Revokes a token. Returns whether there was one to revoke.
pub fn revoke_token(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: TokenId,
) -> Result<bool, AccessError> {
    let Some(token) = sql::token(tx, id)?.filter(|token| token.revoked.is_none()) else {
        return Ok(false);
    };
    sql::revoke_token(tx, id, unix_ms(log.now()))?;
    let entry = Entry::success(Kind::TokenRevoke)
        .object("token", id.tagged(), token.label)
        .detail("user", token.user.tagged());
    log.append(tx, who, entry)?;
    Ok(true)
}

/// The token of that id, revoked or not.
pub fn token(db: &Db, id: TokenId) -> rusqlite::Result<Option<TokenInfo>> {
    sql::token(db, id)
}

/// The tokens of a user, newest first, revoked ones too.
pub fn tokens(db: &Db, user: UserId) -> rusqlite::Result<Vec<TokenInfo>> {
    sql::tokens(db, user)
}

/// Who comes with the token `text`. `who` says by which door; its actor is not used.
///
/// Notes the use, and the use of an expired or revoked token, at most once an hour.
pub fn authenticate_token(
    store: &Store,
    log: &Auditor,
    who: &Who,
    text: &str,
) -> Result<Principal, TokenRefused> {
    if !text.starts_with("cft_") || text.len() != 68 {
        return Err(TokenRefused::Unknown);
    }
    let found = store.read::<_, TokenRefused>(|db| Ok(sql::token_by_hash(db, &hash(text))?))?;
    let (token, denied, user) = found.ok_or(TokenRefused::Unknown)?;
    let now = log.now();
    let stale = |last: Option<SystemTime>| {
        last.is_none_or(|last| now.duration_since(last).is_ok_and(|age| age >= NOTED))
    };
    if let Some(refusal) = refusal(&token, &user, now) {
        if stale(denied) {
            store.write(|tx| note_denial(tx, log, who, &token, &user, &refusal))?;
        }
        return Err(refusal);
    }
    if stale(token.used) {
        let now_ms = unix_ms(now);
        store.write::<_, TokenRefused>(|tx| Ok(sql::note_use(tx, token.id, now_ms)?))?;
    }
    Ok(Principal::Token {
        user: user.id,
        name: user.name,
        role: user.role,
        token: token.id,
        scopes: token.scopes,
    })
}

fn refusal(token: &TokenInfo, user: &User, now: SystemTime) -> Option<TokenRefused> {
    if token.revoked.is_some() {
        Some(TokenRefused::Revoked)
    } else if token.expires.is_some_and(|at| at <= now) {
        Some(TokenRefused::Expired)
    } else if user.suspended.is_some() {
        Some(TokenRefused::Suspended)
    } else {
        None
    }
}

fn note_denial(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    token: &TokenInfo,
    user: &User,
    refusal: &TokenRefused,
) -> Result<(), TokenRefused> {
    let why = match refusal {
        TokenRefused::Revoked => "E_REVOKED",
        TokenRefused::Expired => "E_EXPIRED",
        _ => "E_SUSPENDED",
    };
    let who = who.acting_as(Actor::Token {
        user: user.id,
        name: user.name.clone(),
        token: token.id,
    });
    let entry = Entry::denied(Kind::TokenUseDenied, why).object(
        "token",
        token.id.tagged(),
        token.label.as_str(),
    );
    log.append(tx, &who, entry)?;
    sql::note_denied(tx, token.id, unix_ms(log.now()))?;
    Ok(())
}

fn hash(text: &str) -> [u8; 32] {
    *vocab::Digest::of(text.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests;
