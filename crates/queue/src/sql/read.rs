//! Queries that change nothing.

use rusqlite::{OptionalExtension, params};
use store::Db;
use vocab::{Attempt, Fence, JobId, JobState, Outcome, PushId, RepoId, RunId, RunNumber};

use super::{
    ATTEMPT, JOB, RUN, attempt_row, job_row, lines, run_row, step_row, word, word_or_none,
};
use crate::{AttemptRow, Counts, JobRow, RunFilter, RunRow, StepRow};

type Result<T> = rusqlite::Result<T>;

pub(crate) fn run(db: &Db, id: RunId) -> Result<Option<RunRow>> {
    db.prepare_cached(&format!("{RUN} WHERE r.id = ?1"))?
        .query_row([id.0], run_row)
        .optional()
}

pub(crate) fn run_by_number(db: &Db, repo: RepoId, number: RunNumber) -> Result<Option<RunRow>> {
    db.prepare_cached(&format!("{RUN} WHERE r.repo = ?1 AND r.number = ?2"))?
        .query_row([repo.0, number.0], run_row)
        .optional()
}

/// The query for `filter`: the most selective condition picks the index.
pub(crate) fn runs_of_query(filter: &RunFilter) -> String {
    let index = if filter.sha.is_some() {
        "run_sha"
    } else if filter.open {
        "run_open"
    } else if filter.git_ref.is_some() {
        "run_ref"
    } else if filter.workflow_path.is_some() {
        "run_workflow"
    } else {
        "sqlite_autoindex_run_1"
    };
    let mut text = format!("{RUN} INDEXED BY {index} WHERE r.repo = ?1 AND r.number < ?2");
    for (given, condition) in [
        (filter.sha.is_some(), " AND r.sha = ?4"),
        (filter.git_ref.is_some(), " AND r.git_ref = ?5"),
        (filter.workflow_path.is_some(), " AND r.workflow_path = ?6"),
        (filter.open, " AND r.state <> 'finished'"),
    ] {
        if given {
            text.push_str(condition);
        }
    }
    // Every parameter is named once, so that all four can always be bound.
    text + " AND ?4 IS ?4 AND ?5 IS ?5 AND ?6 IS ?6 ORDER BY r.number DESC LIMIT ?3"
}

pub(crate) fn runs_of(db: &Db, repo: RepoId, filter: &RunFilter) -> Result<Vec<RunRow>> {
    let limit = if filter.limit == 0 {
        30
    } else {
        filter.limit.min(1_000)
    };
    db.prepare_cached(&runs_of_query(filter))?
        .query_map(
            params![
                repo.0,
                filter.before.map_or(i64::MAX, |n| n.0),
                limit,
                filter.sha,
                filter.git_ref,
                filter.workflow_path
            ],
            run_row,
        )?
        .collect()
}

pub(crate) fn runs_of_push(db: &Db, push: PushId) -> Result<Vec<RunRow>> {
    db.prepare_cached(&format!("{RUN} WHERE r.push = ?1 ORDER BY r.id"))?
        .query_map([push.0], run_row)?
        .collect()
}

/// The newest runs of the whole instance that `wanted` accepts, looking at `look` at most.
pub(crate) fn newest_runs(
    db: &Db,
    look: u32,
    limit: usize,
    wanted: impl Fn(RepoId) -> bool,
) -> Result<Vec<RunRow>> {
    let mut out = Vec::new();
    let mut statement = db.prepare_cached(&format!("{RUN} ORDER BY r.id DESC LIMIT ?1"))?;
    let mut rows = statement.query([look])?;
    while let Some(row) = rows.next()? {
        if wanted(RepoId(row.get(1)?)) {
            out.push(run_row(row)?);
            if out.len() == limit {
                break;
            }
        }
    }
    Ok(out)
}

pub(crate) fn job(db: &Db, id: JobId) -> Result<Option<JobRow>> {
    db.prepare_cached(&format!("{JOB} WHERE j.id = ?1"))?
        .query_row([id.0], job_row)
        .optional()
}

pub(crate) fn jobs_of(db: &Db, run: RunId) -> Result<Vec<JobRow>> {
    db.prepare_cached(&format!(
        "{JOB} WHERE j.run = ?1 ORDER BY j.position, j.leg"
    ))?
    .query_map([run.0], job_row)?
    .collect()
}

