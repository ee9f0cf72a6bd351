//! Files of a repo: its home, folders, one file, the file as it is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use forge::Repo;
use git::{EntryKind, ObjectId, Objects, Repository, TreeEntry};
use serde::Deserialize;

use super::{clone_url, commits, frame, render, repo_head, runs, see, ssh_url};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::markdown::{self, Base};
use crate::state::App;
use crate::view::{
    BlobBody, BlobPage, FileLine, Link, Picker, Readme, RepoEmpty, RepoPage, SshClone, Tree,
    TreePage,
};
use crate::{href, words};

/// Longest file that is shown as text.
const TEXT_BYTES: u64 = 512 << 10;
/// Longest file that is sent raw in one piece.
const RAW_BYTES: u64 = 128 << 20;
/// The most entries of a folder that are shown.
const ENTRIES: usize = 2_000;
/// The most branches, and tags, that the picker offers.
const PICKS: usize = 100;

/// Which place of which revision: the rest of the path after `tree/`, `blob/` or `raw/`.
#[derive(Deserialize)]
pub(crate) struct Rest {
    pub(crate) rest: Option<String>,
}

/// A revision and a path in it.
pub(crate) struct Place {
    pub(crate) repository: Arc<Repository>,
    /// As the address names it: a branch, a tag or an id.
    pub(crate) rev: String,
    pub(crate) commit: ObjectId,
    pub(crate) path: String,
}

impl Place {
    /// Splits `rest` into a revision and a path: the longest ref that it begins with wins.
    /// `None` when the repo has no commit at all.
    pub(crate) fn find(app: &App, repo: &Repo, rest: Option<&str>) -> Result<Option<Self>, Fault> {
        let repository = app.repository(repo.id).map_err(Fault::internal)?;
        let refs = repository.refs().map_err(Fault::internal)?;
        let rest = rest.unwrap_or("").trim_matches('/');
        if rest.is_empty() {
            let head = repository.head().map_err(Fault::internal)?;
            let (rev, commit) = match head.target(&refs) {
                Some(commit) => {
                    let name = head
                        .branch()
                        .map_or_else(|| commit.to_string(), str::to_owned);
                    (super::short_ref(&name).to_owned(), commit)
                }
                // HEAD names a branch that was never pushed: show one that was.
                None => match refs.prefixed("refs/heads/").next() {
                    Some(first) => (super::short_ref(&first.name).to_owned(), first.target),
                    None => return Ok(None),
                },
            };
            return Ok(Some(Self {
                repository,
                rev,
                commit,
                path: String::new(),
            }));
        }
        let mut end = rest.len();
        loop {
            let rev = &rest[..end];
            if let Some(found) = repository.resolve(rev).map_err(read_fault)? {
                let path = rest[end..].trim_matches('/').to_owned();
                let (rev, commit) = (rev.to_owned(), found.commit);
                return Ok(Some(Self {
                    repository,
                    rev,
                    commit,
                    path,
                }));
            }
            match rest[..end].rfind('/') {
                Some(at) => end = at,
                None => {
                    let what = rest.split('/').next().unwrap_or(rest);
                    return Err(Fault::missing(format!("revision '{what}'")));
                }
            }
        }
    }

    /// The address of a place in this revision. `kind` is `tree`, `blob` or `raw`.
    pub(crate) fn href(&self, repo: &Repo, kind: &str, path: &str) -> String {
        let (rev, path) = (href::path(&self.rev), href::path(path));
        let slash = if path.is_empty() { "" } else { "/" };
        format!("/{}/{kind}/{rev}{slash}{path}", repo.path)
    }

    pub(crate) fn picker(&self, repo: &Repo, kind: &str) -> Result<Picker, Fault> {
        let refs = self.repository.refs().map_err(Fault::internal)?;
        let list = |prefix: &str| -> (Vec<Link>, usize) {
            let all: Vec<&git::Ref> = refs.prefixed(prefix).collect();
            let shown = all.iter().take(PICKS).map(|r| {
                let name = super::short_ref(&r.name);
                let address = format!("/{}/{kind}/{}", repo.path, href::path(name));
                Link::new(name, address).here(name == self.rev)
            });
            (shown.collect(), all.len().saturating_sub(PICKS))
        };
        let (branches, more_branches) = list("refs/heads/");
        let (tags, more_tags) = list("refs/tags/");
        let id = self.commit.to_string();
        let current = if self.rev == id {
            super::short_id(&id)
        } else {
            self.rev.clone()
        };
        Ok(Picker {
            current,
            branches,
            tags,
            more: more_branches + more_tags,
        })
    }

