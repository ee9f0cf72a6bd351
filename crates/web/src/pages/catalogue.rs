//! Everything that is served: where it came from, how it was checked, who uses it, and what was
//! asked for in vain. Documents are read here.

use std::io::Read as _;

use axum::extract::{Path, Query};
use axum::response::Response;
use bundle::Item;
use serde::Deserialize;
use store::Db;
use supply::GenerationId;
use vocab::Digest;

use super::bundle_about as about;
use super::catalogue_items::{self as items, Around};
use super::{age_in_days, frame, render, wants};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;
use crate::view::catalogue::{Catalogue, Document, Shelf, Tab, Thing};
use crate::view::{Link, Row, Teach};
use crate::{href, markdown, uses, words};

/// Most rows of a kind where all kinds are shown, and where one is.
const SOME: usize = 25;
const MANY: usize = 2_000;

/// The largest document that is shown.
const DOCUMENT_BYTES: u64 = 2 << 20;

/// Kinds in the order of their shelves.
const KINDS: [&str; 6] = ["oci", "action", "pypi", "toolcache", "file", "doc"];
const WANTED: &str = "wanted";

#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    q: String,
    #[serde(default)]
    kind: String,
}

/// `GET /catalogue?q=&kind=`
pub(crate) async fn page(ctx: Ctx, Query(which): Query<Which>) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Catalogue", "Catalogue").await?;
    let (app, principal) = (ctx.app.clone(), ctx.principal.clone());
    ctx.app
        .off(move || {
            let now = app.clock.now();
            let uses = uses::shown_to(&app, &principal)?;
            app.store.read(|db| {
                let instance = access::Resource::Instance;
                let may = |action| access::authorize(db, &principal, action, &instance).is_ok();
                let active = supply::generation::active(db)?;
                let around =
                    Around::look(db, &app, active, &uses, may(access::Action::BundleRead))?;
                let query = which.q.trim().to_lowercase();
                let mut found = Vec::new();
                for kind in KINDS {
                    found.push((kind, things(db, active, kind, &around, &query)?));
                }
                let all_wants: Vec<_> = supply::generation::wants(db)?
                    .into_iter()
                    .filter(|want| want.name.to_lowercase().contains(&query))
                    .collect();
                let kind = KINDS
                    .into_iter()
                    .chain([WANTED])
                    .find(|kind| *kind == which.kind)
                    .unwrap_or_default();
                let tabs = tabs(&found, all_wants.len(), kind, &which.q);
                let total: usize = found.iter().map(|(_, things)| things.len()).sum();
                let shelves: Vec<Shelf> = found
                    .into_iter()
                    .filter(|(of, things)| (kind.is_empty() || kind == *of) && !things.is_empty())
                    .map(|(of, things)| shelf(&app, of, things, kind, &which.q, around.shows_uses))
                    .collect();
                let empty = (total == 0 && query.is_empty()).then(|| teach(&around));
                let nothing =
                    (empty.is_none() && shelves.is_empty() && kind != WANTED).then(|| {
                        "Nothing here has that in its name, its origin or its files.".to_owned()
                    });
                let shows_wants = kind.is_empty() || kind == WANTED;
                render(&Catalogue {
                    frame,
                    under: under(db, now)?,
                    tabs,
                    kind,
                    query: words::plain(&which.q),
                    shelves,
                    empty,
                    nothing,
                    shows_wants,
                    wants_more: all_wants.len().saturating_sub(wants::SHOWN),
                    wants: wants::lines(db, &principal, &all_wants, now)?,
                    can_export: may(access::Action::SlipExport),
                })
            })
        })
        .await
}

fn things(
    db: &Db,
    active: Option<GenerationId>,
    kind: &str,
    around: &Around,
    query: &str,
) -> Result<Vec<Thing>, Fault> {
    let carried = match active {
        Some(active) => supply::generation::items_of(db, active, kind)?,
        None => Vec::new(),
    };
    let mut found: Vec<Thing> = carried
        .iter()
        .map(|item| items::thing(item, around))
        .collect();
    if kind == "oci" {
        found.extend(items::by_hand(&carried, around));
    }
    found.retain(|thing| items::fits(thing, query));
    Ok(found)
}

