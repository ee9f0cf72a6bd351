//! SSH keys: a person's, or one repo's. Found by fingerprint; who has the key is who they are.

use std::time::{Duration, SystemTime};

use audit::{AppendError, Auditor, Entry, Kind, Who};
use store::{Db, Store, StoreError, Tx};
use vocab::{RepoId, SshKeyId, UserId, unix_ms};

use crate::{AccessError, KeyText, Principal, User, sql};

/// How often the denial of a known key is noted at most.
const DENIAL_NOTED: Duration = Duration::from_secs(60);
/// The longest label, in characters.
const LABEL_CHARS: usize = 100;
/// The most keys of one person, and of one repo.
const KEYS_MAX: usize = 200;
/// The most fingerprints in the entry of one failed sign-in.
const FINGERPRINTS_NOTED: usize = 8;

/// Whose a key is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyHome {
    /// A person's: it may what they may.
    User(UserId),
    /// One repo's: a deploy key.
    Repo {
        /// The repo.
        repo: RepoId,
        /// Whether it may push.
        writes: bool,
    },
}

/// A key to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// Whose it shall be.
    pub home: KeyHome,
    /// What its owner calls it; empty takes the key's own comment.
    pub label: String,
}

/// A key as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshKeyInfo {
    /// Its id.
    pub id: SshKeyId,
    /// `SHA256:` and 43 letters of base64.
    pub fingerprint: String,
    /// Kind, space, base64.
    pub text: String,
    /// What its owner calls it.
    pub label: String,
    /// Whose it is.
    pub home: KeyHome,
    /// When it was added.
    pub created: SystemTime,
    /// When it last opened a connection; none is never.
    pub used: Option<SystemTime>,
}

/// Why a key cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum SshKeyError {
    /// It is somebody's already; whose, is not told.
    #[error(
        "this key is in use on this appliance already; a key is one person's or one repo's, so \
         make another with `ssh-keygen -t ed25519`"
    )]
    Taken,
    /// There are too many.
    #[error("there are {KEYS_MAX} keys already; remove one first")]
    TooMany,
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

/// Why a key does not open a connection.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// Nobody has it.
    #[error("this key is not known here; add it on the page Access tokens")]
    Unknown,
    /// Its user may not sign in.
    #[error("the user of this key is suspended; ask an administrator")]
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

