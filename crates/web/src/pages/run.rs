//! One run: its jobs, the steps and the log of one of them, its receipt.

use std::collections::BTreeMap;

use axum::extract::{Form, Path, Query};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use queue::logs::Chunk;
use queue::{AttemptRow, JobRow, Rerun, StepRow};
use runner::receipt::Receipt;
use serde::Deserialize;
use store::Db;
use vocab::{Attempt, JobId, JobState, Outcome};

use super::run_parts::{annotations, problem, receipt_rows, stored_receipt, summaries};
use super::{frame, log_view, render, repo_head, run_signed, see, short_id, short_ref};
use crate::detail::{JobDetail, RunDetail, took};
use crate::fault::Fault;
use crate::guard::{Ctx, find_run};
use crate::state::App;
use crate::view::{
    JobNode, JobView, Link, ReceiptView, Row, RunHead, RunPage, SignedView, StepView,
};
use crate::{api, events, push, states, words};

/// How much of a log one page carries.
const PAGE_BYTES: u64 = 192 << 10;

/// `…/runs/{number}` and below.
#[derive(Clone, Deserialize)]
pub(crate) struct Place {
    number: String,
    job: Option<i64>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Part {
    attempt: Option<i64>,
    from: Option<u64>,
}

/// `GET …/runs/{number}` and `…/runs/{number}/jobs/{job}`
pub(crate) async fn page(
    ctx: Ctx,
    Path(place): Path<Place>,
    Query(part): Query<Part>,
) -> Result<Response, Fault> {
    let mut frame = frame(&ctx, "", "Runs").await?;
    let shown = ctx.clone();
    ctx.app
        .off(move || {
            let ctx = shown;
            let loaded = load(&ctx, &place, &part)?;
            let run = &loaded.detail.run;
            frame.title = format!(
                "#{} {} · {}",
                run.number, run.title, loaded.detail.repo.path
            );
            render(&loaded.view(&ctx, frame))
        })
        .await
}

/// All that the page of a run shows, before it is put into words.
struct Loaded {
    detail: RunDetail,
    shown: Option<Shown>,
}

/// The job whose steps are on the page.
struct Shown {
    at: usize,
    attempt: Attempt,
    attempts: Vec<AttemptRow>,
    row: Option<AttemptRow>,
    steps: Vec<StepRow>,
    chunk: Chunk,
    signed: SignedView,
}

fn load(ctx: &Ctx, place: &Place, part: &Part) -> Result<Loaded, Fault> {
    let repo = ctx.repo()?.clone();
    let capacity = ctx.app.facilities.capacity();
    let (detail, chosen) = ctx.app.store.read(|db| -> Result<_, Fault> {
        let run = find_run(db, repo.id, &place.number)?;
        let detail = RunDetail::load(db, repo, run, &capacity)?;
        let chosen = choose(db, &detail, place, part)?;
        Ok((detail, chosen))
    })?;
    let shown = match chosen {
        None => None,
        Some((at, attempt, attempts, steps)) => {
            let job = detail.jobs[at].row.id;
            let logs = &ctx.app.logs;
            let chunk = match part.from {
                Some(from) => logs.read(job, attempt, from, PAGE_BYTES),
                None => logs.tail(job, attempt, PAGE_BYTES),
            };
            let row = attempts.iter().find(|a| a.attempt == attempt).cloned();
            let chunk = chunk.map_err(events::log_fault)?;
            let signed = run_signed::view(&ctx.app, job, attempt)?;
            Some(Shown {
                at,
                attempt,
                attempts,
                row,
                steps,
                chunk,
                signed,
            })
        }
    };
    Ok(Loaded { detail, shown })
}

type Chosen = Option<(usize, Attempt, Vec<AttemptRow>, Vec<StepRow>)>;

/// The job that is asked for; else one that failed, else one that runs, else the last.
fn choose(db: &Db, detail: &RunDetail, place: &Place, part: &Part) -> Result<Chosen, Fault> {
    let jobs = &detail.jobs;
    let at = match place.job {
        Some(id) => Some(
            jobs.iter()
                .position(|j| j.row.id == JobId(id))
                .ok_or_else(|| Fault::missing(format!("job {id} of this run")))?,
        ),
        None => jobs
            .iter()
            .position(|j| j.row.outcome.is_some_and(|o| !o.is_good()))
            .or_else(|| jobs.iter().position(|j| j.row.state == JobState::Running))
            .or_else(|| jobs.len().checked_sub(1)),
    };
    let Some(at) = at else { return Ok(None) };
    let row = &jobs[at].row;
    let attempts = queue::attempts_of(db, row.id).map_err(Fault::internal)?;
    let attempt = part.attempt.map_or(row.attempt, Attempt);
    let steps = queue::steps_of(db, row.id, attempt).map_err(Fault::internal)?;
    Ok(Some((at, attempt, attempts, steps)))
}

impl Loaded {
    fn view(mut self, ctx: &Ctx, frame: crate::view::Frame) -> RunPage {
        let signed = self
            .shown
            .as_mut()
            .map(|shown| std::mem::take(&mut shown.signed));
        let signed = signed.unwrap_or_default();
        let app = &ctx.app;
        let base = push::run_path(&self.detail.repo, self.detail.run.number.get());
        let ended = self.detail.run.outcome.is_some();
        let may = |action, when: bool, path: &str| {
            (when && ctx.may(action)).then(|| format!("{base}/{path}"))
        };
        let again = ended && !self.detail.jobs.is_empty();
        let failed = again
            && self
                .detail
                .jobs
                .iter()
                .any(|j| j.row.outcome.is_some_and(|o| !o.is_good()));
        let receipt = self
            .shown
            .as_ref()
            .and_then(|s| s.row.as_ref())
            .and_then(stored_receipt);
        RunPage {
            frame,
            repo: repo_head(ctx, &self.detail.repo, "Runs"),
            events_href: format!(
                "/api/v1/repos/{}/runs/{}/events",
                self.detail.repo.path, self.detail.run.number
            ),
            cancel_action: may(access::Action::RunCancel, !ended, "cancel"),
            rerun_action: may(access::Action::RunRerun, again, "rerun"),
            rerun_failed_action: may(access::Action::RunRerun, failed, "rerun"),
            problems_title: match self.detail.problems.len() {
                1 => "This workflow could not be run".to_owned(),
                n => format!("This workflow could not be run: {n} problems"),
            },
            problems: self
                .detail
                .problems
                .iter()
                .map(|p| problem(&self.detail, p))
                .collect(),
            graph: self.graph(app, &base),
            job: self.shown.as_ref().map(|s| self.job(s, &base)),
            steps: self
                .shown
                .as_ref()
                .map_or_else(Vec::new, |s| self.steps(app, s)),
            annotations: self
                .shown
                .as_ref()
                .and_then(|s| s.row.as_ref())
                .map_or_else(Vec::new, annotations),
            summaries: self
                .shown
                .as_ref()
                .and_then(|s| s.row.as_ref())
                .map_or_else(Vec::new, summaries),
            receipt: self.receipt(receipt.as_ref(), signed),
            costs: self.costs(receipt.as_ref()),
            run: self.head(app, receipt.as_ref()),
        }
    }

