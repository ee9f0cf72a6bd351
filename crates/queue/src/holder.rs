//! What the holder of a job may do while its fence is good.

use std::time::{Duration, SystemTime};

use audit::{Actor, Auditor, Entry, Kind, Via, Who};
use store::{Change, Db, Tx};
use vocab::{Digest, Fence, JobState, Outcome, unix_ms};

use crate::advance::advance;
use crate::by::{By, about};
use crate::sql::{self, Holding};
use crate::{Ended, Fenced, Lost, QueueError, Renewed, StepEnded};

/// How long a holder may keep silent; it should renew four times as often.
pub const LEASE: Duration = Duration::from_secs(60);

/// Runs `effect` if `fence` is good; else records the refusal.
fn fenced<T>(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    fence: Fence,
    operation: &'static str,
    effect: impl FnOnce(&mut Tx<'_>, &By<'_>, Holding) -> Result<T, QueueError>,
) -> Result<Fenced<T>, QueueError> {
    let who = Who::new(Actor::Job { fence }, Via::Internal);
    let by = By::new(now, auditor, &who);
    let holding = sql::holding(tx, fence.job)?;
    match holding {
        Some(holding) if is_held(&holding) && holding.fence == fence => {
            effect(tx, &by, holding).map(Fenced::Done)
        }
        _ => {
            let entry = Entry::denied(Kind::JobLost, "E_STALE_FENCE")
                .unnamed_object("job", fence.job.tagged())
                .job(fence.job)
                .detail("operation", operation)
                .detail("attempt", fence.attempt.0)
                .detail("epoch", fence.epoch);
            by.record(tx, entry)?;
            Ok(Fenced::Lost(Lost { fence }))
        }
    }
}

fn is_held(holding: &Holding) -> bool {
    matches!(holding.state, JobState::Leased | JobState::Running)
}

/// Whether `fence` is good at this moment: for effects outside this crate's tables, such as log
/// chunks and secrets. Records nothing.
pub fn is_current(db: &Db, fence: Fence) -> Result<bool, QueueError> {
    Ok(sql::holding(db, fence.job)?.is_some_and(|h| is_held(&h) && h.fence == fence))
}

/// Whether somebody asked to cancel the job of `fence`; false when it is not held by it.
pub fn cancel_asked(db: &Db, fence: Fence) -> Result<bool, QueueError> {
    Ok(sql::holding(db, fence.job)?.is_some_and(|h| h.fence == fence && h.cancel_asked))
}

/// Extends the lease to `lease` after `now`.
pub fn renew(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    fence: Fence,
    lease: Duration,
) -> Result<Fenced<Renewed>, QueueError> {
    fenced(tx, now, auditor, fence, "renew", |tx, _, holding| {
        let until_ms = unix_ms(now + lease);
        sql::renew(tx, fence.job, until_ms)?;
        Ok(Renewed {
            until_ms,
            cancel_asked: holding.cancel_asked,
        })
    })
}

/// The first step is about to start: from here on the attempt is never given to another.
pub fn started(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    fence: Fence,
) -> Result<Fenced<()>, QueueError> {
    fenced(tx, now, auditor, fence, "started", |tx, by, holding| {
        if holding.state == JobState::Running {
            return Ok(());
        }
        sql::start(tx, by.now_ms(), fence)?;
        sql::run_started(tx, by.now_ms(), holding.run)?;
        let entry = about(
            Entry::success(Kind::JobStarted),
            holding.run,
            (fence.job, &holding.name),
        );
        by.record(tx, entry.detail("attempt", fence.attempt.0))?;
        tx.announce(Change::Job(fence.job));
        tx.announce(Change::Run(holding.run));
        Ok(())
    })
}

/// A step has started; its first line will stand at `log_offset`.
pub fn step_started(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    fence: Fence,
    number: u32,
    name: &str,
    log_offset: u64,
) -> Result<Fenced<()>, QueueError> {
    fenced(tx, now, auditor, fence, "step_started", |tx, by, _| {
        sql::step_started(tx, by.now_ms(), fence, number, name, log_offset)?;
        tx.announce(Change::Job(fence.job));
        Ok(())
    })
}

/// A step has ended, or was skipped without starting.
pub fn step_finished(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    fence: Fence,
    step: &StepEnded,
) -> Result<Fenced<()>, QueueError> {
    fenced(
        tx,
        now,
        auditor,
        fence,
        "step_finished",
        |tx, by, holding| {
            sql::step_finished(tx, by.now_ms(), fence, step)?;
            if step.outcome.as_result() == "failure" {
                let entry = about(
                    Entry::failure(Kind::JobStepFailed, "E_STEP_FAILED"),
                    holding.run,
                    (fence.job, &holding.name),
                );
                let entry = entry
                    .detail("step", step.number)
                    .detail("exit_code", step.exit_code);
                by.record(tx, entry)?;
            }
            tx.announce(Change::Job(fence.job));
            Ok(())
        },
    )
}

/// The job has ended: its outcome, outputs and receipt are stored, and its run moves on.
pub fn finish(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    fence: Fence,
    ended: &Ended,
) -> Result<Fenced<()>, QueueError> {
    fenced(tx, now, auditor, fence, "finish", |tx, by, holding| {
        end_held(tx, by, &holding, ended)
    })
}

/// Ends a job that is handed out, and moves its run on.
pub(crate) fn end_held(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    holding: &Holding,
    ended: &Ended,
) -> Result<(), QueueError> {
    let fence = holding.fence;
    sql::end_held(tx, by.now_ms(), fence, ended)?;
    sql::insert_due(tx, fence.job, fence.attempt)?;
    let job = (fence.job, holding.name.as_str());
    by.record_end(tx, holding.run, job, ended.outcome, |entry| {
        let entry = entry
            .detail("attempt", fence.attempt.0)
            .detail("reason", ended.reason.clone());
        match &ended.receipt {
            Some(receipt) => {
                let digest = Digest::of(receipt.to_string().as_bytes());
                entry.detail("receipt", digest.to_string())
            }
            None => entry,
        }
    })?;
    tx.announce(Change::Job(fence.job));
    tx.announce(Change::Run(holding.run));
    let who = Who::system();
    advance(tx, &By::new(by.now, by.auditor, &who), holding.run)
}

/// How a job ends whose holder is gone.
pub(crate) fn vanished(reason: &str) -> Ended {
    Ended {
        outcome: Outcome::Lost,
        reason: reason.to_owned(),
        outputs: Vec::new(),
        summary: String::new(),
        annotations: serde_json::Value::Array(Vec::new()),
        receipt: None,
    }
}
