//! What nothing goes below: sequences, root statement, security epoch, day.
//!
//! The database holds them, and `DATA/trust/floors.json` a second time, written first: a database
//! that is restored from a backup lowers none of them. What is read is the higher of both.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::{Db, StoreError, sync_dir};
use vocab::Digest;

use super::BundleError;
use crate::sql::bundles as sql;

/// The floors of one appliance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Floors {
    /// Number of the root statement in force.
    pub(super) root: u64,
    /// Highest security epoch.
    pub(super) epoch: u64,
    /// Newest signed day, `YYYY-MM-DD`.
    pub(super) day: String,
    /// By `product/channel`.
    pub(super) channels: BTreeMap<String, Floor>,
}

/// The highest sequence of one channel, and the bundle that had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    pub(crate) seq: u64,
    /// Its manifest: that very bundle may come in again. Absent where a root statement set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Digest>,
}

impl Floors {
    /// The floor of a channel for the bundle of this manifest: the same bundle may come again,
    /// after an undo or a restored backup.
    pub(super) fn seq(&self, product: &str, channel: &str, manifest: &Digest) -> u64 {
        match self.channels.get(&key(product, channel)) {
            Some(floor) if floor.manifest.as_ref() == Some(manifest) => floor.seq - 1,
            Some(floor) => floor.seq,
            None => 0,
        }
    }

    pub(super) fn set(&mut self, product: &str, channel: &str, floor: Floor) {
        self.channels.insert(key(product, channel), floor);
    }

    /// The higher of both, floor by floor.
    fn over(mut self, other: Self) -> Self {
        self.root = self.root.max(other.root);
        self.epoch = self.epoch.max(other.epoch);
        self.day = self.day.max(other.day);
        for (name, floor) in other.channels {
            match self.channels.get(&name) {
                Some(own) if own.seq >= floor.seq => {}
                _ => {
                    self.channels.insert(name, floor);
                }
            }
        }
        self
    }
}

fn key(product: &str, channel: &str) -> String {
    format!("{product}/{channel}")
}

fn path(data: &Path) -> PathBuf {
    data.join("trust").join("floors.json")
}

/// What holds now: the database's floors and the sealed ones, whichever is higher.
pub(super) fn read(db: &Db, data: &Path) -> Result<Floors, BundleError> {
    Ok(of_database(db)?.over(sealed(data)?))
}

fn of_database(db: &Db) -> Result<Floors, StoreError> {
    let (epoch, day) = sql::head(db)?;
    Ok(Floors {
        root: sql::newest_root(db)?.map_or(0, |(number, _)| number),
        epoch,
        day,
        channels: sql::floors(db)?,
    })
}

fn sealed(data: &Path) -> Result<Floors, BundleError> {
    let path = path(data);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Floors::default()),
        text => text.map_err(BundleError::io(&path))?,
    };
    let sealed = text.split_once('\n').and_then(|(document, seal)| {
        let whole = Digest::of(document.as_bytes()).hex() == seal.trim();
        whole.then(|| serde_json::from_str(document).ok()).flatten()
    });
    sealed.ok_or(BundleError::Floors { path })
}

/// Seals `floors`, durably. Done before the transaction that makes them true.
pub(super) fn seal(data: &Path, floors: &Floors) -> Result<(), BundleError> {
    let path = path(data);
    let document = serde_json::to_string(floors).expect("our own types have only text keys");
    let seal = Digest::of(document.as_bytes()).hex();
    replace(&path, format!("{document}\n{seal}\n").as_bytes()).map_err(BundleError::io(&path))
}

/// Writes a small file in one step, durably.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().expect("the path has a folder");
    fs::create_dir_all(dir)?;
    let tmp = path.with_extension("tmp");
    let mut file = fs::File::create(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    sync_dir(dir)?;
    if let Some(above) = dir.parent() {
        sync_dir(above)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floors(seq: u64) -> Floors {
        let mut floors = Floors {
            root: 2,
            epoch: 3,
            day: "2026-11-20".to_owned(),
            channels: BTreeMap::new(),
        };
        let manifest = Some(Digest::of(&seq.to_be_bytes()));
        floors.set("lab", "stable", Floor { seq, manifest });
        floors
    }

    #[test]
    fn sealed_floors_come_back_and_a_damaged_seal_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sealed(dir.path()).unwrap(), Floors::default());
        seal(dir.path(), &floors(7)).unwrap();
        assert_eq!(sealed(dir.path()).unwrap(), floors(7));
        let text = fs::read_to_string(path(dir.path())).unwrap();
        fs::write(path(dir.path()), text.replace(":7,", ":6,")).unwrap();
        let refused = sealed(dir.path()).unwrap_err();
        assert_eq!(refused.code(), "E_FLOORS");
    }

    #[test]
    fn the_higher_floor_counts_and_the_same_bundle_may_come_again() {
        let both = floors(6).over(floors(7));
        let (same, other) = (Digest::of(&7u64.to_be_bytes()), Digest::of(b"other"));
        assert_eq!(both.seq("lab", "stable", &same), 6);
        assert_eq!(both.seq("lab", "stable", &other), 7);
        assert_eq!(floors(7).over(floors(6)).seq("lab", "stable", &other), 7);
        assert_eq!(both.seq("lab", "testing", &other), 0);
    }
}
