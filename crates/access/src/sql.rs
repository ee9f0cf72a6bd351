//! Every query of this crate.

mod ssh_keys;

use std::collections::BTreeMap;
use std::time::SystemTime;

use rusqlite::types::FromSqlError;
use rusqlite::{OptionalExtension, Row, params};
use store::{Db, Tx};
use vocab::{RepoId, SecretId, SessionId, TokenId, UserId, from_unix_ms, unix_ms};

pub(crate) use ssh_keys::*;

use crate::{
    Collaborator, Level, NewToken, NewUser, Role, SecretInfo, SessionInfo, TokenInfo, User,
};

/// Parses a stored text; a text that does not parse is from another version or was edited.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(FromSqlError::Other(Box::new(e))),
        )
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<SystemTime>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(from_unix_ms))
}

const USER: &str = "u.id, u.name, u.role, u.created_ms, u.suspended_ms, u.password IS NOT NULL";

fn as_user(row: &Row<'_>, at: usize) -> rusqlite::Result<User> {
    Ok(User {
        id: UserId(row.get(at)?),
        name: parsed(row, at + 1)?,
        role: parsed(row, at + 2)?,
        created: from_unix_ms(row.get(at + 3)?),
        suspended: time(row, at + 4)?,
        has_password: row.get(at + 5)?,
    })
}

pub(crate) fn user(db: &Db, id: UserId) -> rusqlite::Result<Option<User>> {
    db.prepare_cached(&format!("SELECT {USER} FROM user u WHERE u.id = ?1"))?
        .query_row([id.get()], |row| as_user(row, 0))
        .optional()
}

pub(crate) fn user_by_name(db: &Db, key: &str) -> rusqlite::Result<Option<User>> {
    db.prepare_cached(&format!("SELECT {USER} FROM user u WHERE u.name_key = ?1"))?
        .query_row([key], |row| as_user(row, 0))
        .optional()
}

pub(crate) fn users(db: &Db) -> rusqlite::Result<Vec<User>> {
    db.prepare_cached(&format!("SELECT {USER} FROM user u ORDER BY u.name_key"))?
        .query_map([], |row| as_user(row, 0))?
        .collect()
}

/// A user and their password's hash.
pub(crate) fn password(db: &Db, key: &str) -> rusqlite::Result<Option<(User, Option<String>)>> {
    db.prepare_cached(&format!(
        "SELECT {USER}, u.password FROM user u WHERE u.name_key = ?1"
    ))?
    .query_row([key], |row| Ok((as_user(row, 0)?, row.get(6)?)))
    .optional()
}

pub(crate) fn insert_user(
    tx: &Tx<'_>,
    new: &NewUser,
    key: &str,
    now_ms: i64,
) -> rusqlite::Result<UserId> {
    tx.prepare_cached(
        "INSERT INTO user (name, name_key, role, password, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .insert(params![
        new.name.as_str(),
        key,
        new.role.as_str(),
        new.password.as_ref().map(crate::PasswordHash::as_str),
        now_ms
    ])
    .map(UserId)
}

pub(crate) fn set_password(tx: &Tx<'_>, id: UserId, hash: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE user SET password = ?2 WHERE id = ?1")?
        .execute(params![id.get(), hash])?;
    Ok(())
}

pub(crate) fn set_role(tx: &Tx<'_>, id: UserId, role: Role) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE user SET role = ?2 WHERE id = ?1")?
        .execute(params![id.get(), role.as_str()])?;
    Ok(())
}

pub(crate) fn set_suspended(tx: &Tx<'_>, id: UserId, at_ms: Option<i64>) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE user SET suspended_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), at_ms])?;
    Ok(())
}

pub(crate) struct LoginFailure {
    pub(crate) failures: i64,
    pub(crate) locked_until_ms: i64,
    pub(crate) turned_away: i64,
}

pub(crate) fn login_failure(db: &Db, key: &str) -> rusqlite::Result<Option<LoginFailure>> {
    db.prepare_cached(
        "SELECT failures, locked_until_ms, turned_away FROM login_failure WHERE name_key = ?1",
    )?
    .query_row([key], |row| {
        Ok(LoginFailure {
            failures: row.get(0)?,
            locked_until_ms: row.get(1)?,
            turned_away: row.get(2)?,
        })
    })
    .optional()
}