    fn head(&self, app: &App, receipt: Option<&Receipt>) -> RunHead {
        let (repo, run) = (&self.detail.repo, &self.detail.run);
        let now = app.clock.now();
        RunHead {
            title: run.title.clone(),
            number: run.number.get(),
            workflow: run.workflow_name.clone(),
            ref_name: short_ref(&run.git_ref).to_owned(),
            commit: short_id(&run.sha),
            commit_href: format!("/{}/commit/{}", repo.path, run.sha),
            actor: run.actor_name.clone(),
            event: match run.event.as_str() {
                "push" => "pushed".to_owned(),
                "workflow_dispatch" => "started by hand".to_owned(),
                other => other.to_owned(),
            },
            at: words::when(run.created_ms, now),
            first_output: receipt
                .and_then(|r| r.timings.start_latency_ms())
                .map(words::span),
            took: run
                .finished_ms
                .zip(run.started_ms)
                .map(|(end, start)| words::span(end - start)),
            why: self.why(),
            finished: run.outcome.is_some(),
            state: states::run(run.state, run.outcome),
        }
    }

    /// Why the run stands or ended so, where neither a job nor a problem says it.
    fn why(&self) -> Option<String> {
        let run = &self.detail.run;
        if let (Some(asked), None) = (&run.cancel, run.outcome) {
            return Some(format!(
                "{} asked to cancel it; what runs is being stopped.",
                asked.by
            ));
        }
        (!run.reason.is_empty() && self.detail.problems.is_empty())
            .then(|| crate::respond::sentence(&run.reason))
    }

    /// Jobs in columns: each stands right of all that it needs.
    fn graph(&self, app: &App, base: &str) -> Vec<Vec<JobNode>> {
        let now = app.clock.now();
        let mut depth: BTreeMap<&str, usize> = BTreeMap::new();
        // As many rounds as there are jobs settle every chain; a cycle cannot be stored.
        for _ in 0..self.detail.jobs.len() {
            let mut settled = true;
            for job in &self.detail.jobs {
                let needs = job
                    .row
                    .needs
                    .iter()
                    .map(|n| depth.get(n.as_str()).map_or(0, |d| d + 1));
                let d = needs.max().unwrap_or(0);
                if depth.insert(&job.row.key, d) != Some(d) {
                    settled = false;
                }
            }
            if settled {
                break;
            }
        }
        let mut columns: Vec<Vec<JobNode>> = Vec::new();
        for (at, job) in self.detail.jobs.iter().enumerate() {
            let d = depth.get(job.row.key.as_str()).copied().unwrap_or(0);
            while columns.len() <= d {
                columns.push(Vec::new());
            }
            columns[d].push(JobNode {
                id: job.row.id.get(),
                href: format!("{base}/jobs/{}", job.row.id),
                name: job.row.name.clone(),
                state: states::job(job.row.state, job.row.outcome),
                took: took(job.row.started_ms, job.row.finished_ms, now),
                here: self.shown.as_ref().is_some_and(|s| s.at == at),
            });
        }
        columns
    }