pub(crate) fn attempts_of(db: &Db, job: JobId) -> Result<Vec<AttemptRow>> {
    db.prepare_cached(&format!("{ATTEMPT} WHERE job = ?1 ORDER BY number"))?
        .query_map([job.0], attempt_row)?
        .collect()
}

pub(crate) fn attempt(db: &Db, job: JobId, number: Attempt) -> Result<Option<AttemptRow>> {
    db.prepare_cached(&format!("{ATTEMPT} WHERE job = ?1 AND number = ?2"))?
        .query_row([job.0, number.0], attempt_row)
        .optional()
}

pub(crate) fn steps_of(db: &Db, job: JobId, attempt: Attempt) -> Result<Vec<StepRow>> {
    db.prepare_cached(
        "SELECT number, name, outcome, conclusion, exit_code, reason, log_offset, started_ms,
         finished_ms FROM step WHERE job = ?1 AND attempt = ?2 ORDER BY number",
    )?
    .query_map([job.0, attempt.0], step_row)?
    .collect()
}

pub(crate) const WAITING_ORDER: &str = "WHERE j.turn IS NOT NULL ORDER BY j.turn, j.id LIMIT ?1";

/// Claimable jobs in the order of their turns.
pub(crate) fn claimable(db: &Db, limit: u32) -> Result<Vec<JobRow>> {
    db.prepare_cached(&format!("{JOB} {WAITING_ORDER}"))?
        .query_map([limit], job_row)?
        .collect()
}

/// Waiting jobs that nobody may claim yet, oldest first.
pub(crate) fn unclaimable(db: &Db, limit: u32) -> Result<Vec<JobRow>> {
    db.prepare_cached(&format!(
        "{JOB} WHERE j.turn IS NULL AND j.state IN ('held', 'blocked', 'queued')
         ORDER BY j.id LIMIT ?1"
    ))?
    .query_map([limit], job_row)?
    .collect()
}

pub(crate) fn held_by_runners(db: &Db) -> Result<Vec<JobRow>> {
    db.prepare_cached(&format!(
        "{JOB} INDEXED BY job_lease WHERE j.lease_until_ms IS NOT NULL ORDER BY j.id"
    ))?
    .query_map([], job_row)?
    .collect()
}

/// Jobs ahead of (`turn`, `id`) among those that ask for the label set `set`.
pub(crate) fn ahead(db: &Db, set: i64, turn: i64, id: JobId) -> Result<u64> {
    let count: i64 = db
        .prepare_cached(
            "SELECT count(*) FROM job INDEXED BY job_claim WHERE turn IS NOT NULL
             AND label_set = ?1 AND (turn, id) < (?2, ?3)",
        )?
        .query_row([set, turn, id.0], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

pub(crate) fn turn_of(db: &Db, job: JobId) -> Result<Option<i64>> {
    db.prepare_cached("SELECT turn FROM job WHERE id = ?1")?
        .query_row([job.0], |row| row.get(0))
}

pub(crate) fn counts(db: &Db) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut statement = db.prepare_cached(
        "SELECT state, count(*) FROM job INDEXED BY job_waiting
         WHERE state IN ('held', 'blocked', 'queued') GROUP BY state
         UNION ALL SELECT state, count(*) FROM job INDEXED BY job_lease
         WHERE lease_until_ms IS NOT NULL GROUP BY state",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(1)?.unsigned_abs();
        match word::<JobState>(row, 0)? {
            JobState::Held => counts.held = count,
            JobState::Blocked => counts.blocked = count,
            JobState::Queued => counts.queued = count,
            JobState::Leased => counts.leased = count,
            JobState::Running => counts.running = count,
            JobState::Finished => {}
        }
    }
    Ok(counts)
}

/// The distinct label sets that claimable jobs ask for: one index probe each.
pub(crate) const WAITING_SETS: &str = "WITH RECURSIVE waiting (id) AS (
    SELECT (SELECT label_set FROM job INDEXED BY job_claim
        WHERE turn IS NOT NULL ORDER BY label_set LIMIT 1)
    UNION ALL
    SELECT (SELECT label_set FROM job INDEXED BY job_claim
        WHERE turn IS NOT NULL AND label_set > waiting.id ORDER BY label_set LIMIT 1)
    FROM waiting WHERE waiting.id IS NOT NULL)
    SELECT l.id, l.labels FROM waiting JOIN label_set l ON l.id = waiting.id";

pub(crate) fn waiting_sets(db: &Db) -> Result<Vec<(i64, Vec<String>)>> {
    db.prepare_cached(WAITING_SETS)?
        .query_map([], |row| {
            Ok((row.get(0)?, lines(&row.get::<_, String>(1)?)))
        })?
        .collect()
}

