//! Floors: a crate depends only on floors below its own.

use std::path::Path;

use anyhow::{Context, Result};

/// Each crate of the workspace and its floor, as docs/ARCHITECTURE.md draws them.
const FLOORS: &[(&str, u8)] = &[
    ("cofferdam", 7),
    ("web", 6),
    ("pool", 5),
    ("attest", 5),
    ("ssh", 5),
    ("access", 4),
    ("forge", 4),
    ("queue", 4),
    ("supply", 4),
    ("runner", 4),
    ("audit", 3),
    ("store", 2),
    ("builder", 2),
    ("evidence", 1),
    ("workflow", 1),
    ("bundle", 1),
    ("git", 1),
    ("vocab", 0),
];

/// Crates that stand apart, with all they may see.
const APART: &[(&str, &[&str])] = &[
    ("sandbox", &["vocab"]),
    ("testkit", &["vocab"]),
    ("xtask", &["vocab", "testkit"]),
    // Other builds of the program, and what no import has brought yet.
    (
        "stories",
        &["vocab", "testkit", "cofferdam", "bundle", "store", "supply"],
    ),
];

/// Who may see the crates that stand apart.
const SEEN_BY: &[(&str, &[&str])] = &[("sandbox", &["pool", "cofferdam"])];

/// Pairs that the floors would allow and the architecture does not.
const FORBIDDEN: &[(&str, &str, &str)] = &[(
    "runner",
    "store",
    "the runner sees no database, so that it can run on another host",
)];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Normal,
    Dev,
}

/// Reads every manifest; one finding for each dependency that breaks the floors.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut manifests = vec![root.join("tests/Cargo.toml")];
    for entry in std::fs::read_dir(root.join("crates")).context("cannot list crates/")? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            manifests.push(manifest);
        }
    }
    manifests.sort();
    for path in manifests {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let manifest: toml::Table = text
            .parse()
            .with_context(|| format!("{} is not TOML", path.display()))?;
        findings.extend(check_manifest(&manifest));
    }
    Ok(findings)
}

fn check_manifest(manifest: &toml::Table) -> Vec<String> {
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    if floor(name).is_none() && apart(name).is_none() {
        return vec![format!(
            "crate {name}: has no floor; give it one in docs/ARCHITECTURE.md"
        )];
    }
    let mut findings = Vec::new();
    for (kind, dependency) in dependencies(manifest) {
        if let Some(why) = refuse(name, &dependency, kind) {
            findings.push(format!(
                "crate {name}: must not depend on {dependency}: {why}"
            ));
        }
    }
    findings
}

fn dependencies(manifest: &toml::Table) -> Vec<(Kind, String)> {
    let mut tables = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let sections = [
        ("dependencies", Kind::Normal),
        ("build-dependencies", Kind::Normal),
        ("dev-dependencies", Kind::Dev),
    ];
    let mut found = Vec::new();
    for table in tables {
        for (section, kind) in sections {
            let Some(names) = table.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (alias, value) in names {
                let real = value
                    .get("package")
                    .and_then(toml::Value::as_str)
                    .unwrap_or(alias);
                found.push((kind, real.to_owned()));
            }
        }
    }
    found
}

/// Why `user` must not depend on `used`, if so.
fn refuse(user: &str, used: &str, kind: Kind) -> Option<String> {
    let known = |name| floor(name).is_some() || apart(name).is_some();
    if !known(used) || (kind == Kind::Dev && (used == "testkit" || used == user)) {
        return None;
    }
    if let Some((_, _, why)) = FORBIDDEN
        .iter()
        .find(|(from, to, _)| (*from, *to) == (user, used))
    {
        return (kind == Kind::Normal).then(|| (*why).to_owned());
    }
    if let Some(visible) = apart(user) {
        return (!visible.contains(&used)).then(|| format!("it sees {} only", visible.join(", ")));
    }
    if apart(used).is_some() {
        let seen = SEEN_BY
            .iter()
            .any(|(name, by)| *name == used && by.contains(&user));
        return (!seen).then(|| format!("{used} stands apart"));
    }
    let (own, other) = (floor(user)?, floor(used)?);
    let broken = match kind {
        Kind::Normal => other >= own,
        Kind::Dev => other > own,
    };
    broken.then(|| format!("it is on floor {other}, and {user} on {own}"))
}

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, floor)| *floor)
}

fn apart(name: &str) -> Option<&'static [&'static str]> {
    APART
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, visible)| *visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        check_manifest(&text.parse().unwrap())
    }

    #[test]
    fn a_dependency_on_a_lower_floor_is_fine() {
        let text = "[package]\nname = \"queue\"\n[dependencies]\naudit = 1\nserde = 1\n";
        assert!(findings(text).is_empty());
    }

    #[test]
    fn upward_sideways_and_renamed_dependencies_are_refused() {
        for dependency in ["web = 1", "forge = 1", "innocent = { package = \"web\" }"] {
            let text = format!("[package]\nname = \"queue\"\n[dependencies]\n{dependency}\n");
            assert_eq!(findings(&text).len(), 1, "{dependency}");
        }
    }

    #[test]
    fn the_runner_never_sees_the_store_although_it_stands_above() {
        let text = "[package]\nname = \"runner\"\n[dependencies]\nstore = 1\n";
        assert!(findings(text)[0].contains("sees no database"));
    }

    #[test]
    fn the_sandbox_is_seen_by_the_pool_and_sees_only_vocab() {
        let pool = "[package]\nname = \"pool\"\n[dependencies]\nsandbox = 1\n";
        assert!(findings(pool).is_empty());
        let queue = "[package]\nname = \"queue\"\n[dependencies]\nsandbox = 1\n";
        assert_eq!(findings(queue).len(), 1);
        let sandbox = "[package]\nname = \"sandbox\"\n[dependencies]\nstore = 1\n";
        assert_eq!(findings(sandbox).len(), 1);
    }

    #[test]
    fn a_crate_without_a_floor_is_refused() {
        assert!(findings("[package]\nname = \"misc\"\n")[0].contains("has no floor"));
    }
}