pub(crate) fn set_login_failure(
    tx: &Tx<'_>,
    key: &str,
    failures: i64,
    now_ms: i64,
    until_ms: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO login_failure (name_key, failures, last_ms, locked_until_ms, turned_away)
         VALUES (?1, ?2, ?3, ?4, 0) ON CONFLICT (name_key)
         DO UPDATE SET failures = ?2, last_ms = ?3, locked_until_ms = ?4",
    )?
    .execute(params![key, failures, now_ms, until_ms])?;
    Ok(())
}

pub(crate) fn turn_away(tx: &Tx<'_>, key: &str) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "UPDATE login_failure SET turned_away = turned_away + 1 WHERE name_key = ?1",
    )?
    .execute([key])?;
    Ok(())
}

pub(crate) fn forget_failures(tx: &Tx<'_>, key: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM login_failure WHERE name_key = ?1")?
        .execute([key])?;
    Ok(())
}

/// Forgets what is older than `before_ms`, and the oldest beyond `most` rows.
pub(crate) fn forget_old_failures(tx: &Tx<'_>, before_ms: i64, most: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM login_failure WHERE last_ms < ?1")?
        .execute([before_ms])?;
    tx.prepare_cached(
        "DELETE FROM login_failure WHERE name_key IN (SELECT name_key FROM login_failure
         ORDER BY last_ms DESC LIMIT -1 OFFSET ?1)",
    )?
    .execute([most])?;
    Ok(())
}

pub(crate) fn insert_session(
    tx: &Tx<'_>,
    user: UserId,
    hash: &[u8; 32],
    now_ms: i64,
    expires_ms: i64,
) -> rusqlite::Result<SessionId> {
    tx.prepare_cached(
        "INSERT INTO session (user, hash, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4)",
    )?
    .insert(params![user.get(), hash.as_slice(), now_ms, expires_ms])
    .map(SessionId)
}

fn as_session(row: &Row<'_>) -> rusqlite::Result<SessionInfo> {
    Ok(crate::session::info(
        row.get(0)?,
        UserId(row.get(1)?),
        row.get(2)?,
        row.get(3)?,
    ))
}

pub(crate) fn session_by_hash(
    db: &Db,
    hash: &[u8; 32],
) -> rusqlite::Result<Option<(SessionInfo, User)>> {
    db.prepare_cached(&format!(
        "SELECT s.id, s.user, s.created_ms, s.expires_ms, {USER}
         FROM session s JOIN user u ON u.id = s.user WHERE s.hash = ?1"
    ))?
    .query_row([hash.as_slice()], |row| {
        Ok((as_session(row)?, as_user(row, 4)?))
    })
    .optional()
}

pub(crate) fn sessions(db: &Db, user: UserId, now_ms: i64) -> rusqlite::Result<Vec<SessionInfo>> {
    db.prepare_cached(
        "SELECT id, user, created_ms, expires_ms FROM session
         WHERE user = ?1 AND expires_ms > ?2 ORDER BY id DESC",
    )?
    .query_map(params![user.get(), now_ms], as_session)?
    .collect()
}

pub(crate) fn remove_session(tx: &Tx<'_>, id: SessionId) -> rusqlite::Result<Option<UserId>> {
    tx.prepare_cached("DELETE FROM session WHERE id = ?1 RETURNING user")?
        .query_row([id.get()], |row| row.get(0).map(UserId))
        .optional()
}

pub(crate) fn end_sessions(tx: &Tx<'_>, user: UserId) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM session WHERE user = ?1")?
        .execute([user.get()])
}

pub(crate) fn sweep_sessions(tx: &Tx<'_>, now_ms: i64) -> rusqlite::Result<usize> {
    tx.prepare_cached("DELETE FROM session WHERE expires_ms <= ?1")?
        .execute([now_ms])
}

const TOKEN: &str = "t.id, t.user, t.label, t.scopes, t.created_ms, t.expires_ms, t.used_ms,
    t.revoked_ms";

