//! What jobs of `cofferdam try` get: the working tree as it stands, and an image if there is one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, bail};
use pool::{Held, Named, Provider};
use queue::Claimed;
use runner::executor::ImageFacts;
use runner::{CheckedOut, CheckoutRequest, Secret, Source, SourceError};
use serde_json::Value;
use store::Store;
use supply::Served;

use crate::cli::Global;
use crate::client::Client;

/// The provider of a try.
pub(crate) struct Local {
    pub(crate) tree: PathBuf,
    pub(crate) image: Option<ImageFacts>,
    pub(crate) secrets: Vec<(String, Secret)>,
    pub(crate) store: Arc<Store>,
}

impl Provider for Local {
    /// Every label that a waiting job asks for: there is only this machine.
    fn labels(&self, _held: &Held) -> Result<Served, String> {
        let waiting = self
            .store
            .read(|db| queue::waiting(db, 1_000, &[]))
            .map_err(|e| e.to_string())?;
        let mut labels: Vec<String> = waiting
            .into_iter()
            .flat_map(|(job, _)| job.labels)
            .collect();
        labels.sort();
        labels.dedup();
        Ok(Served {
            labels,
            pending: Vec::new(),
        })
    }

    fn image(&self, _claimed: &Claimed, _held: &Held) -> Result<Option<ImageFacts>, String> {
        Ok(self.image.clone())
    }

    fn source(&self, _claimed: &Claimed) -> Result<Arc<dyn Source>, String> {
        Ok(Arc::new(WorkTree(self.tree.clone())))
    }

    fn secrets(&self, claimed: &Claimed) -> Result<Vec<(String, Secret)>, String> {
        let named = pool::secrets_named(&claimed.spec);
        let wanted = |name: &String| match &named {
            None => false,
            Some(Named::All) => true,
            Some(Named::These(names)) => names.contains(name),
        };
        Ok(self
            .secrets
            .iter()
            .filter(|(name, _)| wanted(name))
            .cloned()
            .collect())
    }
}

/// Checks out what is in a directory now, committed or not.
struct WorkTree(PathBuf);

impl Source for WorkTree {
    fn checkout(
        &self,
        request: &CheckoutRequest,
        out: &mut dyn Write,
    ) -> Result<CheckedOut, SourceError> {
        let files = self.send(out).map_err(|e| SourceError::Failed {
            repository: request.repository.clone(),
            reason: format!("{e:#}"),
        })?;
        let head = head(&self.0);
        Ok(CheckedOut {
            commit: head.sha,
            reference: head.git_ref,
            has_submodules: self.0.join(".gitmodules").exists(),
            files,
        })
    }
}

impl WorkTree {
    fn send(&self, out: &mut dyn Write) -> anyhow::Result<u64> {
        let mut tar = tar::Builder::new(out);
        tar.follow_symlinks(false);
        let mut count = 0;
        for file in self.files()? {
            let path = self.0.join(&file);
            // A file that git knows may have been deleted since.
            if fs::symlink_metadata(&path).is_ok() {
                tar.append_path_with_name(&path, &file)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                count += 1;
            }
        }
        let git = self.0.join(".git");
        if git.is_dir() {
            tar.append_dir_all(".git", &git)
                .with_context(|| format!("cannot read {}", git.display()))?;
        }
        tar.into_inner()
            .and_then(|out| out.flush())
            .context("the checkout was not taken")?;
        Ok(count)
    }

    /// What git would not ignore, where there is a git; else every file.
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let listed = Command::new("git")
            .arg("-C")
            .arg(&self.0)
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .output();
        if let Ok(listed) = listed
            && listed.status.success()
            && !listed.stdout.is_empty()
        {
            let text = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
            return Ok(text.split_terminator('\0').map(PathBuf::from).collect());
        }
        let mut files = Vec::new();
        walk(&self.0, Path::new(""), &mut files)?;
        Ok(files)
    }
}

