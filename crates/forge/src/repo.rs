//! Repos and the namespaces they stand in: made, found, renamed, deleted.

use std::time::SystemTime;

use audit::{AppendError, Auditor, Entry, Kind, Who};
use store::{Change, Db, Tx};
use vocab::{
    OwnerId, OwnerName, RepoId, RepoName, RepoPath, UserId, UserName, Visibility, unix_ms,
};

use crate::disk::{self, Disk, DiskError};
use crate::sql;

/// The first half of a path, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its id.
    pub id: OwnerId,
    /// Its name, as first written.
    pub name: OwnerName,
    /// A person's own, or a group's.
    pub kind: NamespaceKind,
    /// The user who owns all in it; none when only administrators do.
    pub user: Option<UserId>,
}

/// What a namespace stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NamespaceKind {
    /// A user's own, under the user's name.
    Person,
    /// Any other.
    Group,
}

/// One repo.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Repo {
    /// Its id, for ever.
    pub id: RepoId,
    /// `owner/name`.
    pub path: RepoPath,
    /// The namespace's id.
    pub owner: OwnerId,
    /// The user who owns the namespace, if one does.
    pub owner_user: Option<UserId>,
    /// Who may see it.
    pub visibility: Visibility,
    /// The short name of the branch that `HEAD` names.
    pub default_branch: String,
    /// A line about it, as its owner wrote it.
    pub description: String,
    /// When it was made.
    pub created: SystemTime,
    /// When a push last moved a ref of it.
    pub pushed: Option<SystemTime>,
    /// Its size on disk, as last measured.
    pub size_bytes: i64,
}

/// Who gets a namespace that does not exist yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Founder {
    /// Their id.
    pub id: UserId,
    /// Their name: a namespace of this name is theirs as a person.
    pub name: UserName,
}

/// A repo to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRepo {
    /// Where. Its namespace is made too if it does not exist.
    pub path: RepoPath,
    /// Who gets the namespace if it does not exist; none leaves it to administrators.
    pub founder: Option<Founder>,
    /// Who may see it.
    pub visibility: Visibility,
    /// The short name of its default branch, usually `main`.
    pub default_branch: String,
    /// A line about it; may be empty.
    pub description: String,
}

/// Why a repo cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one of that name.
    #[error("repo {path} exists already; choose another name (upper and lower case are the same)")]
    Taken {
        /// The one there is.
        path: RepoPath,
    },
    /// The description is too long.
    #[error("the description has {chars} characters; at most 400 are kept")]
    LongDescription {
        /// How long it is.
        chars: usize,
    },
    /// Its directory cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
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

