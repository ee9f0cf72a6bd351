//! Concurrency groups: runs and jobs of a repo that may not run side by side.
//!
//! A member is announced when it is planned, comes when its push is complete, waits, is active, and
//! is gone when it has ended. Invariant: at most one member of a group is active; of those that wait
//! only the newest is kept, unless it says `queue: max`.

use std::collections::BTreeSet;

use audit::{Entry, Kind};
use store::{Change, Db, Tx};
use vocab::{JobId, JobState, Outcome, RunId, RunState};

use crate::advance::end_unheld;
use crate::by::{By, about};
use crate::sql::{self, Leg, Member, Stands};
use crate::{QueueError, RunRow};

/// Why a run or a job must wait for others of its group.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    pub(crate) group: String,
    /// Who is before it, in words.
    pub(crate) before: Vec<String>,
}

/// Whether the run as a whole may move; lets it come into its group first. The runs that its coming
/// has changed are added to `touched`.
pub(crate) fn run_may_go(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: &RunRow,
    touched: &mut Vec<RunId>,
) -> Result<bool, QueueError> {
    if run.state == RunState::Held {
        return Ok(true);
    }
    let Some(member) = of_run(tx, run.id)? else {
        return Ok(true);
    };
    if member.stands == Stands::Announced {
        come(tx, by, &member, touched)?;
    }
    Ok(of_run(tx, run.id)?.is_none_or(|member| member.stands == Stands::Active))
}

/// Whether the run waits for others of its group, so that none of its jobs has begun.
pub(crate) fn run_waits(db: &Db, run: RunId) -> Result<bool, QueueError> {
    Ok(of_run(db, run)?.is_some_and(|member| member.stands == Stands::Pending))
}

fn of_run(db: &Db, run: RunId) -> Result<Option<Member>, QueueError> {
    let members = sql::members_of(db, run)?;
    Ok(members.into_iter().find(|member| member.job.is_none()))
}

/// Lets one queued job of the run come into its group; true when one did, so that the run must be
/// looked at again.
pub(crate) fn job_comes(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: &RunRow,
    legs: &[Leg],
    touched: &mut Vec<RunId>,
) -> Result<bool, QueueError> {
    let members = sql::members_of(tx, run.id)?;
    let queued = |job: JobId| {
        legs.iter()
            .find(|l| l.id == job && l.state == JobState::Queued)
    };
    let found = members.iter().find_map(|member| {
        let leg = queued(member.job?)?;
        (member.stands == Stands::Announced).then_some((member, leg))
    });
    let Some((member, leg)) = found else {
        return Ok(false);
    };
    let own = members.iter().find(|m| m.job.is_none());
    if own.is_some_and(|own| own.name == member.name) {
        let reason = format!(
            "it would wait for its own run for ever: both are in the concurrency group '{}'; give \
             one of them another",
            member.name
        );
        end_unheld(
            tx,
            by,
            run.id,
            (leg.id, &leg.name),
            Outcome::Failure,
            &reason,
        )?;
    } else {
        come(tx, by, member, touched)?;
    }
    Ok(true)
}

/// The jobs of a run that must wait for others of their groups.
pub(crate) fn waiting_jobs(db: &Db, run: RunId) -> Result<BTreeSet<JobId>, QueueError> {
    let members = sql::members_of(db, run)?.into_iter();
    let waiting = members.filter(|member| member.stands != Stands::Active);
    Ok(waiting.filter_map(|member| member.job).collect())
}

/// Puts a member behind the others of its group, and cancels those that it replaces.
fn come(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    member: &Member,
    touched: &mut Vec<RunId>,
) -> Result<(), QueueError> {
    let others = sql::members_in(tx, member.repo, &member.name)?;
    sql::member_comes(tx, member)?;
    for other in others {
        let waits = other.stands == Stands::Pending;
        if member.cancels || (waits && !member.keeps) {
            replace(tx, by, &other, member)?;
            touched.push(other.run);
        }
    }
    if let Some(next) = sql::let_next_go(tx, member.repo, &member.name)?
        && next != member.run
    {
        touched.push(next);
    }
    Ok(())
}

/// Cancels `other`, since `newer` has come. Its run must be moved on afterwards.
fn replace(tx: &mut Tx<'_>, by: &By<'_>, other: &Member, newer: &Member) -> Result<(), QueueError> {
    let words = format!("run {} in concurrency group '{}'", newer.number, newer.name);
    let waits = other.stands == Stands::Pending;
    if other.job.is_none() {
        sql::ask_cancel_run(tx, by.now_ms(), other.run, &words)?;
    }
    for leg in sql::legs(tx, other.run)? {
        let of_it = other.job.is_none_or(|job| job == leg.id);
        // In a run that has begun, what is blocked is judged later: `if: always()` still runs.
        let later = other.job.is_none() && !waits && leg.state == JobState::Blocked;
        if of_it && !later {
            stop(tx, by, other.run, (leg.id, &leg.name), leg.state, &words)?;
        }
    }
    tx.announce(Change::Run(other.run));
    Ok(())
}

fn stop(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: RunId,
    job: (JobId, &str),
    state: JobState,
    words: &str,
) -> Result<(), QueueError> {
    match state {
        JobState::Finished => {}
        JobState::Leased | JobState::Running => {
            if sql::ask_cancel_job(tx, by.now_ms(), job.0, words)? {
                let entry = about(Entry::success(Kind::JobCancelled), run, job);
                by.record(tx, entry.detail("asked", true))?;
                tx.announce(Change::CancelAsked(job.0));
                tx.announce(Change::Job(job.0));
            }
        }
        JobState::Held | JobState::Blocked | JobState::Queued => {
            let reason = format!("replaced by {words}");
            end_unheld(tx, by, run, job, Outcome::Cancelled, &reason)?;
        }
    }
    Ok(())
}

/// Forgets the members of `run` that have ended, and lets those go who come next; returns the runs
/// that must be moved on.
pub(crate) fn release(tx: &mut Tx<'_>, run: RunId) -> Result<Vec<RunId>, QueueError> {
    let mut next = Vec::new();
    for (repo, name) in sql::ended_members(tx, run)? {
        next.extend(sql::let_next_go(tx, repo, &name)?);
    }
    Ok(next)
}

/// Why `job` of `run` must wait for others of its group, or of its run's.
pub(crate) fn why_waits(db: &Db, run: RunId, job: JobId) -> Result<Option<Waits>, QueueError> {
    let own = sql::members_of(db, run)?
        .into_iter()
        .find(|member| member.stands == Stands::Pending && member.job.is_none_or(|own| own == job));
    let Some(own) = own else {
        return Ok(None);
    };
    let mut before = Vec::new();
    for other in sql::members_in(db, own.repo, &own.name)? {
        if other.id >= own.id {
            continue;
        }
        before.push(match other.job {
            None => format!("run {}", other.number),
            Some(job) => {
                let name = sql::job(db, job)?.map(|job| job.name).unwrap_or_default();
                format!("'{name}' of run {}", other.number)
            }
        });
    }
    Ok(Some(Waits {
        group: own.name,
        before,
    }))
}
