//! Removes files of images that no row needs: left by a crash, a refused import or a removal.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use store::{Store, StoreError};
use vocab::Digest;

use crate::sql;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
}

/// Where the layer of `diff_id` stands unpacked.
#[must_use]
pub fn layer_dir(data: &Path, diff_id: &Digest) -> PathBuf {
    data.join("layers").join(diff_id.hex())
}

/// Removes what no image needs. Only while no import runs and no job uses a removed image: at
/// start.
pub fn sweep(store: &Store) -> Result<Swept, StoreError> {
    let (_, diff_ids) = store.read(sql::needed)?;
    let needed = store.read(|db| crate::bundles::needed(db, store))?;
    let mut swept = Swept::default();
    let layers: HashSet<String> = diff_ids.iter().map(Digest::hex).collect();
    let dir = store.dir().join("layers");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| StoreError::Io { path, source }
    };
    if dir.exists() {
        for entry in fs::read_dir(&dir).map_err(failed(&dir))?.flatten() {
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| layers.contains(name))
            {
                fs::remove_dir_all(entry.path()).map_err(failed(&entry.path()))?;
                swept.layers += 1;
            }
        }
    }
    store
        .blobs()
        .sweep_parts(&needed.parts)
        .map_err(failed(store.dir()))?;
    for digest in store.blobs().list().map_err(failed(store.dir()))? {
        if !needed.blobs.contains(&digest) {
            store
                .blobs()
                .remove(&digest)
                .map_err(failed(&store.blobs().path(&digest)))?;
            swept.blobs += 1;
        }
    }
    Ok(swept)
}
