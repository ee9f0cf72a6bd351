//! Queries of SSH keys.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Row, params};
use store::{Db, Tx};
use vocab::{RepoId, SshKeyId, UserId, from_unix_ms};

use super::{USER, as_user, time};
use crate::{KeyHome, KeyText, NewKey, SshKeyInfo, User};

const KEY: &str = "k.id, k.fingerprint, k.text, k.label, k.user, k.repo, k.writes, k.created_ms,
    k.used_ms";

fn as_key(row: &Row<'_>) -> rusqlite::Result<SshKeyInfo> {
    let home = match row.get::<_, Option<i64>>(4)? {
        Some(user) => KeyHome::User(UserId(user)),
        None => KeyHome::Repo {
            repo: RepoId(row.get(5)?),
            writes: row.get(6)?,
        },
    };
    Ok(SshKeyInfo {
        id: SshKeyId(row.get(0)?),
        fingerprint: row.get(1)?,
        text: row.get(2)?,
        label: row.get(3)?,
        home,
        created: from_unix_ms(row.get(7)?),
        used: time(row, 8)?,
    })
}

pub(crate) fn insert_ssh_key(
    tx: &Tx<'_>,
    new: &NewKey,
    key: &KeyText,
    label: &str,
    now_ms: i64,
) -> rusqlite::Result<SshKeyId> {
    let (user, repo, writes) = match new.home {
        KeyHome::User(user) => (Some(user.get()), None, true),
        KeyHome::Repo { repo, writes } => (None, Some(repo.get()), writes),
    };
    tx.prepare_cached(
        "INSERT INTO ssh_key (fingerprint, text, label, user, repo, writes, created_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .insert(params![
        key.fingerprint,
        key.text,
        label,
        user,
        repo,
        writes,
        now_ms
    ])
    .map(SshKeyId)
}

pub(crate) fn remove_ssh_key(tx: &Tx<'_>, id: SshKeyId) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM ssh_key WHERE id = ?1")?
        .execute([id.get()])?;
    Ok(())
}

pub(crate) fn ssh_key(db: &Db, id: SshKeyId) -> rusqlite::Result<Option<SshKeyInfo>> {
    db.prepare_cached(&format!("SELECT {KEY} FROM ssh_key k WHERE k.id = ?1"))?
        .query_row([id.get()], as_key)
        .optional()
}

/// A key, when its use was last denied, and its user if it is a person's.
#[expect(
    clippy::type_complexity,
    reason = "one row, taken apart where it is read"
)]
pub(crate) fn ssh_key_by_fingerprint(
    db: &Db,
    fingerprint: &str,
) -> rusqlite::Result<Option<(SshKeyInfo, Option<SystemTime>, Option<User>)>> {
    db.prepare_cached(&format!(
        "SELECT {KEY}, k.denied_ms, {USER}
         FROM ssh_key k LEFT JOIN user u ON u.id = k.user WHERE k.fingerprint = ?1"
    ))?
    .query_row([fingerprint], |row| {
        let key = as_key(row)?;
        let user = match key.home {
            KeyHome::User(_) => Some(as_user(row, 10)?),
            KeyHome::Repo { .. } => None,
        };
        Ok((key, time(row, 9)?, user))
    })
    .optional()
}

pub(crate) fn ssh_keys_of(db: &Db, user: UserId) -> rusqlite::Result<Vec<SshKeyInfo>> {
    db.prepare_cached(&format!(
        "SELECT {KEY} FROM ssh_key k WHERE k.user = ?1 ORDER BY k.id DESC"
    ))?
    .query_map([user.get()], as_key)?
    .collect()
}

pub(crate) fn deploy_keys_of(db: &Db, repo: RepoId) -> rusqlite::Result<Vec<SshKeyInfo>> {
    db.prepare_cached(&format!(
        "SELECT {KEY} FROM ssh_key k WHERE k.repo = ?1 ORDER BY k.id DESC"
    ))?
    .query_map([repo.get()], as_key)?
    .collect()
}

pub(crate) fn note_key_use(tx: &Tx<'_>, id: SshKeyId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE ssh_key SET used_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}

pub(crate) fn note_key_denied(tx: &Tx<'_>, id: SshKeyId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE ssh_key SET denied_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}
