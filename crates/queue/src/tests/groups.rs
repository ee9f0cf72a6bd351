//! Runs and jobs of one concurrency group, one after the other.

use serde_json::json;
use vocab::Outcome;

use super::*;
use crate::Rerun;

/// A run of one job `a` whose workflow is in this group.
fn grouped(bench: &Bench, group: Value) -> RunId {
    open(bench, group, json!([{ "id": "a" }]))
}

fn open(bench: &Bench, group: Value, jobs: Value) -> RunId {
    open_new(bench, &new_run(1), group, jobs)
}

fn open_new(bench: &Bench, new: &NewRun, group: Value, jobs: Value) -> RunId {
    let mut workflow = workflow(jobs);
    workflow.concurrency = Some(serde_json::from_value(group).unwrap());
    bench.open_workflow(new, &workflow).run
}

fn one(name: &str) -> Value {
    json!({ "group": name, "keep_all": false })
}

fn why(bench: &Bench, run: RunId, job: &str) -> String {
    let job = bench.job(run, job).id;
    let reason = bench.read(|db| crate::explain(db, job, &[])).unwrap();
    reason.to_string()
}

fn well(bench: &Bench) {
    assert_eq!(bench.read(crate::check), Vec::<String>::new());
}

#[test]
fn a_run_waits_for_the_one_before_it_and_only_the_newest_waits() {
    let bench = Bench::new();
    let first = grouped(&bench, one("Deploy"));
    let second = grouped(&bench, one("deploy"));
    assert_eq!(bench.standing(second), ["a blocked"]);
    assert_eq!(
        why(&bench, second, "a"),
        "waits in concurrency group 'deploy' for run 1"
    );
    let third = grouped(&bench, one("deploy"));
    bench.assert_ended(second, Outcome::Cancelled);
    assert_eq!(
        bench.job(second, "a").reason,
        "replaced by run 3 in concurrency group 'deploy'"
    );
    let elsewhere = open_new(&bench, &new_run(2), one("deploy"), json!([{ "id": "a" }]));
    assert_eq!(bench.standing(elsewhere), ["a queued"]);
    well(&bench);
    bench.run_job("a", Outcome::Failure);
    bench.assert_ended(first, Outcome::Failure);
    assert_eq!(bench.standing(third), ["a queued"]);
    well(&bench);
    bench.run_job("a", Outcome::Success);
    bench.run_job("a", Outcome::Success);
    bench.assert_ended(third, Outcome::Success);
    well(&bench);
}

#[test]
fn all_that_wait_are_kept_where_the_workflow_says_so() {
    let bench = Bench::new();
    let keep = || json!({ "group": "g", "keep_all": true });
    let runs: Vec<RunId> = (0..4).map(|_| grouped(&bench, keep())).collect();
    assert!(why(&bench, runs[2], "a").ends_with("for run 1, run 2"));
    for run in runs {
        let claimed = bench.start();
        assert_eq!(claimed.run.id, run);
        assert!(bench.claim(&["linux"]).is_none(), "two run side by side");
        bench
            .finish(claimed.fence, Outcome::Success)
            .held()
            .unwrap();
        bench.assert_ended(run, Outcome::Success);
        well(&bench);
    }
}

#[test]
fn a_newer_run_cancels_the_one_that_runs_where_it_says_so() {
    let bench = Bench::new();
    let cancels = || {
        json!({ "group": "${{ github.ref }}", "cancel_in_progress": true,
        "keep_all": false })
    };
    let jobs = json!([{ "id": "a" }, { "id": "b", "needs": ["a"] },
        { "id": "c", "needs": ["a"], "condition": "always()" }]);
    let old = open(&bench, cancels(), jobs);
    let claimed = bench.start();
    bench.told();
    let new = grouped(&bench, cancels());
    assert!(
        bench
            .told()
            .contains(&Change::CancelAsked(claimed.fence.job))
    );
    assert_eq!(
        bench.run(old).cancel.unwrap().by,
        "run 2 in concurrency group 'refs/heads/main'"
    );
    assert_eq!(bench.standing(new), ["a blocked"]);
    bench
        .finish(claimed.fence, Outcome::Cancelled)
        .held()
        .unwrap();
    assert_eq!(
        bench.standing(old),
        ["a cancelled", "b cancelled", "c queued"]
    );
    assert_eq!(bench.standing(new), ["a blocked"]);
    bench.run_job("c", Outcome::Success);
    bench.assert_ended(old, Outcome::Cancelled);
    assert_eq!(bench.standing(new), ["a queued"]);
    let newest = grouped(&bench, cancels());
    bench.assert_ended(new, Outcome::Cancelled);
    assert_eq!(bench.standing(newest), ["a queued"]);
    well(&bench);
}

