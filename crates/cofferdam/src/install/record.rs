//! What an installation was told, kept beside its programs for the next install, doctor and
//! uninstall.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::place::{Place, put};

/// `/opt/cofferdam/install.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Whether install made the data directory.
    pub(crate) made_data: bool,
}

impl Record {
    /// The record; none where nothing is installed.
    pub(crate) fn load(place: &Place) -> anyhow::Result<Option<Self>> {
        let path = place.record();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("cannot use {}; remove it, install again", path.display()))
                .map(Some),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    pub(crate) fn save(&self, place: &Place) -> anyhow::Result<()> {
        let text = serde_json::to_string(self)? + "\n";
        put(&place.record(), text.as_bytes(), 0o644).map(drop)
    }
}
