//! Actions that actions use: those of the same tree, and those whose pack is in the cache.

use std::collections::BTreeMap;
use std::path::Path;

use bundle::Item;
use workflow::ActionRef;

use super::{PlanOptions, Tree};
use crate::child::Child;

/// Looks into actions.
pub(super) struct Nested<'a> {
    options: &'a PlanOptions<'a>,
    /// A repository for each pack that was opened.
    opened: BTreeMap<String, tempfile::TempDir>,
}

impl<'a> Nested<'a> {
    pub(super) fn new(options: &'a PlanOptions<'a>) -> Self {
        Self {
            options,
            opened: BTreeMap::new(),
        }
    }

    /// The `action.yml` that `uses` names, with its place for messages. `None` when it cannot be
    /// seen from here, or is a whole workflow.
    pub(super) fn look(
        &mut self,
        tree: &Tree,
        repo: &str,
        uses: &str,
    ) -> Result<Option<(String, Vec<u8>)>, String> {
        match ActionRef::parse(uses) {
            Ok(ActionRef::Local(path)) => Ok(local(tree, repo, &path)),
            Ok(action) => match action.repo() {
                Some((owner, name, path, git_ref)) => {
                    self.packed(&format!("{owner}/{name}"), path, git_ref)
                }
                None => Ok(None),
            },
            // Told where the workflow is parsed.
            Err(_) => Ok(None),
        }
    }

    fn packed(
        &mut self,
        repo: &str,
        path: &str,
        git_ref: &str,
    ) -> Result<Option<(String, Vec<u8>)>, String> {
        let name = repo.to_ascii_lowercase();
        let pins = self.options.lock.iter().flat_map(|lock| &lock.pins);
        let found = pins.flat_map(|pin| &pin.items).find_map(|item| match item {
            Item::Action(action) if action.name == name => Some(action),
            _ => None,
        });
        let Some(action) = found else {
            return Ok(None);
        };
        let full = [
            format!("refs/tags/{git_ref}"),
            format!("refs/heads/{git_ref}"),
        ];
        let known = full.iter().find_map(|full| action.refs.get(full));
        let Some(commit) = known.or_else(|| action.refs.values().find(|id| *id == git_ref)) else {
            return Ok(None);
        };
        let pack = self.options.cache.path(&action.pack);
        if !pack.is_file() {
            return Ok(None);
        }
        if !self.opened.contains_key(&name) {
            let opened = open(&pack, &action.shallow, self.options);
            let opened = opened.map_err(|e| format!("the pack of {name} cannot be read: {e}"))?;
            self.opened.insert(name.clone(), opened);
        }
        let git = || Child::new("git", "git").env("GIT_DIR", self.opened[&name].path());
        for file in ["action.yml", "action.yaml"] {
            let inner = if path.is_empty() {
                file.to_owned()
            } else {
                format!("{path}/{file}")
            };
            let asked = format!("{commit}:{inner}");
            if let Ok(bytes) = git().args(["cat-file", "blob", &asked]).read() {
                return Ok(Some((format!("{repo}/{inner}@{git_ref}"), bytes)));
            }
        }
        Ok(None)
    }
}

fn local(tree: &Tree, repo: &str, path: &str) -> Option<(String, Vec<u8>)> {
    let folder = path.trim_start_matches("./").trim_end_matches('/');
    if folder.split('/').any(|part| part == "..") {
        return None;
    }
    ["action.yml", "action.yaml"].into_iter().find_map(|file| {
        let inner = if folder.is_empty() {
            file.to_owned()
        } else {
            format!("{folder}/{file}")
        };
        let bytes = tree.read(&inner).ok()?;
        Some((format!("{repo}/{inner}"), bytes))
    })
}

/// A bare repository that holds one pack.
fn open(
    pack: &Path,
    shallow: &[String],
    options: &PlanOptions<'_>,
) -> Result<tempfile::TempDir, Box<dyn std::error::Error>> {
    let folder = options.cache.scratch()?;
    let git = || Child::new("git", "git").env("GIT_DIR", folder.path());
    git()
        .args(["init", "--quiet", "--bare"])
        .arg(folder.path())
        .read()?;
    let lines: String = shallow.iter().map(|id| format!("{id}\n")).collect();
    if !lines.is_empty() {
        std::fs::write(folder.path().join("shallow"), lines)?;
    }
    git().args(["index-pack", "--stdin"]).feed(Some(pack))?;
    Ok(folder)
}
