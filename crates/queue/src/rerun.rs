//! Runs finished jobs again, as new attempts; the old ones keep their rows and logs.

use std::collections::BTreeSet;
use std::time::SystemTime;

use audit::{Auditor, Entry, Kind, Who};
use store::{Change, Tx};
use vocab::{JobId, JobState, RunId, RunState};

use crate::advance::advance;
use crate::by::{By, about};
use crate::open::name_and_group;
use crate::sql::{self, Leg};
use crate::{QueueError, Rerun};

/// Runs jobs of `run` again, with those that depend on them, and returns all of them.
///
/// Errors: `StillRunning` when one of them has not ended; `NothingToRerun` when there is none.
pub fn rerun(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    who: &Who,
    run: RunId,
    which: Rerun,
) -> Result<Vec<JobId>, QueueError> {
    let by = By::new(now, auditor, who);
    let row = sql::run(tx, run)?.ok_or(QueueError::NoRun(run))?;
    let legs = sql::legs(tx, run)?;
    if legs.is_empty() {
        let reason = "its workflow is invalid; push a corrected one";
        return Err(QueueError::NothingToRerun(run, reason));
    }
    let chosen = choose(&legs, which);
    if chosen.is_empty() {
        let reason = match which {
            Rerun::Job(_) => "it has no such job",
            _ => "all its jobs went well; run all of them again instead",
        };
        return Err(QueueError::NothingToRerun(run, reason));
    }
    let again = with_dependents(&legs, chosen);
    if again
        .iter()
        .any(|leg| leg.outcome.is_none() && leg.state != JobState::Blocked)
    {
        return Err(QueueError::StillRunning(run));
    }
    let over = row.state == RunState::Finished;
    let round = if over {
        sql::reopen_run(tx, run)?
    } else {
        row.attempt
    };
    let mut ids = Vec::new();
    for leg in again.iter().filter(|leg| leg.outcome.is_some()) {
        sql::reset_job(tx, leg.id)?;
        let entry = about(Entry::success(Kind::JobRetried), run, (leg.id, &leg.name));
        by.record(tx, entry.detail("round", round.0))?;
        tx.announce(Change::Job(leg.id));
        ids.push(leg.id);
    }
    tx.announce(Change::Run(run));
    if over {
        name_and_group(tx, &by, run)?;
    }
    advance(tx, &by, run)?;
    Ok(ids)
}

fn choose(legs: &[Leg], which: Rerun) -> Vec<&Leg> {
    legs.iter()
        .filter(|leg| match which {
            Rerun::All => true,
            Rerun::Failed => leg.outcome.is_some_and(|o| !o.is_good()),
            Rerun::Job(id) => leg.id == id,
        })
        .collect()
}

/// `chosen`, and every leg of every job that depends on one of them, near or far.
fn with_dependents<'a>(legs: &'a [Leg], chosen: Vec<&'a Leg>) -> Vec<&'a Leg> {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = chosen.iter().map(|leg| leg.key.as_str()).collect();
    while let Some(key) = open.pop() {
        for leg in legs
            .iter()
            .filter(|leg| leg.needs.iter().any(|need| need == key))
        {
            if keys.insert(&leg.key) {
                open.push(&leg.key);
            }
        }
    }
    legs.iter()
        .filter(|leg| chosen.iter().any(|c| c.id == leg.id) || keys.contains(leg.key.as_str()))
        .collect()
}
