//! A bare repository on disk: made, opened, and kept open.
//!
//! One [`Repository`] is opened once and shared; a request takes an [`Objects`] handle from it.
//! Refuses layouts that this server cannot write safely (work trees, reftables, alternates).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gix::hash::Kind;
use gix::odb::Store;
use gix::odb::store::init::{Options as StoreOptions, Slots};

use crate::durable::Durability;
use crate::ids::IdSet;
use crate::objects::Objects;
use crate::pack::{ClosedPackCache, PackSetCache};
use crate::refname;
use crate::refs::{Head, RefCache, RefSnapshot};

/// How many packs one repository may hold while open; about 130 bytes each. Consolidation keeps
/// far below it.
const PACK_SLOTS: u16 = 1024;

/// With so many packs a push consolidates before it begins, should nobody have done it before.
pub(crate) const PACKS_AT_MOST: usize = 96;

/// The largest single object that is ever decoded, whatever wrote it.
pub(crate) const MAX_DECODED_BYTES: usize = 1 << 30;

/// A bare repository, open. Cheap to share (`Arc`), safe to use from many threads.
///
/// It has one writer process; stock git may read it at any time.
pub struct Repository {
    pub(crate) dir: PathBuf,
    pub(crate) hash: Kind,
    pub(crate) store: Arc<Store>,
    pub(crate) durability: Durability,
    pub(crate) refs: Mutex<RefCache>,
    /// Held by whoever moves refs, over its fsyncs; readers do not wait for it.
    pub(crate) ref_writer: Mutex<()>,
    pub(crate) packs: PackSetCache,
    pub(crate) closed: ClosedPackCache,
    /// Commits whose parents are not here (its `shallow` file); empty for every pushed repository.
    pub(crate) ends: Arc<IdSet>,
    /// Held by the one consolidation.
    pub(crate) consolidating: Mutex<()>,
    /// Packs whose objects are all in a newer one; the next consolidation removes them.
    pub(crate) superseded: Mutex<Vec<PathBuf>>,
    /// Pushes between their check and the end of their refs.
    pub(crate) pushes: Mutex<usize>,
}

/// Why a repository cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Reading or writing failed.
    #[error("repository {dir}: {what}", dir = dir.display())]
    Io {
        /// Where.
        dir: PathBuf,
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is none.
    #[error("{dir} holds no bare git repository", dir = dir.display())]
    Missing {
        /// Where one was sought.
        dir: PathBuf,
    },
    /// There is one, but not of a kind that is served.
    #[error("repository {dir} uses {what}, which is not served; convert it first", dir = dir.display())]
    Unsupported {
        /// Where.
        dir: PathBuf,
        /// The feature.
        what: String,
    },
    /// The name cannot be a branch.
    #[error("'{name}' cannot be the default branch: {problem}")]
    BranchName {
        /// The name that was asked for.
        name: String,
        /// The rule it breaks.
        problem: &'static str,
    },
}

impl Repository {
    /// Makes an empty bare repository at `dir` whose `HEAD` names `default_branch` (short name).
    ///
    /// Durable when it returns. `HEAD` is written last, so that after a crash the same call
    /// finishes what was begun; an existing repository is left as it is and opened.
    pub fn init_bare(
        dir: &Path,
        default_branch: &str,
        durability: Durability,
    ) -> Result<Self, OpenError> {
        let head = format!("refs/heads/{default_branch}");
        if let Some(problem) = refname::problem(&head) {
            return Err(OpenError::BranchName {
                name: default_branch.to_owned(),
                problem,
            });
        }
        let dir = &absolute(dir)?;
        if !dir.join("HEAD").is_file() {
            let made = || -> io::Result<()> {
                durability.create_dir_all(dir)?;
                for sub in [
                    "objects",
                    "objects/info",
                    "objects/pack",
                    "refs",
                    "refs/heads",
                ] {
                    durability.create_dir_all(&dir.join(sub))?;
                }
                durability.create_dir_all(&dir.join("refs/tags"))?;
                let config =
                    "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
                durability.write(&dir.join("config"), config.as_bytes())?;
                durability.write(&dir.join("HEAD"), format!("ref: {head}\n").as_bytes())?;
                durability.dir(dir)
            };
            made().map_err(|source| OpenError::Io {
                dir: dir.to_owned(),
                what: "it could not be made",
                source,
            })?;
        }
        Self::open(dir, durability)
    }

