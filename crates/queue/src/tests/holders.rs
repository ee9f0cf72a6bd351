//! Fences, leases, and what becomes of jobs whose holder is gone.

use std::time::Duration;

use serde_json::json;
use vocab::{Attempt, Outcome, RunState};

use super::*;
use crate::{LEASE, StepEnded};

#[test]
fn every_effect_of_a_stale_holder_is_refused_and_recorded() {
    let bench = Bench::new();
    bench.open_jobs(json!([{ "id": "a" }]));
    let old = bench.claim(&["linux"]).unwrap().fence;
    bench.clock.advance(LEASE);
    assert_eq!(bench.expire(), [old]);
    let new = bench.claim(&["linux"]).unwrap().fence;
    assert_eq!((new.attempt, new.epoch), (old.attempt, old.epoch + 1));
    let before = bench.audited().len();
    let (now, auditor) = (bench.clock.now(), &bench.auditor);
    let step = StepEnded {
        number: 1,
        name: "s".into(),
        outcome: Outcome::Success,
        conclusion: Outcome::Success,
        exit_code: Some(0),
        reason: String::new(),
    };
    let refused = [
        bench.started(old),
        bench.finish(old, Outcome::Success),
        bench
            .write(|tx| crate::step_started(tx, now, auditor, old, 1, "s", 0))
            .unwrap(),
        bench
            .write(|tx| crate::step_finished(tx, now, auditor, old, &step))
            .unwrap(),
    ];
    for effect in refused {
        assert_eq!(effect.held().unwrap_err().fence, old);
    }
    let renewed = bench
        .write(|tx| crate::renew(tx, now, auditor, old, LEASE))
        .unwrap();
    assert!(matches!(renewed, Fenced::Lost(_)));
    let entries = bench.audited();
    assert_eq!(entries[before..], ["job.lost denied"; 5]);
    assert!(!bench.read(|db| crate::is_current(db, old)));
    assert!(bench.read(|db| crate::is_current(db, new)));
    assert!(
        bench
            .read(|db| crate::steps_of(db, old.job, old.attempt))
            .is_empty()
    );
    bench.started(new).held().unwrap();
    bench.finish(new, Outcome::Success).held().unwrap();
    assert!(matches!(
        bench.finish(new, Outcome::Failure),
        Fenced::Lost(_)
    ));
}

#[test]
fn a_silent_holder_that_had_started_loses_the_job_for_good() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }, { "id": "b", "needs": ["a"] }]));
    let fence = bench.start().fence;
    bench.clock.advance(LEASE - Duration::from_millis(1));
    assert!(bench.expire().is_empty());
    let (now, auditor) = (bench.clock.now(), &bench.auditor);
    let renewed = bench
        .write(|tx| crate::renew(tx, now, auditor, fence, LEASE))
        .unwrap();
    assert!(!renewed.held().unwrap().cancel_asked);
    bench.clock.advance(LEASE - Duration::from_millis(1));
    assert!(bench.expire().is_empty());
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.expire(), [fence]);
    assert_eq!(bench.standing(run), ["a lost", "b skipped"]);
    assert!(
        bench
            .job(run, "a")
            .reason
            .contains("silent for longer than its lease")
    );
    bench.assert_ended(run, Outcome::Lost);
    assert!(bench.claim(&["linux"]).is_none());
    assert!(bench.audited().contains(&"job.lost failure".to_owned()));
}

#[test]
fn a_requeued_job_goes_to_the_head_of_the_queue() {
    let bench = Bench::new();
    bench.open_jobs(json!([{ "id": "first" }]));
    let first = bench.claim(&["linux"]).unwrap();
    for repo in 2..5 {
        bench.open(&new_run(repo), json!([{ "id": "later" }]));
    }
    bench.clock.advance(LEASE);
    bench.expire();
    assert_eq!(bench.claim(&["linux"]).unwrap().job.id, first.job.id);
}