    fn crumbs(&self, repo: &Repo) -> Vec<Link> {
        if self.path.is_empty() {
            return Vec::new();
        }
        let mut crumbs = vec![Link::new(
            repo.path.name.as_str(),
            self.href(repo, "tree", ""),
        )];
        for (at, _) in self.path.match_indices('/').chain([(self.path.len(), "")]) {
            let path = &self.path[..at];
            let name = path.rsplit('/').next().unwrap_or(path);
            crumbs.push(Link::new(name, self.href(repo, "tree", path)));
        }
        crumbs
    }

    fn tree(
        &self,
        app: &App,
        repo: &Repo,
        objects: &Objects,
    ) -> Result<(Tree, Option<Readme>), Fault> {
        let Some(mut entries) = objects.tree(self.commit, &self.path).map_err(read_fault)? else {
            return Err(Fault::missing(format!("folder '{}'", self.path)));
        };
        let total = entries.len();
        entries.sort_by_key(|e| e.kind != EntryKind::Directory);
        let readme = self.readme(repo, objects, &entries)?;
        entries.truncate(ENTRIES);
        let rows = entries
            .iter()
            .map(|entry| self.row(repo, objects, entry))
            .collect();
        let commit = objects.commit(self.commit).map_err(read_fault)?;
        let tree = Tree {
            crumbs: self.crumbs(repo),
            commit: Some(commits::line(app, repo, &commit)),
            rows,
            note: (total > ENTRIES).then(|| format!("{ENTRIES} of {total} entries are shown.")),
        };
        Ok((tree, readme))
    }

    fn row(&self, repo: &Repo, objects: &Objects, entry: &TreeEntry) -> FileLine {
        let path = if self.path.is_empty() {
            entry.name.clone()
        } else {
            format!("{}/{}", self.path, entry.name)
        };
        let (kind, page) = match entry.kind {
            EntryKind::Directory => ("folder", Some("tree")),
            EntryKind::Submodule => ("other repo", None),
            EntryKind::File => ("file", Some("blob")),
            EntryKind::Executable => ("program", Some("blob")),
            EntryKind::Symlink => ("link", Some("blob")),
        };
        let size = match entry.kind {
            EntryKind::File | EntryKind::Executable => objects
                .header(&entry.id)
                .map_or_else(|_| String::new(), |(_, bytes)| words::size(bytes)),
            EntryKind::Symlink => "link".to_owned(),
            EntryKind::Submodule => "other repo".to_owned(),
            EntryKind::Directory => String::new(),
        };
        FileLine {
            name: entry.name.clone(),
            href: page.map(|page| self.href(repo, page, &path)),
            is_dir: entry.kind == EntryKind::Directory,
            kind,
            size,
        }
    }

    fn readme(
        &self,
        repo: &Repo,
        objects: &Objects,
        entries: &[TreeEntry],
    ) -> Result<Option<Readme>, Fault> {
        let rank = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["readme.md", "readme.markdown", "readme", "readme.txt"]
                .iter()
                .position(|r| *r == name)
        };
        let best = entries
            .iter()
            .filter(|e| matches!(e.kind, EntryKind::File | EntryKind::Executable))
            .filter_map(|e| rank(&e.name).map(|rank| (rank, e)))
            .min_by_key(|(rank, _)| *rank);
        let Some((rank, entry)) = best else {
            return Ok(None);
        };
        let Ok(bytes) = objects.blob(entry.id, TEXT_BYTES) else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let html = if rank < 2 {
            markdown::render(&text, Some(&self.base(repo, &self.path)))
        } else {
            format!("<pre>{}</pre>", crate::ansi::escape(&text))
        };
        Ok(Some(Readme {
            name: entry.name.clone(),
            html,
        }))
    }

    /// Where relative addresses of a text in folder `dir` lead.
    fn base(&self, repo: &Repo, dir: &str) -> Base {
        let under = |kind: &str| format!("{}/", self.href(repo, kind, dir));
        Base {
            links: under("blob"),
            images: under("raw"),
        }
    }
}