    /// Opens the bare repository at `dir`. Reads its config and `HEAD`, no object.
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, OpenError> {
        let dir = &absolute(dir)?;
        let io_error = |what| {
            move |source| OpenError::Io {
                dir: dir.to_owned(),
                what,
                source,
            }
        };
        if !dir.join("HEAD").is_file() || !dir.join("objects").is_dir() {
            return Err(OpenError::Missing {
                dir: dir.to_owned(),
            });
        }
        let config = fs::read(dir.join("config")).map_err(io_error("its config is unreadable"))?;
        let hash = object_format(&String::from_utf8_lossy(&config)).map_err(|what| {
            OpenError::Unsupported {
                dir: dir.to_owned(),
                what,
            }
        })?;
        if dir.join("objects/info/alternates").exists() {
            return Err(OpenError::Unsupported {
                dir: dir.to_owned(),
                what: "objects of another repository (alternates)".to_owned(),
            });
        }
        let options = StoreOptions {
            slots: Slots::Given(PACK_SLOTS),
            use_multi_pack_index: true,
            alloc_limit_bytes: Some(MAX_DECODED_BYTES),
            current_dir: Some(dir.to_owned()),
            ..StoreOptions::default()
        };
        let store = Store::at_opts(dir.join("objects"), hash, &mut std::iter::empty(), options)
            .map_err(io_error("its object directory cannot be opened"))?;
        Ok(Self {
            dir: dir.to_owned(),
            hash,
            store: Arc::new(store),
            durability,
            refs: Mutex::new(RefCache::default()),
            ref_writer: Mutex::new(()),
            packs: PackSetCache::default(),
            closed: ClosedPackCache::default(),
            ends: Arc::new(ends(dir, hash).map_err(io_error("its shallow file is unreadable"))?),
            consolidating: Mutex::new(()),
            superseded: Mutex::new(Vec::new()),
            pushes: Mutex::new(0),
        })
    }

    /// Where it stands.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The hash function that names its objects.
    #[must_use]
    pub fn object_format(&self) -> Kind {
        self.hash
    }

    /// A handle for reading objects, for one thread. Pushes become visible to it.
    #[must_use]
    pub fn objects(&self) -> Objects {
        Objects::new(self, None)
    }

    /// What `HEAD` says: the default branch, born or not.
    pub fn head(&self) -> io::Result<Head> {
        Head::read(&self.dir, self.hash)
    }

    /// All refs under `refs/`, sorted by name, as they stand now.
    pub fn refs(&self) -> io::Result<Arc<RefSnapshot>> {
        let mut cache = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        cache.snapshot(&self.dir, self.hash)
    }

    /// Makes `branch` (short name) the default branch; it need not exist yet. Durable.
    pub fn set_default_branch(&self, branch: &str) -> Result<(), OpenError> {
        let head = format!("refs/heads/{branch}");
        if let Some(problem) = refname::problem(&head) {
            return Err(OpenError::BranchName {
                name: branch.to_owned(),
                problem,
            });
        }
        let _one_writer = self
            .ref_writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let write = || -> io::Result<()> {
            let lock = self.dir.join("HEAD.lock");
            self.durability
                .write(&lock, format!("ref: {head}\n").as_bytes())?;
            fs::rename(&lock, self.dir.join("HEAD"))?;
            self.durability.dir(&self.dir)
        };
        write().map_err(|source| OpenError::Io {
            dir: self.dir.clone(),
            what: "its HEAD could not be written",
            source,
        })
    }
}

/// The commits that the `shallow` file names; none when there is no such file.
fn ends(dir: &Path, hash: Kind) -> io::Result<IdSet> {
    let text = match fs::read(dir.join("shallow")) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(IdSet::default()),
        Err(e) => return Err(e),
    };
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| crate::refs::parse_id(line, hash).ok_or(io::ErrorKind::InvalidData.into()))
        .collect()
}

/// Relative paths would change their meaning with the process's directory.
fn absolute(dir: &Path) -> Result<PathBuf, OpenError> {
    std::path::absolute(dir).map_err(|source| OpenError::Io {
        dir: dir.to_owned(),
        what: "its path cannot be made absolute",
        source,
    })
}

/// The object format that a config asks for; the error names what is not served.
fn object_format(config: &str) -> Result<Kind, String> {
    let mut section = String::new();
    let mut hash = Kind::Sha1;
    for line in config.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').trim().to_ascii_lowercase();
            continue;
        }
        if section != "extensions" || line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, "true"));
        let value = value.trim().to_ascii_lowercase();
        match (key.trim().to_ascii_lowercase().as_str(), value.as_str()) {
            ("objectformat", "sha1") | ("refstorage", "files") => {}
            ("objectformat", "sha256") => hash = Kind::Sha256,
            ("noop" | "preciousobjects", _) => {}
            (key, _) => return Err(format!("the extension '{key} = {value}'")),
        }
    }
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_that_are_not_served_are_refused_by_name() {
        assert_eq!(object_format("[core]\n\tbare = true\n"), Ok(Kind::Sha1));
        let sha256 = "[extensions]\n\tobjectformat = sha256\n";
        assert_eq!(object_format(sha256), Ok(Kind::Sha256));
        let refused = object_format("[extensions]\n\trefstorage = reftable\n").unwrap_err();
        assert!(refused.contains("reftable"), "{refused}");
    }

    #[test]
    fn making_a_repository_twice_keeps_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("a.git");
        Repository::init_bare(&at, "main", Durability::Full).unwrap();
        let again = Repository::init_bare(&at, "other", Durability::Full).unwrap();
        assert_eq!(again.head().unwrap().branch(), Some("refs/heads/main"));
        again.set_default_branch("other").unwrap();
        assert_eq!(again.head().unwrap().branch(), Some("refs/heads/other"));
        assert!(again.set_default_branch("a..b").is_err());
    }
}
