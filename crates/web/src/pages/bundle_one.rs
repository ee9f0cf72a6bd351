//! One bundle that was brought here: what was signed, what it holds, what the audit log tells.

use audit::Filter;
use axum::extract::Path;
use axum::response::Response;
use bundle::{Item, Manifest};
use serde::Deserialize;
use serde_json::Value;
use store::Db;
use supply::bundles::{self, Row as BundleRow};

use super::bundle_about::{self as about};
use super::bundle_changes::item_name;
use super::{frame, render};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::markdown;
use crate::state::App;
use crate::view::bundles::{Bundle, ToldLine};
use crate::view::{Fold, Readme, Row};
use crate::words;

/// Most entries of the audit log that are shown.
const TOLD: u32 = 100;

/// Most items of a kind that are listed.
const LISTED: usize = 1_000;

#[derive(Deserialize)]
pub(crate) struct Which {
    pub(super) id: String,
}

impl Which {
    /// The bundle that the address names.
    pub(super) async fn row(&self, ctx: &Ctx) -> Result<bundles::Row, Fault> {
        let missing = || Fault::missing("this bundle");
        let id: i64 = self.id.parse().map_err(|_| missing())?;
        let row = ctx.app.read(move |db| Ok(bundles::row(db, id)?)).await?;
        row.ok_or_else(missing)
    }
}

/// `GET /bundles/{id}`
pub(crate) async fn page(ctx: Ctx, Path(which): Path<Which>) -> Result<Response, Fault> {
    let row = which.row(&ctx).await?;
    let frame = frame(&ctx, &about::name(&row), "Bundles").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let now = app.clock.now();
            let manifest = bundles::kept_manifest(&app.store, &row.manifest);
            let notes = manifest.as_ref().and_then(|m| notes(&app, m));
            app.store.read(|db| {
                let makers = about::makers(db)?;
                let generations = bundles::history(db)?
                    .iter()
                    .filter(|entry| entry.bundle.id == row.id)
                    .map(|entry| about::generation_line(entry, &makers, now))
                    .collect();
                render(&Bundle {
                    frame,
                    name: about::name(&row),
                    content: words::plain(&row.content),
                    state: about::import_state(&row.state),
                    facts: facts(&row, manifest.as_ref(), now),
                    signed: about::signers(&row),
                    comment: words::plain(&row.signed.comment),
                    generations,
                    volumes: manifest.as_ref().map(volumes).unwrap_or_default(),
                    items: manifest.as_ref().map(items).unwrap_or_default(),
                    notes,
                    collected: manifest.is_none(),
                    custody: format!("{}/custody", about::href(&row)),
                    told: told(db, &row)?,
                })
            })
        })
        .await
}

fn facts(row: &BundleRow, manifest: Option<&Manifest>, now: std::time::SystemTime) -> Vec<Row> {
    let (_, last) = about::expiry(row, now);
    let seen = words::when(row.seen_ms, now);
    let mut rows = vec![
        Row::new("manifest", row.manifest.to_string()),
        Row::new("locked on", row.created.clone()),
        Row::new("importable until", last),
        Row::new("root statement", row.root.to_string()),
        Row::new("size", words::size(row.size_bytes)),
        Row::new("were lacking here", words::size(row.missing_bytes)),
        Row::new(
            "seen first",
            format!("{}, {}", seen.absolute, seen.relative),
        ),
    ];
    if let Some(manifest) = manifest {
        rows.push(Row::new("for", manifest.arch.join(", ")));
        rows.push(Row::new("needs Cofferdam", manifest.min_appliance.clone()));
        rows.push(Row::new(
            "security epoch",
            manifest.security_epoch.to_string(),
        ));
        if !manifest.audience.is_empty() {
            rows.push(Row::new("meant for", manifest.audience.join(", ")));
        }
        if let Some(back) = &manifest.rollback_of {
            rows.push(Row::new("goes back from", words::plain(back)));
        }
        if let Some(base) = &manifest.base {
            let assumed = words::count(base.assumed.len() as u64, "blob");
            rows.push(Row::new("delta", format!("takes {assumed} for granted")));
        }
        rows.push(Row::new("lock", manifest.lock_sha256.to_string()));
    }
    rows
}

fn volumes(manifest: &Manifest) -> Vec<Row> {
    manifest
        .volumes
        .iter()
        .map(|volume| Row {
            source: Some(volume.sha256.to_string()),
            ..Row::new(words::plain(&volume.name), words::size(volume.size))
        })
        .collect()
}

/// Items by kind, folded.
fn items(manifest: &Manifest) -> Vec<Fold> {
    let mut folds: Vec<Fold> = Vec::new();
    for kind in [
        "oci",
        "action",
        "pypi",
        "toolcache",
        "file",
        "doc",
        "selfupdate",
    ] {
        let of_kind: Vec<&Item> = manifest
            .items
            .iter()
            .filter(|item| item.kind() == kind)
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        let row = |item: &&Item| Row {
            source: Some(words::plain(&item.source().uri)),
            ..Row::new(item_name(&item.key()), "")
        };
        folds.push(Fold {
            title: words::count(of_kind.len() as u64, about::kind(kind)),
            class: "",
            open: false,
            rows: of_kind.iter().take(LISTED).map(row).collect(),
        });
    }
    folds
}

/// The release notes, once they are here.
fn notes(app: &App, manifest: &Manifest) -> Option<Readme> {
    let text = super::catalogue::text(app, manifest.notes.as_ref()?)?;
    Some(Readme {
        name: "Release notes".to_owned(),
        html: markdown::render(&text, None),
    })
}

/// What the audit log tells of it, newest first.
fn told(db: &Db, row: &BundleRow) -> Result<Vec<ToldLine>, Fault> {
    let filter = Filter {
        object: Some(format!("bundle:{}", row.manifest.hex())),
        ..Filter::default()
    };
    let lines = audit::list(db, &filter, TOLD).map_err(Fault::internal)?;
    let mut told = Vec::new();
    for line in &lines {
        let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
        let text = |value: &Value| words::plain(value.as_str().unwrap_or_default());
        let mut what = text(&entry["why"]);
        if let Some(generation) = entry["d"]["generation"].as_i64() {
            what = format!("generation {generation}");
        }
        let at = text(&entry["t"]);
        told.push(ToldLine {
            seq: line.seq.0,
            kind: text(&entry["act"]),
            who: about::who(db, line, &entry)?,
            what,
            at: at.get(..19).unwrap_or(&at).replace('T', " "),
        });
    }
    Ok(told)
}
