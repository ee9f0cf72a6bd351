//! Pages: each handler reads, builds a view and renders it.

pub(crate) mod account;
pub(crate) mod code;
pub(crate) mod commits;
pub(crate) mod log_view;
pub(crate) mod pool;
pub(crate) mod repos;
pub(crate) mod run;
mod run_parts;
pub(crate) mod runs;
pub(crate) mod settings;

use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;
use crate::view::{Frame, Link, RepoHead, Seal};
use crate::{assets, words};

/// Renders a view as an HTML page.
pub(crate) fn render(view: &impl Template) -> Result<Response, Fault> {
    let html = view.render().map_err(Fault::internal)?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, html).into_response())
}

/// Sends a browser on after a form.
pub(crate) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// What stands around the content of a page. `here` is the place in the bar that it belongs to.
pub(crate) async fn frame(ctx: &Ctx, title: &str, here: &str) -> Result<Frame, Fault> {
    let newest = ctx.app.read(|db| Ok(supply::newest_import_ms(db)?)).await?;
    let seal = seal(&ctx.app, newest);
    Ok(frame_of(ctx.shown_name(), seal, title, here))
}

/// The same from what is known already.
pub(crate) fn frame_of(user: Option<String>, seal: Seal, title: &str, here: &str) -> Frame {
    let place = |name: &str, href: &str| Link::new(name, href).here(name == here);
    Frame {
        title: title.to_owned(),
        user,
        places: vec![
            place("Repos", "/"),
            place("Runs", "/runs"),
            place("Queue", "/queue"),
            place("Runners", "/runners"),
        ],
        seal,
        said: Vec::new(),
        version: env!("CARGO_PKG_VERSION"),
        assets: assets::version(),
    }
}

/// What the bar says where the age of the supply is not known.
pub(crate) fn plain_seal() -> Seal {
    Seal {
        what: "no way out".to_owned(),
        age: None,
        title: SEALED.to_owned(),
    }
}

const SEALED: &str = "No part of this appliance reaches beyond its own network.";

fn seal(app: &App, newest_import_ms: Option<i64>) -> Seal {
    match newest_import_ms {
        None => Seal {
            what: "nothing imported yet".to_owned(),
            age: None,
            title: SEALED.to_owned(),
        },
        Some(ms) => {
            let when = words::when(ms, app.clock.now());
            Seal {
                what: "last image import".to_owned(),
                age: Some(when.relative),
                title: format!("{SEALED} The newest image was imported {}.", when.full),
            }
        }
    }
}

/// The head of a repo's pages; `here` is the tab.
pub(crate) fn repo_head(ctx: &Ctx, repo: &forge::Repo, here: &str) -> RepoHead {
    let href = format!("/{}", repo.path);
    let mut tabs = vec![
        Link::new("Files", href.clone()),
        Link::new("Commits", format!("{href}/commits")),
        Link::new("Runs", format!("{href}/runs")),
    ];
    if ctx.may(access::Action::SecretList) {
        tabs.push(Link::new(
            "Secrets and variables",
            format!("{href}/settings"),
        ));
    }
    for tab in &mut tabs {
        tab.here = tab.name == here;
    }
    RepoHead {
        owner: repo.path.owner.to_string(),
        name: repo.path.name.to_string(),
        href,
        visibility: visibility(repo.visibility),
        tabs,
    }
}

/// Who sees a repo, in words.
pub(crate) fn visibility(visibility: vocab::Visibility) -> &'static str {
    match visibility {
        vocab::Visibility::Private => "private",
        vocab::Visibility::Instance => "everybody signed in",
        vocab::Visibility::Public => "public",
    }
}

/// Where a repo is cloned from.
pub(crate) fn clone_url(app: &App, repo: &forge::Repo) -> String {
    app.url(&format!("/{}.git", repo.path))
}

/// The ref without its `refs/heads/` or `refs/tags/`.
pub(crate) fn short_ref(name: &str) -> &str {
    name.strip_prefix("refs/heads/")
        .or_else(|| name.strip_prefix("refs/tags/"))
        .unwrap_or(name)
}

/// The first digits of a commit's id.
pub(crate) fn short_id(id: &str) -> String {
    id.chars().take(8).collect()
}
