//! The directories of repos: made before their rows, removed after them, swept at start.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use store::{Store, StoreError};
use vocab::RepoId;

use crate::sql;

/// Makes an empty bare repository in a directory, with a default branch of that short name.
pub type Init = dyn Fn(&Path, &str) -> Result<(), Box<dyn Error + Send + Sync>>;

/// Where repos lie and how an empty one is made.
///
/// `init` gets the directory and the default branch's short name. What it makes must be durable
/// when it returns; called again after a crash it finishes what it began.
pub struct Disk<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// Makes an empty bare repository (the `git` crate's `Repository::init_bare`).
    pub init: &'a Init,
}

/// Why a repo's directory cannot be made, removed or listed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system refused.
    #[error("cannot use the directory {}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The empty repository could not be made.
    #[error("cannot make a repository at {}", path.display())]
    Init {
        /// Where.
        path: PathBuf,
        /// What its maker said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a sweep found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Directories of deleted repos and of creations that a crash cut short: removed.
    pub removed: Vec<RepoId>,
    /// Directories that hold objects and have no row: left alone, to be looked at by somebody.
    pub unknown: Vec<PathBuf>,
    /// Repos whose directory is missing: data was lost outside of Cofferdam.
    pub missing: Vec<RepoId>,
}

/// Where the repo `id` lies under the data directory `data`.
#[must_use]
pub fn repo_dir(data: &Path, id: RepoId) -> PathBuf {
    data.join("repos").join(format!("{id}.git"))
}

/// Makes the directory of a repo whose row is about to be committed, durably.
pub(crate) fn make(disk: &Disk<'_>, id: RepoId, default_branch: &str) -> Result<(), DiskError> {
    let repos = disk.data.join("repos");
    if !repos.is_dir() {
        fs::create_dir_all(&repos).map_err(io_at(&repos))?;
        store::sync_dir(disk.data).map_err(io_at(disk.data))?;
    }
    let dir = repo_dir(disk.data, id);
    // A creation that was rolled back may have left one here under the same number.
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(io_at(&dir))?;
    }
    (disk.init)(&dir, default_branch).map_err(|source| DiskError::Init {
        path: dir.clone(),
        source,
    })?;
    store::sync_dir(&repos).map_err(io_at(&repos))
}

/// Removes the files of a deleted repo. To be called after the deletion is committed; what a
/// crash leaves, [`sweep`] removes.
pub fn remove_files(data: &Path, id: RepoId) -> Result<(), DiskError> {
    let dir = repo_dir(data, id);
    match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_at(&dir)(e)),
        _ => Ok(()),
    }
}

/// Removes what crashes and deletions left, and says what is amiss. For the start and `fsck`.
pub fn sweep(store: &Store) -> Result<Swept, DiskError> {
    let repos = store.dir().join("repos");
    let mut swept = Swept::default();
    let entries = match fs::read_dir(&repos) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(io_at(&repos))?,
    };
    for entry in entries {
        let path = entry.path();
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_suffix(".git"))
            .and_then(|number| number.parse::<RepoId>().ok());
        let Some(id) = id else {
            swept.unknown.push(path);
            continue;
        };
        let row = store.read(|db| sql::repo_row(db, id).map_err(StoreError::from))?;
        match row {
            sql::RowState::Live => {}
            sql::RowState::Deleted => {
                fs::remove_dir_all(&path).map_err(io_at(&path))?;
                swept.removed.push(id);
            }
            sql::RowState::Absent if holds_objects(&path).map_err(io_at(&path))? => {
                swept.unknown.push(path);
            }
            sql::RowState::Absent => {
                fs::remove_dir_all(&path).map_err(io_at(&path))?;
                swept.removed.push(id);
            }
        }
    }
    for id in store.read(|db| sql::live_ids(db).map_err(StoreError::from))? {
        if !repo_dir(store.dir(), id).is_dir() {
            swept.missing.push(id);
        }
    }
    swept.removed.sort_unstable();
    swept.unknown.sort();
    Ok(swept)
}

/// Whether anything was ever stored in the repository: then it is no leftover of a creation.
fn holds_objects(dir: &Path) -> io::Result<bool> {
    let objects = match fs::read_dir(dir.join("objects")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    for fan in objects {
        let fan = fan?;
        if fan.file_type()?.is_dir() && fs::read_dir(fan.path())?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io {
        path: path.clone(),
        source,
    }
}
