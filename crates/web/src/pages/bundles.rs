//! What is served now, media that lie there, every generation so far, and the upkeep of blobs.

use std::collections::HashMap;
use std::time::SystemTime;

use audit::Filter;
use axum::response::Response;
use serde_json::Value;
use store::Db;
use supply::bundles::{self, Entry, Phase, Snapshot};

use super::bundle_about::{self as about, state};
use super::{age_in_days, bundle_media, frame, render};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::view::bundles::{Active, Bundles, Live, UnfinishedLine, Upkeep};
use crate::view::{Row, Teach};
use crate::words;

/// Most generations that the table shows.
const SHOWN: usize = 100;

/// Most damaged blobs that are named.
const NAMED: usize = 20;

/// `GET /bundles`
pub(crate) async fn page(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Bundles", "Bundles").await?;
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let now = app.clock.now();
            let media = bundle_media::find(&app.config.media);
            let folders: Vec<String> = app
                .config
                .media
                .iter()
                .map(|m| m.display().to_string())
                .collect();
            let running = app.intake.current().map(|p| p.snapshot());
            let running = running.filter(|shown| !shown.ended());
            let scrub = app.intake.scrubbing().map(|p| p.snapshot());
            let pinned = bundles::fingerprint(app.store.dir())?.is_some();
            app.store.read(|db| {
                let history = bundles::history(db)?;
                let makers = about::makers(db)?;
                render(&Bundles {
                    frame,
                    active: history
                        .iter()
                        .find(|entry| entry.active)
                        .map(|entry| active(entry, &makers, now)),
                    running: running.as_ref().map(progress_words),
                    teach: history.is_empty().then(|| teach(pinned, &folders)),
                    media,
                    folders: folders.join(", "),
                    can_undo: history
                        .iter()
                        .any(|entry| entry.active && entry.parent.is_some()),
                    history: history
                        .iter()
                        .take(SHOWN)
                        .map(|entry| about::generation_line(entry, &makers, now))
                        .collect(),
                    unfinished: bundles::unfinished(db)?
                        .iter()
                        .map(|bundle| UnfinishedLine {
                            name: about::name(bundle),
                            href: about::href(bundle),
                            state: about::import_state(&bundle.state),
                            missing: words::size(bundle.missing_bytes),
                            at: words::when(bundle.seen_ms, now),
                        })
                        .collect(),
                    upkeep: upkeep(db, scrub, now)?,
                })
            })
        })
        .await
}

fn active(entry: &Entry, makers: &HashMap<i64, String>, now: SystemTime) -> Active {
    let bundle = &entry.bundle;
    let (state, last) = about::expiry(bundle, now);
    let made = words::when(entry.made_ms, now);
    let mut rows = vec![
        Row::new("generation", entry.generation.to_string()),
        Row::new("content", words::plain(&bundle.content)),
        Row::new("locked on", bundle.created.clone()),
        Row::new("importable until", last),
        Row::new("security epoch", entry.epoch.to_string()),
        Row::new("items", entry.items.to_string()),
        Row::new("size", words::size(bundle.size_bytes)),
        Row::new("signed by", about::signer_names(bundle)),
        Row::new("imported", format!("{}, {}", made.absolute, made.relative)),
    ];
    if let Some(who) = makers.get(&entry.generation) {
        rows.push(Row::new("by", who.clone()));
    }
    Active {
        name: about::name(bundle),
        href: about::href(bundle),
        age: age_in_days(&bundle.created, now),
        state,
        rows,
    }
}

/// `lab stable 43: 7.9 of 12.7 GiB`
fn progress_words(shown: &Snapshot) -> String {
    let what = match &shown.bundle {
        Some(bundle) => format!("{} {} {}", bundle.product, bundle.channel, bundle.seq),
        None => "a bundle".to_owned(),
    };
    match shown.phase {
        Phase::Staging if shown.bytes.total > 0 => format!(
            "{what} is being imported: {} of {}.",
            words::size(shown.bytes.done),
            words::size(shown.bytes.total)
        ),
        _ => format!("{what} is being imported."),
    }
}

