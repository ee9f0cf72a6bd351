//! Jobs whose holder fell silent, or whose holder's process is gone.
//!
//! Invariant: what never started is queued again under a new epoch; what started ends as lost.

use std::time::SystemTime;

use audit::{Auditor, Entry, Kind, Who};
use store::{Change, Tx};
use vocab::{Fence, JobState, Outcome, unix_ms};

use crate::advance::{advance, end_unheld};
use crate::by::{By, about};
use crate::holder::{LEASE, end_held, vanished};
use crate::sql::{self, Holding};
use crate::{QueueError, Recovered};

/// Takes back the jobs whose lease ended at `now` or before, and returns their old fences.
pub fn expire_leases(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
) -> Result<Vec<Fence>, QueueError> {
    let who = Who::system();
    let by = By::new(now, auditor, &who);
    let reason = "its runner was silent for longer than its lease; nobody knows how far it came. \
                  Look at what it may have done, then run it again";
    let mut taken = Vec::new();
    for holding in sql::expired(tx, unix_ms(now))? {
        take_back(tx, &by, &holding, reason)?;
        taken.push(holding.fence);
    }
    Ok(taken)
}

/// Looks, at a start, at all jobs that were handed out: `alive` says which of them still run.
pub fn recover(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    alive: &dyn Fn(Fence) -> bool,
) -> Result<Recovered, QueueError> {
    let who = Who::system();
    let by = By::new(now, auditor, &who);
    let reason = "the appliance was restarted while it ran; nobody knows how far it came. Look at \
                  what it may have done, then run it again";
    let mut found = Recovered::default();
    for holding in sql::expired(tx, i64::MAX)? {
        if alive(holding.fence) {
            sql::renew(tx, holding.fence.job, unix_ms(now + LEASE))?;
            found.alive.push(holding.fence);
        } else {
            take_back(tx, &by, &holding, reason)?;
            match holding.state {
                JobState::Running => found.lost.push(holding.fence),
                _ => found.requeued.push(holding.fence),
            }
        }
    }
    Ok(found)
}

fn take_back(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    holding: &Holding,
    reason: &str,
) -> Result<(), QueueError> {
    let job = (holding.fence.job, holding.name.as_str());
    if holding.state == JobState::Running {
        return end_held(tx, by, holding, &vanished(reason));
    }
    if holding.cancel_asked {
        let reason = "cancelled before it started";
        end_unheld(tx, by, holding.run, job, Outcome::Cancelled, reason)?;
        return advance(tx, by, holding.run);
    }
    sql::requeue(tx, by.now_ms(), holding.fence.job)?;
    let entry = about(Entry::success(Kind::JobRetried), holding.run, job)
        .detail("attempt", holding.fence.attempt.0)
        .detail("epoch", holding.fence.epoch)
        .detail("reason", "its runner vanished before it started");
    by.record(tx, entry)?;
    tx.announce(Change::Job(holding.fence.job));
    tx.announce(Change::Run(holding.run));
    tx.announce(Change::Queue);
    Ok(())
}