pub(crate) const FIRST_OF_SET: &str = "SELECT turn, id FROM job INDEXED BY job_claim
    WHERE label_set = ?1 AND turn IS NOT NULL ORDER BY turn, id LIMIT 1";

pub(crate) fn first_of_set(db: &Db, set: i64) -> Result<Option<(i64, JobId)>> {
    db.prepare_cached(FIRST_OF_SET)?
        .query_row([set], |row| Ok((row.get(0)?, JobId(row.get(1)?))))
        .optional()
}

/// Why a waiting job may or may not be claimed.
pub(crate) struct Standing {
    pub(crate) turn: Option<i64>,
    pub(crate) max_parallel: Option<u32>,
}

pub(crate) fn standing(db: &Db, job: JobId) -> Result<Standing> {
    db.prepare_cached("SELECT turn, max_parallel FROM job WHERE id = ?1")?
        .query_row([job.0], |row| {
            Ok(Standing {
                turn: row.get(0)?,
                max_parallel: row.get(1)?,
            })
        })
}

/// What a run was planned from, as stored.
pub(crate) struct PlanText {
    pub(crate) github: String,
    pub(crate) inputs: String,
    pub(crate) vars: String,
    pub(crate) problems: String,
    pub(crate) workflow: Option<String>,
}

pub(crate) fn plan(db: &Db, run: RunId) -> Result<Option<PlanText>> {
    db.prepare_cached(
        "SELECT github, inputs, vars, problems, workflow FROM run_plan WHERE run = ?1",
    )?
    .query_row([run.0], |row| {
        Ok(PlanText {
            github: row.get(0)?,
            inputs: row.get(1)?,
            vars: row.get(2)?,
            problems: row.get(3)?,
            workflow: row.get(4)?,
        })
    })
    .optional()
}

pub(crate) fn spec(db: &Db, job: JobId) -> Result<Option<String>> {
    db.prepare_cached("SELECT spec FROM job WHERE id = ?1")?
        .query_row([job.0], |row| row.get(0))
}

/// One job as the planner sees it.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub(crate) id: JobId,
    pub(crate) key: String,
    pub(crate) leg: u32,
    pub(crate) name: String,
    pub(crate) position: i64,
    pub(crate) needs: Vec<String>,
    pub(crate) state: JobState,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) forgiven: bool,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) fail_fast: bool,
    pub(crate) has_turn: bool,
    pub(crate) outputs: String,
    pub(crate) round: i64,
}

pub(crate) fn legs(db: &Db, run: RunId) -> Result<Vec<Leg>> {
    db.prepare_cached(
        "SELECT id, key, leg, name, position, needs, state, outcome, forgiven, max_parallel,
         fail_fast, turn IS NOT NULL, outputs, round
         FROM job WHERE run = ?1 ORDER BY position, leg",
    )?
    .query_map([run.0], |row| {
        Ok(Leg {
            id: JobId(row.get(0)?),
            key: row.get(1)?,
            leg: row.get(2)?,
            name: row.get(3)?,
            position: row.get(4)?,
            needs: lines(&row.get::<_, String>(5)?),
            state: word(row, 6)?,
            outcome: word_or_none(row, 7)?,
            forgiven: row.get(8)?,
            max_parallel: row.get(9)?,
            fail_fast: row.get(10)?,
            has_turn: row.get(11)?,
            outputs: row.get(12)?,
            round: row.get(13)?,
        })
    })?
    .collect()
}

/// The job as its holder's fence is checked against it.
pub(crate) struct Holding {
    pub(crate) run: RunId,
    pub(crate) name: String,
    pub(crate) state: JobState,
    pub(crate) fence: Fence,
    pub(crate) cancel_asked: bool,
}

const HOLDING: &str =
    "SELECT id, run, name, state, attempt, epoch, cancel_asked_ms IS NOT NULL FROM job";

fn holding_row(row: &rusqlite::Row<'_>) -> Result<Holding> {
    Ok(Holding {
        fence: Fence {
            job: JobId(row.get(0)?),
            attempt: Attempt(row.get(4)?),
            epoch: row.get(5)?,
        },
        run: RunId(row.get(1)?),
        name: row.get(2)?,
        state: word(row, 3)?,
        cancel_asked: row.get(6)?,
    })
}