    fn job(&self, shown: &Shown, base: &str) -> JobView {
        let JobDetail { row, wait, .. } = &self.detail.jobs[shown.at];
        let href = format!("{base}/jobs/{}", row.id);
        let newest = shown.attempt == row.attempt;
        let outcome = if newest {
            row.outcome
        } else {
            shown.row.as_ref().and_then(|a| a.outcome)
        };
        let state = if newest {
            states::job(row.state, row.outcome)
        } else {
            states::step(outcome)
        };
        let chunk = &shown.chunk;
        let has_log = chunk.size_bytes > 0;
        let live = newest && row.outcome.is_none() && chunk.next_offset == chunk.size_bytes;
        let with = |from: u64| format!("{href}?attempt={}&from={from}", shown.attempt);
        let of_job = if newest { row.reason.as_str() } else { "" };
        let reason = shown.row.as_ref().map_or(of_job, |a| a.reason.as_str());
        JobView {
            id: row.id.get(),
            name: row.name.clone(),
            state,
            stream: live.then(|| {
                format!(
                    "/api/v1/jobs/{}/log/stream?attempt={}&from={}",
                    row.id, shown.attempt, chunk.next_offset
                )
            }),
            attempts: attempts(shown, &href),
            raw: has_log.then(|| format!("{href}/log?attempt={}", shown.attempt)),
            has_log: has_log || live,
            log_note: if has_log {
                words::size(chunk.size_bytes)
            } else {
                String::new()
            },
            wait: wait
                .as_deref()
                .filter(|_| newest)
                .map(crate::respond::sentence),
            reason: (!reason.is_empty()).then(|| crate::respond::sentence(reason)),
            earlier: (chunk.first_offset > 0).then(|| with(0)),
            later: (has_log && chunk.next_offset < chunk.size_bytes && !chunk.finished)
                .then(|| with(chunk.next_offset)),
            from: words::count(chunk.first_offset, "byte"),
        }
    }

    fn steps(&self, app: &App, shown: &Shown) -> Vec<StepView> {
        let now = app.clock.now();
        let mut lines = log_view::by_step(&shown.chunk.records, &|step| {
            // A part that begins within a step cannot count its lines.
            let begins = |s: &&StepRow| s.number == step;
            let start = shown.steps.iter().find(begins).map_or(0, |s| s.log_offset);
            start >= shown.chunk.first_offset
        });
        let mut views: Vec<StepView> = shown
            .steps
            .iter()
            .map(|step| {
                let html = lines.remove(&step.number).unwrap_or_default();
                let ended = step.conclusion;
                let bad = ended.is_some_and(|o| !o.is_good());
                let code = step.exit_code.filter(|code| *code != 0);
                let note = match (step.reason.as_str(), code) {
                    ("", None) => None,
                    ("", Some(code)) => Some(format!("Exit code {code}.")),
                    (why, _) => Some(crate::respond::sentence(why)),
                };
                StepView {
                    index: step.number,
                    name: step.name.clone(),
                    state: states::step(ended),
                    took: took(Some(step.started_ms), step.finished_ms, now),
                    open: bad || ended.is_none(),
                    note,
                    html,
                }
            })
            .collect();
        // Lines outside any step that was written down: a job's set-up and its end.
        for (index, html) in lines {
            let name = if index == 0 {
                "Set up the job"
            } else {
                "Complete the job"
            };
            let state = states::step(
                shown
                    .row
                    .as_ref()
                    .and_then(|a| a.outcome)
                    .map(|_| Outcome::Success),
            );
            let view = StepView {
                index,
                name: name.to_owned(),
                state,
                took: String::new(),
                open: false,
                note: None,
                html,
            };
            views.push(view);
        }
        views.sort_by_key(|v| v.index);
        // All went well: show the last step that the workflow wrote, where the answer stands.
        let spoke = |v: &StepView| !v.html.is_empty() && !v.html.contains("k-receipt");
        if !views.iter().any(|v| v.open)
            && let Some(last) = views.iter_mut().rev().find(|v| v.index > 0 && spoke(v))
        {
            last.open = true;
        }
        views
    }

