//! What an image has that built-in actions look for, by the names of its files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where interpreters stand in an image.
const BIN: [&str; 2] = ["usr/bin", "usr/local/bin"];

/// Found by name; the runner asks the programs themselves before it relies on one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// Python interpreters.
    #[serde(default)]
    pub python: Vec<Interpreter>,
}

/// One interpreter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interpreter {
    /// As far as its file's name tells, such as `3.11`.
    pub version: String,
    /// In the image.
    pub path: String,
}

impl Tools {
    /// Looks through unpacked layers. A file that a higher layer removed may be named too.
    #[must_use]
    pub fn of_layers(layers: &[impl AsRef<Path>]) -> Self {
        let mut python = BTreeSet::new();
        for layer in layers {
            for bin in BIN {
                let Ok(entries) = fs::read_dir(layer.as_ref().join(bin)) else {
                    continue;
                };
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    let Some(version) = name.to_str().and_then(|n| n.strip_prefix("python")) else {
                        continue;
                    };
                    let parts: Vec<&str> = version.split('.').collect();
                    let digits = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
                    if parts.len() == 2 && parts.iter().all(digits) {
                        python.insert(Interpreter {
                            version: version.to_owned(),
                            path: format!("/{bin}/python{version}"),
                        });
                    }
                }
            }
        }
        Self {
            python: python.into_iter().collect(),
        }
    }
}
