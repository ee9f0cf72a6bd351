//! An import while it runs and as it ended: bytes, rate, time left, what became active.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::SystemTime;
use supply::bundles::{self, Phase, Snapshot};

use super::bundle_about::{self as about, state};
use super::bundles::phase_state;
use super::{bundle_look, frame, render, see};
use crate::api::bad_form;
use crate::api::bundles as api;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::view::bundles::{Import, ImportView, PhaseLine};
use crate::view::{Link, Row, State};
use crate::{href, words};

#[derive(Deserialize)]
pub(crate) struct Which {
    /// The medium that it was begun with, for the way back.
    #[serde(default)]
    medium: String,
}

/// `GET /bundles/import`
pub(crate) async fn page(ctx: Ctx, Query(which): Query<Which>) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Import", "Bundles").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let now = app.clock.now();
            let at = match app.intake.current() {
                Some(progress) => {
                    let shown = progress.snapshot();
                    let active = app.store.read(|db| active(db, &shown))?;
                    Some(view(&shown, active, &which.medium, now))
                }
                None => None,
            };
            render(&Import { frame, at })
        })
        .await
}

/// The generation that the import made active, as a link with what it has.
fn active(db: &store::Db, shown: &Snapshot) -> Result<Option<(Link, Vec<Row>)>, Fault> {
    let Some(generation) = shown.generation else {
        return Ok(None);
    };
    let all = bundles::history(db)?;
    let Some(entry) = all.iter().find(|entry| entry.generation == generation) else {
        return Ok(None);
    };
    let mut rows = Vec::new();
    for (kind, one) in [
        ("oci", "image"),
        ("action", "action"),
        ("pypi", "Python package"),
        ("toolcache", "toolchain"),
        ("file", "file"),
        ("doc", "document"),
    ] {
        let items = supply::generation::items_of(db, supply::GenerationId(generation), kind)?;
        if !items.is_empty() {
            let count = words::count(items.len() as u64, one);
            rows.push(Row::new(kind, count));
        }
    }
    let name = format!("Generation {generation}");
    Ok(Some((Link::new(name, about::href(&entry.bundle)), rows)))
}

fn view(
    shown: &Snapshot,
    active: Option<(Link, Vec<Row>)>,
    medium: &str,
    now: SystemTime,
) -> ImportView {
    let failed = shown.phase == Phase::Failed;
    let (active, summary) = active.unzip();
    ImportView {
        name: match &shown.bundle {
            Some(bundle) => format!("{} {} {}", bundle.product, bundle.channel, bundle.seq),
            None => "Import".to_owned(),
        },
        state: state_of(shown),
        who: words::plain(&shown.who),
        since: words::when(shown.since_ms, now),
        live: (!shown.ended()).then_some(shown.version),
        done: shown.bytes.done,
        total: shown.bytes.total.max(1),
        percent: percent(shown),
        numbers: numbers(shown),
        phases: phases(shown),
        refused: failed.then(|| {
            let code = shown.code.as_deref().unwrap_or("E_FAILED");
            about::told_of(code, shown.error.as_deref().unwrap_or_default())
        }),
        again: (failed && !medium.is_empty())
            .then(|| format!("/bundles/look?medium={}", href::value(medium))),
        notices: shown
            .notices
            .iter()
            .map(|text| words::plain(text))
            .collect(),
        active,
        summary: summary.unwrap_or_default(),
    }
}

fn state_of(shown: &Snapshot) -> State {
    match (shown.phase, shown.code.as_deref()) {
        (Phase::Done, _) => state("imported", "ok"),
        (Phase::Failed, Some("E_CANCELLED")) => state("cancelled", "stop"),
        (Phase::Failed, _) => state("refused", "bad"),
        (Phase::Verifying, _) => state("verifying", "run"),
        (Phase::Staging, _) => state("reading", "run"),
        (Phase::Checking, _) => state("checking", "run"),
        (Phase::Unpacking, _) => state("unpacking", "run"),
    }
}

fn percent(shown: &Snapshot) -> String {
    match shown.bytes.total {
        0 => String::new(),
        total => format!(
            "{} %",
            u128::from(shown.bytes.done) * 100 / u128::from(total)
        ),
    }
}

fn numbers(shown: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    if shown.bytes.total > 0 {
        rows.push(Row::new(
            "read",
            format!(
                "{} of {}",
                words::size(shown.bytes.done),
                words::size(shown.bytes.total)
            ),
        ));
        rows.push(Row::new(
            "blobs",
            format!("{} of {}", shown.blobs.done, shown.blobs.total),
        ));
        rows.push(Row::new("rate", format!("{}/s", words::size(shown.rate))));
    }
    if let Some(left) = shown.seconds_left.filter(|_| !shown.ended()) {
        rows.push(Row::new("left", format!("about {}", words::age(left))));
    }
    if !shown.at.is_empty() {
        rows.push(Row::new("now", words::plain(&shown.at)));
    }
    let elapsed = i64::try_from(shown.elapsed_ms).unwrap_or(i64::MAX);
    rows.push(Row::new("taken", words::span(elapsed)));
    rows
}

fn phases(shown: &Snapshot) -> Vec<PhaseLine> {
    if shown.phase == Phase::Failed {
        return Vec::new();
    }
    [
        (Phase::Verifying, "Signatures and rules"),
        (Phase::Staging, "Reading into the store, hashed as it comes"),
        (Phase::Checking, "Everything is there; the switch"),
        (
            Phase::Unpacking,
            "Images are unpacked, so that jobs can start",
        ),
    ]
    .into_iter()
    .map(|(phase, name)| PhaseLine {
        name,
        state: phase_state(shown.phase, phase),
        note: if shown.phase == phase {
            words::plain(&shown.at)
        } else {
            String::new()
        },
    })
    .collect()
}

#[derive(Deserialize)]
pub(crate) struct Start {
    medium: String,
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    quorum_override: bool,
}

/// `POST /bundles/import`: begins what was looked at.
pub(crate) async fn begin(
    ctx: Ctx,
    form: Result<Form<Start>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let place = api::medium(&ctx, &PathBuf::from(form.medium.trim()))?;
    let (looked, manifest) = (place.clone(), form.manifest);
    ctx.app
        .off(move || bundle_look::same(&looked, &manifest))
        .await?;
    let at = format!("/bundles/import?medium={}", href::value(&form.medium));
    match api::begin(&ctx, place, form.quorum_override).await {
        Ok(_) => Ok(see(&at)),
        // Another one runs: its own page says how far it is.
        Err(fault) if fault.code == Some("E_BUSY") || fault.cause.is_some() => Err(fault),
        // The refusal is what the import's page shows.
        Err(_) => Ok(see(&at)),
    }
}

/// `POST /bundles/import/cancel`
pub(crate) async fn cancel(ctx: Ctx) -> Result<Response, Fault> {
    // One that has just ended is not in need of it.
    match api::end_import(&ctx).await {
        Err(fault) if fault.status != StatusCode::CONFLICT => Err(fault),
        Ok(_) | Err(_) => Ok(see("/bundles/import")),
    }
}
