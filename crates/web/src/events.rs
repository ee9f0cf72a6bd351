//! Server-sent events: a run as it changes, a log as it grows.
//!
//! Each event is made from a fresh reading, so that a slow watcher skips states but never sees an
//! old one, and a log's watcher gets every byte once: the event's id is the offset after it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use queue::logs::Chunk;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use vocab::{Attempt, JobId};

use crate::ansi;
use crate::detail::RunDetail;
use crate::fault::Fault;
use crate::guard::{Ctx, JobPath, RunPath};
use crate::state::App;

/// About so many bytes of log go into one event.
const CHUNK_BYTES: u64 = 64 << 10;

type Sender = mpsc::Sender<Result<Event, Infallible>>;

/// `GET …/runs/{number}/events`
pub(crate) async fn run(ctx: Ctx, Path(path): Path<RunPath>) -> Result<Response, Fault> {
    let found = ctx.run(&path).await?;
    let wakes = ctx.app.0.hub.run(found.id);
    let (out, events) = mpsc::channel(4);
    let app = ctx.app.clone();
    let repo = ctx.repo()?.clone();
    tokio::spawn(async move {
        app.0.counters.stream(true);
        follow_run(&app, &repo, found.id, wakes, &out).await;
        app.0.counters.stream(false);
    });
    Ok(stream(events))
}

async fn follow_run(
    app: &App,
    repo: &forge::Repo,
    id: vocab::RunId,
    mut wakes: watch::Receiver<u64>,
    out: &Sender,
) {
    let mut stopping = app.stopping();
    loop {
        wakes.mark_unchanged();
        let (repo, reader) = (repo.clone(), app.clone());
        let capacity = app.facilities.capacity();
        let read = app
            .read(move |db| {
                let Some(run) = queue::run(db, id).map_err(Fault::internal)? else {
                    return Ok(None);
                };
                let ended = run.outcome.is_some();
                let detail = RunDetail::load(db, repo, run, &capacity)?;
                Ok(Some((detail.json(&reader), ended)))
            })
            .await;
        let (value, ended) = match read {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(fault) => return tracing::error!(error = ?fault.chain(), "a run's events ended"),
        };
        if !send(out, "run", None, &value).await {
            return;
        }
        if ended {
            send(out, "end", None, &json!({})).await;
            return;
        }
        tokio::select! {
            woken = wakes.changed() => if woken.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
            () = out.closed() => return,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct From {
    pub(crate) from: Option<u64>,
    pub(crate) attempt: Option<i64>,
}

/// `GET …/jobs/{id}/log/stream?from=`
pub(crate) async fn log(
    ctx: Ctx,
    Path(path): Path<JobPath>,
    Query(query): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let job = ctx.job(&path).await?;
    let attempt = query.attempt.map_or(job.attempt, Attempt);
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse().ok());
    let from = resumed.or(query.from).unwrap_or(0);
    let app = ctx.app.clone();
    let wakes = app.0.hub.log(job.id, attempt);
    // Read once before answering, so that a wrong offset is a refusal and not a broken stream.
    let first = read(&app, job.id, attempt, from).await?;
    let (out, events) = mpsc::channel(4);
    tokio::spawn(async move {
        app.0.counters.stream(true);
        follow_log(&app, (job.id, attempt), first, wakes, &out).await;
        app.0.counters.stream(false);
    });
    Ok(stream(events))
}

async fn read(app: &App, job: JobId, attempt: Attempt, from: u64) -> Result<Chunk, Fault> {
    let reader = app.clone();
    app.off(move || {
        reader
            .logs
            .read(job, attempt, from, CHUNK_BYTES)
            .map_err(log_fault)
    })
    .await
}

/// What a reader of a log is told.
pub(crate) fn log_fault(error: queue::logs::LogError) -> Fault {
    match error {
        queue::logs::LogError::NoSuchOffset { .. } => Fault::bad(error),
        queue::logs::LogError::Io(_) => Fault::internal(error),
    }
}

async fn follow_log(
    app: &App,
    (job, attempt): (JobId, Attempt),
    mut chunk: Chunk,
    mut wakes: watch::Receiver<u64>,
    out: &Sender,
) {
    let mut stopping = app.stopping();
    let mut of_run = None;
    loop {
        let next = chunk.next_offset;
        let progressed = next > chunk.first_offset;
        if progressed {
            let lines: Vec<Value> = chunk.records.iter().map(line_json).collect();
            let value = json!({ "lines": lines, "next": next });
            if !send(out, "lines", Some(next), &value).await {
                return;
            }
        }
        if chunk.finished {
            send(out, "end", Some(next), &json!({ "next": next })).await;
            return;
        }
        if !progressed {
            // A job that ends without a log never grows one: its row tells.
            let runs = match &mut of_run {
                Some(runs) => runs,
                None => match ended(app, job, attempt).await {
                    Some((run, _)) => of_run.insert(app.0.hub.run(run)),
                    None => return,
                },
            };
            runs.mark_unchanged();
            if let Some((_, true)) = ended(app, job, attempt).await
                && !wakes.has_changed().unwrap_or(true)
            {
                send(out, "end", Some(next), &json!({ "next": next })).await;
                return;
            }
            tokio::select! {
                woken = wakes.changed() => if woken.is_err() { return },
                woken = runs.changed() => if woken.is_err() { return },
                _ = stopping.wait_for(|stop| *stop) => return,
                () = out.closed() => return,
            }
        }
        wakes.mark_unchanged();
        chunk = match read(app, job, attempt, next).await {
            Ok(chunk) => chunk,
            Err(fault) => return tracing::error!(error = ?fault.chain(), "a log's events ended"),
        };
    }
}

/// The run of a job, and whether this attempt at it has ended (then its log is whole).
async fn ended(app: &App, job: JobId, attempt: Attempt) -> Option<(vocab::RunId, bool)> {
    app.read(move |db| {
        let row = queue::job(db, job).map_err(Fault::internal)?;
        Ok(row.map(|row| (row.run, row.attempt > attempt || row.outcome.is_some())))
    })
    .await
    .ok()
    .flatten()
}

/// One record of a log, its text as styled spans.
pub(crate) fn line_json(record: &queue::logs::Record) -> Value {
    let spans: Vec<[String; 2]> = ansi::spans(&record.text)
        .into_iter()
        .map(|s| [s.class, s.text])
        .collect();
    json!({
        "at": record.offset,
        "ms": record.at_ms,
        "step": record.step,
        "kind": record.kind.as_str(),
        "spans": spans,
    })
}

async fn send(out: &Sender, name: &str, id: Option<u64>, value: &Value) -> bool {
    let mut event = Event::default().event(name).data(value.to_string());
    if let Some(id) = id {
        event = event.id(id.to_string());
    }
    out.send(Ok(event)).await.is_ok()
}

fn stream(events: mpsc::Receiver<Result<Event, Infallible>>) -> Response {
    let alive = KeepAlive::new()
        .interval(Duration::from_secs(15))
        .text("alive");
    let mut response = Sse::new(Events(events)).keep_alive(alive).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Events(mpsc::Receiver<Result<Event, Infallible>>);

impl futures_core::Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}
