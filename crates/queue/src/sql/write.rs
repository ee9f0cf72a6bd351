//! Queries that change rows.

use rusqlite::{OptionalExtension, params};
use store::Db;
use vocab::{Attempt, Fence, JobId, JobState, Outcome, PushId, RepoId, RunId, RunNumber, RunState};

use crate::{Ended, NewRun, StepEnded};

type Result<T> = rusqlite::Result<T>;

pub(crate) fn insert_run(db: &Db, now_ms: i64, new: &NewRun) -> Result<(RunId, RunNumber)> {
    let state = if new.held {
        RunState::Held
    } else {
        RunState::Waiting
    };
    db.prepare_cached(
        "INSERT INTO run (repo, number, push, workflow_path, workflow_name, title, event, git_ref,
         sha, actor, actor_name, untrusted, state, created_ms)
         VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM run WHERE repo = ?1), ?2, ?3, ?4,
         ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) RETURNING id, number",
    )?
    .query_row(
        params![
            new.repo.0,
            new.push.map(|p| p.0),
            new.workflow_path,
            new.workflow_name,
            new.title,
            new.event,
            new.git_ref,
            new.sha,
            new.actor.0,
            new.actor_name,
            new.untrusted,
            state.as_str(),
            now_ms
        ],
        |row| Ok((RunId(row.get(0)?), RunNumber(row.get(1)?))),
    )
}

pub(crate) fn name_run(db: &Db, run: RunId, title: &str) -> Result<()> {
    db.prepare_cached("UPDATE run SET title = ?2 WHERE id = ?1")?
        .execute(params![run.0, title])?;
    Ok(())
}

pub(crate) fn insert_plan(
    db: &Db,
    run: RunId,
    new: &NewRun,
    problems: &str,
    workflow: Option<&str>,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO run_plan (run, github, inputs, vars, problems, workflow)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        run.0,
        new.github.to_string(),
        new.inputs.to_string(),
        new.vars.to_string(),
        problems,
        workflow
    ])?;
    Ok(())
}

/// A job that has not been planned yet, or one more leg of a matrix.
pub(crate) struct NewJob<'a> {
    pub(crate) run: RunId,
    pub(crate) repo: RepoId,
    pub(crate) key: &'a str,
    pub(crate) leg: u32,
    pub(crate) position: i64,
    pub(crate) name: &'a str,
    pub(crate) needs: &'a [String],
}

pub(crate) fn insert_job(db: &Db, now_ms: i64, new: &NewJob<'_>) -> Result<JobId> {
    db.prepare_cached(
        "INSERT INTO job (run, repo, key, leg, position, name, needs, state, created_ms, round)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'blocked', ?8,
         (SELECT attempt FROM run WHERE id = ?1))",
    )?
    .insert(params![
        new.run.0,
        new.repo.0,
        new.key,
        new.leg,
        new.position,
        new.name,
        new.needs.join("\n"),
        now_ms
    ])
    .map(JobId)
}

/// The id of a label set, which is made when new. `labels` are normalised and sorted.
pub(crate) fn label_set(db: &Db, labels: &[String]) -> Result<i64> {
    let text = labels.join("\n");
    let known = db
        .prepare_cached("SELECT id FROM label_set WHERE labels = ?1")?
        .query_row([&text], |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => db
            .prepare_cached("INSERT INTO label_set (labels) VALUES (?1)")?
            .insert([&text]),
    }
}

/// What planning adds to a job's row.
pub(crate) struct PlannedJob<'a> {
    pub(crate) name: &'a str,
    pub(crate) matrix: Option<String>,
    pub(crate) label_set: i64,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) fail_fast: bool,
    pub(crate) forgiven: bool,
    pub(crate) spec: &'a str,
    pub(crate) state: JobState,
}