    fn receipt(&self, receipt: Option<&Receipt>, signed: SignedView) -> ReceiptView {
        let Some(shown) = &self.shown else {
            return ReceiptView {
                signed,
                rows: Vec::new(),
                folds: Vec::new(),
                none: "No job was run.",
                json: None,
            };
        };
        let job = &self.detail.jobs[shown.at].row;
        let json = || format!("/api/v1/jobs/{}/receipt?attempt={}", job.id, shown.attempt);
        let Some(receipt) = receipt else {
            let stored = shown.row.as_ref().is_some_and(|row| row.receipt.is_some());
            let none = if stored {
                "It was written by another version of Cofferdam; its JSON has all of it."
            } else if job.outcome.is_some() {
                "No sandbox was made for this job, so there is nothing to vouch for."
            } else {
                "It is written when the job has ended and its sandbox was searched and removed."
            };
            return ReceiptView {
                signed,
                rows: Vec::new(),
                folds: Vec::new(),
                none,
                json: stored.then(json),
            };
        };
        let (rows, folds) = receipt_rows(receipt);
        ReceiptView {
            signed,
            rows,
            folds,
            none: "",
            json: Some(json()),
        }
    }

    fn costs(&self, receipt: Option<&Receipt>) -> Vec<Row> {
        let Some(shown) = &self.shown else {
            return Vec::new();
        };
        let job: &JobRow = &self.detail.jobs[shown.at].row;
        let mut rows = Vec::new();
        let (queued, started, finished) = match &shown.row {
            Some(a) => (a.queued_ms, a.started_ms, a.finished_ms),
            None => (job.queued_ms, job.started_ms, job.finished_ms),
        };
        if let (Some(queued), Some(started)) = (queued, started) {
            rows.push(Row::new("waited", words::span(started - queued)));
        }
        if let (Some(started), Some(finished)) = (started, finished) {
            rows.push(Row::new("runner time", words::span(finished - started)));
        }
        if let Some(usage) = receipt.and_then(|r| r.usage.as_ref()) {
            if let Some(bytes) = usage.memory_peak_bytes {
                rows.push(Row::new("peak memory", words::size(bytes)));
            }
            if let Some(ms) = usage.cpu_ms {
                rows.push(Row::new(
                    "processor",
                    words::span(i64::try_from(ms).unwrap_or(i64::MAX)),
                ));
            }
            if let Some(n) = usage.pids_peak {
                rows.push(Row::new("most processes", n.to_string()));
            }
        }
        if rows.is_empty() {
            rows.push(Row::new("runner time", "none yet"));
        }
        rows
    }
}

fn attempts(shown: &Shown, href: &str) -> Vec<Link> {
    if shown.attempts.len() < 2 {
        return Vec::new();
    }
    shown
        .attempts
        .iter()
        .map(|a| {
            let name = format!("Attempt {}", a.attempt);
            Link::new(name, format!("{href}?attempt={}", a.attempt))
                .here(a.attempt == shown.attempt)
        })
        .collect()
}

/// `GET …/jobs/{job}/log`: the whole log as text.
pub(crate) async fn raw_log(
    ctx: Ctx,
    Path(place): Path<Place>,
    Query(part): Query<Part>,
) -> Result<Response, Fault> {
    let repo = ctx.repo()?.id;
    let number = place.number.clone();
    let (job, name) = ctx
        .app
        .read(move |db| {
            let run = find_run(db, repo, &number)?;
            let wanted = JobId(place.job.unwrap_or_default());
            let job = queue::job(db, wanted)
                .map_err(Fault::internal)?
                .filter(|job| job.run == run.id)
                .ok_or_else(|| Fault::missing(format!("job {wanted} of this run")))?;
            let name = format!("run-{}-job-{}.log", run.number, job.id);
            Ok((job, name))
        })
        .await?;
    let attempt = part.attempt.map_or(job.attempt, Attempt);
    let mut response = Response::new(api::runs::log_body(&ctx.app, job.id, attempt));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if let Ok(value) = HeaderValue::from_str(&format!("inline; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// `POST …/runs/{number}/cancel`
pub(crate) async fn cancel(ctx: Ctx, Path(place): Path<Place>) -> Result<Response, Fault> {
    let path = api::runs::do_cancel(&ctx, place.number).await?;
    Ok(see(&path))
}

#[derive(Deserialize)]
pub(crate) struct RerunForm {
    #[serde(default)]
    failed: bool,
}

/// `POST …/runs/{number}/rerun`
pub(crate) async fn rerun(
    ctx: Ctx,
    Path(place): Path<Place>,
    Form(form): Form<RerunForm>,
) -> Result<Response, Fault> {
    let which = if form.failed {
        Rerun::Failed
    } else {
        Rerun::All
    };
    let path = api::runs::do_rerun(&ctx, place.number, which).await?;
    Ok(see(&path))
}