fn teach(pinned: bool, folders: &[String]) -> Teach {
    let place = folders.first().map_or("/media", String::as_str);
    let mut commands = String::new();
    if !pinned {
        commands
            .push_str("cofferdam bundle trust FINGERPRINT    # 64 digits, typed from the paper\n");
    }
    commands.push_str(&format!(
        "cofferdam bundle verify {place}/STICK    # who signed it, what it would bring\n\
         cofferdam bundle import {place}/STICK"
    ));
    Teach {
        title: "No bundle has been imported yet".to_owned(),
        text: if pinned {
            "Put a medium in and look at it with the form, or on the appliance:".to_owned()
        } else {
            "First the appliance must know whom to believe: an operator types the fingerprint of \
             the root statement from the paper, on the appliance itself. Then a medium can be \
             looked at here or there."
                .to_owned()
        },
        commands,
    }
}

fn upkeep(db: &Db, scrub: Option<Snapshot>, now: SystemTime) -> Result<Upkeep, Fault> {
    let last = bundles::scrubbed(db)?;
    let damaged = bundles::damaged(db)?;
    let (collected, collected_at) = collected(db)?;
    let scrubbed = match (last.started_ms, last.ended_ms) {
        (None, _) => "Never yet.".to_owned(),
        (Some(_), ended) => {
            let read = format!(
                "{}, {}, {} bad",
                words::count(last.blobs, "blob"),
                words::size(last.bytes),
                last.bad
            );
            if ended.is_some() {
                format!("{read}.")
            } else {
                format!("{read} so far; the next goes on there.")
            }
        }
    };
    Ok(Upkeep {
        collected,
        collected_at: collected_at.map(|ms| words::when(ms, now)),
        scrubbed,
        scrubbed_at: last
            .ended_ms
            .or(last.started_ms)
            .map(|ms| words::when(ms, now)),
        damaged_count: words::count(damaged.len() as u64, "blob"),
        damaged: damaged
            .iter()
            .take(NAMED)
            .map(ToString::to_string)
            .collect(),
        scrub: scrub.map(|shown| Live {
            version: shown.version,
            done: shown.bytes.done,
            total: shown.bytes.total.max(1),
            text: format!(
                "{} of {}, {}/s",
                words::size(shown.bytes.done),
                words::size(shown.bytes.total),
                words::size(shown.rate)
            ),
        }),
    })
}

/// What the last collection removed, by its entry in the audit log, and when.
fn collected(db: &Db) -> Result<(String, Option<i64>), Fault> {
    let filter = Filter {
        kind: Some("gc.run".to_owned()),
        ..Filter::default()
    };
    let lines = audit::list(db, &filter, 1).map_err(Fault::internal)?;
    let Some(line) = lines.first() else {
        return Ok(("Never yet.".to_owned(), None));
    };
    let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
    let number = |name: &str| entry["d"][name].as_u64().unwrap_or_default();
    let at = entry["t"].as_str().unwrap_or_default();
    let at: Option<jiff::Timestamp> = at.parse().ok();
    let words = format!(
        "{}, {}, {} of them.",
        words::count(number("generations"), "generation"),
        words::count(number("blobs"), "blob"),
        words::size(number("bytes"))
    );
    Ok((words, at.map(jiff::Timestamp::as_millisecond)))
}

/// A state for a phase that runs, is over or has not begun.
pub(super) fn phase_state(at: Phase, of: Phase) -> crate::view::State {
    let order = |phase| match phase {
        Phase::Verifying => 0,
        Phase::Staging => 1,
        Phase::Checking => 2,
        Phase::Unpacking => 3,
        Phase::Done | Phase::Failed => 4,
    };
    match order(at).cmp(&order(of)) {
        std::cmp::Ordering::Greater => state("done", "ok"),
        std::cmp::Ordering::Equal => state("under way", "run"),
        std::cmp::Ordering::Less => state("to come", "off"),
    }
}
