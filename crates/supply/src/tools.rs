//! What an image has that built-in actions look for, by the names of its files.

use std::collections::BTreeMap;
use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where interpreters stand in an image.
const BIN: [&str; 2] = ["usr/bin", "usr/local/bin"];

/// Where hosted runners keep further versions: `<here>/3.12.4/x64/bin/python`.
const CACHE: &str = "opt/hostedtoolcache/Python";

/// Entries of one directory that are looked at.
const MAX_ENTRIES: usize = 20_000;

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
    /// Looks through unpacked layers, lowest first. What a higher layer removed by its name is
    /// not listed. Links are not followed: they may lead out of the image.
    #[must_use]
    pub fn of_layers(layers: &[impl AsRef<Path>]) -> Self {
        let mut found = BTreeMap::new();
        for layer in layers {
            for bin in BIN {
                for (name, kind) in entries(layer.as_ref(), bin) {
                    let version = name.strip_prefix("python").unwrap_or_default();
                    if is_version(version, 2) {
                        note(&mut found, kind, format!("/{bin}/{name}"), version);
                    }
                }
            }
            for (version, kind) in entries(layer.as_ref(), CACHE) {
                if is_version(&version, 3) {
                    let path = format!("/{CACHE}/{version}/x64/bin/python");
                    note(&mut found, kind, path, &version);
                }
            }
        }
        let mut python: Vec<Interpreter> = found
            .into_iter()
            .map(|(path, version)| Interpreter { version, path })
            .collect();
        python.sort();
        Self { python }
    }
}

/// Adds what is there, and takes back what this layer covers with a whiteout.
fn note(found: &mut BTreeMap<String, String>, kind: FileType, path: String, version: &str) {
    if kind.is_char_device() {
        found.remove(&path);
    } else {
        found.insert(path, version.to_owned());
    }
}

fn is_version(text: &str, parts: usize) -> bool {
    let mut count = 0;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 20 && text.split('.').inspect(|_| count += 1).all(digits) && count == parts
}

/// The names in a directory of a layer; none when any part of the way to it is a link.
fn entries(layer: &Path, dir: &str) -> Vec<(String, FileType)> {
    let mut at = PathBuf::from(layer);
    for part in dir.split('/') {
        at.push(part);
        if !fs::symlink_metadata(&at).is_ok_and(|m| m.is_dir()) {
            return Vec::new();
        }
    }
    let Ok(listing) = fs::read_dir(&at) else {
        return Vec::new();
    };
    let known = |entry: fs::DirEntry| {
        Some((
            entry.file_name().into_string().ok()?,
            entry.file_type().ok()?,
        ))
    };
    listing
        .flatten()
        .take(MAX_ENTRIES)
        .filter_map(known)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn layer(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn interpreters_are_found_in_every_layer_and_other_names_are_not() {
        let low = layer(&[
            "usr/bin/python3.11",
            "usr/bin/python3",
            "usr/bin/python3.11-config",
            "usr/local/bin/python3.13",
        ]);
        let high = layer(&[
            "opt/hostedtoolcache/Python/3.12.4/x64/bin/python",
            "opt/hostedtoolcache/Python/3.12.4.complete/x",
        ]);
        let tools = Tools::of_layers(&[low.path(), high.path()]);
        let found: Vec<_> = tools
            .python
            .iter()
            .map(|p| (p.version.as_str(), p.path.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("3.11", "/usr/bin/python3.11"),
                (
                    "3.12.4",
                    "/opt/hostedtoolcache/Python/3.12.4/x64/bin/python"
                ),
                ("3.13", "/usr/local/bin/python3.13"),
            ]
        );
    }

    #[test]
    fn links_that_lead_out_of_the_layer_are_not_followed() {
        let outside = layer(&["bin/python3.99"]);
        let inside = layer(&["etc/x"]);
        symlink(outside.path(), inside.path().join("usr")).unwrap();
        assert_eq!(Tools::of_layers(&[inside.path()]), Tools::default());
    }
}