fn ssh_clone(app: &App, repo: &Repo) -> Option<SshClone> {
    Some(SshClone {
        url: ssh_url(app, repo)?,
        fingerprint: app.config.ssh.as_ref()?.fingerprint.clone(),
    })
}

/// `GET /{owner}/{repo}`
pub(crate) async fn home(ctx: Ctx) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let head = repo_head(&ctx, &repo, "Files");
    let frame = frame(&ctx, &repo.path.to_string(), "Repos").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let url = clone_url(&app, &repo);
            let Some(place) = Place::find(&app, &repo, None)? else {
                let branch = repo.default_branch.clone();
                return render(&RepoEmpty {
                    frame,
                    repo: head,
                    clone_url: url,
                    branch,
                });
            };
            let objects = place.repository.objects();
            let (tree, readme) = place.tree(&app, &repo, &objects)?;
            let log = objects.log(place.commit, None, 0, 6).map_err(read_fault)?;
            let last = runs::lines_of(&app, &repo, 6)?;
            render(&RepoPage {
                frame,
                picker: place.picker(&repo, "tree")?,
                tree,
                readme,
                clone_url: url,
                ssh: ssh_clone(&app, &repo),
                commits: log
                    .commits
                    .iter()
                    .map(|c| commits::line(&app, &repo, c))
                    .collect(),
                commits_href: format!("/{}/commits/{}", repo.path, href::path(&place.rev)),
                runs: last,
                repo: head,
            })
        })
        .await
}

/// `GET /{owner}/{repo}/tree/{*rest}`
pub(crate) async fn tree(ctx: Ctx, Path(rest): Path<Rest>) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let head = repo_head(&ctx, &repo, "Files");
    let mut frame = frame(&ctx, &repo.path.to_string(), "Repos").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let place = Place::find(&app, &repo, rest.rest.as_deref())?
                .ok_or_else(|| Fault::missing("a commit"))?;
            let objects = place.repository.objects();
            let entry = objects
                .entry(place.commit, &place.path)
                .map_err(read_fault)?;
            if entry.is_some_and(|e| e.kind.is_blob()) {
                return Ok(see(&place.href(&repo, "blob", &place.path)));
            }
            let (tree, readme) = place.tree(&app, &repo, &objects)?;
            if !place.path.is_empty() {
                frame.title = format!("{} · {}", place.path, repo.path);
            }
            render(&TreePage {
                frame,
                picker: place.picker(&repo, "tree")?,
                tree,
                readme,
                repo: head,
            })
        })
        .await
}

/// `GET /{owner}/{repo}/blob/{*rest}`
pub(crate) async fn blob(
    ctx: Ctx,
    Path(rest): Path<Rest>,
    axum::extract::RawQuery(query): axum::extract::RawQuery,
) -> Result<Response, Fault> {
    let plain = query.is_some_and(|q| q.split('&').any(|p| p == "plain=1"));
    let repo = ctx.repo()?.clone();
    let head = repo_head(&ctx, &repo, "Files");
    let mut frame = frame(&ctx, "", "Repos").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let (place, entry) = find_entry(&app, &repo, rest.rest.as_deref())?;
            if entry.kind == EntryKind::Directory {
                return Ok(see(&place.href(&repo, "tree", &place.path)));
            }
            frame.title = format!("{} · {}", place.path, repo.path);
            let objects = place.repository.objects();
            let size = objects.header(&entry.id).map_err(read_fault)?.1;
            let (body, toggle) = shown(&place, &repo, &objects, &entry, size, plain)?;
            render(&BlobPage {
                frame,
                picker: place.picker(&repo, "tree")?,
                crumbs: place.crumbs(&repo),
                name: entry.name.clone(),
                size: words::size(size),
                toggle,
                raw_href: place.href(&repo, "raw", &place.path),
                body,
                repo: head,
            })
        })
        .await
}

