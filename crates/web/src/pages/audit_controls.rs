//! What of the log is evidence toward which control, and where there is none.

use audit::{Entry, Kind, Kinds};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use evidence::report::{Control, Controls as Counted, EXAMPLES};
use serde::Deserialize;

use super::audit::{count, not_noted};
use super::audit_about as about;
use super::bundle_about::state;
use super::{frame, render};
use crate::api::audit as api;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::href;
use crate::respond::sentence;
use crate::view::Link;
use crate::view::audit::{ControlLine, Controls, Framework};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Period {
    since: String,
    until: String,
}

/// `GET /audit/controls`
pub(crate) async fn page(
    ctx: Ctx,
    period: Result<Query<Period>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(period) =
        period.map_err(|e| Fault::bad(e.body_text()).todo("use the page's form"))?;
    let mut frame = frame(&ctx, "Controls", "Audit").await?;
    let bounds = about::moment(&period.since, false)
        .and_then(|since| Ok((since, about::moment(&period.until, true)?)));
    let mut problem = None;
    let mut kinds = Vec::new();
    match bounds {
        Err(text) => problem = Some(sentence(&text)),
        Ok((since, until)) => {
            let examples = u32::try_from(EXAMPLES).unwrap_or(u32::MAX);
            kinds = ctx
                .app
                .read(move |db| audit::by_kind(db, since, until, examples).map_err(Fault::internal))
                .await?;
            let looked = Entry::success(Kind::AuditSearch).detail("controls", true);
            if !api::note_search(&ctx, looked).await {
                frame.said.push(not_noted());
            }
        }
    }
    let total = kinds.iter().map(|kind| kind.count).sum();
    render(&Controls {
        frame,
        tabs: about::tabs("Controls"),
        frameworks: match problem {
            None => frameworks(&counted(&kinds), &period),
            Some(_) => Vec::new(),
        },
        problem,
        period: match (period.since.is_empty(), period.until.is_empty()) {
            (true, true) => format!("{}, the whole log", count(total)),
            _ => format!("{} in this time", count(total)),
        },
        since: period.since,
        until: period.until,
    })
}

/// The report's own mapping, counted by the report's own rule.
fn counted(kinds: &[Kinds]) -> Counted {
    let mut all = Counted::own();
    for kind in kinds {
        all.add(&kind.kind, kind.count, &kind.first);
    }
    all
}

fn frameworks(all: &Counted, period: &Period) -> Vec<Framework> {
    let mut found: Vec<Framework> = Vec::new();
    for control in all.iter() {
        if found
            .last()
            .is_none_or(|last| last.name != control.framework)
        {
            found.push(Framework {
                name: control.framework.clone(),
                id: format!("framework-{}", found.len() + 1),
                summary: String::new(),
                rows: Vec::new(),
            });
        }
        if let Some(last) = found.last_mut() {
            last.rows.push(row(control, period));
        }
    }
    for framework in &mut found {
        let missing = framework.rows.iter().filter(|row| row.examples.is_empty());
        let (missing, of) = (missing.count(), framework.rows.len());
        framework.summary = match missing {
            0 => format!("evidence toward each of the {of} that are mapped"),
            n => format!(
                "evidence toward {} of the {of} that are mapped, none toward {n}",
                of - n
            ),
        };
    }
    found
}

fn row(control: &Control, period: &Period) -> ControlLine {
    let missing = control.count == 0;
    let kinds = control.kinds.iter().map(|kind| {
        let mut at = format!("/audit?action={}", href::value(kind));
        for (name, value) in [("since", &period.since), ("until", &period.until)] {
            if !value.is_empty() {
                at.push_str(&format!("&{name}={}", href::value(value)));
            }
        }
        let name = if kind == "*" { "every entry" } else { kind };
        Link::new(name, at)
    });
    ControlLine {
        control: control.control.clone(),
        title: control.title.clone(),
        kinds: kinds.collect(),
        count: count(control.count),
        state: match missing {
            true => state("missing", "wait"),
            false => state("evidence", "ok"),
        },
        words: if missing { control.words(0) } else { "" },
        examples: control.examples.clone(),
    }
}
