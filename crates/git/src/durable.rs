//! Every fsync of this crate.
//!
//! The git libraries below sync nothing, so whatever a push acknowledges is made durable here:
//! file contents before the rename that publishes them, then the directory that names them.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Whether acknowledged writes survive a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Files and directories are fsynced before a push is acknowledged. The only choice for data
    /// that anybody wants to keep.
    Full,
    /// Nothing is synced. The control run of the power-cut harness, which must lose pushes.
    SkipForTest,
}

impl Durability {
    /// Makes a file's contents durable.
    pub(crate) fn file(self, file: &File) -> io::Result<()> {
        match self {
            Self::Full => file.sync_all(),
            Self::SkipForTest => Ok(()),
        }
    }

    /// Makes the names in a directory durable.
    pub(crate) fn dir(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Full => File::open(path)?.sync_all(),
            Self::SkipForTest => Ok(()),
        }
    }

    /// Writes a new file durably; the caller syncs the directory.
    pub(crate) fn write(self, path: &Path, contents: &[u8]) -> io::Result<()> {
        use std::io::Write as _;
        let mut file = File::create(path)?;
        file.write_all(contents)?;
        self.file(&file)
    }

    /// Creates a directory and its missing parents, each durably.
    pub(crate) fn create_dir_all(self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path
            .parent()
            .ok_or_else(|| io::Error::other("the root directory is missing"))?;
        self.create_dir_all(parent)?;
        match fs::create_dir(path) {
            Ok(()) => self.dir(parent),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) => Err(e),
        }
    }
}
