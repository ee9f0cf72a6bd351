//! What people ask: cancel, run again.

use serde_json::json;
use store::Change;
use vocab::{Attempt, Outcome, RunState};

use super::*;
use crate::Rerun;

#[test]
fn cancelling_a_run_stops_what_waits_and_asks_what_runs() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "a" }, { "id": "b" }, { "id": "c", "needs": ["a"] },
        { "id": "clean", "needs": ["a"], "condition": "always()" },
    ]));
    let a = bench.start();
    bench.told();
    bench.cancel_run(run);
    assert!(bench.told().contains(&Change::CancelAsked(a.job.id)));
    assert!(bench.read(|db| crate::cancel_asked(db, a.fence)));
    assert_eq!(
        bench.standing(run),
        ["a running", "b cancelled", "c blocked", "clean blocked"]
    );
    assert_eq!(bench.run(run).cancel.unwrap().by, "alice");
    bench.finish(a.fence, Outcome::Cancelled).held().unwrap();
    assert_eq!(
        bench.standing(run),
        ["a cancelled", "b cancelled", "c cancelled", "clean queued"]
    );
    bench.run_job("clean", Outcome::Success);
    bench.assert_ended(run, Outcome::Cancelled);
    bench.cancel_run(run);
}

#[test]
fn cancelling_twice_ends_what_would_still_have_run() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "a" }, { "id": "clean", "needs": ["a"], "condition": "always()" },
    ]));
    let a = bench.start();
    bench.cancel_run(run);
    bench.cancel_run(run);
    assert_eq!(bench.standing(run), ["a running", "clean cancelled"]);
    bench.finish(a.fence, Outcome::Cancelled).held().unwrap();
    bench.assert_ended(run, Outcome::Cancelled);
}

#[test]
fn cancelling_one_job_leaves_the_others() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }, { "id": "b" }]));
    bench.cancel_job(bench.job(run, "a").id);
    assert_eq!(bench.standing(run), ["a cancelled", "b queued"]);
    let entry = bench.audited();
    assert_eq!(entry.last().unwrap(), "job.cancelled success");
    bench.run_job("b", Outcome::Success);
    bench.assert_ended(run, Outcome::Cancelled);
}

#[test]
fn a_job_cancelled_before_its_runner_started_it_ends_when_that_vanishes() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }]));
    let a = bench.claim(&["linux"]).unwrap();
    bench.cancel_job(a.job.id);
    bench.clock.advance(crate::LEASE);
    bench.expire();
    bench.assert_ended(run, Outcome::Cancelled);
    let attempts = bench.read(|db| crate::attempts_of(db, a.job.id));
    assert_eq!(attempts[0].outcome, Some(Outcome::Cancelled));
}

#[test]
fn running_the_failed_ones_again_keeps_what_went_well_and_every_old_attempt() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "ok" },
        { "id": "bad" },
        { "id": "after", "needs": ["ok", "bad"] },
    ]));
    bench.run_job("ok", Outcome::Success);
    assert!(matches!(
        bench.rerun(run, Rerun::All),
        Err(QueueError::StillRunning(_))
    ));
    bench.run_job("bad", Outcome::Failure);
    bench.assert_ended(run, Outcome::Failure);
    let again = bench.rerun(run, Rerun::Failed).unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(
        bench.standing(run),
        ["ok success", "bad queued", "after blocked"]
    );
    let row = bench.run(run);
    assert_eq!(
        (row.state, row.attempt, row.outcome),
        (RunState::Waiting, Attempt(2), None)
    );
    let claimed = bench.start();
    assert_eq!(claimed.fence.attempt, Attempt(2));
    assert_eq!(claimed.github["run_attempt"], "2");
    bench
        .finish(claimed.fence, Outcome::Success)
        .held()
        .unwrap();
    bench.run_job("after", Outcome::Success);
    bench.assert_ended(run, Outcome::Success);
    let attempts = bench.read(|db| crate::attempts_of(db, claimed.job.id));
    let outcomes: Vec<_> = attempts.iter().map(|a| (a.attempt.0, a.outcome)).collect();
    assert_eq!(
        outcomes,
        [(1, Some(Outcome::Failure)), (2, Some(Outcome::Success))]
    );
    let skipped = bench.read(|db| crate::attempts_of(db, bench.job(run, "after").id));
    assert_eq!(skipped[0].outcome, Some(Outcome::Skipped));
    assert_eq!((skipped.len(), skipped[0].runner.clone()), (2, None));
    assert!(matches!(
        bench.rerun(run, Rerun::Failed),
        Err(QueueError::NothingToRerun(..))
    ));
}

#[test]
fn one_leg_can_be_run_again_beside_siblings_that_failed() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "t", "strategy": { "matrix": { "n": [1, 2, 3] } } },
    ]));
    bench.run_job("t (1)", Outcome::Failure);
    assert_eq!(
        bench.standing(run),
        ["t (1) failure", "t (2) cancelled", "t (3) cancelled"]
    );
    let second = bench.job(run, "t (2)").id;
    assert_eq!(bench.rerun(run, Rerun::Job(second)).unwrap(), [second]);
    assert_eq!(
        bench.standing(run),
        ["t (1) failure", "t (2) queued", "t (3) cancelled"]
    );
    bench.run_job("t (2)", Outcome::Success);
    bench.assert_ended(run, Outcome::Failure);
}

#[test]
fn all_jobs_can_be_run_again() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }, { "id": "b", "needs": ["a"] }]));
    for round in 1..=3 {
        bench.run_job("a", Outcome::Success);
        bench.run_job("b", Outcome::Success);
        bench.assert_ended(run, Outcome::Success);
        assert_eq!(bench.run(run).attempt, Attempt(round));
        assert_eq!(bench.rerun(run, Rerun::All).unwrap().len(), 2);
    }
}

#[test]
fn a_job_can_be_run_again_while_others_of_its_run_are_at_work() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }, { "id": "b" }]));
    bench.run_job("a", Outcome::Failure);
    let b = bench.start();
    bench
        .rerun(run, Rerun::Job(bench.job(run, "a").id))
        .unwrap();
    bench.run_job("a", Outcome::Success);
    assert!(matches!(
        bench.rerun(run, Rerun::Job(b.job.id)),
        Err(QueueError::StillRunning(_))
    ));
    bench.finish(b.fence, Outcome::Success).held().unwrap();
    bench.assert_ended(run, Outcome::Success);
}