fn as_token(row: &Row<'_>) -> rusqlite::Result<TokenInfo> {
    Ok(TokenInfo {
        id: TokenId(row.get(0)?),
        user: UserId(row.get(1)?),
        label: row.get(2)?,
        scopes: parsed(row, 3)?,
        created: from_unix_ms(row.get(4)?),
        expires: time(row, 5)?,
        used: time(row, 6)?,
        revoked: time(row, 7)?,
    })
}

pub(crate) fn insert_token(
    tx: &Tx<'_>,
    new: &NewToken,
    label: &str,
    hash: &[u8; 32],
    now_ms: i64,
) -> rusqlite::Result<TokenId> {
    tx.prepare_cached(
        "INSERT INTO token (user, label, hash, scopes, created_ms, expires_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .insert(params![
        new.user.get(),
        label,
        hash.as_slice(),
        new.scopes.to_string(),
        now_ms,
        new.expires.map(unix_ms)
    ])
    .map(TokenId)
}

pub(crate) fn token(db: &Db, id: TokenId) -> rusqlite::Result<Option<TokenInfo>> {
    db.prepare_cached(&format!("SELECT {TOKEN} FROM token t WHERE t.id = ?1"))?
        .query_row([id.get()], as_token)
        .optional()
}

pub(crate) fn tokens(db: &Db, user: UserId) -> rusqlite::Result<Vec<TokenInfo>> {
    db.prepare_cached(&format!(
        "SELECT {TOKEN} FROM token t WHERE t.user = ?1 ORDER BY t.id DESC"
    ))?
    .query_map([user.get()], as_token)?
    .collect()
}

/// A token, when its use was last denied, and its user.
pub(crate) fn token_by_hash(
    db: &Db,
    hash: &[u8; 32],
) -> rusqlite::Result<Option<(TokenInfo, Option<SystemTime>, User)>> {
    db.prepare_cached(&format!(
        "SELECT {TOKEN}, t.denied_ms, {USER}
         FROM token t JOIN user u ON u.id = t.user WHERE t.hash = ?1"
    ))?
    .query_row([hash.as_slice()], |row| {
        Ok((as_token(row)?, time(row, 8)?, as_user(row, 9)?))
    })
    .optional()
}

