//! What pages, the API and metrics ask of the queue.

use std::collections::HashSet;

use store::Db;
use vocab::{Attempt, JobId, PushId, RepoId, RunId, RunNumber};

use crate::{AttemptRow, Counts, JobRow, QueueError, RunFilter, RunRow, StepRow, sql};

/// Up to so many repos, the newest runs are looked up repo by repo.
const FEW_REPOS: usize = 64;
/// Beyond that, so many of the newest runs of the instance are looked at.
const LOOK: u32 = 20_000;

/// One run.
pub fn run(db: &Db, run: RunId) -> Result<Option<RunRow>, QueueError> {
    Ok(sql::run(db, run)?)
}

/// One run by the number that its repo's pages show.
pub fn run_by_number(
    db: &Db,
    repo: RepoId,
    number: RunNumber,
) -> Result<Option<RunRow>, QueueError> {
    Ok(sql::run_by_number(db, repo, number)?)
}

/// A repo's runs, newest first.
pub fn runs_of(db: &Db, repo: RepoId, filter: &RunFilter) -> Result<Vec<RunRow>, QueueError> {
    Ok(sql::runs_of(db, repo, filter)?)
}

/// The runs that a push opened, oldest first.
pub fn runs_of_push(db: &Db, push: PushId) -> Result<Vec<RunRow>, QueueError> {
    Ok(sql::runs_of_push(db, push)?)
}

/// The newest runs of all these repos together.
pub fn recent_runs(db: &Db, repos: &[RepoId], limit: usize) -> Result<Vec<RunRow>, QueueError> {
    if repos.len() > FEW_REPOS {
        let wanted: HashSet<RepoId> = repos.iter().copied().collect();
        return Ok(sql::newest_runs(db, LOOK, limit, |repo| {
            wanted.contains(&repo)
        })?);
    }
    let filter = RunFilter {
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
        ..RunFilter::default()
    };
    let mut found = Vec::new();
    for repo in repos {
        found.extend(sql::runs_of(db, *repo, &filter)?);
    }
    found.sort_by_key(|run| std::cmp::Reverse(run.id));
    found.truncate(limit);
    Ok(found)
}

/// What is wrong with the workflow of a run that failed at once; empty for others.
pub fn problems(db: &Db, run: RunId) -> Result<Vec<String>, QueueError> {
    let plan = sql::plan(db, run)?.ok_or(QueueError::NoRun(run))?;
    Ok(serde_json::from_str(&plan.problems).unwrap_or_default())
}

/// What a run was given by whoever started it: an object; empty for most.
pub fn inputs_of(db: &Db, run: RunId) -> Result<serde_json::Value, QueueError> {
    let plan = sql::plan(db, run)?.ok_or(QueueError::NoRun(run))?;
    Ok(serde_json::from_str(&plan.inputs).unwrap_or_default())
}

/// A run's jobs, in the workflow's order, matrix legs together.
pub fn jobs_of(db: &Db, run: RunId) -> Result<Vec<JobRow>, QueueError> {
    Ok(sql::jobs_of(db, run)?)
}

/// One job.
pub fn job(db: &Db, job: JobId) -> Result<Option<JobRow>, QueueError> {
    Ok(sql::job(db, job)?)
}

/// Every attempt at a job so far, oldest first. The one that waits for a runner has no row yet.
pub fn attempts_of(db: &Db, job: JobId) -> Result<Vec<AttemptRow>, QueueError> {
    Ok(sql::attempts_of(db, job)?)
}

/// One attempt.
pub fn attempt(db: &Db, job: JobId, attempt: Attempt) -> Result<Option<AttemptRow>, QueueError> {
    Ok(sql::attempt(db, job, attempt)?)
}

/// The steps of one attempt, in order.
pub fn steps_of(db: &Db, job: JobId, attempt: Attempt) -> Result<Vec<StepRow>, QueueError> {
    Ok(sql::steps_of(db, job, attempt)?)
}

/// The jobs that runners hold, oldest first.
pub fn running(db: &Db) -> Result<Vec<JobRow>, QueueError> {
    Ok(sql::held_by_runners(db)?)
}

/// How many jobs stand where.
pub fn counts(db: &Db) -> Result<Counts, QueueError> {
    Ok(sql::counts(db)?)
}
