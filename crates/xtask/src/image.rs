//! The Debian image for jobs: built from the host's own package sources, kept until the recipe
//! changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::oci;
use crate::shell::{part, run, say};
use crate::tools;

/// Raised when this file or `oci.rs` makes another image of the same recipe.
const FORMAT: &str = "2";

struct Recipe {
    suite: String,
    variant: String,
    packages: Vec<String>,
    leave_out: Vec<String>,
    environment: Vec<String>,
}

/// Gives the OCI archive at `target/image/debian.oci.tar`, building it when the recipe is new.
pub(crate) fn ensure(root: &Path) -> Result<PathBuf> {
    let recipe_path = root.join("appliance/image/debian.toml");
    let text = std::fs::read_to_string(&recipe_path)
        .with_context(|| format!("cannot read {}", recipe_path.display()))?;
    let key = hex::encode(Sha256::digest(format!("{FORMAT}\n{text}")));
    let folder = root.join("target/image");
    let (archive, mark) = (folder.join("debian.oci.tar"), folder.join("debian.key"));
    let kept = std::fs::read_to_string(&mark).is_ok_and(|old| old == key);
    if kept && archive.is_file() {
        say(&format!(
            "the Debian image is built already: {}",
            archive.display()
        ));
        return Ok(archive);
    }
    tools::ensure(tools::DEMO)?;
    let recipe = parse(&text)?;
    std::fs::create_dir_all(&folder)?;
    let work = tempfile::tempdir_in(&folder)?;
    let tree = work.path().join("rootfs.tar");
    part(
        &format!("build a Debian {} image (about a minute)", recipe.suite),
        || bootstrap(&recipe, &tree),
    )?;
    part("pack it as an OCI archive", || {
        oci::pack(
            &tree,
            &recipe.environment,
            &work.path().join("debian.oci.tar"),
        )
    })?;
    std::fs::rename(work.path().join("debian.oci.tar"), &archive)?;
    std::fs::write(&mark, key)?;
    Ok(archive)
}

fn parse(text: &str) -> Result<Recipe> {
    let table: toml::Table = text.parse().context("the recipe is not TOML")?;
    let word = |key: &str| {
        let value = table.get(key).and_then(toml::Value::as_str);
        value
            .map(str::to_owned)
            .with_context(|| format!("the recipe has no `{key}`"))
    };
    let words = |key: &str| {
        let values = table.get(key).and_then(toml::Value::as_array);
        let values = values.with_context(|| format!("the recipe has no `{key}`"))?;
        Ok::<_, anyhow::Error>(
            values
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect(),
        )
    };
    Ok(Recipe {
        suite: word("suite")?,
        variant: word("variant")?,
        packages: words("packages")?,
        leave_out: words("leave_out")?,
        environment: words("environment")?,
    })
}

fn bootstrap(recipe: &Recipe, tree: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .arg("--quiet")
        .arg(format!("--variant={}", recipe.variant))
        .arg(format!("--include={}", recipe.packages.join(",")))
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    for path in &recipe.leave_out {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command
        .arg(&recipe.suite)
        .arg(tree)
        .args(host_sources(&recipe.suite)?);
    run(command.stdin(Stdio::null()))
}

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

    #[test]
    fn the_recipe_of_this_repository_parses() {
        let recipe = parse(include_str!("../../../appliance/image/debian.toml")).unwrap();
        assert!(recipe.packages.contains(&"python3-pip".to_owned()));
    }
}