pub(crate) fn plan_job(db: &Db, now_ms: i64, job: JobId, plan: &PlannedJob<'_>) -> Result<()> {
    db.prepare_cached(
        "UPDATE job SET name = ?2, matrix = ?3, label_set = ?4, max_parallel = ?5, fail_fast = ?6,
         forgiven = ?7, spec = ?8, state = ?9, queued_ms = ?10, turn = NULL WHERE id = ?1",
    )?
    .execute(params![
        job.0,
        plan.name,
        plan.matrix,
        plan.label_set,
        plan.max_parallel,
        plan.fail_fast,
        plan.forgiven,
        plan.spec,
        plan.state.as_str(),
        now_ms
    ])?;
    Ok(())
}

/// Gives a queued job its turn: after the jobs of its own repo, beside those of others.
pub(crate) fn admit(db: &Db, now_ms: i64, job: JobId) -> Result<()> {
    db.prepare_cached(
        "UPDATE job SET queued_ms = ?2, turn = max(
            (SELECT turn FROM queue_turn),
            coalesce((SELECT max(o.turn) + 1 FROM job o INDEXED BY job_turn
                WHERE o.repo = job.repo AND o.turn IS NOT NULL), 0))
         WHERE id = ?1 AND state = 'queued'",
    )?
    .execute(params![job.0, now_ms])?;
    Ok(())
}

pub(crate) fn set_queue_turn(db: &Db, turn: i64) -> Result<()> {
    db.prepare_cached("UPDATE queue_turn SET turn = max(turn, ?1)")?
        .execute([turn])?;
    Ok(())
}

/// Hands a claimable job out; `None` when it is not claimable any more.
pub(crate) fn lease(
    db: &Db,
    now_ms: i64,
    job: JobId,
    runner: &str,
    until_ms: i64,
) -> Result<Option<Fence>> {
    let fence = db
        .prepare_cached(
            "UPDATE job SET state = 'leased', turn = NULL, runner = ?2, lease_until_ms = ?3,
             epoch = epoch + 1 WHERE id = ?1 AND state = 'queued' AND turn IS NOT NULL
             RETURNING attempt, epoch",
        )?
        .query_row(params![job.0, runner, until_ms], |row| {
            Ok(Fence {
                job,
                attempt: Attempt(row.get(0)?),
                epoch: row.get(1)?,
            })
        })
        .optional()?;
    if let Some(fence) = fence {
        db.prepare_cached(
            "INSERT INTO attempt (job, number, runner, queued_ms, assigned_ms)
             SELECT id, attempt, runner, queued_ms, ?2 FROM job WHERE id = ?1
             ON CONFLICT DO UPDATE SET runner = excluded.runner, queued_ms = excluded.queued_ms,
             assigned_ms = excluded.assigned_ms",
        )?
        .execute(params![fence.job.0, now_ms])?;
    }
    Ok(fence)
}

pub(crate) fn renew(db: &Db, job: JobId, until_ms: i64) -> Result<()> {
    db.prepare_cached("UPDATE job SET lease_until_ms = ?2 WHERE id = ?1")?
        .execute(params![job.0, until_ms])?;
    Ok(())
}

pub(crate) fn start(db: &Db, now_ms: i64, fence: Fence) -> Result<()> {
    db.prepare_cached("UPDATE job SET state = 'running', started_ms = ?2 WHERE id = ?1")?
        .execute(params![fence.job.0, now_ms])?;
    db.prepare_cached("UPDATE attempt SET started_ms = ?3 WHERE job = ?1 AND number = ?2")?
        .execute(params![fence.job.0, fence.attempt.0, now_ms])?;
    Ok(())
}

/// Puts a job that never started back at the head of the queue.
pub(crate) fn requeue(db: &Db, now_ms: i64, job: JobId) -> Result<()> {
    db.prepare_cached(
        "UPDATE job SET state = 'queued', lease_until_ms = NULL, runner = NULL, queued_ms = ?2,
         turn = (SELECT turn FROM queue_turn) WHERE id = ?1",
    )?
    .execute(params![job.0, now_ms])?;
    Ok(())
}

