//! The chain of custody of one bundle: who built it, who brought it and let it in, what used it.

use axum::extract::Path;
use axum::response::Response;
use serde_json::Value;
use store::Db;
use supply::bundles::{self, Row as BundleRow, Step, What};

use super::bundle_about::{self as about};
use super::bundle_one::Which;
use super::{frame, render};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::view::Row;
use crate::view::bundles::{Custody, CustodyStep};
use crate::words;

/// `GET /bundles/{id}/custody`
pub(crate) async fn page(ctx: Ctx, Path(which): Path<Which>) -> Result<Response, Fault> {
    let row = which.row(&ctx).await?;
    let frame = frame(&ctx, &about::name(&row), "Bundles").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let now = app.clock.now();
            app.store.read(|db| {
                let custody = bundles::custody(db, &app.store, &row)?;
                let steps: Result<Vec<CustodyStep>, Fault> =
                    custody.steps.iter().map(|step| line(db, step)).collect();
                render(&Custody {
                    frame,
                    name: about::name(&row),
                    href: about::href(&row),
                    state: about::import_state(&row.state),
                    content: words::plain(&row.content),
                    signed: about::signers(&row),
                    facts: facts(&row, &custody, now),
                    steps: steps?,
                })
            })
        })
        .await
}

fn facts(row: &BundleRow, custody: &bundles::Custody, now: std::time::SystemTime) -> Vec<Row> {
    let (_, last) = about::expiry(row, now);
    let lock = custody
        .lock
        .map_or("collected".to_owned(), |lock| lock.to_string());
    let print = custody.root_fingerprint.clone().unwrap_or_default();
    let given = words::count(custody.jobs, "job");
    let generations: Vec<String> = custody.generations.iter().map(i64::to_string).collect();
    vec![
        Row::new("manifest", row.manifest.to_string()),
        Row::new("lock", lock),
        Row::new("locked on", row.created.clone()),
        Row::new("importable until", last),
        Row::new("root statement 1", print),
        Row::new("generations", generations.join(", ")),
        Row::new("given to", given),
    ]
}

/// The word for a step, and how it looks.
fn word(what: What) -> (&'static str, &'static str) {
    match what {
        What::Trusted => ("root believed", "ok"),
        What::Verified => ("handed in, signatures hold", "ok"),
        What::Resumed => ("handed in again", "ok"),
        What::Refused => ("refused", "bad"),
        What::Staged => ("read in", "ok"),
        What::Approved => ("let in by a second person", "ok"),
        What::Committed => ("made active", "ok"),
        What::Restored => ("gone back to", "wait"),
        What::Undone => ("gone back from", "wait"),
        What::Overtook => ("overtook an older import", "off"),
        What::Used => ("given to a job", "off"),
        What::Slip => ("slip issued", "off"),
    }
}

fn line(db: &Db, step: &Step) -> Result<CustodyStep, Fault> {
    let entry: Value = serde_json::from_str(&step.line).unwrap_or_default();
    let (name, tone) = word(step.what);
    let who = audit::line(db, audit::Seq(step.seq)).map_err(Fault::internal)?;
    let who = match who {
        Some(line) => about::who(db, &line, &entry)?,
        None => step.who.clone(),
    };
    let at = step.t.get(..19).unwrap_or(&step.t).replace('T', " ");
    Ok(CustodyStep {
        seq: step.seq,
        state: about::state(name, tone),
        who,
        at,
        what: words::plain(&details(step.what, &entry)),
    })
}

/// What people ask about a step.
fn details(what: What, entry: &Value) -> String {
    let text = |key: &str| match &entry["d"][key] {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    };
    let named = |names: &[(&str, &str)]| {
        let words: Vec<String> = names
            .iter()
            .filter_map(|(key, word)| Some(format!("{word} {}", text(key)?)))
            .collect();
        words.join(", ")
    };
    match what {
        What::Verified | What::Resumed => {
            let size = entry["d"]["size_bytes"].as_u64().map(words::size);
            let rest = named(&[
                ("medium", "medium"),
                ("volumes", "volumes"),
                ("fs", "file system"),
                ("fs_uuid", "uuid"),
                ("serial", "serial number"),
            ]);
            size.map_or(rest.clone(), |size| format!("{rest}, {size}"))
        }
        What::Committed => named(&[
            ("generation", "generation"),
            ("added", "added"),
            ("moved", "moved"),
            ("retired", "retired"),
        ]),
        What::Undone | What::Restored => named(&[("from", "from generation"), ("to", "to")]),
        What::Approved => named(&[("brought_by", "read in by")]),
        What::Refused => entry["why"].as_str().unwrap_or_default().to_owned(),
        What::Used => entry["link"]["job"].as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}