fn find_entry(app: &App, repo: &Repo, rest: Option<&str>) -> Result<(Place, TreeEntry), Fault> {
    let place = Place::find(app, repo, rest)?.ok_or_else(|| Fault::missing("a commit"))?;
    let entry = place
        .repository
        .objects()
        .entry(place.commit, &place.path)
        .map_err(read_fault)?
        .ok_or_else(|| Fault::missing(format!("file '{}'", place.path)))?;
    Ok((place, entry))
}

fn shown(
    place: &Place,
    repo: &Repo,
    objects: &Objects,
    entry: &TreeEntry,
    size: u64,
    plain: bool,
) -> Result<(BlobBody, Option<Link>), Fault> {
    if entry.kind == EntryKind::Submodule {
        let why = format!("This is another repo, at commit {}.", entry.id);
        return Ok((BlobBody::Opaque(why), None));
    }
    if size <= RAW_BYTES && image_kind(&entry.name).is_some() {
        return Ok((BlobBody::Image, None));
    }
    if size > TEXT_BYTES {
        let why = format!(
            "The file has {}; the page shows up to {}. Take it raw.",
            words::size(size),
            words::size(TEXT_BYTES)
        );
        return Ok((BlobBody::Opaque(why), None));
    }
    let bytes = objects.blob(entry.id, TEXT_BYTES).map_err(read_fault)?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Ok((
            BlobBody::Opaque("The file is not text. Take it raw.".to_owned()),
            None,
        ));
    };
    if text.contains('\0') {
        return Ok((
            BlobBody::Opaque("The file is not text. Take it raw.".to_owned()),
            None,
        ));
    }
    let lower = entry.name.to_ascii_lowercase();
    let is_markdown = lower.ends_with(".md") || lower.ends_with(".markdown");
    if is_markdown && !plain {
        let dir = place.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let html = markdown::render(&text, Some(&place.base(repo, dir)));
        let source = format!("{}?plain=1", place.href(repo, "blob", &place.path));
        return Ok((BlobBody::Prose(html), Some(Link::new("Source", source))));
    }
    let toggle = is_markdown.then(|| Link::new("Rendered", place.href(repo, "blob", &place.path)));
    Ok((
        BlobBody::Text(text.lines().map(str::to_owned).collect()),
        toggle,
    ))
}

fn image_kind(name: &str) -> Option<&'static str> {
    match name.rsplit('.').next()?.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        "svg" => Some("image/svg+xml"),
        "ico" => Some("image/x-icon"),
        _ => None,
    }
}

/// `GET /{owner}/{repo}/raw/{*rest}`: the bytes, never as a page that could act.
pub(crate) async fn raw(ctx: Ctx, Path(rest): Path<Rest>) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let (place, entry) = find_entry(&app, &repo, rest.rest.as_deref())?;
            if !entry.kind.is_blob() {
                return Err(Fault::missing(format!("file '{}'", place.path)));
            }
            let bytes = place
                .repository
                .objects()
                .blob(entry.id, RAW_BYTES)
                .map_err(read_fault)?;
            let text = !bytes.contains(&0) && std::str::from_utf8(&bytes).is_ok();
            let kind = match image_kind(&entry.name) {
                Some(kind) => kind,
                None if text => "text/plain; charset=utf-8",
                None => "application/octet-stream",
            };
            let mut response = Response::new(Body::from(bytes));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(
                header::CONTENT_SECURITY_POLICY,
                HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox"),
            );
            Ok(response)
        })
        .await
}

/// What a reader of a repo is told.
pub(crate) fn read_fault(error: impl Into<git::ResolveError>) -> Fault {
    let error = error.into();
    match &error {
        git::ResolveError::Ambiguous { .. } | git::ResolveError::NotACommit { .. } => {
            Fault::bad(error)
        }
        git::ResolveError::Read(git::ReadError::TooLarge { .. }) => {
            Fault::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, error).todo("clone the repo")
        }
        git::ResolveError::Read(git::ReadError::WrongKind { .. }) => Fault::bad(error),
        _ => Fault::internal(error),
    }
}