/// Ends a job that nobody holds, whatever else its row says.
pub(crate) fn end_unheld(
    db: &Db,
    now_ms: i64,
    job: JobId,
    outcome: Outcome,
    reason: &str,
) -> Result<()> {
    db.prepare_cached(
        "UPDATE job SET state = 'finished', outcome = ?2, reason = ?3, turn = NULL,
         lease_until_ms = NULL, finished_ms = ?4, outputs = '{}' WHERE id = ?1",
    )?
    .execute(params![job.0, outcome.as_str(), reason, now_ms])?;
    // It may have been handed out and taken back before its first step.
    db.prepare_cached(
        "UPDATE attempt SET outcome = ?2, reason = ?3, finished_ms = ?4
         WHERE job = ?1 AND outcome IS NULL",
    )?
    .execute(params![job.0, outcome.as_str(), reason, now_ms])?;
    Ok(())
}

/// Ends a job and its attempt as its holder, or the loss of its holder, tells it.
pub(crate) fn end_held(db: &Db, now_ms: i64, fence: Fence, ended: &Ended) -> Result<()> {
    let outputs: serde_json::Map<_, _> = ended
        .outputs
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let outputs = serde_json::Value::from(outputs).to_string();
    db.prepare_cached(
        "UPDATE job SET state = 'finished', outcome = ?2, reason = ?3, lease_until_ms = NULL,
         finished_ms = ?4, outputs = ?5 WHERE id = ?1",
    )?
    .execute(params![
        fence.job.0,
        ended.outcome.as_str(),
        ended.reason,
        now_ms,
        outputs
    ])?;
    db.prepare_cached(
        "UPDATE attempt SET outcome = ?3, reason = ?4, finished_ms = ?5, outputs = ?6,
         summary = ?7, annotations = ?8, receipt = ?9 WHERE job = ?1 AND number = ?2",
    )?
    .execute(params![
        fence.job.0,
        fence.attempt.0,
        ended.outcome.as_str(),
        ended.reason,
        now_ms,
        outputs,
        ended.summary,
        ended.annotations.to_string(),
        ended.receipt.as_ref().map(ToString::to_string)
    ])?;
    // A step that was under way when the job ended, ended with it.
    db.prepare_cached(
        "UPDATE step SET outcome = ?3, conclusion = ?3, finished_ms = ?4
         WHERE job = ?1 AND attempt = ?2 AND outcome IS NULL",
    )?
    .execute(params![
        fence.job.0,
        fence.attempt.0,
        ended.outcome.as_str(),
        now_ms
    ])?;
    Ok(())
}

pub(crate) fn step_started(
    db: &Db,
    now_ms: i64,
    fence: Fence,
    number: u32,
    name: &str,
    log_offset: u64,
) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO step (job, attempt, number, name, log_offset, started_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET name = excluded.name",
    )?
    .execute(params![
        fence.job.0,
        fence.attempt.0,
        number,
        name,
        i64::try_from(log_offset).unwrap_or(i64::MAX),
        now_ms
    ])?;
    Ok(())
}

pub(crate) fn step_finished(db: &Db, now_ms: i64, fence: Fence, step: &StepEnded) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO step (job, attempt, number, name, log_offset, started_ms, outcome, conclusion,
         exit_code, reason, finished_ms) VALUES (?1, ?2, ?3, ?4, 0, ?9, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET name = excluded.name, outcome = excluded.outcome,
         conclusion = excluded.conclusion, exit_code = excluded.exit_code,
         reason = excluded.reason, finished_ms = excluded.finished_ms",
    )?
    .execute(params![
        fence.job.0,
        fence.attempt.0,
        step.number,
        step.name,
        step.outcome.as_str(),
        step.conclusion.as_str(),
        step.exit_code,
        step.reason,
        now_ms
    ])?;
    Ok(())
}

pub(crate) fn ask_cancel_job(db: &Db, now_ms: i64, job: JobId, by: &str) -> Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE job SET cancel_asked_ms = ?2, cancel_by = ?3
             WHERE id = ?1 AND cancel_asked_ms IS NULL AND state <> 'finished'",
        )?
        .execute(params![job.0, now_ms, by])?;
    Ok(changed > 0)
}

