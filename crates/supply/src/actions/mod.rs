//! Actions of generations on disk: as repositories, and as trees to show to jobs.
//!
//! A repository is made from the item's pack when somebody first asks for it, checked as a push
//! is, and kept under `DATA/actions` until no generation has it; the trees of its commits stand
//! inside it. Invariant: whoever reads one finds it whole, and nobody but this writes there.

mod resolve;

use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bundle::manifest::Action;
use git::{
    CarriedError, CarriedRefs, CheckoutError, Durability, ObjectId, OpenError, ReceiveLimits,
    Repository, TreeLimits, checkout_tree, make_carried,
};
use store::Store;

use crate::action_dir;

pub use resolve::{LocalFile, MAX_DEPTH, Pinned, Resolution, Sought, Trouble, local_action};

/// Repositories that stay open.
const OPEN: usize = 64;

/// The repositories of actions. Cloning shares them; one for the whole process.
#[derive(Clone)]
pub struct Actions(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    durability: Durability,
    /// Those that are open. The lock is held while one is made.
    open: Mutex<HashMap<PathBuf, Arc<Repository>>>,
    /// Held while a tree is made.
    making: Mutex<()>,
}

/// Why an action cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The disk failed.
    #[error("the actions of a generation cannot be kept")]
    Io(#[from] std::io::Error),
    /// The blob of its pack cannot be read.
    #[error("the pack of action {name} cannot be read")]
    Pack {
        /// Which.
        name: String,
        /// What the blob store said.
        #[source]
        source: store::BlobError,
    },
    /// Its pack was refused.
    #[error("action {name} cannot be unpacked")]
    Carried {
        /// Which.
        name: String,
        /// Why.
        #[source]
        source: CarriedError,
    },
    /// Its repository cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its tree cannot be shown.
    #[error("the tree of action {name} at commit {commit} cannot be shown to jobs")]
    Tree {
        /// Which.
        name: String,
        /// Which commit.
        commit: ObjectId,
        /// Why.
        #[source]
        source: CheckoutError,
    },
}

impl Actions {
    /// Those of the generations in `store`.
    #[must_use]
    pub fn new(store: Arc<Store>, durability: Durability) -> Self {
        Self(Arc::new(Inner {
            store,
            durability,
            open: Mutex::default(),
            making: Mutex::default(),
        }))
    }

    /// The repository of an action, made now if it must be. Blocks, and long the first time.
    pub fn repository(&self, action: &Action) -> Result<Arc<Repository>, ActionError> {
        let dir = action_dir(self.0.store.dir(), action);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if dir.exists() {
            if let Some(repository) = open.get(&dir) {
                return Ok(Arc::clone(repository));
            }
        } else {
            self.make(action, &dir)?;
        }
        let repository = Arc::new(Repository::open(&dir, self.0.durability)?);
        if open.len() >= OPEN {
            open.clear();
        }
        open.insert(dir, Arc::clone(&repository));
        Ok(repository)
    }

    /// Where the tree of a commit of an action stands, made now if it must be; nobody may write
    /// there. Blocks, and long the first time.
    pub fn tree(&self, action: &Action, commit: ObjectId) -> Result<PathBuf, ActionError> {
        let repository = self.repository(action)?;
        let _making = self.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = repository.dir().join("trees").join(commit.to_string());
        if !dir.exists() {
            let limits = TreeLimits::default();
            checkout_tree(&repository, commit, &dir, &limits, self.0.durability).map_err(
                |source| ActionError::Tree {
                    name: action.name.clone(),
                    commit,
                    source,
                },
            )?;
        }
        Ok(dir)
    }

    #[tracing::instrument(skip_all, fields(action = action.name))]
    fn make(&self, action: &Action, dir: &Path) -> Result<(), ActionError> {
        let parent = dir.parent().unwrap_or(dir);
        std::fs::create_dir_all(parent)?;
        let name = || action.name.clone();
        let pack = self.0.store.blobs().read(&action.pack);
        let pack = pack.map_err(|source| ActionError::Pack {
            name: name(),
            source,
        })?;
        let carried = CarriedRefs {
            refs: &action.refs,
            shallow: &action.shallow,
        };
        let limits = ReceiveLimits::default();
        let mut pack = BufReader::new(pack);
        make_carried(dir, &mut pack, carried, &limits, self.0.durability).map_err(|source| {
            ActionError::Carried {
                name: name(),
                source,
            }
        })
    }
}