#[test]
fn a_restart_requeues_what_never_started_and_ends_what_had() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }, { "id": "b" }, { "id": "c" }, { "id": "d" }]));
    let running = bench.start().fence;
    let alive = bench.start().fence;
    let leased = bench.claim(&["linux"]).unwrap().fence;
    bench.clock.advance(LEASE * 3);
    let found = bench
        .write(|tx| crate::recover(tx, bench.clock.now(), &bench.auditor, &|f| f == alive))
        .unwrap();
    assert_eq!(
        (found.lost, found.requeued, found.alive),
        (vec![running], vec![leased], vec![alive])
    );
    assert_eq!(
        bench.standing(run),
        ["a lost", "b running", "c queued", "d queued"]
    );
    let reason = bench.job(run, "a").reason;
    assert!(
        reason.contains("the appliance was restarted while it ran"),
        "{reason}"
    );
    assert!(
        bench.expire().is_empty(),
        "the survivor's lease was renewed"
    );
    assert_eq!(bench.claim(&["linux"]).unwrap().job.name, "c");
    bench.finish(alive, Outcome::Success).held().unwrap();
}

#[test]
fn steps_outputs_and_the_receipt_are_kept_with_the_attempt() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([{ "id": "a" }]));
    let fence = bench.start().fence;
    let (now, auditor) = (bench.clock.now(), &bench.auditor);
    for (number, name) in [(1, "build"), (2, "test")] {
        bench
            .write(|tx| crate::step_started(tx, now, auditor, fence, number, name, 100))
            .unwrap()
            .held()
            .unwrap();
    }
    let step = StepEnded {
        number: 1,
        name: "build it".into(),
        outcome: Outcome::Failure,
        conclusion: Outcome::Success,
        exit_code: Some(3),
        reason: "exit code 3".into(),
    };
    bench
        .write(|tx| crate::step_finished(tx, now, auditor, fence, &step))
        .unwrap()
        .held()
        .unwrap();
    let told = Ended {
        reason: "step 2 failed".into(),
        summary: "# Hi".into(),
        annotations: json!([{ "level": "error", "message": "x" }]),
        receipt: Some(json!({ "host": "here" })),
        ..ended(Outcome::Failure)
    };
    bench.finish_with(fence, &told).held().unwrap();
    let steps = bench.read(|db| crate::steps_of(db, fence.job, fence.attempt));
    assert_eq!(steps[0].name, "build it");
    assert_eq!(
        (steps[0].outcome, steps[0].exit_code),
        (Some(Outcome::Failure), Some(3))
    );
    assert_eq!(steps[0].conclusion, Some(Outcome::Success));
    assert_eq!(
        steps[1].outcome,
        Some(Outcome::Failure),
        "ended with its job"
    );
    assert_eq!(steps[1].log_offset, 100);
    let attempt = bench
        .read(|db| crate::attempt(db, fence.job, Attempt(1)))
        .unwrap();
    assert_eq!(attempt.receipt, Some(json!({ "host": "here" })));
    assert_eq!(
        (attempt.summary.as_str(), attempt.reason.as_str()),
        ("# Hi", "step 2 failed")
    );
    assert_eq!(attempt.runner.as_deref(), Some("embedded"));
    assert!(
        bench
            .audited()
            .contains(&"job.step_failed failure".to_owned())
    );
    assert_eq!(bench.run(run).state, RunState::Finished);
}

#[test]
fn nothing_happens_without_its_entry() {
    let bench = Bench::new();
    bench.open_jobs(json!([{ "id": "a" }]));
    bench.sabotage("DROP TABLE audit_opening; DROP TABLE audit_entry;");
    let refused =
        bench.write(|tx| crate::claim(tx, bench.clock.now(), &bench.auditor, &offer(&["linux"])));
    assert!(matches!(refused, Err(QueueError::Audit(_))));
    assert_eq!(bench.read(crate::counts).queued, 1);
}
