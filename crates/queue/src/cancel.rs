//! Stops what people no longer want: at once where no runner holds it, else by asking the runner.

use std::time::SystemTime;

use audit::{Auditor, Entry, Kind, Who};
use store::{Change, Tx};
use vocab::{JobId, JobState, Outcome, RunId, RunState};

use crate::advance::{advance, end_unheld};
use crate::by::{By, about};
use crate::{QueueError, group, sql};

/// Cancels a run. Jobs that have not been handed out end at once; running ones are asked to stop;
/// blocked ones are judged when their needs have ended, so that `if: always()` still runs.
/// Cancelling a second time ends those too, and so does cancelling a run that has not begun since it
/// waits for others of its concurrency group.
pub fn cancel_run(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    who: &Who,
    run: RunId,
) -> Result<(), QueueError> {
    let by = By::new(now, auditor, who);
    let row = sql::run(tx, run)?.ok_or(QueueError::NoRun(run))?;
    if row.state == RunState::Finished {
        return Ok(());
    }
    let begun = !group::run_waits(tx, run)?;
    let first = sql::ask_cancel_run(tx, by.now_ms(), run, &by.in_words())? && begun;
    for leg in sql::legs(tx, run)? {
        if leg.state == JobState::Blocked && first {
            continue;
        }
        stop(tx, &by, run, (leg.id, &leg.name), leg.state)?;
    }
    tx.announce(Change::Run(run));
    advance(tx, &by, run)
}

/// Cancels one job.
pub fn cancel_job(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    who: &Who,
    job: JobId,
) -> Result<(), QueueError> {
    let by = By::new(now, auditor, who);
    let holding = sql::holding(tx, job)?.ok_or(QueueError::NoJob(job))?;
    stop(tx, &by, holding.run, (job, &holding.name), holding.state)?;
    advance(tx, &by, holding.run)
}

fn stop(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: RunId,
    job: (JobId, &str),
    state: JobState,
) -> Result<(), QueueError> {
    let words = by.in_words();
    match state {
        JobState::Finished => Ok(()),
        JobState::Leased | JobState::Running => {
            if sql::ask_cancel_job(tx, by.now_ms(), job.0, &words)? {
                let entry = about(Entry::success(Kind::JobCancelled), run, job);
                by.record(tx, entry.detail("asked", true))?;
                tx.announce(Change::CancelAsked(job.0));
                tx.announce(Change::Job(job.0));
                tx.announce(Change::Run(run));
            }
            Ok(())
        }
        JobState::Held | JobState::Blocked | JobState::Queued => {
            // Who asked stands in the row's own field; names of people stay out of the log.
            sql::ask_cancel_job(tx, by.now_ms(), job.0, &words)?;
            end_unheld(
                tx,
                by,
                run,
                job,
                Outcome::Cancelled,
                "cancelled before it started",
            )
        }
    }
}
