//! Runs, jobs, logs, receipts; starting, stopping and repeating runs.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use queue::logs::Kind;
use queue::{QueueError, Rerun, RunFilter};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use vocab::{Attempt, JobId, RunNumber};

use super::{bad, bad_json};
use crate::detail::{JobDetail, RunDetail, run_json};
use crate::events::{From as Asked, log_fault};
use crate::fault::Fault;
use crate::guard::{Ctx, JobPath, RunPath, find_run};
use crate::pages::code::read_fault;
use crate::plan::{self, Cause};
use crate::state::App;
use crate::{push, stream};

/// The most of a log that one answer carries.
const LOG_BYTES: u64 = 1 << 20;

impl std::convert::From<QueueError> for Fault {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NoRun(_) => Self::missing("the run"),
            QueueError::NoJob(_) => Self::missing("the job"),
            QueueError::StillRunning(_) => {
                Self::conflict("the run has not finished").todo("cancel it, or wait for its end")
            }
            QueueError::NothingToRerun(_, why) => {
                Self::conflict(format!("nothing to run again: {why}"))
            }
            e @ QueueError::TooManyJobs { .. } => Self::bad(e),
            QueueError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Which {
    limit: Option<u32>,
    before: Option<i64>,
    r#ref: Option<String>,
    sha: Option<String>,
    workflow: Option<String>,
}

/// `GET …/runs`
pub(crate) async fn list(ctx: Ctx, Query(which): Query<Which>) -> Result<Json<Value>, Fault> {
    let repo = ctx.repo()?.clone();
    let app = ctx.app.clone();
    let filter = RunFilter {
        sha: which.sha,
        git_ref: which.r#ref,
        workflow_path: which.workflow,
        before: which.before.map(RunNumber),
        limit: which.limit.unwrap_or(30).clamp(1, 1000),
        ..RunFilter::default()
    };
    let runs = ctx
        .app
        .read(move |db| {
            let runs = queue::runs_of(db, repo.id, &filter)?;
            Ok(runs
                .iter()
                .map(|run| run_json(&app, &repo, run))
                .collect::<Vec<_>>())
        })
        .await?;
    Ok(Json(json!({ "runs": runs })))
}

/// `GET …/runs/{number}`
pub(crate) async fn show(ctx: Ctx, Path(path): Path<RunPath>) -> Result<Json<Value>, Fault> {
    let detail = load(&ctx, path).await?;
    let app = ctx.app.clone();
    let shown = ctx
        .app
        .read(move |db| {
            let mut out = detail.json(&app);
            for (at, job) in detail.jobs.iter().enumerate() {
                if job.row.outcome.is_some()
                    && let Some(attempt) = queue::attempt(db, job.row.id, job.row.attempt)?
                {
                    out["jobs"][at]["receipt_text"] = json!(receipt_text(attempt.receipt));
                }
            }
            Ok(out)
        })
        .await?;
    Ok(Json(shown))
}

/// A stored receipt as lines of text; none when there is none that this version can read.
fn receipt_text(stored: Option<Value>) -> Vec<String> {
    stored
        .and_then(|value| serde_json::from_value::<runner::receipt::Receipt>(value).ok())
        .map(|receipt| receipt.render_text())
        .unwrap_or_default()
}

/// `GET …/runs/{number}/jobs`
pub(crate) async fn jobs(ctx: Ctx, Path(path): Path<RunPath>) -> Result<Json<Value>, Fault> {
    let detail = load(&ctx, path).await?;
    let jobs: Vec<Value> = detail.jobs.iter().map(JobDetail::json).collect();
    Ok(Json(json!({ "jobs": jobs })))
}

async fn load(ctx: &Ctx, path: RunPath) -> Result<RunDetail, Fault> {
    let repo = ctx.repo()?.clone();
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let capacity = app.facilities.capacity();
            app.store.read(|db| {
                let run = find_run(db, repo.id, &path.number)?;
                RunDetail::load(db, repo, run, &capacity)
            })
        })
        .await
}

/// Asks that a run be cancelled; the path of its page.
pub(crate) async fn do_cancel(ctx: &Ctx, number: String) -> Result<String, Fault> {
    let run = ctx.run(&RunPath { number }).await?;
    let who = ctx.who.clone();
    let id = run.id;
    ctx.app
        .write(move |app, tx| queue::cancel_run(tx, app.clock.now(), &app.auditor, &who, id))
        .await?;
    Ok(push::run_path(ctx.repo()?, run.number.get()))
}

