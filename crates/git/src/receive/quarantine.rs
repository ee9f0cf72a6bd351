//! The directory in which a pushed pack waits until it is known to be good.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gix_pack::Bundle;

use crate::repo::Repository;

/// What such directories are called; stock git's own housekeeping knows the name, too.
pub(crate) const PREFIX: &str = "tmp_objdir-incoming-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A directory of its own under `objects`, removed when dropped.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn create(repo: &Repository) -> io::Result<Self> {
        loop {
            let nth = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{nth}", std::process::id());
            let path = repo.dir.join("objects").join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), error = %e, "a quarantine stays behind");
        }
    }
}

/// A pack in quarantine, indexed.
pub(crate) struct Pack {
    pub(crate) dir: Dir,
    /// What it will be called, without extension.
    pub(crate) name: String,
    pub(crate) pack: File,
    pub(crate) index: File,
    pub(crate) bundle: Arc<Bundle>,
}

/// What a push brought: a pack, or nothing.
pub(crate) struct Quarantine {
    waiting: Option<Pack>,
    bundle: Option<Arc<Bundle>>,
}

impl Quarantine {
    pub(crate) fn none() -> Self {
        Self {
            waiting: None,
            bundle: None,
        }
    }

    pub(crate) fn new(pack: Pack) -> Self {
        Self {
            bundle: Some(Arc::clone(&pack.bundle)),
            waiting: Some(pack),
        }
    }

    pub(crate) fn bundle(&self) -> Option<Arc<Bundle>> {
        self.bundle.clone()
    }

    /// Syncs the pack and puts it among the others. The index comes last, as it makes the pack
    /// visible.
    pub(crate) fn migrate(&mut self, repo: &Repository) -> io::Result<()> {
        let Some(pack) = self.waiting.take() else {
            return Ok(());
        };
        let target = repo.dir.join("objects/pack");
        let to = |extension: &str| target.join(format!("{}.{extension}", pack.name));
        let from = |extension: &str| pack.dir.path().join(format!("incoming.{extension}"));
        if to("idx").is_file() {
            // The same pack, pushed before.
            return Ok(());
        }
        repo.durability.file(&pack.pack)?;
        repo.durability.file(&pack.index)?;
        fs::rename(from("pack"), to("pack"))?;
        fs::rename(from("idx"), to("idx"))?;
        repo.durability.dir(&target)
    }
}
