//! Bundles that lie below the media folders, found without reading one of them.
//!
//! Follows no link and looks at so many entries only: a medium is somebody else's.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use crate::view::bundles::MediumLine;
use crate::{href, words};

/// How deep below a media folder: the stick, a folder on it, the bundle's own.
const DEPTH: usize = 3;

/// Most entries that are looked at.
const ENTRIES: usize = 4_000;

/// Most bundles that are listed.
const FOUND: usize = 50;

/// What lies there, by path. Blocking.
pub(super) fn find(media: &[PathBuf]) -> Vec<MediumLine> {
    let mut found = Vec::new();
    let mut left = ENTRIES;
    let mut folders: VecDeque<(PathBuf, usize)> = media.iter().map(|m| (m.clone(), 0)).collect();
    while let Some((folder, depth)) = folders.pop_front() {
        // A folder that cannot be read is one in which nothing is found.
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        let mut below = Vec::new();
        for entry in entries.flatten().take(left) {
            left -= 1;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_file() && entry.file_name() == "MANIFEST.json" {
                found.push(folder.clone());
                below.clear();
                break;
            }
            if kind.is_dir() && depth < DEPTH {
                below.push((entry.path(), depth + 1));
            }
        }
        folders.extend(below);
        if left == 0 || found.len() >= FOUND {
            break;
        }
    }
    found.sort();
    found.iter().filter_map(|path| line(path)).collect()
}

/// One that can be named in an address; a path that is no text is for the command line.
fn line(path: &Path) -> Option<MediumLine> {
    let text = path.to_str()?;
    let name = path.file_name()?.to_str()?;
    Some(MediumLine {
        name: words::plain(name),
        path: words::plain(text),
        href: format!("/bundles/look?medium={}", href::value(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_found_below_folders_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["media/stick/a", "media/stick/deep/b", "elsewhere/c"] {
            std::fs::create_dir_all(at(path)).unwrap();
            std::fs::write(at(path).join("MANIFEST.json"), "{}").unwrap();
        }
        std::os::unix::fs::symlink(at("elsewhere"), at("media/stick/link")).unwrap();
        let names: Vec<String> = find(&[at("media"), at("none")])
            .into_iter()
            .map(|line| line.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
    }
}
