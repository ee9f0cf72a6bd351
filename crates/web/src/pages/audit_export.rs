//! Exports of the audit log: what to take, how far it has come, the file, and earlier ones.

use audit::{Filter, Kind, Wanted};
use axum::body::Body;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use evidence::checkpoint::Checkpoint;
use serde::Deserialize;
use serde_json::Value;
use std::time::SystemTime;
use store::Db;
use tokio_util::io::ReaderStream;

use super::audit::{Search, count};
use super::audit_about as about;
use super::bundle_about::state;
use super::{frame, render, see};
use crate::api::audit::{self as api, Noted};
use crate::api::bad_form;
use crate::exports::{self, Job, Made, Phase, Shown};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::view::audit::{ExportForm, ExportLine, Exporting, JobLine, MadeView};
use crate::view::{Row, State};
use crate::words;

/// Earlier exports that are listed.
const LISTED: u32 = 50;
/// The most of a pasted checkpoint that is read.
const EARLIER_BYTES: usize = 8 << 10;

/// What to export.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Asked {
    since: String,
    until: String,
    actor: String,
    action: String,
    object: String,
    names: Option<String>,
    /// The size of an earlier export, or its checkpoint.
    earlier: String,
}

/// `GET /audit/export`
pub(crate) async fn form(
    ctx: Ctx,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(asked) = asked.map_err(|e| Fault::bad(e.body_text()).todo("use the page's form"))?;
    shown(&ctx, asked, None).await
}

async fn shown(ctx: &Ctx, asked: Asked, problem: Option<String>) -> Result<Response, Fault> {
    let frame = frame(ctx, "Export the audit log", "Audit").await?;
    let now = ctx.app.clock.now();
    ctx.app.sweep_exports();
    let before = ctx.app.read(move |db| earlier_ones(db, now)).await?;
    let here = ctx.app.0.exports.all();
    let refused = problem.is_some();
    let page = render(&ExportForm {
        frame,
        tabs: about::tabs("Export"),
        problem,
        names: asked.names.is_some(),
        earlier: asked.earlier.chars().take(EARLIER_BYTES).collect(),
        here: here.iter().map(|job| job_line(job, now)).collect(),
        before,
        asked: Search {
            actor: asked.actor,
            action: asked.action,
            object: asked.object,
            since: asked.since,
            until: asked.until,
            ..Search::default()
        }
        .asked(),
    })?;
    Ok(match refused {
        true => (StatusCode::UNPROCESSABLE_ENTITY, page).into_response(),
        false => page,
    })
}

fn job_line(job: &Job, now: SystemTime) -> JobLine {
    let shown = job.look();
    JobLine {
        href: format!("/audit/export/{}", job.id),
        name: match &shown.made {
            Some(made) => range(made.first, made.end),
            None => count(shown.total),
        },
        state: state_of(&shown),
        who: words::plain(&shown.who),
        at: words::when(shown.since_ms, now),
        size: words::size(shown.bytes),
        file: shown
            .made
            .is_some()
            .then(|| format!("/audit/export/{}/file", job.id)),
    }
}

fn range(first: u64, end: u64) -> String {
    format!("entries {first} to {}", end.saturating_sub(1))
}

fn state_of(shown: &Shown) -> State {
    match shown.phase {
        Phase::Sealing => state("sealing", "run"),
        Phase::Writing => state("writing", "run"),
        Phase::Done => state("ready", "ok"),
        Phase::Failed => state("not made", "bad"),
    }
}

/// Exports that the log tells of, newest first.
fn earlier_ones(db: &Db, now: SystemTime) -> Result<Vec<ExportLine>, Fault> {
    let filter = Filter {
        kind: Some(Kind::AuditExport.as_str().to_owned()),
        went: Some(audit::Went::As(audit::Out::Success)),
        ..Filter::default()
    };
    let lines = audit::list(db, &filter, LISTED).map_err(Fault::internal)?;
    let mut found = Vec::new();
    for line in &lines {
        let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
        let number = |name: &str| entry["d"][name].as_u64().unwrap_or(0);
        found.push(ExportLine {
            seq: line.seq.0,
            at: words::when(about::at_ms(&entry), now),
            who: about::who(db, line, &entry)?,
            range: range(number("first"), number("end")),
            names: entry["d"]["names"] == true,
            size: number("size").to_string(),
            sha256: words::plain(entry["d"]["sha256"].as_str().unwrap_or_default()),
        });
    }
    Ok(found)
}

/// `POST /audit/export`
pub(crate) async fn begin(
    ctx: Ctx,
    asked: Result<Form<Asked>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(asked) = asked.map_err(|e| bad_form(&e))?;
    let wanted = match wanted(&ctx, &asked).await? {
        Ok(wanted) => wanted,
        Err(problem) => return shown(&ctx, asked, Some(sentence(&problem))).await,
    };
    let name = ctx.shown_name().unwrap_or_default();
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    match app.0.exports.begin(&app, &who, name, wanted) {
        Ok(job) => Ok(see(&format!("/audit/export/{}", job.id))),
        Err(fault) if fault.code == Some("E_BUSY") => {
            let todo = fault.what_to_do.unwrap_or_default();
            let problem = format!("{} {}", sentence(&fault.error), sentence(&todo));
            shown(&ctx, asked, Some(problem)).await
        }
        Err(fault) => Err(fault),
    }
}

