//! History: commits of a branch or a file, one commit.

use std::collections::HashSet;

use axum::extract::{Path, Query};
use axum::response::Response;
use forge::Repo;
use git::{Commit, Objects};
use serde::Deserialize;

use super::code::{Place, Rest, read_fault};
use super::{frame, render, repo_head, runs, short_id};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;
use crate::view::{ChangeLine, CommitLine, CommitPage, Commits, Link};
use crate::{href, words};

/// Commits on one page.
const PAGE: usize = 50;
/// The most changed files that a commit's page lists.
const CHANGES: usize = 500;

/// A commit in one line.
pub(crate) fn line(app: &App, repo: &Repo, commit: &Commit) -> CommitLine {
    let id = commit.id.to_string();
    let summary = commit.summary().trim();
    CommitLine {
        title: if summary.is_empty() {
            "(no message)".to_owned()
        } else {
            summary.chars().take(200).collect()
        },
        href: format!("/{}/commit/{id}", repo.path),
        short: short_id(&id),
        author: commit.author.name.clone(),
        at: words::when_s(commit.committer.seconds, app.clock.now()),
    }
}

#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    skip: usize,
}

/// `GET /{owner}/{repo}/commits/{*rest}`
pub(crate) async fn list(
    ctx: Ctx,
    Path(rest): Path<Rest>,
    Query(page): Query<Page>,
) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let head = repo_head(&ctx, &repo, "Commits");
    let frame = frame(&ctx, &format!("Commits · {}", repo.path), "Repos").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let place = Place::find(&app, &repo, rest.rest.as_deref())?
                .ok_or_else(|| Fault::missing("a commit"))?;
            let objects = place.repository.objects();
            let path = (!place.path.is_empty()).then_some(place.path.as_str());
            let skip = page.skip.min(50_000);
            let log = objects
                .log(place.commit, path, skip, PAGE)
                .map_err(read_fault)?;
            let more = log.more.then(|| {
                format!(
                    "{}?skip={}",
                    place.href(&repo, "commits", &place.path),
                    skip + PAGE
                )
            });
            render(&Commits {
                frame,
                picker: place.picker(&repo, "commits")?,
                commits: log.commits.iter().map(|c| line(&app, &repo, c)).collect(),
                more,
                repo: head,
            })
        })
        .await
}

#[derive(Deserialize)]
pub(crate) struct Id {
    id: String,
}

/// `GET /{owner}/{repo}/commit/{id}`
pub(crate) async fn one(ctx: Ctx, Path(id): Path<Id>) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let head = repo_head(&ctx, &repo, "Commits");
    let mut frame = frame(&ctx, "", "Repos").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let repository = app.repository(repo.id).map_err(Fault::internal)?;
            let found = repository
                .resolve(&id.id)
                .map_err(read_fault)?
                .ok_or_else(|| Fault::missing(format!("commit '{}'", id.id)))?;
            let objects = repository.objects();
            let commit = objects.commit(found.commit).map_err(read_fault)?;
            let (changes, truncated) = changes(&repo, &objects, &commit)?;
            let text = commit.id.to_string();
            let shown = line(&app, &repo, &commit);
            frame.title = format!("{} · {}", shown.title, repo.path);
            let message = commit
                .message
                .split_once('\n')
                .map_or("", |(_, body)| body.trim());
            let count = u64::try_from(changes.len()).unwrap_or(u64::MAX);
            let committer = (commit.committer.name != commit.author.name)
                .then(|| commit.committer.name.clone());
            let found_runs = runs::lines_of_commit(&app, &repo, &text)?;
            render(&CommitPage {
                frame,
                id: text.clone(),
                title: shown.title,
                message: message.to_owned(),
                author: commit.author.name.clone(),
                authored: words::when_s(commit.author.seconds, app.clock.now()),
                committer,
                parents: commit
                    .parents
                    .iter()
                    .map(|p| {
                        Link::new(
                            short_id(&p.to_string()),
                            format!("/{}/commit/{p}", repo.path),
                        )
                    })
                    .collect(),
                files_href: format!("/{}/tree/{text}", repo.path),
                runs: found_runs,
                changes,
                changed_count: words::count(count, "file"),
                note: truncated.then(|| format!("The first {CHANGES} files are shown.")),
                repo: head,
            })
        })
        .await
}

fn changes(
    repo: &Repo,
    objects: &Objects,
    commit: &Commit,
) -> Result<(Vec<ChangeLine>, bool), Fault> {
    let parent = commit.parents.first().copied();
    let changed = objects
        .changed_paths(parent, commit.id, CHANGES)
        .map_err(read_fault)?;
    let mut lines = Vec::new();
    let mut seen = HashSet::new();
    for path in changed.paths {
        if !seen.insert(path.clone()) {
            continue;
        }
        let is = objects.entry(commit.id, &path).map_err(read_fault)?;
        let was = match parent {
            Some(parent) => objects.entry(parent, &path).map_err(read_fault)?,
            None => None,
        };
        let (word, class) = match (&was, &is) {
            (None, _) => ("added", "add"),
            (_, None) => ("removed", "del"),
            _ => ("changed", ""),
        };
        let blob = is.filter(|e| e.kind.is_blob());
        let address =
            blob.map(|_| format!("/{}/blob/{}/{}", repo.path, commit.id, href::path(&path)));
        lines.push(ChangeLine {
            word,
            class,
            path,
            href: address,
        });
    }
    Ok((lines, changed.truncated))
}