fn under(db: &Db, now: std::time::SystemTime) -> Result<Vec<Row>, Fault> {
    let (Some(active), Some(bundle)) = (
        supply::generation::active(db)?,
        supply::bundles::active(db)?,
    ) else {
        return Ok(Vec::new());
    };
    Ok(vec![
        Row::new("generation", active.0.to_string()),
        Row::new("from", about::name(&bundle)),
        Row::new("content", age_in_days(&bundle.created, now)),
    ])
}

fn address(kind: &str, query: &str) -> String {
    let mut parts = Vec::new();
    if !kind.is_empty() {
        parts.push(format!("kind={kind}"));
    }
    if !query.trim().is_empty() {
        parts.push(format!("q={}", href::value(query.trim())));
    }
    if parts.is_empty() {
        return "/catalogue".to_owned();
    }
    format!("/catalogue?{}", parts.join("&"))
}

fn tabs(found: &[(&'static str, Vec<Thing>)], wanted: usize, kind: &str, query: &str) -> Vec<Tab> {
    let tab = |name: &str, of: &str, count| Tab {
        link: Link::new(name, address(of, query)).here(kind == of),
        count,
    };
    let all = found.iter().map(|(_, things)| things.len()).sum();
    let mut tabs = vec![tab("All", "", all)];
    for (of, things) in found {
        tabs.push(tab(items::title(of), of, things.len()));
    }
    tabs.push(tab("Not found", WANTED, wanted));
    tabs
}

fn shelf(
    app: &App,
    kind: &'static str,
    mut things: Vec<Thing>,
    shown: &str,
    query: &str,
    shows_uses: bool,
) -> Shelf {
    let count = things.len();
    things.truncate(if shown.is_empty() { SOME } else { MANY });
    let left = count - things.len();
    Shelf {
        id: kind,
        title: items::title(kind),
        count: count.to_string(),
        what: items::made_of(kind),
        command: items::command(app, kind, things.first()),
        shows_uses,
        more: (left > 0 && shown.is_empty())
            .then(|| Link::new(format!("All {count}"), address(kind, query))),
        rows: things,
    }
}

fn teach(around: &Around) -> Teach {
    Teach {
        title: "Nothing is served yet".to_owned(),
        text: "Images, actions, packages and toolchains come in a signed bundle. On the \
               appliance:"
            .to_owned(),
        commands: format!(
            "cofferdam bundle verify {0}/STICK    # who signed it, what it would bring\n\
             cofferdam bundle import {0}/STICK",
            around.medium
        ),
    }
}

#[derive(Deserialize)]
pub(crate) struct Named {
    name: String,
}

/// `GET /catalogue/documents/{name}`: a document as text.
pub(crate) async fn document(ctx: Ctx, Path(named): Path<Named>) -> Result<Response, Fault> {
    let shown = words::plain(&named.name);
    let key = format!("doc:{}", named.name);
    let found = ctx
        .app
        .read(move |db| {
            let Some(active) = supply::generation::active(db)? else {
                return Ok(None);
            };
            let item = supply::generation::item(db, active, &key)?;
            let Some(Item::Doc(doc)) = item else {
                return Ok(None);
            };
            let size = supply::generation::blob_size(db, active, &doc.d)?;
            Ok(Some((doc, size.unwrap_or_default())))
        })
        .await?;
    let (doc, size) = found.ok_or_else(|| Fault::missing("this document"))?;
    let frame = frame(&ctx, &shown, "Catalogue").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let read = text(&app, &doc.d);
            let is_markdown = [".md", ".markdown"]
                .iter()
                .any(|end| doc.name.to_lowercase().ends_with(end));
            let note = read
                .is_none()
                .then(|| "It is no text, larger than is shown here, or damaged.".to_owned());
            let (html, text) = match read {
                Some(text) if is_markdown && text.len() <= markdown::MAX_BYTES => {
                    (Some(markdown::render(&text, None)), None)
                }
                text => (None, text),
            };
            render(&Document {
                frame,
                name: shown,
                under: vec![
                    Row::new("from", words::plain(&doc.source.uri)),
                    Row::new("size", words::size(size)),
                    Row::new("digest", doc.d.to_string()),
                ],
                html,
                text,
                note,
            })
        })
        .await
}

/// A small blob that is text. Blocking.
pub(super) fn text(app: &App, digest: &Digest) -> Option<String> {
    let file = app.store.blobs().read(digest).ok()?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_BYTES + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > DOCUMENT_BYTES || bytes.contains(&0) {
        return None;
    }
    String::from_utf8(bytes).ok()
}
