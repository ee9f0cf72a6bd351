//! Shares: which users have how much of which repo, besides its owner.

use std::fmt;
use std::str::FromStr;

use audit::{Auditor, Entry, Kind, Who};
use store::{Change, Db, Tx};
use vocab::{RepoId, Sight, UserId, UserName, unix_ms};

use crate::{AccessError, Principal, RepoFacts, Role, sql};

/// How much of a repo somebody has. Each has what those before it have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// See it, clone it, read its runs.
    Read,
    /// Push, start and cancel runs.
    Write,
    /// Share, rename and delete it, and set its secrets.
    Admin,
}

/// A word that names no level.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a level of access; the levels are read, write and admin")]
pub struct LevelError {
    text: String,
}

/// One share.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collaborator {
    /// With whom.
    pub user: UserId,
    /// Their sign-in name.
    pub name: UserName,
    /// How much.
    pub level: Level,
}

impl Level {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        [Self::Read, Self::Write, Self::Admin]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| LevelError {
                text: text.chars().take(40).collect(),
            })
    }
}

/// Shares a repo with a user, or changes how much they have of it.
pub fn add_collaborator(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    repo: &RepoFacts,
    user: UserId,
    level: Level,
) -> Result<(), AccessError> {
    sql::set_collaborator(tx, repo.id, user, level, unix_ms(log.now()))?;
    let entry = Entry::success(Kind::CollaboratorAdd)
        .object("repo", repo.id.tagged(), repo.path.to_string())
        .detail("user", user.tagged())
        .detail("level", level.as_str());
    log.append(tx, who, entry)?;
    tx.announce(Change::Repo(repo.id));
    Ok(())
}

/// Ends a share. Returns whether there was one.
pub fn remove_collaborator(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    repo: &RepoFacts,
    user: UserId,
) -> Result<bool, AccessError> {
    if !sql::remove_collaborator(tx, repo.id, user)? {
        return Ok(false);
    }
    let entry = Entry::success(Kind::CollaboratorRemove)
        .object("repo", repo.id.tagged(), repo.path.to_string())
        .detail("user", user.tagged());
    log.append(tx, who, entry)?;
    tx.announce(Change::Repo(repo.id));
    Ok(true)
}

/// With whom a repo is shared, by name.
pub fn collaborators(db: &Db, repo: RepoId) -> rusqlite::Result<Vec<Collaborator>> {
    sql::collaborators(db, repo)
}

/// Removes the shares, secrets and variables of a repo that is being deleted, in the same
/// transaction; the deletion's own audit entry tells of it.
pub fn forget_repo(tx: &mut Tx<'_>, repo: RepoId) -> rusqlite::Result<()> {
    sql::forget_repo(tx, repo)
}

/// Which repos `principal` may see in lists.
pub fn sight(db: &Db, principal: &Principal) -> rusqlite::Result<Sight> {
    if let Some((user, role)) = principal.user_and_role() {
        return Ok(match role {
            Role::Admin => Sight::Everything,
            Role::Member => Sight::SignedIn {
                user,
                shared: sql::shared_with(db, user)?,
            },
        });
    }
    Ok(match principal {
        Principal::Operator { .. } => Sight::Everything,
        Principal::Job { repo, .. } => Sight::One(*repo),
        _ => Sight::Public,
    })
}
