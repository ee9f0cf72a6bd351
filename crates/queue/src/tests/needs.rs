//! How one job's end moves its run on.

use serde_json::json;
use vocab::Outcome;

use super::*;

#[test]
fn dependents_of_a_failure_are_skipped_unless_their_condition_says_otherwise() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "a" },
        { "id": "b", "needs": ["a"] },
        { "id": "c", "needs": ["b"] },
        { "id": "tell", "needs": ["a"], "condition": "failure()" },
        { "id": "clean", "needs": ["a", "c"], "condition": "${{ always() }}" },
        { "id": "good", "needs": ["a"], "condition": "success()" },
    ]));
    bench.run_job("a", Outcome::Failure);
    assert_eq!(
        bench.standing(run),
        [
            "a failure",
            "b skipped",
            "c skipped",
            "tell queued",
            "clean queued",
            "good skipped",
        ]
    );
    bench.run_job("tell", Outcome::Success);
    bench.run_job("clean", Outcome::Success);
    bench.assert_ended(run, Outcome::Failure);
    assert!(bench.job(run, "b").reason.contains("did not succeed"));
}

#[test]
fn a_failure_far_above_still_counts_below_a_job_that_ran_anyway() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "a" },
        { "id": "b", "needs": ["a"], "condition": "always()" },
        { "id": "c", "needs": ["b"] },
    ]));
    bench.run_job("a", Outcome::Failure);
    bench.run_job("b", Outcome::Success);
    assert_eq!(bench.standing(run), ["a failure", "b success", "c skipped"]);
    bench.assert_ended(run, Outcome::Failure);
}

#[test]
fn a_false_condition_skips_at_once_and_all_skipped_is_a_skipped_run() {
    let bench = Bench::new();
    let opened = bench.open(
        &new_run(1),
        json!([
            { "id": "a", "condition": "github.ref == 'refs/heads/release'" },
            { "id": "b", "needs": ["a"] },
        ]),
    );
    assert!(!opened.alive);
    bench.assert_ended(opened.run, Outcome::Skipped);
    let reason = bench.job(opened.run, "a").reason;
    assert!(
        reason.contains("github.ref == 'refs/heads/release'"),
        "{reason}"
    );
}

#[test]
fn a_condition_that_cannot_be_computed_fails_the_job_and_says_why() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a", "condition": "fromJSON('{')" }]));
    bench.assert_ended(run, Outcome::Failure);
    let reason = bench.job(run, "a").reason;
    assert!(reason.contains("condition of job 'a'"), "{reason}");
}

#[test]
fn a_matrix_becomes_legs_and_a_dependent_waits_for_all_of_them() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "test", "strategy": { "matrix": { "py": ["3.9", "3.11"], "os": ["a", "b"] } } },
        { "id": "done", "needs": ["test"] },
    ]));
    assert_eq!(
        bench.standing(run),
        [
            "test (3.9, a) queued",
            "test (3.9, b) queued",
            "test (3.11, a) queued",
            "test (3.11, b) queued",
            "done blocked",
        ]
    );
    for name in ["test (3.9, a)", "test (3.9, b)", "test (3.11, a)"] {
        bench.run_job(name, Outcome::Success);
    }
    assert_eq!(bench.job(run, "done").state, JobState::Blocked);
    let last = bench.start();
    assert_eq!(last.job.matrix, Some(json!({ "py": "3.11", "os": "b" })));
    bench.finish(last.fence, Outcome::Success).held().unwrap();
    bench.run_job("done", Outcome::Success);
    bench.assert_ended(run, Outcome::Success);
}