/// Adds a key. Labels are cut at 100 characters.
pub fn add_ssh_key(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    new: &NewKey,
    key: &KeyText,
) -> Result<SshKeyInfo, SshKeyError> {
    if sql::ssh_key_by_fingerprint(tx, &key.fingerprint)?.is_some() {
        return Err(SshKeyError::Taken);
    }
    let there = match new.home {
        KeyHome::User(user) => ssh_keys(tx, user)?,
        KeyHome::Repo { repo, .. } => deploy_keys(tx, repo)?,
    };
    if there.len() >= KEYS_MAX {
        return Err(SshKeyError::TooMany);
    }
    let label = match new.label.trim() {
        "" => key.comment.trim(),
        given => given,
    };
    let label: String = label
        .chars()
        .filter(|c| !c.is_control())
        .take(LABEL_CHARS)
        .collect();
    let label = if label.is_empty() {
        "key".to_owned()
    } else {
        label
    };
    let id = sql::insert_ssh_key(tx, new, key, &label, unix_ms(log.now()))?;
    let added = sql::ssh_key(tx, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    log.append(
        tx,
        who,
        entry_of(&added, Kind::SshkeyAdd, Kind::DeploykeyAdd),
    )?;
    Ok(added)
}

/// Removes a key. Returns whether there was one.
pub fn remove_ssh_key(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: SshKeyId,
) -> Result<bool, AccessError> {
    let Some(key) = sql::ssh_key(tx, id)? else {
        return Ok(false);
    };
    sql::remove_ssh_key(tx, id)?;
    log.append(
        tx,
        who,
        entry_of(&key, Kind::SshkeyRemove, Kind::DeploykeyRemove),
    )?;
    Ok(true)
}

/// A deed done to a key: whose it is decides the kind.
fn entry_of(key: &SshKeyInfo, of_user: Kind, of_repo: Kind) -> Entry {
    let entry = match key.home {
        KeyHome::User(user) => Entry::success(of_user).detail("user", user.tagged()),
        KeyHome::Repo { repo, writes } => Entry::success(of_repo)
            .detail("repo", repo.tagged())
            .detail("writes", writes),
    };
    entry
        .unnamed_object("key", key.id.tagged())
        .detail("fingerprint", key.fingerprint.as_str())
        // A comment often is a name and a host.
        .private("label", &key.label)
}

/// The key of that id.
pub fn ssh_key(db: &Db, id: SshKeyId) -> rusqlite::Result<Option<SshKeyInfo>> {
    sql::ssh_key(db, id)
}

/// The keys of a person, newest first.
pub fn ssh_keys(db: &Db, user: UserId) -> rusqlite::Result<Vec<SshKeyInfo>> {
    sql::ssh_keys_of(db, user)
}

/// The deploy keys of a repo, newest first.
pub fn deploy_keys(db: &Db, repo: RepoId) -> rusqlite::Result<Vec<SshKeyInfo>> {
    sql::deploy_keys_of(db, repo)
}

/// Whether some key has this fingerprint, whatever its user may.
pub fn knows_key(db: &Db, fingerprint: &str) -> rusqlite::Result<bool> {
    Ok(sql::ssh_key_by_fingerprint(db, fingerprint)?.is_some())
}

/// Who has the key of this fingerprint, if they may still come in. Notes nothing: for a
/// connection that [`authenticate_key`] let in before.
pub fn key_owner(db: &Db, fingerprint: &str) -> rusqlite::Result<Option<Principal>> {
    let found = sql::ssh_key_by_fingerprint(db, fingerprint)?;
    Ok(found.and_then(|(key, _, user)| {
        let suspended = user.as_ref().is_some_and(|user| user.suspended.is_some());
        (!suspended).then(|| principal(&key, user.as_ref()))
    }))
}

/// Who has shown, by a signature that the caller has checked, that they have this key.
///
/// `who` says by which door; its actor is not used. Notes the use; and that the key of a
/// suspended user was refused, at most once a minute. `algorithm` is that of the signature.
pub fn authenticate_key(
    store: &Store,
    log: &Auditor,
    who: &Who,
    fingerprint: &str,
    algorithm: &str,
) -> Result<Principal, KeyRefused> {
    store.write(|tx| judge(tx, log, who, fingerprint, algorithm))?
}

/// The refusal of a suspended user is a value, so that what was noted of it is kept.
fn judge(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    fingerprint: &str,
    algorithm: &str,
) -> Result<Result<Principal, KeyRefused>, KeyRefused> {
    let Some((key, denied, user)) = sql::ssh_key_by_fingerprint(tx, fingerprint)? else {
        return Ok(Err(KeyRefused::Unknown));
    };
    let now = log.now();
    let principal = principal(&key, user.as_ref());
    let who = who.acting_as(principal.actor());
    let about = |entry: Entry| {
        entry
            .unnamed_object("key", key.id.tagged())
            .detail("algorithm", algorithm)
    };
    if user.is_some_and(|user| user.suspended.is_some()) {
        let stale =
            denied.is_none_or(|at| now.duration_since(at).is_ok_and(|age| age >= DENIAL_NOTED));
        if stale {
            let entry = Entry::denied(Kind::SshkeyAuthFail, "E_SUSPENDED");
            log.append(tx, &who, about(entry))?;
            sql::note_key_denied(tx, key.id, unix_ms(now))?;
        }
        return Ok(Err(KeyRefused::Suspended));
    }
    log.append(tx, &who, about(Entry::success(Kind::SshkeyAuthOk)))?;
    sql::note_key_use(tx, key.id, unix_ms(now))?;
    Ok(Ok(principal))
}

fn principal(key: &SshKeyInfo, user: Option<&User>) -> Principal {
    let fingerprint = key.fingerprint.clone();
    match (key.home, user) {
        (KeyHome::User(_), Some(user)) => Principal::SshKey {
            user: user.id,
            name: user.name.clone(),
            role: user.role,
            fingerprint,
        },
        (KeyHome::Repo { repo, writes }, _) => Principal::DeployKey {
            key: key.id,
            fingerprint,
            repo,
            writes,
        },
        // The database keeps a person for each key of a person.
        (KeyHome::User(_), None) => Principal::Anonymous,
    }
}

/// Notes a connection that ended without a key that is known here. `untold` such connections
/// before it were not noted, so that nobody can fill the log.
pub fn record_unknown_keys(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    fingerprints: &[String],
    why: &str,
    untold: u64,
) -> Result<(), AppendError> {
    let shown: Vec<&str> = fingerprints
        .iter()
        .take(FINGERPRINTS_NOTED)
        .map(String::as_str)
        .collect();
    let entry = Entry::denied(Kind::SshkeyAuthFail, why)
        .detail("keys", fingerprints.len())
        .detail("fingerprints", shown)
        .detail("untold", untold);
    log.append(tx, who, entry).map(drop)
}

#[cfg(test)]
mod tests;