#[test]
fn jobs_of_different_runs_and_of_one_matrix_share_groups() {
    let bench = Bench::new();
    let jobs = || json!([{ "id": "a" }, { "id": "b", "concurrency": one("db") }]);
    let (first, second) = (bench.open_jobs(jobs()), bench.open_jobs(jobs()));
    assert_eq!(bench.standing(second), ["a queued", "b queued"]);
    assert_eq!(
        why(&bench, second, "b"),
        "waits in concurrency group 'db' for 'b' of run 1"
    );
    for name in ["a", "b", "a"] {
        bench.run_job(name, Outcome::Success);
    }
    bench.assert_ended(first, Outcome::Success);
    bench.run_job("b", Outcome::Success);
    bench.assert_ended(second, Outcome::Success);
    let legs = bench.open_jobs(json!([
        { "id": "m", "strategy": { "matrix": { "n": [1, 2, 3] } },
          "concurrency": { "group": "m", "keep_all": true } },
        { "id": "p", "strategy": { "matrix": { "n": [1, 2] } },
          "concurrency": { "group": "p-${{ matrix.n }}", "keep_all": false } },
    ]));
    let names: Vec<String> = std::iter::from_fn(|| bench.claim(&["linux"]))
        .map(|claimed| claimed.job.name)
        .collect();
    assert_eq!(names, ["m (1)", "p (1)", "p (2)"]);
    assert_eq!(bench.run(legs).outcome, None);
    well(&bench);
}

#[test]
fn a_job_that_would_wait_for_its_own_run_fails_with_the_reason() {
    let bench = Bench::new();
    let jobs = json!([{ "id": "a", "concurrency": one("G") }, { "id": "b", "needs": ["a"] }]);
    let run = open(&bench, one("g"), jobs);
    bench.assert_ended(run, Outcome::Failure);
    assert!(bench.job(run, "a").reason.contains("wait for its own run"));
    well(&bench);
}

#[test]
fn a_group_that_cannot_be_computed_fails_the_run_or_the_job() {
    let bench = Bench::new();
    let run = grouped(&bench, one("${{ github.head_ref }}"));
    bench.assert_ended(run, Outcome::Failure);
    assert!(bench.run(run).reason.contains("group is empty"));
    let jobs = json!([{ "id": "a", "concurrency": one("${{ needs.x.outputs.y }}") }]);
    let run = bench.open_jobs(jobs);
    bench.assert_ended(run, Outcome::Failure);
    assert!(bench.job(run, "a").reason.contains("group is empty"));
}

#[test]
fn a_run_that_waits_can_be_cancelled_and_run_again() {
    let bench = Bench::new();
    let first = grouped(&bench, one("g"));
    let second = open(
        &bench,
        one("g"),
        json!([{ "id": "a" }, { "id": "b", "needs": ["a"], "condition": "always()" }]),
    );
    bench.cancel_run(second);
    bench.assert_ended(second, Outcome::Cancelled);
    bench.rerun(second, Rerun::All).unwrap();
    assert_eq!(bench.standing(second), ["a blocked", "b blocked"]);
    well(&bench);
    bench.cancel_run(first);
    bench.assert_ended(first, Outcome::Cancelled);
    bench.run_job("a", Outcome::Success);
    bench.run_job("b", Outcome::Success);
    bench.assert_ended(second, Outcome::Success);
    well(&bench);
}

#[test]
fn a_held_run_comes_into_its_group_when_its_push_is_complete() {
    let bench = Bench::new();
    let cancels = || json!({ "group": "g", "cancel_in_progress": true, "keep_all": false });
    let old = grouped(&bench, cancels());
    let held = |push| NewRun {
        held: true,
        push: Some(PushId(push)),
        ..new_run(1)
    };
    let withdrawn = open_new(&bench, &held(7), cancels(), json!([{ "id": "a" }]));
    let new = open_new(&bench, &held(8), cancels(), json!([{ "id": "a" }]));
    assert_eq!(bench.standing(old), ["a queued"]);
    let now = bench.clock.now();
    bench
        .write(|tx| crate::drop_push(tx, now, &bench.auditor, PushId(7)))
        .unwrap();
    bench.assert_ended(withdrawn, Outcome::Cancelled);
    assert_eq!(bench.standing(old), ["a queued"]);
    bench
        .write(|tx| crate::release_push(tx, now, &bench.auditor, PushId(8)))
        .unwrap();
    bench.assert_ended(old, Outcome::Cancelled);
    assert_eq!(bench.standing(new), ["a queued"]);
    well(&bench);
}

#[test]
fn a_run_is_called_what_its_workflow_says() {
    let bench = Bench::new();
    let mut named = workflow(json!([{ "id": "a" }]));
    let name = "${{ github.event_name }} no ${{ github.run_number }}";
    named.run_name = Some(serde_json::from_value(json!(name)).unwrap());
    let run = bench.open_workflow(&new_run(1), &named).run;
    assert_eq!(bench.run(run).title, "push no 1");
}
