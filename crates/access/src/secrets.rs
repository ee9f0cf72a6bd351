//! Secrets: sealed at rest, told by name, opened only for a job.

use std::fmt;
use std::time::SystemTime;

use audit::{Actor, AppendError, Auditor, Entry, Kind, Via, Who};
use store::{Db, Tx};
use vocab::{Fence, RepoId, SecretId, unix_ms};

use crate::names::{check_name, check_secret_value};
use crate::{Keys, NAMED_VALUES_MAX, RepoFacts, ValueError, sql};

/// Where a secret or variable stands. A repo's one hides the instance's of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home<'a> {
    /// In the instance: every repo has it.
    Instance,
    /// In one repo.
    Repo(&'a RepoFacts),
}

impl Home<'_> {
    pub(crate) fn repo(self) -> RepoId {
        match self {
            Self::Instance => RepoId(0),
            Self::Repo(facts) => facts.id,
        }
    }

    pub(crate) fn object(self, entry: Entry) -> Entry {
        match self {
            Self::Instance => entry.object("instance", "instance".to_owned(), "instance"),
            Self::Repo(facts) => entry.object("repo", facts.id.tagged(), facts.path.to_string()),
        }
    }
}

/// A secret as lists show it: never its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretInfo {
    /// Its id.
    pub id: SecretId,
    /// Its name.
    pub name: String,
    /// When it was last set.
    pub updated: SystemTime,
}

/// The value of a secret. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(String);

/// An opened secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: SecretValue,
}

/// Why a secret cannot be set or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The name or value breaks a rule.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It was sealed with a key that is not here.
    #[error(
        "secret {name} was sealed with another key than DATA/keys/secrets.key; restore that key, \
         or set the secret again"
    )]
    OtherKey {
        /// The secret.
        name: String,
    },
    /// It was altered, or moved to another place.
    #[error("secret {name} does not open: its row was altered; set the secret again")]
    Altered {
        /// The secret.
        name: String,
    },
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

impl SecretValue {
    /// The value itself, for the job's environment and the log's mask.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

/// Sets a secret, new or not.
pub fn set_secret(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    keys: &Keys,
    home: Home<'_>,
    name: &str,
    value: &str,
) -> Result<SecretId, SecretError> {
    check_name(name)?;
    check_secret_value(name, value)?;
    let repo = home.repo();
    let known = sql::secret_id(tx, repo, name)?;
    if known.is_none() && sql::count_secrets(tx, repo)? >= NAMED_VALUES_MAX {
        return Err(ValueError::TooMany.into());
    }
    let nonce = log.entropy().bytes::<24>();
    let sealed = keys
        .seal(&nonce, &context(repo, name), value)
        .ok_or_else(|| SecretError::Altered {
            name: name.to_owned(),
        })?;
    let id = sql::set_secret(
        tx,
        repo,
        name,
        &sql::Sealed {
            key_id: keys.id().to_vec(),
            nonce: nonce.to_vec(),
            sealed,
        },
        unix_ms(log.now()),
    )?;
    let kind = if known.is_some() {
        Kind::SecretUpdate
    } else {
        Kind::SecretCreate
    };
    let entry = home
        .object(Entry::success(kind))
        .detail("secret", id.tagged())
        .detail("name", name);
    log.append(tx, who, entry)?;
    Ok(id)
}

/// Removes a secret. Returns whether there was one.
pub fn remove_secret(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    home: Home<'_>,
    name: &str,
) -> Result<bool, SecretError> {
    let Some(id) = sql::secret_id(tx, home.repo(), name)? else {
        return Ok(false);
    };
    sql::remove_secret(tx, id)?;
    let entry = home
        .object(Entry::success(Kind::SecretDelete))
        .detail("secret", id.tagged())
        .detail("name", name);
    log.append(tx, who, entry)?;
    Ok(true)
}

/// The secrets that stand in `home`, by name.
pub fn list_secrets(db: &Db, home: Home<'_>) -> rusqlite::Result<Vec<SecretInfo>> {
    sql::secrets(db, home.repo())
}

/// Opens the secrets that a job of `repo` named, as far as there are any, and notes in the audit
/// log which it got. The caller has checked that `fence` still holds, in this transaction.
///
/// The repo's secret hides the instance's of the same name.
pub fn reveal_for_job(
    tx: &mut Tx<'_>,
    log: &Auditor,
    keys: &Keys,
    fence: Fence,
    repo: &RepoFacts,
    names: &[String],
) -> Result<Vec<Secret>, SecretError> {
    let mut secrets: Vec<Secret> = Vec::new();
    for name in names {
        if secrets.iter().any(|secret| secret.name == *name) {
            continue;
        }
        for home in [repo.id, RepoId(0)] {
            if let Some(row) = sql::sealed(tx, home, name)? {
                let value = SecretValue(open(keys, home, name, &row)?);
                let name = name.clone();
                secrets.push(Secret { name, value });
                break;
            }
        }
    }
    if !secrets.is_empty() {
        let told: Vec<&str> = secrets.iter().map(|s| s.name.as_str()).collect();
        let entry = Entry::success(Kind::SecretExposedToJob)
            .object("repo", repo.id.tagged(), repo.path.to_string())
            .detail("names", told)
            .job(fence.job);
        log.append(tx, &Who::new(Actor::Job { fence }, Via::Internal), entry)?;
    }
    Ok(secrets)
}

fn open(keys: &Keys, repo: RepoId, name: &str, row: &sql::Sealed) -> Result<String, SecretError> {
    let name = || name.to_owned();
    if row.key_id != keys.id() {
        return Err(SecretError::OtherKey { name: name() });
    }
    keys.unseal(&row.nonce, &context(repo, &name()), &row.sealed)
        .ok_or_else(|| SecretError::Altered { name: name() })
}

/// What binds a sealed value to its row.
fn context(repo: RepoId, name: &str) -> String {
    format!("cofferdam-secret/1 {} {name}", repo.tagged())
}

#[cfg(test)]
mod tests;