/// Runs jobs of a run again; the path of its page.
pub(crate) async fn do_rerun(ctx: &Ctx, number: String, which: Rerun) -> Result<String, Fault> {
    let run = ctx.run(&RunPath { number }).await?;
    let who = ctx.who.clone();
    let id = run.id;
    ctx.app
        .write(move |app, tx| queue::rerun(tx, app.clock.now(), &app.auditor, &who, id, which))
        .await?;
    Ok(push::run_path(ctx.repo()?, run.number.get()))
}

/// `POST …/cancel`
pub(crate) async fn cancel(ctx: Ctx, Path(path): Path<RunPath>) -> Result<Json<Value>, Fault> {
    let page = do_cancel(&ctx, path.number).await?;
    Ok(Json(json!({ "url": ctx.app.url(&page) })))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RerunBody {
    failed: bool,
    job: Option<i64>,
}

/// `POST …/rerun`
pub(crate) async fn rerun(
    ctx: Ctx,
    Path(path): Path<RunPath>,
    body: Result<Option<Json<RerunBody>>, JsonRejection>,
) -> Result<Json<Value>, Fault> {
    let body = body
        .map_err(|e| bad_json(&e))?
        .map(|Json(body)| body)
        .unwrap_or_default();
    let which = match (body.job, body.failed) {
        (Some(job), _) => Rerun::Job(JobId(job)),
        (None, true) => Rerun::Failed,
        (None, false) => Rerun::All,
    };
    let page = do_rerun(&ctx, path.number, which).await?;
    Ok(Json(json!({ "url": ctx.app.url(&page) })))
}

/// A workflow that somebody wants to start.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) workflow: String,
    #[serde(default)]
    pub(crate) r#ref: Option<String>,
    #[serde(default)]
    pub(crate) inputs: Map<String, Value>,
}

/// Starts a workflow by hand; the number of its run.
pub(crate) async fn start(ctx: &Ctx, wanted: Wanted) -> Result<RunNumber, Fault> {
    let repo = ctx.repo()?.clone();
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    ctx.app
        .off(move || {
            let repository = app.repository(repo.id).map_err(Fault::internal)?;
            let wanted_ref = wanted
                .r#ref
                .as_deref()
                .filter(|r| !r.is_empty())
                .unwrap_or("HEAD");
            let found = repository
                .resolve(wanted_ref)
                .map_err(read_fault)?
                .ok_or_else(|| Fault::bad(format!("there is no branch or tag '{wanted_ref}'")))?;
            let git_ref = found.ref_name.ok_or_else(|| {
                Fault::bad("a workflow is started on a branch or tag, not on a commit")
            })?;
            let objects = repository.objects();
            let commit = objects.commit(found.commit).map_err(read_fault)?;
            let files = plan::files(&objects, commit.id).map_err(read_fault)?;
            let file = files
                .into_iter()
                .find(|f| {
                    f.path == wanted.workflow || f.path.rsplit('/').next() == Some(&wanted.workflow)
                })
                .ok_or_else(|| {
                    Fault::missing(format!("workflow '{}' on {git_ref}", wanted.workflow))
                })?;
            let workflow = file.read.map_err(|problems| {
                Fault::bad(problems.join("\n")).todo("mend the workflow and push it")
            })?;
            let given = inputs(&wanted.inputs)?;
            let inputs = workflow::dispatch_inputs(&workflow, &given).map_err(|errors| {
                bad(errors
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "))
            })?;
            let vars = app.store.read(|db| plan::vars(db, &repo))?;
            let payload = json!({
                "ref": git_ref,
                "workflow": file.path,
                "inputs": workflow::event_inputs(&inputs).to_json(),
                "repository": plan::repo_json(&app, &repo),
                "sender": plan::sender_json(&who),
            });
            let name = workflow.display_name().to_owned();
            let new = plan::new_run(
                &app,
                &who,
                &repo,
                &Cause {
                    event: "workflow_dispatch",
                    payload: &payload,
                    git_ref: &git_ref,
                    commit: &commit,
                    path: &file.path,
                    name: &name,
                    inputs: inputs.to_json(),
                    vars: &vars,
                },
            );
            let planned = plan::judged(&app, (&objects, commit.id), new, workflow);
            let opened = app.store.write(|tx| {
                // What was put in may be anything; it stays out of the log.
                let entry = audit::Entry::success(audit::Kind::WorkflowDispatch)
                    .object("repo", repo.id.tagged(), repo.path.to_string())
                    .detail("workflow", file.path.as_str())
                    .detail("ref", git_ref.as_str());
                app.auditor.append(tx, &who, entry)?;
                planned.open(tx, &app, &who, None, false)
            })?;
            Ok(opened.number)
        })
        .await
}

fn inputs(given: &Map<String, Value>) -> Result<BTreeMap<String, String>, Fault> {
    given
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            Value::Bool(_) | Value::Number(_) => Ok((name.clone(), value.to_string())),
            _ => Err(Fault::bad(format!(
                "input '{name}' must be a text, a number or true or false"
            ))),
        })
        .collect()
}