pub(crate) fn holding(db: &Db, job: JobId) -> Result<Option<Holding>> {
    db.prepare_cached(&format!("{HOLDING} WHERE id = ?1"))?
        .query_row([job.0], holding_row)
        .optional()
}

pub(crate) const EXPIRED: &str = "INDEXED BY job_lease WHERE lease_until_ms <= ?1";

/// Jobs whose lease ended at `now_ms` or before; all that are handed out, for `i64::MAX`.
pub(crate) fn expired(db: &Db, now_ms: i64) -> Result<Vec<Holding>> {
    db.prepare_cached(&format!("{HOLDING} {EXPIRED} ORDER BY lease_until_ms"))?
        .query_map([now_ms], holding_row)?
        .collect()
}

pub(crate) fn unfinished(db: &Db, run: RunId) -> Result<u64> {
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM job WHERE run = ?1 AND state <> 'finished'")?
        .query_row([run.0], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// The run that a job belongs to, and its name; read without looking at the rest of its row.
pub(crate) fn run_of(db: &Db, job: JobId) -> Result<Option<(RunId, String)>> {
    db.prepare_cached("SELECT run, name FROM job WHERE id = ?1")?
        .query_row([job.0], |row| Ok((RunId(row.get(0)?), row.get(1)?)))
        .optional()
}

pub(crate) fn count_jobs(db: &Db, run: RunId) -> Result<usize> {
    let count: i64 = db
        .prepare_cached("SELECT count(*) FROM job WHERE run = ?1")?
        .query_row([run.0], |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// What must never be found, in words and as a query for the ids of what breaks it.
const PROMISES: &[(&str, &str)] = &[
    (
        "run {} has ended although a job of it has not",
        "SELECT r.id FROM run r WHERE r.state = 'finished' AND EXISTS
         (SELECT 1 FROM job j WHERE j.run = r.id AND j.state <> 'finished')",
    ),
    (
        "run {} has not ended although nothing of it can move",
        "SELECT r.id FROM run r WHERE r.state <> 'finished' AND NOT EXISTS
         (SELECT 1 FROM job j WHERE j.run = r.id AND j.state NOT IN ('finished', 'blocked'))
         AND NOT EXISTS (SELECT 1 FROM concurrency c
          WHERE c.run = r.id AND c.job IS NULL AND c.state = 'pending')",
    ),
    (
        "run {} or a job of it waits in a concurrency group in which nobody is active",
        "SELECT c.run FROM concurrency c WHERE c.state = 'pending' AND NOT EXISTS
         (SELECT 1 FROM concurrency a WHERE a.repo = c.repo AND a.name = c.name
          AND a.state = 'active')",
    ),
    (
        "run {} has ended, or a job of it, and is still in a concurrency group",
        "SELECT c.run FROM concurrency c JOIN run r ON r.id = c.run
         WHERE r.state = 'finished' OR EXISTS
         (SELECT 1 FROM job j WHERE j.id = c.job AND j.state = 'finished')",
    ),
    (
        "job {} has a turn although its concurrency group does not let it start",
        "SELECT j.id FROM job j JOIN concurrency c ON c.job = j.id
         WHERE j.turn IS NOT NULL AND c.state <> 'active'",
    ),
    (
        "job {} is claimable although its run is held",
        "SELECT j.id FROM job j JOIN run r ON r.id = j.run
         WHERE r.state = 'held' AND j.state NOT IN ('held', 'blocked', 'finished')",
    ),
    (
        "job {} is held although its run is not",
        "SELECT j.id FROM job j JOIN run r ON r.id = j.run
         WHERE r.state <> 'held' AND j.state = 'held'",
    ),
    (
        "job {} is with a runner, but its attempt is not recorded",
        "SELECT j.id FROM job j WHERE j.lease_until_ms IS NOT NULL AND NOT EXISTS
         (SELECT 1 FROM attempt a WHERE a.job = j.id AND a.number = j.attempt
          AND a.outcome IS NULL)",
    ),
    (
        "an ended attempt at job {} differs from what the job says",
        "SELECT j.id FROM job j JOIN attempt a ON a.job = j.id AND a.number = j.attempt
         WHERE j.state = 'finished' AND a.outcome IS NOT j.outcome",
    ),
];

pub(crate) fn broken_promises(db: &Db) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (words, query) in PROMISES {
        let mut statement = db.prepare(&format!("{query} LIMIT 100"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            found.push(words.replace("{}", &row.get::<_, i64>(0)?.to_string()));
        }
    }
    Ok(found)
}
