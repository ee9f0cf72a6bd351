//! Moves a run on after anything in it has changed: plans jobs whose needs have ended, cancels
//! the siblings of failed matrix legs, gives turns, ends the run.
//!
//! Invariant: afterwards the run has ended, or some job of it is claimable, held or handed out.

use std::collections::{BTreeMap, BTreeSet};

use audit::{Entry, Kind};
use serde_json::{Map, Value, json};
use store::{Change, Tx};
use vocab::{JobId, JobState, Outcome, RunId, RunState};

use crate::by::{By, about};
use crate::group;
use crate::plan::{Decision, Plan, PlannedLeg, Situation};
use crate::sql::{self, Leg, NewJob, PlannedJob};
use crate::{QueueError, RunRow};

/// How many jobs one run may have, over all its matrices.
pub const RUN_JOBS: usize = 1_024;

/// Moves `run` on, and every other run that waited for something in it.
pub(crate) fn advance(tx: &mut Tx<'_>, by: &By<'_>, run: RunId) -> Result<(), QueueError> {
    let mut open = vec![run];
    while let Some(run) = open.pop() {
        match try_advance(tx, by, run, &mut open) {
            Err(QueueError::Unreadable { reason, .. }) => {
                let reason = format!("the plan of its run cannot be read: {reason}");
                give_up(tx, by, run, &reason)?;
            }
            other => other?,
        }
        open.extend(group::release(tx, run)?);
    }
    Ok(())
}

/// Ends everything of a run that no runner holds; the rest ends with its runner.
pub(crate) fn give_up(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: RunId,
    reason: &str,
) -> Result<(), QueueError> {
    for job in sql::unheld_unfinished(tx, run)? {
        end_unheld(tx, by, run, (job, ""), Outcome::Failure, reason)?;
    }
    if sql::unfinished(tx, run)? == 0 {
        sql::end_run(tx, by.now_ms(), run, Outcome::Failure, Some(reason))?;
    }
    tx.announce(Change::Run(run));
    Ok(())
}

fn try_advance(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    id: RunId,
    touched: &mut Vec<RunId>,
) -> Result<(), QueueError> {
    let run = sql::run(tx, id)?.ok_or(QueueError::NoRun(id))?;
    if run.state == RunState::Finished {
        return Ok(());
    }
    if !group::run_may_go(tx, by, &run, touched)? && sql::unfinished(tx, id)? > 0 {
        return Ok(());
    }
    let mut plan = None;
    loop {
        let legs = sql::legs(tx, id)?;
        let groups = Groups::new(&legs);
        if cancel_siblings(tx, by, &run, &groups)? {
            continue;
        }
        let ready = groups.ready();
        if ready.is_empty() {
            if group::job_comes(tx, by, &run, &legs, touched)? {
                continue;
            }
            break;
        }
        let plan = match &plan {
            Some(plan) => plan,
            None => plan.insert(Plan::load(tx, &run)?),
        };
        for key in ready {
            decide(tx, by, &run, plan, &groups, key)?;
        }
    }
    let legs = sql::legs(tx, id)?;
    admit(tx, by, &run, &legs)?;
    settle(tx, by, &run, &legs)
}

/// The legs of a run by the key they share.
pub(crate) struct Groups<'a>(BTreeMap<&'a str, Vec<&'a Leg>>);

impl<'a> Groups<'a> {
    pub(crate) fn new(legs: &'a [Leg]) -> Self {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for leg in legs {
            groups.entry(leg.key.as_str()).or_default().push(leg);
        }
        Self(groups)
    }

    fn of(&self, key: &str) -> &[&'a Leg] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    fn needs(&self, key: &str) -> &'a [String] {
        self.of(key).first().map_or(&[], |leg| leg.needs.as_slice())
    }

    fn ended(&self, key: &str) -> bool {
        self.of(key).iter().all(|leg| leg.outcome.is_some())
    }

    /// The keys with a blocked leg whose needs have all ended.
    fn ready(&self) -> Vec<&'a str> {
        let blocked = |legs: &Vec<&Leg>| legs.iter().any(|leg| leg.state == JobState::Blocked);
        self.0
            .iter()
            .filter(|(key, legs)| blocked(legs) && self.needs(key).iter().all(|n| self.ended(n)))
            .map(|(key, _)| *key)
            .collect()
    }

    /// All jobs that `key` depends on, near and far.
    fn ancestors(&self, key: &str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = self.needs(key).iter().map(String::as_str).collect();
        while let Some(next) = open.pop() {
            if found.insert(next) {
                open.extend(self.needs(next).iter().map(String::as_str));
            }
        }
        found
    }

    /// What `needs.<key>.result` says: the worst of the legs.
    fn result(&self, key: &str) -> Outcome {
        let outcomes: Vec<Outcome> = self.of(key).iter().map(|leg| judged(leg)).collect();
        let any = |wanted: &str| outcomes.iter().any(|o| o.as_result() == wanted);
        if any("failure") {
            Outcome::Failure
        } else if any("cancelled") {
            Outcome::Cancelled
        } else if any("success") {
            Outcome::Success
        } else {
            Outcome::Skipped
        }
    }

    /// The `needs` context of `key`. Later legs' outputs win, empty ones do not.
    pub(crate) fn context(&self, key: &str) -> Value {
        let mut context = Map::new();
        for need in self.needs(key) {
            let mut outputs = Map::new();
            for leg in self.of(need) {
                let own: Map<String, Value> =
                    serde_json::from_str(&leg.outputs).unwrap_or_default();
                outputs.extend(own.into_iter().filter(|(_, v)| v.as_str() != Some("")));
            }
            let result = self.result(need).as_result();
            context.insert(
                need.clone(),
                json!({ "result": result, "outputs": outputs }),
            );
        }
        Value::Object(context)
    }
}

