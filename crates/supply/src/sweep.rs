//! Removes files that no row needs: left by a crash, a refused import, a removal, or a generation
//! that is not kept any more.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bundle::Item;
use bundle::manifest::Action;
use store::{Db, Store, StoreError};
use vocab::Digest;

use crate::sql;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Repositories of actions.
    pub actions: usize,
}

/// Where the layer of `diff_id` stands unpacked.
#[must_use]
pub fn layer_dir(data: &Path, diff_id: &Digest) -> PathBuf {
    data.join("layers").join(diff_id.hex())
}

/// Where the repository of an action stands once it was served for the first time. Its name is a
/// digest of all that is in it, so that generations with the same content share it.
#[must_use]
pub fn action_dir(data: &Path, action: &Action) -> PathBuf {
    data.join("actions").join(action_name(action))
}

fn action_name(action: &Action) -> String {
    let content = (&action.pack, &action.refs, &action.shallow);
    let text = serde_json::to_vec(&content).expect("our own types have only text keys");
    format!("{}.git", Digest::of(&text).hex())
}

/// Folders of what is unpacked, by name.
pub(crate) struct Unpacked {
    /// In `DATA/layers`.
    pub(crate) layers: HashSet<String>,
    /// In `DATA/actions`.
    pub(crate) actions: HashSet<String>,
}

impl Unpacked {
    /// What images and kept generations need.
    pub(crate) fn needed(db: &Db) -> Result<Self, StoreError> {
        let (_, diff_ids) = sql::needed(db)?;
        let actions = sql::generations::retained_items(db, "action")?;
        let actions = actions.iter().filter_map(|item| match item {
            Item::Action(action) => Some(action_name(action)),
            _ => None,
        });
        Ok(Self {
            layers: diff_ids.iter().map(Digest::hex).collect(),
            actions: actions.collect(),
        })
    }

    /// Removes those of `self` that `after` does not need any more; how many went.
    pub(crate) fn remove_all_but(&self, data: &Path, after: &Self) -> io::Result<(usize, usize)> {
        let remove = |dir: &str, old: &HashSet<String>, new: &HashSet<String>| {
            let mut gone = 0;
            for name in old.difference(new) {
                match fs::remove_dir_all(data.join(dir).join(name)) {
                    Ok(()) => gone += 1,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(gone)
        };
        Ok((
            remove("layers", &self.layers, &after.layers)?,
            remove("actions", &self.actions, &after.actions)?,
        ))
    }
}

/// Removes what nothing needs. Only while no import runs and no job uses what goes: at start.
pub fn sweep(store: &Store) -> Result<Swept, StoreError> {
    store.write(|tx| Ok::<_, StoreError>(sql::forget_unneeded(tx)?))?;
    let needed = store.read(|db| crate::bundles::needed(db, store))?;
    let unpacked = store.read(Unpacked::needed)?;
    let mut swept = Swept {
        layers: keep_only(&store.dir().join("layers"), &unpacked.layers)?,
        actions: keep_only(&store.dir().join("actions"), &unpacked.actions)?,
        blobs: 0,
    };
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

/// Removes every entry of `dir` whose name is not among `names`; how many went.
fn keep_only(dir: &Path, names: &HashSet<String>) -> Result<usize, StoreError> {
    if !dir.exists() {
        return Ok(0);
    }
    let mut gone = 0;
    for entry in fs::read_dir(dir).map_err(failed(dir))?.flatten() {
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| names.contains(name)) {
            fs::remove_dir_all(entry.path()).map_err(failed(&entry.path()))?;
            gone += 1;
        }
    }
    Ok(gone)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}