/// Why a repo cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none.
    #[error("there is no repo {id}")]
    Unknown {
        /// The id that was asked for.
        id: RepoId,
    },
    /// The new name is in use.
    #[error("repo {path} exists already; choose another name (upper and lower case are the same)")]
    Taken {
        /// The one there is.
        path: RepoPath,
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

/// The namespace of that name, without regard to case.
pub fn namespace(db: &Db, name: &OwnerName) -> rusqlite::Result<Option<Namespace>> {
    sql::namespace(db, &key(name.as_str()))
}

/// The repo at that path, without regard to case.
pub fn by_path(db: &Db, path: &RepoPath) -> rusqlite::Result<Option<Repo>> {
    sql::repo_by_path(db, &key(path.owner.as_str()), &key(path.name.as_str()))
}

/// The repo of that id, unless it was deleted.
pub fn by_id(db: &Db, id: RepoId) -> rusqlite::Result<Option<Repo>> {
    sql::repo_by_id(db, id)
}

/// Makes a repo: its directory is durable before this returns, its row when `tx` is committed.
pub fn create_repo(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    disk: &Disk<'_>,
    new: &NewRepo,
) -> Result<Repo, CreateError> {
    let chars = new.description.chars().count();
    if chars > 400 {
        return Err(CreateError::LongDescription { chars });
    }
    if let Some(there) = by_path(tx, &new.path)? {
        return Err(CreateError::Taken { path: there.path });
    }
    let now_ms = unix_ms(log.now());
    let namespace = match namespace(tx, &new.path.owner)? {
        Some(namespace) => namespace,
        None => sql::insert_owner(
            tx,
            &new_namespace(new),
            &key(new.path.owner.as_str()),
            now_ms,
        )?,
    };
    let id = sql::insert_repo(tx, namespace.id, new, &key(new.path.name.as_str()), now_ms)?;
    disk::make(disk, id, &new.default_branch)?;
    let repo = sql::repo_by_id(tx, id)?.expect("it was inserted above, in this transaction");
    log.append(
        tx,
        who,
        about(Kind::RepoCreate, &repo)
            .detail("visibility", repo.visibility.as_str())
            .detail("default_branch", repo.default_branch.as_str()),
    )?;
    tx.announce(Change::Repo(id));
    Ok(repo)
}

fn new_namespace(new: &NewRepo) -> Namespace {
    let own = new
        .founder
        .as_ref()
        .is_some_and(|f| key(f.name.as_str()) == key(new.path.owner.as_str()));
    Namespace {
        id: OwnerId(0),
        name: new.path.owner.clone(),
        kind: if own {
            NamespaceKind::Person
        } else {
            NamespaceKind::Group
        },
        user: new.founder.as_ref().map(|f| f.id),
    }
}

/// Gives a repo another name in its namespace. Its id and directory stay.
pub fn rename_repo(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: RepoId,
    name: &RepoName,
) -> Result<Repo, ChangeError> {
    let repo = sql::repo_by_id(tx, id)?.ok_or(ChangeError::Unknown { id })?;
    let path = RepoPath {
        owner: repo.path.owner.clone(),
        name: name.clone(),
    };
    if let Some(there) = by_path(tx, &path)?.filter(|there| there.id != id) {
        return Err(ChangeError::Taken { path: there.path });
    }
    sql::rename(tx, id, name.as_str(), &key(name.as_str()))?;
    let entry = about(Kind::RepoRename, &repo).detail("to", path.to_string());
    log.append(tx, who, entry)?;
    tx.announce(Change::Repo(id));
    Ok(Repo { path, ..repo })
}

/// Changes who may see a repo.
pub fn set_visibility(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: RepoId,
    visibility: Visibility,
) -> Result<(), ChangeError> {
    let repo = sql::repo_by_id(tx, id)?.ok_or(ChangeError::Unknown { id })?;
    sql::set_visibility(tx, id, visibility)?;
    let entry = about(Kind::RepoVisibility, &repo)
        .detail("from", repo.visibility.as_str())
        .detail("to", visibility.as_str());
    log.append(tx, who, entry)?;
    tx.announce(Change::Repo(id));
    Ok(())
}

/// Deletes a repo: its name is free and nobody finds it once `tx` is committed. After that,
/// [`crate::remove_files`] removes its files.
pub fn delete_repo(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: RepoId,
) -> Result<(), ChangeError> {
    let repo = sql::repo_by_id(tx, id)?.ok_or(ChangeError::Unknown { id })?;
    sql::mark_deleted(tx, id, unix_ms(log.now()))?;
    log.append(tx, who, about(Kind::RepoDelete, &repo))?;
    tx.announce(Change::Repo(id));
    Ok(())
}

/// Notes how much disk a repo takes. A measurement, not an action: it has no audit entry.
pub fn set_size(tx: &mut Tx<'_>, id: RepoId, size_bytes: i64) -> rusqlite::Result<()> {
    sql::set_size(tx, id, size_bytes)
}

/// An entry about a repo.
pub(crate) fn about(kind: Kind, repo: &Repo) -> Entry {
    Entry::success(kind).object("repo", repo.id.tagged(), repo.path.to_string())
}

/// How a name is compared.
pub(crate) fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
pub(crate) mod tests;