fn walk(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let dir = root.join(below);
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
        let path = below.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && path == Path::new(".git") => {}
            Ok(kind) if kind.is_dir() => walk(root, &path, files)?,
            _ => files.push(path),
        }
    }
    Ok(())
}

/// Where a working tree stands.
pub(crate) struct Head {
    pub(crate) git_ref: String,
    pub(crate) sha: String,
}

/// What `.git` says, read without git; `refs/heads/main` at no commit where there is none.
pub(crate) fn head(tree: &Path) -> Head {
    let none = || Head {
        git_ref: "refs/heads/main".to_owned(),
        sha: "0".repeat(40),
    };
    let git = tree.join(".git");
    let Ok(text) = fs::read_to_string(git.join("HEAD")) else {
        return none();
    };
    let text = text.trim();
    let Some(git_ref) = text.strip_prefix("ref: ") else {
        return Head {
            git_ref: none().git_ref,
            sha: text.to_owned(),
        };
    };
    let loose = fs::read_to_string(git.join(git_ref)).ok();
    let packed = || {
        let text = fs::read_to_string(git.join("packed-refs")).ok()?;
        let line = text
            .lines()
            .find(|line| line.ends_with(&format!(" {git_ref}")))?;
        line.split(' ').next().map(str::to_owned)
    };
    let sha = loose
        .map(|sha| sha.trim().to_owned())
        .or_else(packed)
        .unwrap_or(none().sha);
    Head {
        git_ref: git_ref.to_owned(),
        sha,
    }
}

/// The image to run in: the one asked for, else the first that the appliance of `--data` holds,
/// else none, which is this host's own `/usr`.
pub(crate) fn image(global: &Global, name: Option<&str>) -> anyhow::Result<Option<ImageFacts>> {
    if name == Some("host") {
        return Ok(None);
    }
    let images = match known(global) {
        Ok(images) => images,
        Err(_) if name.is_none() => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = match name {
        None => images.last(),
        Some(name) => images.iter().find(|image| {
            image["digest"] == name
                || image["names"]
                    .as_array()
                    .is_some_and(|names| names.iter().any(|n| n == name))
        }),
    };
    let Some(found) = found else {
        match name {
            None => return Ok(None),
            Some(name) => bail!(
                "no image '{name}' in {}; `cofferdam image list` shows them",
                global.data.display()
            ),
        }
    };
    let layers = found["layers"].as_array().map_or(&[][..], Vec::as_slice);
    let layers = layers
        .iter()
        .map(|layer| {
            let diff_id: vocab::Digest = serde_json::from_value(layer["diff_id"].clone())?;
            Ok(supply::layer_dir(&global.data.canonicalize()?, &diff_id))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let env: Vec<String> = serde_json::from_value(found["env"].clone()).unwrap_or_default();
    Ok(Some(ImageFacts {
        name: found["names"][0].as_str().unwrap_or_default().to_owned(),
        digest: serde_json::from_value(found["digest"].clone())?,
        layers,
        env,
        user: found["user"].as_str().unwrap_or_default().to_owned(),
    }))
}

/// The appliance's images, newest first: from it when it runs, else from its files.
fn known(global: &Global) -> anyhow::Result<Vec<Value>> {
    if global.data.join("control.sock").exists() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = Client::from_flags(&Global {
            server: None,
            ..global.clone()
        })?;
        let list: anyhow::Result<Value> = runtime.block_on(client.get("/api/v1/images"));
        if let Ok(list) = list {
            let rows = list.as_array().or_else(|| list["images"].as_array());
            return Ok(rows.cloned().unwrap_or_default());
        }
    }
    let site = crate::site::Site::open(&global.data, store::StoreOptions::default())?;
    let rows = site.store.read(supply::images)?;
    rows.iter()
        .map(|row| Ok(serde_json::to_value(row)?))
        .collect()
}
