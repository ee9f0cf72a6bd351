//! Pages: each handler reads, builds a view and renders it.

pub(crate) mod account;
pub(crate) mod audit;
mod audit_about;
pub(crate) mod audit_controls;
pub(crate) mod audit_entry;
pub(crate) mod audit_export;
mod bundle_about;
mod bundle_changes;
pub(crate) mod bundle_custody;
pub(crate) mod bundle_import;
pub(crate) mod bundle_look;
mod bundle_media;
pub(crate) mod bundle_one;
pub(crate) mod bundle_upkeep;
pub(crate) mod bundles;
pub(crate) mod catalogue;
mod catalogue_items;
pub(crate) mod code;
pub(crate) mod commits;
pub(crate) mod keys;
pub(crate) mod log_view;
pub(crate) mod pool;
pub(crate) mod repos;
pub(crate) mod run;
mod run_parts;
mod run_signed;
pub(crate) mod runs;
pub(crate) mod settings;
mod wants;

use askama::Template;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::state::App;
use crate::view::{Frame, Link, RepoHead, Said, Seal};
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
    let principal = ctx.principal.clone();
    let (supply, sees) = ctx
        .app
        .read(move |db| {
            let may = |action| {
                access::authorize(db, &principal, action, &access::Resource::Instance).is_ok()
            };
            let sees = Sees {
                catalogue: may(access::Action::CatalogueRead),
                bundles: may(access::Action::BundleRead),
                audit: may(access::Action::AuditRead),
            };
            Ok((Supply::look(db)?, sees))
        })
        .await?;
    let seal = seal(&ctx.app, &supply, sees);
    let mut frame = frame_of(ctx.shown_name(), seal, title, here);
    let place = |name: &str, href: &str| Link::new(name, href).here(name == here);
    if sees.catalogue {
        frame.places.push(place("Catalogue", "/catalogue"));
    }
    if sees.bundles {
        frame.places.push(place("Bundles", "/bundles"));
    }
    if sees.audit {
        frame.places.push(place("Audit", "/audit"));
    }
    frame.said.extend(blocked(&ctx.app, sees.audit));
    Ok(frame)
}

/// What every page says while nothing can be changed; all of it to those who may mend it.
pub(crate) fn blocked(app: &App, all: bool) -> Option<Said> {
    let ::audit::State::Blocked(blocked) = app.auditor.state() else {
        return None;
    };
    let since = words::when(blocked.since_ms, app.clock.now()).full;
    let text = match all {
        true => format!(
            "Nothing can be changed since {since}: the audit log takes no entries. {} What to do: \
             {}",
            sentence(&words::plain(&blocked.what)),
            sentence(blocked.cause.todo()),
        ),
        false => format!(
            "Nothing can be changed since {since}: the audit log takes no entries. Reading goes \
             on. Tell an administrator."
        ),
    };
    Some(Said { tone: "bad", text })
}

/// What a reader may open.
#[derive(Clone, Copy)]
struct Sees {
    catalogue: bool,
    bundles: bool,
    audit: bool,
}

/// How old the supply is, as the bar says it.
struct Supply {
    generation: Option<i64>,
    bundle: Option<supply::bundles::Row>,
    newest_image_ms: Option<i64>,
}

impl Supply {
    fn look(db: &store::Db) -> Result<Self, Fault> {
        Ok(Self {
            generation: supply::generation::active(db)?.map(|id| id.0),
            bundle: supply::bundles::active(db)?,
            newest_image_ms: supply::newest_import_ms(db)?,
        })
    }
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
        title: SEALED.to_owned(),
        ..Seal::default()
    }
}

const SEALED: &str = "No part of this appliance reaches beyond its own network.";

fn seal(app: &App, supply: &Supply, sees: Sees) -> Seal {
    let now = app.clock.now();
    let href = match sees {
        Sees { bundles: true, .. } => Some("/bundles"),
        Sees {
            catalogue: true, ..
        } => Some("/catalogue"),
        Sees { .. } => None,
    };
    if let (Some(generation), Some(bundle)) = (supply.generation, &supply.bundle) {
        return Seal {
            what: format!("generation {generation},"),
            age: Some(age_in_days(&bundle.created, now)),
            title: format!(
                "{SEALED} What is served is {} {} {}, locked on {}.",
                bundle.product, bundle.channel, bundle.seq, bundle.created
            ),
            href,
        };
    }
    match supply.newest_image_ms {
        None => Seal {
            what: "nothing imported yet".to_owned(),
            age: None,
            title: SEALED.to_owned(),
            href,
        },
        Some(ms) => {
            let when = words::when(ms, now);
            Seal {
                what: "last image import".to_owned(),
                age: Some(when.relative),
                title: format!("{SEALED} The newest image was imported {}.", when.full),
                href,
            }
        }
    }
}

/// `6 days old`, from the day on which something was locked.
pub(crate) fn age_in_days(day: &str, now: std::time::SystemTime) -> String {
    match words::days_since(day, now) {
        Some(1) => "1 day old".to_owned(),
        Some(days) if days > 1 => format!("{days} days old"),
        _ => "of today".to_owned(),
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

/// Where a repo is cloned from over SSH, if it is.
pub(crate) fn ssh_url(app: &App, repo: &forge::Repo) -> Option<String> {
    let begin = app.ssh_address()?;
    Some(format!("{begin}/{}.git", repo.path))
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
