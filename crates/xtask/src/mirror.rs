//! Where this host's apt finds Debian's packages, for machines that are made of them.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// What tells mmdebstrap where the packages of `suite` are: this host's own sources of it, else the
/// mirror of the release that the host has.
pub(crate) fn sources_for(suite: &str) -> Result<Vec<String>> {
    if let Ok(files) = host_sources(suite) {
        return Ok(files.iter().map(|f| f.display().to_string()).collect());
    }
    for known in host_sources("bookworm")? {
        let text = std::fs::read_to_string(&known)?;
        if let Some(mirror) = mirror_in(&text, "bookworm") {
            return Ok(vec![format!("deb {mirror} {suite} main")]);
        }
    }
    bail!("no mirror of Debian is named under /etc/apt; add one that has {suite}")
}

/// The address in the first active entry of `suite`.
fn mirror_in(text: &str, suite: &str) -> Option<String> {
    let mut mirror = None;
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["URIs:", uri, ..] => mirror = Some(uri),
            ["Suites:", ..] if words.contains(&suite) => {
                if let Some(mirror) = mirror {
                    return Some(mirror.to_owned());
                }
            }
            ["deb", ..] if words.contains(&suite) => {
                let uri = words.iter().find(|word| word.contains("://"));
                return uri.map(|uri| (*uri).to_owned());
            }
            _ => {}
        }
    }
    None
}

/// The files that tell this host's apt where Debian's packages are.
fn host_sources(suite: &str) -> Result<Vec<PathBuf>> {
    let mut candidates = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        candidates.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    candidates.sort();
    let found: Vec<PathBuf> = candidates
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "list" || kind == "sources")
        })
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| serves(&text, suite)))
        .collect();
    if found.is_empty() {
        bail!("no apt source of this host serves Debian {suite}; add one under /etc/apt");
    }
    Ok(found)
}

/// Whether a sources file has an active entry for the main part of `suite`.
fn serves(text: &str, suite: &str) -> bool {
    let words = |line: &str| {
        let list: Vec<&str> = line.split_whitespace().collect();
        list.contains(&suite)
    };
    let active = |line: &&str| !line.trim_start().starts_with('#');
    text.lines()
        .filter(active)
        .any(|line| (line.starts_with("Suites:") || line.starts_with("deb ")) && words(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_source_are_understood_and_comments_are_not() {
        assert!(serves(
            "deb [signed-by=x] http://mirror bookworm main\n",
            "bookworm"
        ));
        assert!(serves(
            "Types: deb\nSuites: bookworm bookworm-updates\n",
            "bookworm"
        ));
        assert!(!serves("# deb http://mirror bookworm main\n", "bookworm"));
        assert!(!serves("deb http://mirror/apt stable main\n", "bookworm"));
    }

    #[test]
    fn the_mirror_of_a_release_is_found_in_both_forms() {
        let block =
            "Types: deb\n# URIs: http://old\nURIs: http://mirror/debian\nSuites: bookworm\n";
        assert_eq!(
            mirror_in(block, "bookworm").as_deref(),
            Some("http://mirror/debian")
        );
        let line = "deb [signed-by=/k] http://mirror/d bookworm main\n";
        assert_eq!(
            mirror_in(line, "bookworm").as_deref(),
            Some("http://mirror/d")
        );
        assert_eq!(mirror_in(line, "trixie"), None);
    }
}
