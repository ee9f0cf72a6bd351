//! Repositories of actions: tags and branches to commits, and a pack of what these reach.
//!
//! git fetches into an empty repository, with no setting, hook or helper of the host but its
//! network settings. The pack is written by one thread from nothing that came packed, so that it
//! depends on the objects and on git's version only.

use std::collections::BTreeMap;
use std::path::Path;

use bundle::Item;
use bundle::manifest::{self, Origin};

use super::{Means, SourceError, blob};
use crate::child::Child;
use crate::lock::Pin;
use crate::recipe::Action;

const PACK_TYPE: &str = "application/x-git-packed-objects";

pub(super) fn resolve(want: &Action, means: &Means<'_>) -> Result<Pin, SourceError> {
    gather(want, None, means)
}

/// Makes the pack of `pin` again, from the commits that it names.
pub(super) fn fetch(want: &Action, pin: &Pin, means: &Means<'_>) -> Result<(), SourceError> {
    let Some(Item::Action(item)) = pin.items.first() else {
        return Err(SourceError::Refused(
            "the lock has no action there".to_owned(),
        ));
    };
    let made = gather(want, Some(&item.refs), means)?;
    if made.blobs != pin.blobs && made.made_with != pin.made_with {
        return Err(SourceError::Refused(format!(
            "{} was locked with {}, and {} packs the same commits otherwise; lock it again with \
             --update",
            pin.entry, pin.made_with, made.made_with
        )));
    }
    Ok(())
}

fn gather(
    want: &Action,
    pinned: Option<&BTreeMap<String, String>>,
    means: &Means<'_>,
) -> Result<Pin, SourceError> {
    let scratch = means.cache.scratch()?;
    let repo = scratch.path().join("repo.git");
    git(&repo)
        .args(["init", "--quiet", "--bare"])
        .arg(&repo)
        .read()?;
    let from = match (&want.git, &want.folder) {
        (Some(url), _) => url.clone(),
        (None, folder) => {
            let folder = means
                .folder
                .join(folder.as_deref().unwrap_or(Path::new("")));
            let folder = std::path::absolute(&folder).map_err(SourceError::io(&folder))?;
            // As an address, so that `--depth` counts here, too.
            format!("file://{}", folder.display())
        }
    };
    means.watch.begin(&format!("fetch {} with git", want.repo));
    let refs = named(want, &from, &repo)?;
    for (name, id) in &refs {
        let id = pinned.map_or(id, |pinned| pinned.get(name).unwrap_or(id));
        let mut fetch = git(&repo).args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
        if let Some(depth) = want.depth {
            fetch = fetch.arg(format!("--depth={depth}"));
        }
        fetch
            .arg("--")
            .arg(&from)
            .arg(format!("+{id}:{name}"))
            .read()?;
    }
    let mut refs = BTreeMap::new();
    let said = text(
        git(&repo)
            .args(["for-each-ref", "--format=%(refname)"])
            .read()?,
    );
    for name in said.lines() {
        let peeled = format!("{name}^{{commit}}");
        let id = text(git(&repo).args(["rev-parse", "--verify", &peeled]).read()?);
        refs.insert(name.to_owned(), id.trim().to_owned());
    }
    let (pack, shallow) = pack(&repo, &refs, scratch.path())?;
    let kept = means.cache.keep_bytes(&pack)?;
    let mut repo_name = want.repo.clone();
    repo_name.make_ascii_lowercase();
    Ok(Pin {
        made_with: text(git(&repo).arg("--version").read()?).trim().to_owned(),
        blobs: vec![blob(kept, PACK_TYPE)],
        items: vec![Item::Action(manifest::Action {
            name: repo_name,
            refs,
            pack: kept.digest,
            shallow,
            source: Origin {
                uri: match (&want.git, &want.folder) {
                    (Some(url), _) => without_password(url),
                    (None, folder) => {
                        format!(
                            "folder:{}",
                            folder.as_deref().unwrap_or(Path::new("")).display()
                        )
                    }
                },
                checked: "git object ids".to_owned(),
            },
        })],
        ..Pin::default()
    })
}

/// The full names of the entry's tags and branches, with what the other side has there now; a
/// tag goes before a branch of the same name.
fn named(want: &Action, from: &str, repo: &Path) -> Result<BTreeMap<String, String>, SourceError> {
    let said = git(repo)
        .args(["ls-remote", "--quiet", "--refs", "--", from])
        .read()?;
    let said = text(said);
    let there: BTreeMap<&str, &str> = said
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(id, name)| (name, id))
        .collect();
    let mut found = BTreeMap::new();
    for short in &want.refs {
        let names = [format!("refs/tags/{short}"), format!("refs/heads/{short}")];
        let name = names
            .into_iter()
            .find(|name| there.contains_key(name.as_str()));
        let Some(name) = name else {
            let said = format!("{} has no tag and no branch '{short}'", want.repo);
            return Err(SourceError::Refused(said));
        };
        let id = there[name.as_str()].to_owned();
        found.insert(name, id);
    }
    Ok(found)
}

/// The pack of all that these commits reach, and the commits whose parents are left out.
fn pack(
    repo: &Path,
    refs: &BTreeMap<String, String>,
    scratch: &Path,
) -> Result<(Vec<u8>, Vec<String>), SourceError> {
    let tips = scratch.join("tips");
    let mut lines: Vec<String> = refs.values().map(|id| format!("{id}\n")).collect();
    lines.sort();
    lines.dedup();
    std::fs::write(&tips, lines.concat()).map_err(SourceError::io(&tips))?;
    let pack = git(repo)
        .args([
            "-c",
            "pack.compression=9",
            "-c",
            "pack.writeBitmapHashCache=false",
        ])
        .args([
            "pack-objects",
            "--quiet",
            "--revs",
            "--stdout",
            "--threads=1",
        ])
        .args([
            "--window=10",
            "--depth=50",
            "--no-reuse-delta",
            "--no-reuse-object",
        ])
        .args(["--delta-base-offset"])
        .feed(Some(&tips))?;
    let shallow = match std::fs::read_to_string(repo.join("shallow")) {
        Ok(text) => {
            let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
            ids.sort();
            ids
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(SourceError::io(&repo.join("shallow"))(e)),
    };
    Ok((pack, shallow))
}

/// git on one bare repository.
fn git(repo: &Path) -> Child {
    let mut git = Child::new("git", "git")
        .env("GIT_DIR", repo)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_COUNT", "3");
    // Templates and hooks of the host stay out; reading somebody else's folder is allowed.
    let settings = [
        ("init.templateDir", ""),
        ("core.hooksPath", "/dev/null"),
        ("safe.directory", "*"),
    ];
    for (index, (key, value)) in settings.iter().enumerate() {
        git = git
            .env(&format!("GIT_CONFIG_KEY_{index}"), key)
            .env(&format!("GIT_CONFIG_VALUE_{index}"), value);
    }
    for name in ["GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        git = git.without_env(name);
    }
    git
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An address without the user and password that may stand in it.
fn without_password(url: &str) -> String {
    match url
        .split_once("://")
        .map(|(scheme, rest)| (scheme, rest.split_once('@')))
    {
        Some((scheme, Some((_, rest)))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}