/// How a leg ended, as those who depend on it see it.
fn judged(leg: &Leg) -> Outcome {
    match leg.outcome {
        Some(outcome) if leg.forgiven && outcome.as_result() == "failure" => Outcome::Success,
        Some(outcome) => outcome,
        None => Outcome::Skipped,
    }
}

/// Cancels the unfinished siblings of legs that failed in this round, where `fail-fast` says so.
/// True when that ended any.
fn cancel_siblings(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: &RunRow,
    groups: &Groups<'_>,
) -> Result<bool, QueueError> {
    let mut ended = false;
    for legs in groups.0.values().filter(|legs| legs.len() > 1) {
        let failed = legs.iter().find(|leg| {
            leg.fail_fast && leg.round == run.attempt.0 && judged(leg).as_result() == "failure"
        });
        let Some(failed) = failed else {
            continue;
        };
        let by_what = format!("fail-fast, since '{}' failed", failed.name);
        let reason = format!("cancelled by {by_what}");
        for leg in legs {
            match leg.state {
                JobState::Finished => {}
                JobState::Leased | JobState::Running => {
                    if sql::ask_cancel_job(tx, by.now_ms(), leg.id, &by_what)? {
                        tx.announce(Change::CancelAsked(leg.id));
                    }
                }
                JobState::Held | JobState::Blocked | JobState::Queued => {
                    let job = (leg.id, leg.name.as_str());
                    end_unheld(tx, by, run.id, job, Outcome::Cancelled, &reason)?;
                    ended = true;
                }
            }
        }
    }
    Ok(ended)
}

/// Plans one job whose needs have ended: into legs, or into an end without running.
fn decide(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: &RunRow,
    plan: &Plan,
    groups: &Groups<'_>,
    key: &str,
) -> Result<(), QueueError> {
    let ancestors = groups.ancestors(key);
    let results: Vec<Outcome> = ancestors.iter().map(|a| groups.result(a)).collect();
    let situation = Situation {
        key,
        needs: groups.context(key),
        ancestors: results,
        cancelled: run.cancel.is_some(),
    };
    let blocked: Vec<&Leg> = groups
        .of(key)
        .iter()
        .copied()
        .filter(|leg| leg.state == JobState::Blocked)
        .collect();
    let end = |tx: &mut Tx<'_>, outcome, reason: &str| -> Result<(), QueueError> {
        for leg in &blocked {
            end_unheld(tx, by, run.id, (leg.id, &leg.name), outcome, reason)?;
        }
        Ok(())
    };
    match plan.decide(&situation) {
        Decision::Skip(_) if run.cancel.is_some() => {
            end(tx, Outcome::Cancelled, "the run was cancelled")
        }
        Decision::Skip(reason) => end(tx, Outcome::Skipped, &reason),
        Decision::Fail(reason) => end(tx, Outcome::Failure, &reason),
        Decision::Run(legs)
            if sql::count_jobs(tx, run.id)? + legs.len().saturating_sub(groups.of(key).len())
                > RUN_JOBS =>
        {
            let reason = format!(
                "the run would have more than {RUN_JOBS} jobs; split the workflow, or its matrix"
            );
            end(tx, Outcome::Failure, &reason)
        }
        Decision::Run(planned) => place(tx, by, run, groups.of(key), &blocked, &planned),
    }
}

