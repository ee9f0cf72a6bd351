//! The sealed log's folder: tiles and checkpoint, each written whole and durably.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use evidence::tiles::{Tile, Tiles};

use super::SealError;

/// Largest file that is read: a full bundle of entries.
const FILE_MAX_BYTES: u64 = 256 * (2 + 0xffff);

#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, SealError> {
        let path = self.path(name);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|e| SealError::io(&path, e))?;
        Ok(bytes)
    }

    /// Puts `bytes` at `name`: the old file or the new one is there, never a part.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SealError> {
        let path = self.path(name);
        let put = || {
            let dir = path.parent().unwrap_or(&self.0);
            make_dirs(dir)?;
            let new = self.path("new");
            let mut file = File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            store::sync_dir(dir)
        };
        put().map_err(|e| SealError::io(&path, e))
    }

    /// Puts the file `from` in the place of `to`, durably.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), SealError> {
        let path = self.path(to);
        fs::rename(self.path(from), &path)
            .and_then(|()| store::sync_dir(&self.0))
            .map_err(|e| SealError::io(&path, e))
    }

    /// Removes what a wider tile has replaced; its folder too, once it is empty.
    pub(super) fn forget(&self, name: &str) {
        let path = self.path(name);
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "an old partial tile stays");
        }
        if let Some(dir) = path.parent() {
            // A folder that still holds a partial tile stays.
            drop(fs::remove_dir(dir));
        }
    }
}

/// Makes `dir` and what is above it, each durable in its parent.
fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else {
        return Ok(());
    };
    make_dirs(parent)?;
    fs::create_dir(dir)?;
    store::sync_dir(parent)
}

impl Tiles for &Folder {
    type Error = SealError;

    fn tile(&mut self, tile: Tile) -> Result<Vec<u8>, SealError> {
        self.read(&tile.path())
    }
}