pub(crate) fn ask_cancel_run(db: &Db, now_ms: i64, run: RunId, by: &str) -> Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE run SET cancel_asked_ms = ?2, cancel_by = ?3
             WHERE id = ?1 AND cancel_asked_ms IS NULL AND state <> 'finished'",
        )?
        .execute(params![run.0, now_ms, by])?;
    Ok(changed > 0)
}

pub(crate) fn unhold_run(db: &Db, run: RunId) -> Result<()> {
    db.prepare_cached("UPDATE run SET state = 'waiting' WHERE id = ?1 AND state = 'held'")?
        .execute([run.0])?;
    db.prepare_cached("UPDATE job SET state = 'queued' WHERE run = ?1 AND state = 'held'")?
        .execute([run.0])?;
    Ok(())
}

pub(crate) fn held_runs_of_push(db: &Db, push: PushId) -> Result<Vec<RunId>> {
    db.prepare_cached("SELECT id FROM run WHERE push = ?1 AND state = 'held' ORDER BY id")?
        .query_map([push.0], |row| row.get(0).map(RunId))?
        .collect()
}

/// Says of runs that had ended before their push was withdrawn that they came to nothing.
pub(crate) fn withdraw_ended(db: &Db, push: PushId, reason: &str) -> Result<()> {
    db.prepare_cached(
        "UPDATE run SET outcome = 'cancelled', reason = ?2 WHERE push = ?1 AND state = 'finished'",
    )?
    .execute(params![push.0, reason])?;
    Ok(())
}

pub(crate) fn run_started(db: &Db, now_ms: i64, run: RunId) -> Result<()> {
    db.prepare_cached(
        "UPDATE run SET state = 'running', started_ms = coalesce(started_ms, ?2)
         WHERE id = ?1 AND state = 'waiting'",
    )?
    .execute(params![run.0, now_ms])?;
    Ok(())
}

pub(crate) fn end_run(
    db: &Db,
    now_ms: i64,
    run: RunId,
    outcome: Outcome,
    reason: Option<&str>,
) -> Result<()> {
    db.prepare_cached(
        "UPDATE run SET state = 'finished', outcome = ?2, finished_ms = ?3,
         reason = coalesce(?4, reason) WHERE id = ?1 AND state <> 'finished'",
    )?
    .execute(params![run.0, outcome.as_str(), now_ms, reason])?;
    Ok(())
}

/// The jobs of a run that have not ended and are with no runner; read without looking further.
pub(crate) fn unheld_unfinished(db: &Db, run: RunId) -> Result<Vec<JobId>> {
    db.prepare_cached(
        "SELECT id FROM job WHERE run = ?1 AND state IN ('held', 'blocked', 'queued')",
    )?
    .query_map([run.0], |row| row.get(0).map(JobId))?
    .collect()
}

pub(crate) fn reopen_run(db: &Db, run: RunId) -> Result<Attempt> {
    db.prepare_cached(
        "UPDATE run SET state = 'waiting', outcome = NULL, reason = '', finished_ms = NULL,
         cancel_asked_ms = NULL, cancel_by = NULL, started_ms = NULL, attempt = attempt + 1
         WHERE id = ?1 RETURNING attempt",
    )?
    .query_row([run.0], |row| row.get(0).map(Attempt))
}

/// Begins the next attempt at a finished job; the last one's story stays in its own row.
pub(crate) fn reset_job(db: &Db, job: JobId) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO attempt (job, number, outcome, reason, queued_ms, finished_ms)
         SELECT id, attempt, outcome, reason, queued_ms, finished_ms FROM job WHERE id = ?1
         ON CONFLICT DO NOTHING",
    )?
    .execute([job.0])?;
    db.prepare_cached(
        "UPDATE job SET state = 'blocked', outcome = NULL, reason = '', attempt = attempt + 1,
         turn = NULL, runner = NULL, cancel_asked_ms = NULL, cancel_by = NULL, queued_ms = NULL,
         started_ms = NULL, finished_ms = NULL, outputs = '{}',
         round = (SELECT r.attempt FROM run r WHERE r.id = job.run) WHERE id = ?1",
    )?
    .execute([job.0])?;
    Ok(())
}
