//! All queries of this crate, one function each.

mod attest;
mod group;
mod read;
mod write;

use rusqlite::Row;
use serde_json::Value;
use vocab::{Attempt, JobId, PushId, RepoId, RunId, RunNumber, UserId};

use crate::{AttemptRow, CancelAsked, JobRow, RunRow, StepRow};

pub(crate) use attest::*;
pub(crate) use group::*;
pub(crate) use read::*;
pub(crate) use write::*;

const RUN: &str = "SELECT r.id, r.repo, r.number, r.push, r.workflow_path, r.workflow_name,
    r.title, r.event, r.git_ref, r.sha, r.actor, r.actor_name, r.untrusted, r.attempt, r.state,
    r.outcome, r.reason, r.cancel_asked_ms, r.cancel_by, r.created_ms, r.started_ms,
    r.finished_ms FROM run r";

const JOB: &str = "SELECT j.id, j.run, j.repo, j.key, j.leg, j.name, j.needs, j.matrix,
    coalesce((SELECT labels FROM label_set l WHERE l.id = j.label_set), ''), j.state, j.outcome,
    j.forgiven, j.reason, j.attempt, j.runner, j.cancel_asked_ms, j.cancel_by, j.created_ms,
    j.queued_ms, j.started_ms, j.finished_ms FROM job j";

const ATTEMPT: &str = "SELECT job, number, outcome, reason, runner, queued_ms, assigned_ms,
    started_ms, finished_ms, outputs, summary, annotations, receipt FROM attempt";

fn word<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err = vocab::StateError>,
{
    let text: String = row.get(at)?;
    text.parse().map_err(|e: vocab::StateError| {
        rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, Box::new(e))
    })
}

fn word_or_none<T>(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<T>>
where
    T: std::str::FromStr<Err = vocab::StateError>,
{
    match row.get_ref(at)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => word(row, at).map(Some),
    }
}

/// JSON that is only shown: what cannot be read is shown as nothing, and wedges no page.
fn shown_json(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(at)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn cancel(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<CancelAsked>> {
    let at_ms: Option<i64> = row.get(at)?;
    let by: Option<String> = row.get(at + 1)?;
    Ok(at_ms.map(|at_ms| CancelAsked {
        by: by.unwrap_or_default(),
        at_ms,
    }))
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: RunId(row.get(0)?),
        repo: RepoId(row.get(1)?),
        number: RunNumber(row.get(2)?),
        push: row.get::<_, Option<i64>>(3)?.map(PushId),
        workflow_path: row.get(4)?,
        workflow_name: row.get(5)?,
        title: row.get(6)?,
        event: row.get(7)?,
        git_ref: row.get(8)?,
        sha: row.get(9)?,
        actor: UserId(row.get(10)?),
        actor_name: row.get(11)?,
        untrusted: row.get(12)?,
        attempt: Attempt(row.get(13)?),
        state: word(row, 14)?,
        outcome: word_or_none(row, 15)?,
        reason: row.get(16)?,
        cancel: cancel(row, 17)?,
        created_ms: row.get(19)?,
        started_ms: row.get(20)?,
        finished_ms: row.get(21)?,
    })
}

fn job_row(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    let labels: String = row.get(8)?;
    Ok(JobRow {
        id: JobId(row.get(0)?),
        run: RunId(row.get(1)?),
        repo: RepoId(row.get(2)?),
        key: row.get(3)?,
        leg: row.get(4)?,
        name: row.get(5)?,
        needs: lines(&row.get::<_, String>(6)?),
        matrix: shown_json(row, 7)?,
        labels: lines(&labels),
        state: word(row, 9)?,
        outcome: word_or_none(row, 10)?,
        forgiven: row.get(11)?,
        reason: row.get(12)?,
        attempt: Attempt(row.get(13)?),
        runner: row.get(14)?,
        cancel: cancel(row, 15)?,
        created_ms: row.get(17)?,
        queued_ms: row.get(18)?,
        started_ms: row.get(19)?,
        finished_ms: row.get(20)?,
    })
}

fn attempt_row(row: &Row<'_>) -> rusqlite::Result<AttemptRow> {
    Ok(AttemptRow {
        job: JobId(row.get(0)?),
        attempt: Attempt(row.get(1)?),
        outcome: word_or_none(row, 2)?,
        reason: row.get(3)?,
        runner: row.get(4)?,
        queued_ms: row.get(5)?,
        assigned_ms: row.get(6)?,
        started_ms: row.get(7)?,
        finished_ms: row.get(8)?,
        outputs: shown_json(row, 9)?.unwrap_or_default(),
        summary: row.get(10)?,
        annotations: shown_json(row, 11)?.unwrap_or_default(),
        receipt: shown_json(row, 12)?,
    })
}

fn step_row(row: &Row<'_>) -> rusqlite::Result<StepRow> {
    Ok(StepRow {
        number: row.get(0)?,
        name: row.get(1)?,
        outcome: word_or_none(row, 2)?,
        conclusion: word_or_none(row, 3)?,
        exit_code: row.get(4)?,
        reason: row.get(5)?,
        log_offset: row.get::<_, i64>(6)?.unsigned_abs(),
        started_ms: row.get(7)?,
        finished_ms: row.get(8)?,
    })
}

/// A list as stored: one item a line.
pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
