//! The files of a repo: a working tree on disk, or the newest commit of a bare repo.

use std::path::{Path, PathBuf};

use super::PlanError;
use crate::child::Child;

/// Folders of a working tree in which nobody keeps what is looked for.
const SKIPPED: [&str; 6] = [".git", "node_modules", "target", "venv", ".venv", ".tox"];

/// Most files that are listed.
const FILES: usize = 200_000;

pub(super) enum Tree {
    Folder(PathBuf),
    Bare(PathBuf),
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self, PlanError> {
        if path.join("HEAD").is_file() && path.join("objects").is_dir() {
            return Ok(Self::Bare(path.to_owned()));
        }
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        Err(PlanError::NoRepo(path.to_owned()))
    }

    /// Paths of all its files, sorted.
    pub(super) fn files(&self) -> Result<Vec<String>, PlanError> {
        let mut found = Vec::new();
        match self {
            Self::Folder(root) => walk(root, "", &mut found)?,
            Self::Bare(repo) => {
                let said = git(repo)
                    .args(["ls-tree", "-r", "-z", "--name-only", "HEAD"])
                    .read()?;
                let names = said.split(|b| *b == 0).filter(|name| !name.is_empty());
                found.extend(names.map(|name| String::from_utf8_lossy(name).into_owned()));
            }
        }
        found.sort();
        Ok(found)
    }

    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, PlanError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(path);
                std::fs::read(&path).map_err(|source| PlanError::Io { path, source })
            }
            Self::Bare(repo) => {
                let name = format!("HEAD:{path}");
                Ok(git(repo).args(["cat-file", "blob", &name]).read()?)
            }
        }
    }
}

fn git(repo: &Path) -> Child {
    Child::new("git", "git").env("GIT_DIR", repo)
}

fn walk(root: &Path, below: &str, found: &mut Vec<String>) -> Result<(), PlanError> {
    let path = root.join(below);
    let io = |source| PlanError::Io {
        path: path.clone(),
        source,
    };
    for entry in std::fs::read_dir(&path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(io)?;
        let whole = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            walk(root, &whole, found)?;
        } else if kind.is_file() && found.len() < FILES {
            found.push(whole);
        }
    }
    Ok(())
}
