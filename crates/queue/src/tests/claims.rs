//! Who gets which job, and when.

use std::collections::HashSet;

use serde_json::json;
use store::Change;
use vocab::{Outcome, PushId, RunState};

use super::*;

#[test]
fn labels_must_all_be_served_without_regard_to_case() {
    let bench = Bench::new();
    bench.open_jobs(json!([{ "id": "gpu", "runs_on": ["Linux", "GPU"] }]));
    assert!(bench.claim(&["linux"]).is_none());
    assert!(bench.claim(&[]).is_none());
    let claimed = bench.claim(&["gpu", "LINUX", "more"]).unwrap();
    assert_eq!(claimed.job.labels, ["gpu", "linux"]);
    assert!(bench.claim(&["gpu", "linux"]).is_none());
}

#[test]
fn jobs_of_one_repo_go_first_in_first_out_and_repos_take_turns() {
    let bench = Bench::new();
    let many: Vec<Value> = (0..4).map(|n| json!({ "id": format!("a{n}") })).collect();
    bench.open(&new_run(1), Value::Array(many));
    bench.open(&new_run(2), json!([{ "id": "b0" }]));
    bench.open(&new_run(3), json!([{ "id": "c0" }, { "id": "c1" }]));
    let order: Vec<String> = (0..7).map(|_| bench.start().job.name).collect();
    assert_eq!(order, ["a0", "b0", "c0", "a1", "c1", "a2", "a3"]);
}

#[test]
fn a_repo_that_waited_alone_does_not_jump_ahead_later() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.open(&new_run(1), json!([{ "id": "old" }]));
        bench.start();
    }
    bench.open(&new_run(1), json!([{ "id": "first" }]));
    bench.open(&new_run(2), json!([{ "id": "second" }]));
    assert_eq!(bench.start().job.name, "first");
    assert_eq!(bench.start().job.name, "second");
}

#[test]
fn a_held_run_is_claimable_only_after_its_push() {
    let bench = Bench::new();
    let new = NewRun {
        held: true,
        ..new_run(1)
    };
    let run = bench.open(&new, json!([{ "id": "a" }])).run;
    assert_eq!(bench.standing(run), ["a held"]);
    assert!(bench.claim(&["linux"]).is_none());
    bench.told();
    let push = PushId(100);
    let released = bench
        .write(|tx| crate::release_push(tx, bench.clock.now(), &bench.auditor, push))
        .unwrap();
    assert_eq!(released, [run]);
    assert!(bench.told().contains(&Change::Queue));
    bench.run_job("a", Outcome::Success);
    bench.assert_ended(run, Outcome::Success);
}

#[test]
fn a_withdrawn_push_takes_its_runs_along() {
    let bench = Bench::new();
    let new = NewRun {
        held: true,
        ..new_run(1)
    };
    let run = bench
        .open(&new, json!([{ "id": "a" }, { "id": "b", "needs": ["a"] }]))
        .run;
    let skipped = bench
        .open(&new, json!([{ "id": "c", "condition": "false" }]))
        .run;
    bench.assert_ended(skipped, Outcome::Skipped);
    bench
        .write(|tx| crate::drop_push(tx, bench.clock.now(), &bench.auditor, PushId(100)))
        .unwrap();
    assert_eq!(bench.standing(run), ["a cancelled", "b cancelled"]);
    bench.assert_ended(run, Outcome::Cancelled);
    for run in [run, skipped] {
        bench.assert_ended(run, Outcome::Cancelled);
        assert_eq!(bench.run(run).reason, "its push was withdrawn");
    }
}

#[test]
fn a_broken_row_fails_with_its_reason_and_stops_nobody() {
    let bench = Bench::new();
    let broken =
        bench.open_jobs(json!([{ "id": "broken" }, { "id": "next", "needs": ["broken"] }]));
    let headless = bench.open_jobs(json!([{ "id": "headless" }]));
    let unplanned = bench.open_jobs(json!([{ "id": "u" }, { "id": "v", "needs": ["u"] }]));
    let good = bench.open_jobs(json!([{ "id": "good" }]));
    bench.sabotage(&format!(
        "UPDATE job SET spec = '{{\"broken' WHERE run = {broken} AND key = 'broken';
         UPDATE run_plan SET github = 'nonsense' WHERE run = {headless};
         DELETE FROM run_plan WHERE run = {unplanned};"
    ));
    let claimed = bench.claim(&["linux"]).unwrap();
    assert_eq!(claimed.run.id, good);
    let job = bench.job(broken, "broken");
    assert_eq!(job.outcome, Some(Outcome::Failure));
    assert!(
        job.reason.contains("plan cannot be read: EOF"),
        "{}",
        job.reason
    );
    assert_eq!(bench.standing(broken)[1], "next skipped");
    for run in [broken, headless, unplanned] {
        bench.assert_ended(run, Outcome::Failure);
    }
    assert!(bench.run(unplanned).reason.contains("it has no plan"));
}

#[test]
fn racing_claimers_never_get_the_same_job() {
    let bench = Bench::new();
    for repo in 1..=5 {
        let jobs: Vec<Value> = (0..20).map(|n| json!({ "id": format!("j{n}") })).collect();
        bench.open(&new_run(repo), Value::Array(jobs));
    }
    let taken: Vec<JobId> = std::thread::scope(|scope| {
        let claimers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    std::iter::from_fn(|| bench.claim(&["linux"]).map(|c| c.job.id))
                        .collect::<Vec<JobId>>()
                })
            })
            .collect();
        claimers
            .into_iter()
            .flat_map(|c| c.join().unwrap())
            .collect()
    });
    assert_eq!(taken.len(), 100);
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), 100);
}

#[test]
fn an_invalid_workflow_is_a_run_that_failed_at_once() {
    let bench = Bench::new();
    let problems = ["ci.yml:3:5: 'job' is not known; write 'jobs'".to_owned()];
    let opened = bench
        .write(|tx| {
            let now = bench.clock.now();
            crate::open_failed_run(tx, now, &bench.auditor, &alice(), &new_run(1), &problems)
        })
        .unwrap();
    assert!(!opened.alive);
    bench.assert_ended(opened.run, Outcome::Failure);
    assert_eq!(bench.read(|db| crate::problems(db, opened.run)), problems);
    assert_eq!(bench.audited(), ["workflow.invalid failure"]);
    let again = bench.rerun(opened.run, crate::Rerun::All);
    assert!(matches!(again, Err(QueueError::NothingToRerun(..))));
}

#[test]
fn numbers_count_the_runs_of_each_repo() {
    let bench = Bench::new();
    let number = |repo| bench.open(&new_run(repo), json!([{ "id": "a" }])).number.0;
    assert_eq!([number(1), number(2), number(1), number(1)], [1, 1, 2, 3]);
    let repo = RepoId(1);
    let row = bench
        .read(|db| crate::run_by_number(db, repo, vocab::RunNumber(3)))
        .unwrap();
    assert_eq!((row.repo, row.state), (repo, RunState::Waiting));
}