#[test]
fn a_matrix_made_of_a_needs_output_is_expanded_when_that_is_known() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "plan" },
        { "id": "test", "needs": ["plan"],
          "strategy": { "matrix": { "n": "${{ fromJSON(needs.plan.outputs.list) }}" } } },
    ]));
    let plan = bench.start();
    let outputs = vec![("list".to_owned(), "[1, 2, 3]".to_owned())];
    bench
        .finish_with(
            plan.fence,
            &Ended {
                outputs,
                ..ended(Outcome::Success)
            },
        )
        .held()
        .unwrap();
    assert_eq!(
        bench.standing(run),
        [
            "plan success",
            "test (1) queued",
            "test (2) queued",
            "test (3) queued",
        ]
    );
}

#[test]
fn fail_fast_cancels_the_siblings_and_asks_running_ones_to_stop() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "t", "strategy": { "matrix": { "n": [1, 2, 3] } } },
        { "id": "after", "needs": ["t"] },
    ]));
    let (first, second) = (bench.start(), bench.start());
    bench.told();
    bench.finish(first.fence, Outcome::Failure).held().unwrap();
    assert!(
        bench
            .told()
            .contains(&store::Change::CancelAsked(second.job.id))
    );
    assert_eq!(
        bench.standing(run),
        [
            "t (1) failure",
            "t (2) running",
            "t (3) cancelled",
            "after blocked",
        ]
    );
    assert!(bench.job(run, "t (3)").reason.contains("'t (1)' failed"));
    bench
        .finish(second.fence, Outcome::Cancelled)
        .held()
        .unwrap();
    assert_eq!(bench.job(run, "after").outcome, Some(Outcome::Skipped));
    bench.assert_ended(run, Outcome::Failure);
}

#[test]
fn without_fail_fast_the_siblings_go_on() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "t", "strategy": { "fail_fast": false, "matrix": { "n": [1, 2] } } },
    ]));
    bench.run_job("t (1)", Outcome::Failure);
    bench.run_job("t (2)", Outcome::Success);
    bench.assert_ended(run, Outcome::Failure);
}

#[test]
fn continue_on_error_forgives_the_run_and_its_dependents_but_not_the_job() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "try", "continue_on_error": true },
        { "id": "next", "needs": ["try"] },
    ]));
    bench.run_job("try", Outcome::Failure);
    bench.run_job("next", Outcome::Success);
    assert_eq!(bench.standing(run), ["try failure", "next success"]);
    bench.assert_ended(run, Outcome::Success);
}

#[test]
fn max_parallel_admits_the_next_leg_when_one_has_ended() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "t", "strategy": { "max_parallel": 2, "matrix": { "n": [1, 2, 3, 4] } } },
    ]));
    let (one, _two) = (bench.start(), bench.start());
    assert!(bench.claim(&["linux"]).is_none());
    bench.told();
    bench.finish(one.fence, Outcome::Success).held().unwrap();
    assert!(bench.told().contains(&store::Change::Queue));
    assert_eq!(bench.start().job.name, "t (3)");
    assert!(bench.claim(&["linux"]).is_none());
    assert_eq!(bench.job(run, "t (4)").state, JobState::Queued);
}

#[test]
fn too_many_jobs_in_one_run_are_refused_in_words() {
    let bench = Bench::new();
    let wide = |n: usize| {
        json!({ "id": format!("w{n}"), "strategy": { "matrix": {
        "n": (0..250).collect::<Vec<_>>() } } })
    };
    let run = bench.open_jobs(Value::Array((0..6).map(wide).collect()));
    let jobs = bench.jobs(run);
    assert!(jobs.len() <= crate::RUN_JOBS, "{}", jobs.len());
    let refused: Vec<_> = jobs
        .iter()
        .filter(|j| j.outcome == Some(Outcome::Failure))
        .collect();
    assert!(!refused.is_empty());
    assert!(
        refused[0].reason.contains("more than 1024 jobs"),
        "{}",
        refused[0].reason
    );
}

#[test]
fn needs_in_a_circle_end_the_run_instead_of_waiting_for_ever() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "a", "needs": ["b"] },
        { "id": "b", "needs": ["a"] },
    ]));
    bench.assert_ended(run, Outcome::Failure);
    assert!(bench.run(run).reason.contains("wait for each other"));
}
