//! One run with its jobs and steps, read in one snapshot; and as JSON.

use forge::Repo;
use queue::{Capacity, JobRow, RunRow, StepRow};
use serde_json::{Value, json};
use store::Db;
use vocab::{Attempt, JobState};

use crate::fault::Fault;
use crate::state::App;
use crate::{states, words};

/// A run, and all that its page needs but logs.
pub(crate) struct RunDetail {
    pub(crate) repo: Repo,
    pub(crate) run: RunRow,
    pub(crate) problems: Vec<String>,
    pub(crate) jobs: Vec<JobDetail>,
}

/// A job, why it waits, and the steps of its newest attempt.
pub(crate) struct JobDetail {
    pub(crate) row: JobRow,
    pub(crate) wait: Option<String>,
    pub(crate) steps: Vec<StepRow>,
}

impl RunDetail {
    pub(crate) fn load(
        db: &Db,
        repo: Repo,
        run: RunRow,
        capacity: &[Capacity],
    ) -> Result<Self, Fault> {
        let problems = if run.reason.is_empty() {
            Vec::new()
        } else {
            queue::problems(db, run.id).map_err(Fault::internal)?
        };
        let mut jobs = Vec::new();
        for row in queue::jobs_of(db, run.id).map_err(Fault::internal)? {
            jobs.push(JobDetail::load(db, row, capacity)?);
        }
        Ok(Self {
            repo,
            run,
            problems,
            jobs,
        })
    }

    pub(crate) fn json(&self, app: &App) -> Value {
        let mut out = run_json(app, &self.repo, &self.run);
        out["problems"] = json!(self.problems);
        out["jobs"] = self.jobs.iter().map(JobDetail::json).collect();
        let now = app.clock.now();
        out["view"] = json!({
            "state": states::run(self.run.state, self.run.outcome),
            "jobs": self.jobs.iter().map(|job| json!({
                "id": job.row.id,
                "state": states::job(job.row.state, job.row.outcome),
                "took": took(job.row.started_ms, job.row.finished_ms, now),
                "steps": job.steps.iter().map(|step| json!({
                    "index": step.number,
                    "name": step.name,
                    "state": states::step(step.conclusion),
                    "took": took(Some(step.started_ms), step.finished_ms, now),
                })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        });
        out
    }
}

impl JobDetail {
    pub(crate) fn load(db: &Db, row: JobRow, capacity: &[Capacity]) -> Result<Self, Fault> {
        let waits = matches!(
            row.state,
            JobState::Held | JobState::Blocked | JobState::Queued
        );
        let wait = if waits {
            queue::explain(db, row.id, capacity)
                .map_err(Fault::internal)?
                .map(|reason| reason.to_string())
        } else {
            None
        };
        let steps = if row.attempt > Attempt(0) {
            queue::steps_of(db, row.id, row.attempt).map_err(Fault::internal)?
        } else {
            Vec::new()
        };
        Ok(Self { row, wait, steps })
    }

    pub(crate) fn json(&self) -> Value {
        let row = &self.row;
        let mut out = serde_json::to_value(row).unwrap_or_default();
        out["wait"] = json!(self.wait);
        out["steps"] = self
            .steps
            .iter()
            .map(|step| {
                let mut one = serde_json::to_value(step).unwrap_or_default();
                one["state"] = json!(states::step(step.conclusion).word);
                one
            })
            .collect();
        out
    }
}

/// A run without its jobs.
pub(crate) fn run_json(app: &App, repo: &Repo, run: &RunRow) -> Value {
    let mut out = serde_json::to_value(run).unwrap_or_default();
    out["repo"] = json!(repo.path.to_string());
    out["workflow"] = json!(run.workflow_name);
    out["ref"] = json!(run.git_ref);
    out["url"] = json!(app.url(&crate::push::run_path(repo, run.number.get())));
    out
}

/// How long something took, or has taken so far; empty when it has not started.
pub(crate) fn took(
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    now: std::time::SystemTime,
) -> String {
    started_ms.map_or_else(String::new, |started| {
        words::span(finished_ms.unwrap_or_else(|| vocab::unix_ms(now)) - started)
    })
}
