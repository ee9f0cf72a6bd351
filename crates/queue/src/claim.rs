//! Hands the next job to a free slot.

use std::time::SystemTime;

use audit::{Auditor, Entry, Kind, Who};
use serde_json::{Map, Value};
use store::{Change, Tx};
use vocab::{JobId, Outcome, unix_ms};

use crate::advance::{Groups, advance, end_unheld, normal_label};
use crate::by::{By, about};
use crate::plan::Plan;
use crate::{Claimed, Offer, QueueError, sql};

/// How many broken rows one claim ends before it leaves the rest to the next.
const BROKEN_AT_ONCE: usize = 100;

/// Hands out the first job in the queue that fits `offer`, under a new epoch.
///
/// A job whose row cannot be understood is ended with that reason and stops nobody else.
pub fn claim(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    offer: &Offer,
) -> Result<Option<Claimed>, QueueError> {
    let who = Who::system();
    let by = By::new(now, auditor, &who);
    let labels: Vec<String> = offer.labels.iter().map(|l| normal_label(l)).collect();
    for _ in 0..BROKEN_AT_ONCE {
        let Some((turn, job)) = first(tx, &labels)? else {
            return Ok(None);
        };
        match hand_out(tx, &by, offer, turn, job) {
            Err(QueueError::Unreadable { reason, .. }) => end_broken(tx, &by, job, &reason)?,
            other => return other.map(Some),
        }
    }
    // There may be more behind them: whoever waits for work should ask again.
    tx.announce(Change::Queue);
    Ok(None)
}

/// The claimable job with the lowest turn among those whose labels are all in `labels`.
fn first(tx: &Tx<'_>, labels: &[String]) -> Result<Option<(i64, JobId)>, QueueError> {
    let mut best: Option<(i64, JobId)> = None;
    for (set, wanted) in sql::waiting_sets(tx)? {
        if wanted.iter().all(|label| labels.contains(label))
            && let Some(head) = sql::first_of_set(tx, set)?
            && best.is_none_or(|b| head < b)
        {
            best = Some(head);
        }
    }
    Ok(best)
}

fn hand_out(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    offer: &Offer,
    turn: i64,
    id: JobId,
) -> Result<Claimed, QueueError> {
    let unreadable = |reason: String| QueueError::Unreadable {
        what: "job",
        id: id.0,
        reason,
    };
    let text = sql::spec(tx, id)?.ok_or_else(|| unreadable("it was never planned".into()))?;
    let (run, _) = sql::run_of(tx, id)?.ok_or(QueueError::NoJob(id))?;
    let run = sql::run(tx, run)?.ok_or(QueueError::NoRun(run))?;
    let plan = Plan::load(tx, &run)?;
    let spec = plan.spec(&text).map_err(unreadable)?;
    let contexts = plan.into_contexts();

    let until = unix_ms(by.now + offer.lease);
    let fence = sql::lease(tx, by.now_ms(), id, &offer.runner, until)?
        .ok_or_else(|| unreadable("it is not claimable".into()))?;
    sql::set_queue_turn(tx, turn)?;
    let job = sql::job(tx, id)?.ok_or(QueueError::NoJob(id))?;
    let needs = if job.needs.is_empty() {
        Value::Object(Map::new())
    } else {
        Groups::new(&sql::legs(tx, run.id)?).context(&job.key)
    };
    let entry = about(Entry::success(Kind::JobAssigned), run.id, (id, &job.name))
        .detail("runner", offer.runner.clone())
        .detail("attempt", fence.attempt.0)
        .detail("epoch", fence.epoch);
    by.record(tx, entry)?;
    tx.announce(Change::Job(id));
    tx.announce(Change::Run(run.id));
    Ok(Claimed {
        fence,
        spec,
        github: contexts.github,
        inputs: contexts.inputs,
        vars: contexts.vars,
        needs,
        lease_until_ms: until,
        run,
        job,
    })
}

fn end_broken(tx: &mut Tx<'_>, by: &By<'_>, job: JobId, reason: &str) -> Result<(), QueueError> {
    let reason = format!("this job's plan cannot be read: {reason}; run it again");
    tracing::error!(job.id = %job, reason, "a broken job was taken out of the queue");
    let (run, name) = sql::run_of(tx, job)?.ok_or(QueueError::NoJob(job))?;
    end_unheld(tx, by, run, (job, &name), Outcome::Failure, &reason)?;
    advance(tx, by, run)
}