pub(crate) fn note_use(tx: &Tx<'_>, id: TokenId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE token SET used_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}

pub(crate) fn note_denied(tx: &Tx<'_>, id: TokenId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE token SET denied_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}

pub(crate) fn revoke_token(tx: &Tx<'_>, id: TokenId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE token SET revoked_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}

pub(crate) fn collaborator_level(
    db: &Db,
    repo: RepoId,
    user: UserId,
) -> rusqlite::Result<Option<Level>> {
    db.prepare_cached("SELECT level FROM collaborator WHERE repo = ?1 AND user = ?2")?
        .query_row([repo.get(), user.get()], |row| parsed(row, 0))
        .optional()
}

pub(crate) fn set_collaborator(
    tx: &Tx<'_>,
    repo: RepoId,
    user: UserId,
    level: Level,
    now_ms: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO collaborator (repo, user, level, added_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repo, user) DO UPDATE SET level = ?3",
    )?
    .execute(params![repo.get(), user.get(), level.as_str(), now_ms])?;
    Ok(())
}

pub(crate) fn remove_collaborator(
    tx: &Tx<'_>,
    repo: RepoId,
    user: UserId,
) -> rusqlite::Result<bool> {
    let gone = tx
        .prepare_cached("DELETE FROM collaborator WHERE repo = ?1 AND user = ?2")?
        .execute([repo.get(), user.get()])?;
    Ok(gone > 0)
}

pub(crate) fn collaborators(db: &Db, repo: RepoId) -> rusqlite::Result<Vec<Collaborator>> {
    db.prepare_cached(
        "SELECT c.user, u.name, c.level FROM collaborator c JOIN user u ON u.id = c.user
         WHERE c.repo = ?1 ORDER BY u.name_key",
    )?
    .query_map([repo.get()], |row| {
        Ok(Collaborator {
            user: UserId(row.get(0)?),
            name: parsed(row, 1)?,
            level: parsed(row, 2)?,
        })
    })?
    .collect()
}

pub(crate) fn shared_with(db: &Db, user: UserId) -> rusqlite::Result<Vec<RepoId>> {
    db.prepare_cached("SELECT repo FROM collaborator WHERE user = ?1 ORDER BY repo")?
        .query_map([user.get()], |row| row.get(0).map(RepoId))?
        .collect()
}

pub(crate) fn forget_repo(tx: &Tx<'_>, repo: RepoId) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM collaborator WHERE repo = ?1",
        "DELETE FROM ssh_key WHERE repo = ?1",
        "DELETE FROM secret WHERE repo = ?1",
        "DELETE FROM variable WHERE repo = ?1",
    ] {
        tx.prepare_cached(statement)?.execute([repo.get()])?;
    }
    Ok(())
}

pub(crate) struct Sealed {
    pub(crate) key_id: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

pub(crate) fn secret_id(db: &Db, repo: RepoId, name: &str) -> rusqlite::Result<Option<SecretId>> {
    db.prepare_cached("SELECT id FROM secret WHERE repo = ?1 AND name = ?2")?
        .query_row(params![repo.get(), name], |row| row.get(0).map(SecretId))
        .optional()
}

pub(crate) fn count_secrets(db: &Db, repo: RepoId) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT count(*) FROM secret WHERE repo = ?1")?
        .query_row([repo.get()], |row| row.get(0))
}

pub(crate) fn set_secret(
    tx: &Tx<'_>,
    repo: RepoId,
    name: &str,
    sealed: &Sealed,
    now_ms: i64,
) -> rusqlite::Result<SecretId> {
    tx.prepare_cached(
        "INSERT INTO secret (repo, name, key_id, nonce, sealed, updated_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (repo, name)
         DO UPDATE SET key_id = ?3, nonce = ?4, sealed = ?5, updated_ms = ?6 RETURNING id",
    )?
    .query_row(
        params![
            repo.get(),
            name,
            sealed.key_id,
            sealed.nonce,
            sealed.sealed,
            now_ms
        ],
        |row| row.get(0).map(SecretId),
    )
}

pub(crate) fn remove_secret(tx: &Tx<'_>, id: SecretId) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM secret WHERE id = ?1")?
        .execute([id.get()])?;
    Ok(())
}

pub(crate) fn secrets(db: &Db, repo: RepoId) -> rusqlite::Result<Vec<SecretInfo>> {
    db.prepare_cached("SELECT id, name, updated_ms FROM secret WHERE repo = ?1 ORDER BY name")?
        .query_map([repo.get()], |row| {
            Ok(SecretInfo {
                id: SecretId(row.get(0)?),
                name: row.get(1)?,
                updated: from_unix_ms(row.get(2)?),
            })
        })?
        .collect()
}

pub(crate) fn sealed(db: &Db, repo: RepoId, name: &str) -> rusqlite::Result<Option<Sealed>> {
    db.prepare_cached("SELECT key_id, nonce, sealed FROM secret WHERE repo = ?1 AND name = ?2")?
        .query_row(params![repo.get(), name], |row| {
            Ok(Sealed {
                key_id: row.get(0)?,
                nonce: row.get(1)?,
                sealed: row.get(2)?,
            })
        })
        .optional()
}

pub(crate) fn vars(db: &Db, repo: RepoId) -> rusqlite::Result<BTreeMap<String, String>> {
    db.prepare_cached("SELECT name, value FROM variable WHERE repo = ?1")?
        .query_map([repo.get()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

pub(crate) fn set_var(
    tx: &Tx<'_>,
    repo: RepoId,
    name: &str,
    value: &str,
    now_ms: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO variable (repo, name, value, updated_ms) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (repo, name) DO UPDATE SET value = ?3, updated_ms = ?4",
    )?
    .execute(params![repo.get(), name, value, now_ms])?;
    Ok(())
}

pub(crate) fn remove_var(tx: &Tx<'_>, repo: RepoId, name: &str) -> rusqlite::Result<bool> {
    let gone = tx
        .prepare_cached("DELETE FROM variable WHERE repo = ?1 AND name = ?2")?
        .execute(params![repo.get(), name])?;
    Ok(gone > 0)
}