/// Puts planned legs into rows: those that wait for it, and new ones.
fn place(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: &RunRow,
    existing: &[&Leg],
    blocked: &[&Leg],
    planned: &[PlannedLeg],
) -> Result<(), QueueError> {
    let Some(first) = existing.first() else {
        return Ok(());
    };
    for (number, leg) in (0u32..).zip(planned) {
        let id = match existing.iter().find(|row| row.leg == number) {
            Some(row) if blocked.iter().any(|b| b.id == row.id) => row.id,
            Some(_) => continue,
            None => sql::insert_job(
                tx,
                by.now_ms(),
                &NewJob {
                    run: run.id,
                    repo: run.repo,
                    key: &first.key,
                    leg: number,
                    position: first.position,
                    name: &leg.name,
                    needs: &first.needs,
                },
            )?,
        };
        let mut labels: Vec<String> = leg.labels.iter().map(|l| normal_label(l)).collect();
        labels.sort();
        labels.dedup();
        let planned = PlannedJob {
            name: &leg.name,
            matrix: leg.matrix.as_ref().map(Value::to_string),
            label_set: sql::label_set(tx, &labels)?,
            max_parallel: leg.max_parallel,
            fail_fast: leg.fail_fast,
            forgiven: leg.forgiven,
            spec: &leg.spec,
            state: if run.state == RunState::Held {
                JobState::Held
            } else {
                JobState::Queued
            },
        };
        sql::plan_job(tx, by.now_ms(), id, &planned)?;
        if let Some(group) = &leg.group {
            sql::announce_member(tx, run.id, Some(id), group)?;
        }
        tx.announce(Change::Job(id));
    }
    for row in blocked {
        if usize::try_from(row.leg).is_ok_and(|leg| leg >= planned.len()) {
            let reason = "its matrix has no such leg any more";
            end_unheld(
                tx,
                by,
                run.id,
                (row.id, &row.name),
                Outcome::Skipped,
                reason,
            )?;
        }
    }
    tx.announce(Change::Run(run.id));
    Ok(())
}

/// Labels match without regard to case and outer blanks; line ends separate them in the store.
pub(crate) fn normal_label(label: &str) -> String {
    label.trim().replace(['\n', '\r'], " ").to_lowercase()
}

/// Gives a turn to every queued leg that `max-parallel` and its concurrency group let start.
fn admit(tx: &mut Tx<'_>, by: &By<'_>, run: &RunRow, legs: &[Leg]) -> Result<(), QueueError> {
    let mut active: BTreeMap<&str, u32> = BTreeMap::new();
    for leg in legs {
        if leg.has_turn || matches!(leg.state, JobState::Leased | JobState::Running) {
            *active.entry(&leg.key).or_default() += 1;
        }
    }
    let waiting = group::waiting_jobs(tx, run.id)?;
    for leg in legs
        .iter()
        .filter(|leg| leg.state == JobState::Queued && !leg.has_turn && !waiting.contains(&leg.id))
    {
        let active = active.entry(&leg.key).or_default();
        if leg
            .max_parallel
            .is_some_and(|limit| *active >= limit.max(1))
        {
            continue;
        }
        *active += 1;
        sql::admit(tx, by.now_ms(), leg.id)?;
        by.record(
            tx,
            about(Entry::success(Kind::JobQueued), run.id, (leg.id, &leg.name)),
        )?;
        tx.announce(Change::Job(leg.id));
        tx.announce(Change::Queue);
    }
    Ok(())
}

/// Ends the run when all its jobs have ended.
fn settle(tx: &mut Tx<'_>, by: &By<'_>, run: &RunRow, legs: &[Leg]) -> Result<(), QueueError> {
    if legs.iter().all(|leg| leg.outcome.is_some()) {
        sql::end_run(tx, by.now_ms(), run.id, verdict(run, legs), None)?;
        tx.announce(Change::Run(run.id));
        return Ok(());
    }
    let moving = |leg: &Leg| !matches!(leg.state, JobState::Blocked | JobState::Finished);
    if !legs.iter().any(moving) {
        return Err(QueueError::Unreadable {
            what: "run",
            id: run.id.0,
            reason: "its jobs wait for each other, or for jobs that it does not have".to_owned(),
        });
    }
    Ok(())
}

fn verdict(run: &RunRow, legs: &[Leg]) -> Outcome {
    let any = |wanted| legs.iter().any(|leg| judged(leg) == wanted);
    if run.cancel.is_some() && any(Outcome::Cancelled) {
        return Outcome::Cancelled;
    }
    [
        Outcome::Failure,
        Outcome::TimedOut,
        Outcome::Lost,
        Outcome::Cancelled,
        Outcome::Success,
    ]
    .into_iter()
    .find(|outcome| any(*outcome))
    .unwrap_or(Outcome::Skipped)
}

/// Ends a job that nobody holds.
pub(crate) fn end_unheld(
    tx: &mut Tx<'_>,
    by: &By<'_>,
    run: RunId,
    job: (JobId, &str),
    outcome: Outcome,
    reason: &str,
) -> Result<(), QueueError> {
    sql::end_unheld(tx, by.now_ms(), job.0, outcome, reason)?;
    by.record_end(tx, run, job, outcome, |entry| {
        entry.detail("reason", reason)
    })?;
    tx.announce(Change::Job(job.0));
    tx.announce(Change::Run(run));
    Ok(())
}
