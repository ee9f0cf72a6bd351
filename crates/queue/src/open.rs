//! Opens runs, and lets them go once their push is done.

use std::time::SystemTime;

use audit::{Auditor, Entry, Kind, Who};
use store::{Change, Tx};
use vocab::{Outcome, PushId, RunId, RunState};

use crate::advance::{advance, end_unheld, give_up};
use crate::by::By;
use crate::plan::Plan;
use crate::sql::{self, NewJob};
use crate::{NewRun, Opened, QueueError};

/// Opens a run of a valid workflow: its jobs without needs are planned at once.
pub fn open_run(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    who: &Who,
    new: &NewRun,
    workflow: &workflow::Workflow,
) -> Result<Opened, QueueError> {
    let by = By::new(now, auditor, who);
    let text = crate::plan::to_text(workflow);
    let (run, number) = sql::insert_run(tx, by.now_ms(), new)?;
    sql::insert_plan(tx, run, new, "[]", Some(&text))?;
    for (position, job) in (0i64..).zip(crate::plan::jobs(workflow)) {
        let new = NewJob {
            run,
            repo: new.repo,
            key: &job.key,
            leg: 0,
            position,
            name: &job.name,
            needs: &job.needs,
        };
        sql::insert_job(tx, by.now_ms(), &new)?;
    }
    by.record(tx, entry(Entry::success(Kind::WorkflowParsed), run, new))?;
    tx.announce(Change::Run(run));
    if workflow.run_name.is_some() || workflow.concurrency.is_some() {
        name_and_group(tx, &by, run)?;
    }
    advance(tx, &by, run)?;
    let alive = sql::run(tx, run)?.is_some_and(|r| r.state != RunState::Finished);
    Ok(Opened { run, number, alive })
}

/// Gives a run the name that its workflow computes, and announces it to its concurrency group; ends
/// it when that cannot be computed.
pub(crate) fn name_and_group(tx: &mut Tx<'_>, by: &By<'_>, run: RunId) -> Result<(), QueueError> {
    let row = sql::run(tx, run)?.ok_or(QueueError::NoRun(run))?;
    match Plan::load(tx, &row)?.of_run() {
        Ok((name, group)) => {
            if let Some(name) = name {
                sql::name_run(tx, run, &name)?;
            }
            if let Some(group) = group {
                sql::announce_member(tx, run, None, &group)?;
            }
            Ok(())
        }
        Err(reason) => give_up(tx, by, run, &reason),
    }
}

/// Opens a run that has failed already, since its workflow is invalid. `problems` name file,
/// line, column and the mend.
pub fn open_failed_run(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    who: &Who,
    new: &NewRun,
    problems: &[String],
) -> Result<Opened, QueueError> {
    let by = By::new(now, auditor, who);
    let (run, number) = sql::insert_run(tx, by.now_ms(), new)?;
    let text = serde_json::Value::from(problems).to_string();
    sql::insert_plan(tx, run, new, &text, None)?;
    let reason = "the workflow is invalid";
    sql::end_run(tx, by.now_ms(), run, Outcome::Failure, Some(reason))?;
    let invalid = Entry::failure(Kind::WorkflowInvalid, "E_WORKFLOW_INVALID")
        .detail("problems", problems.len())
        .detail("first", problems.first().cloned().unwrap_or_default());
    by.record(tx, entry(invalid, run, new))?;
    tx.announce(Change::Run(run));
    Ok(Opened {
        run,
        number,
        alive: false,
    })
}

fn entry(entry: Entry, run: RunId, new: &NewRun) -> Entry {
    entry
        .object("run", run.tagged(), new.workflow_path.clone())
        .detail("repo", new.repo.tagged())
        .detail("event", new.event.clone())
        .detail("ref", new.git_ref.clone())
        .detail("sha", new.sha.clone())
}

/// The push is complete: its runs' jobs may be claimed from now on.
pub fn release_push(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    push: PushId,
) -> Result<Vec<RunId>, QueueError> {
    let who = Who::system();
    let by = By::new(now, auditor, &who);
    let runs = sql::held_runs_of_push(tx, push)?;
    for run in &runs {
        sql::unhold_run(tx, *run)?;
        tx.announce(Change::Run(*run));
        advance(tx, &by, *run)?;
    }
    Ok(runs)
}

/// The push was withdrawn: its runs end as cancelled without any job having run.
pub fn drop_push(
    tx: &mut Tx<'_>,
    now: SystemTime,
    auditor: &Auditor,
    push: PushId,
) -> Result<Vec<RunId>, QueueError> {
    let who = Who::system();
    let by = By::new(now, auditor, &who);
    let reason = "its push was withdrawn";
    let runs = sql::held_runs_of_push(tx, push)?;
    sql::withdraw_ended(tx, push, reason)?;
    for run in &runs {
        for leg in sql::legs(tx, *run)? {
            if leg.outcome.is_none() {
                end_unheld(
                    tx,
                    &by,
                    *run,
                    (leg.id, &leg.name),
                    Outcome::Cancelled,
                    reason,
                )?;
            }
        }
        sql::end_run(tx, by.now_ms(), *run, Outcome::Cancelled, Some(reason))?;
        tx.announce(Change::Run(*run));
        // Nobody waits for it: it had not come into its group.
        advance(tx, &by, *run)?;
    }
    Ok(runs)
}