/// `POST …/dispatches`
pub(crate) async fn dispatch(
    ctx: Ctx,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, Fault> {
    let Json(wanted) = body.map_err(|e| bad_json(&e))?;
    let number = start(&ctx, wanted).await?;
    let url = ctx.app.url(&push::run_path(ctx.repo()?, number.get()));
    let shown = json!({ "runs": [{ "number": number, "url": url }] });
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// `GET /api/v1/jobs/{id}`
pub(crate) async fn job(ctx: Ctx, Path(path): Path<JobPath>) -> Result<Json<Value>, Fault> {
    let row = ctx.job(&path).await?;
    let app = ctx.app.clone();
    let detail = ctx
        .app
        .off(move || {
            let capacity = app.facilities.capacity();
            app.store.read(|db| JobDetail::load(db, row, &capacity))
        })
        .await?;
    Ok(Json(detail.json()))
}

/// `GET /api/v1/jobs/{id}/log`
pub(crate) async fn log(
    ctx: Ctx,
    Path(path): Path<JobPath>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let job = ctx.job(&path).await?;
    let attempt = asked.attempt.map_or(job.attempt, Attempt);
    let app = ctx.app.clone();
    let chunk = ctx
        .app
        .off(move || {
            app.logs
                .read(job.id, attempt, asked.from.unwrap_or(0), LOG_BYTES)
                .map_err(log_fault)
        })
        .await?;
    let text: String = chunk.records.iter().map(text_line).collect();
    let complete = if chunk.finished { "true" } else { "false" };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (
            header::HeaderName::from_static("x-next-offset"),
            HeaderValue::from(chunk.next_offset),
        ),
        (
            header::HeaderName::from_static("x-log-complete"),
            HeaderValue::from_static(complete),
        ),
    ];
    Ok((headers, text).into_response())
}

/// A record as a line of plain text; colours stay, as a terminal wants them.
fn text_line(record: &queue::logs::Record) -> String {
    match record.kind {
        Kind::Endgroup => String::new(),
        Kind::Out | Kind::Info | Kind::System | Kind::Receipt => format!("{}\n", record.text),
        Kind::Command => format!("$ {}\n", record.text),
        Kind::Group => format!("▾ {}\n", record.text),
        Kind::Error | Kind::Warning | Kind::Notice | Kind::Debug => {
            format!("{}: {}\n", record.kind.as_str(), record.text)
        }
    }
}

/// A whole log as plain text, streamed, however long it is.
pub(crate) fn log_body(app: &App, job: JobId, attempt: Attempt) -> Body {
    let (mut out, body) = stream::writer();
    let app = app.clone();
    tokio::task::spawn_blocking(move || {
        let mut from = 0;
        loop {
            let chunk = match app.logs.read(job, attempt, from, LOG_BYTES) {
                Ok(chunk) => chunk,
                Err(error) => return tracing::error!(%error, "a log could not be sent"),
            };
            let text: String = chunk.records.iter().map(text_line).collect();
            if let Err(error) = out.write_all(text.as_bytes()) {
                return tracing::debug!(%error, "the reader of a log went away");
            }
            if chunk.next_offset == from || chunk.finished {
                break;
            }
            from = chunk.next_offset;
        }
        if let Err(error) = out.flush() {
            tracing::debug!(%error, "the reader of a log went away");
        }
    });
    body
}

/// `GET /api/v1/jobs/{id}/receipt`
pub(crate) async fn receipt(
    ctx: Ctx,
    Path(path): Path<JobPath>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Fault> {
    let job = ctx.job(&path).await?;
    let attempt = asked.attempt.map_or(job.attempt, Attempt);
    let row = ctx
        .app
        .read(move |db| Ok(queue::attempt(db, job.id, attempt)?))
        .await?;
    row.and_then(|row| row.receipt).map(Json).ok_or_else(|| {
        Fault::missing("a receipt of this attempt")
            .todo("it is written when the job has ended and its sandbox was searched and removed")
    })
}