async fn wanted(ctx: &Ctx, asked: &Asked) -> Result<Result<Wanted, String>, Fault> {
    let (since, until) = match (
        about::moment(&asked.since, false),
        about::moment(&asked.until, true),
    ) {
        (Ok(since), Ok(until)) => (since, until),
        (Err(problem), _) | (_, Err(problem)) => return Ok(Err(problem)),
    };
    if since
        .zip(until)
        .is_some_and(|(since, until)| since >= until)
    {
        return Ok(Err("the time ends before it begins".to_owned()));
    }
    let earlier = match earlier(ctx, &asked.earlier) {
        Ok(earlier) => earlier,
        Err(problem) => return Ok(Err(problem)),
    };
    let actor = about::some(&asked.actor);
    let actor = ctx.app.read(move |db| api::tagged(db, actor)).await?;
    Ok(Ok(Wanted {
        since,
        until,
        kind: about::some(&asked.action),
        actor,
        object: about::some(&asked.object),
        with_names: asked.names.is_some(),
        proved: Vec::new(),
        earlier,
    }))
}

/// The size that a number says, or a pasted checkpoint of this very log.
fn earlier(ctx: &Ctx, text: &str) -> Result<Vec<u64>, String> {
    let text = text.trim().replace("\r\n", "\n");
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let digits: String = text.split_whitespace().collect();
    if let Ok(size) = digits.parse() {
        return Ok(vec![size]);
    }
    let key = ctx.app.seal.as_ref().map(|seal| seal.key().clone());
    let key = key.ok_or("this log is not sealed here, so no earlier export can be compared")?;
    let read = Checkpoint::verify(format!("{text}\n").as_bytes(), &key);
    let read = read.map_err(|why| {
        format!("the earlier export is given by its number of entries or its checkpoint: {why}")
    })?;
    Ok(vec![read.size])
}

/// `GET /audit/export/{id}`
pub(crate) async fn progress(ctx: Ctx, Path(id): Path<String>) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Export", "Audit").await?;
    let job = ctx.app.0.exports.find(&id)?;
    let shown = job.look();
    let at = |made: &Made| made_view(&job.id, made, shown.bytes);
    render(&Exporting {
        frame,
        state: state_of(&shown),
        who: words::plain(&shown.who),
        since: words::when(shown.since_ms, ctx.app.clock.now()),
        live: (!shown.ended()).then_some(shown.version),
        done: shown.done,
        total: shown.total.max(1),
        percent: match shown.total {
            0 => String::new(),
            total => format!("{} %", u128::from(shown.done) * 100 / u128::from(total)),
        },
        numbers: numbers(&shown),
        failed: shown.error.as_ref().map(|error| {
            let todo = shown.what_to_do.as_deref().unwrap_or_default();
            (
                words::plain(&sentence(error)),
                words::plain(&sentence(todo)),
            )
        }),
        made: shown.made.as_ref().map(at),
        id,
    })
}

fn numbers(shown: &Shown) -> Vec<Row> {
    let elapsed = i64::try_from(shown.elapsed_ms).unwrap_or(i64::MAX);
    vec![
        Row::new("entries read", format!("{} of {}", shown.done, shown.total)),
        Row::new("written", words::size(shown.bytes)),
        Row::new("taken", words::span(elapsed)),
    ]
}

fn made_view(id: &str, made: &Made, bytes: u64) -> MadeView {
    let name = name(made);
    MadeView {
        file: format!("/audit/export/{id}/file"),
        check: format!("sha256sum {name}\ncofferdam audit verify {name} --key LOG-KEY"),
        name,
        size: words::size(bytes),
        sha256: made.sha256.clone(),
        entry: made.entry,
        log_size: made.size.to_string(),
    }
}

fn name(made: &Made) -> String {
    let last = made.end.saturating_sub(1);
    format!("audit-{}-{last}.cfa", made.first)
}

/// `POST /audit/export/{id}/cancel`
pub(crate) async fn cancel(ctx: Ctx, Path(id): Path<String>) -> Result<Response, Fault> {
    ctx.app.0.exports.find(&id)?.cancel();
    Ok(see(&format!("/audit/export/{id}")))
}

/// `GET /audit/export/{id}/file`: the whole file. Who takes it is noted first.
pub(crate) async fn file(ctx: Ctx, Path(id): Path<String>) -> Result<Response, Fault> {
    let job = ctx.app.0.exports.find(&id)?;
    let (file, made) = ctx.app.off(move || job.file()).await?;
    let length = file.metadata().map_err(Fault::internal)?.len();
    let (who, entry) = (ctx.who.clone(), exports::taken(&made));
    ctx.app
        .write(move |app, tx| -> Result<(), Noted> {
            Ok(app.auditor.append(tx, &who, entry).map(drop)?)
        })
        .await?;
    let body = Body::from_stream(ReaderStream::with_capacity(
        tokio::fs::File::from_std(file),
        64 << 10,
    ));
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}\"", name(&made)),
        ),
    ];
    Ok((headers, body).into_response())
}
