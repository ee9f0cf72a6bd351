//! The reasons that waiting jobs give.

use serde_json::json;

use super::*;
use crate::{Capacity, WaitReason, explain};

fn pool(slots: usize) -> Vec<Capacity> {
    vec![Capacity {
        runner: "embedded".into(),
        labels: vec!["Linux".into(), "ubuntu-latest".into()],
        pending: vec![("gcc".into(), "image gcc:12 is being unpacked".into())],
        slots,
        paused: None,
    }]
}

fn why(bench: &Bench, job: JobId, pool: &[Capacity]) -> String {
    let reason = bench.read(|db| explain(db, job, pool));
    reason.map_or_else(|| "does not wait".to_owned(), |r| r.to_string())
}

#[test]
fn every_waiting_job_says_why() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "a" },
        { "id": "b", "needs": ["a"] },
        { "id": "odd", "runs_on": ["ubuntu-22.04", "linux"] },
        { "id": "soon", "runs_on": ["gcc", "linux"] },
        { "id": "par", "strategy": { "max_parallel": 1, "matrix": { "n": [1, 2] } } },
    ]));
    let held = bench
        .open(
            &NewRun {
                held: true,
                ..new_run(2)
            },
            json!([{ "id": "h" }]),
        )
        .run;
    let says = |name: &str, pool: &[Capacity]| why(&bench, bench.job(run, name).id, pool);
    assert_eq!(
        why(&bench, bench.job(held, "h").id, &pool(1)),
        "waits until push 200 has been completed"
    );
    assert_eq!(
        says("a", &pool(1)),
        "number 1 in the queue: a slot is free and about to take it"
    );
    assert_eq!(
        says("a", &[]),
        "there is no runner; start one, or check the pool"
    );
    assert_eq!(says("b", &pool(1)), "needs 'a' (queued)");
    assert_eq!(
        says("odd", &pool(1)),
        "no runner has the label 'ubuntu-22.04'; there is: ubuntu-latest"
    );
    assert_eq!(says("soon", &pool(1)), "image gcc:12 is being unpacked");
    assert_eq!(
        says("par (2)", &pool(1)),
        "max-parallel lets 1 of its matrix run at a time: par (1)"
    );
    let mut paused = pool(1);
    paused[0].paused = Some("the disk is full".into());
    assert_eq!(
        says("a", &paused),
        "all runners that fit are paused (embedded: the disk is full)"
    );
    // A runner that serves nothing yet has no labels, and its own reason is the better one.
    let mut empty = pool(1);
    empty[0].labels.clear();
    empty[0].paused = Some("no image has been imported yet".into());
    assert_eq!(
        says("odd", &empty),
        "all runners that fit are paused (embedded: no image has been imported yet)"
    );
    let a = bench.start();
    assert_eq!(says("a", &pool(1)), "does not wait");
    assert_eq!(
        says("par (1)", &pool(1)),
        format!("number 1 in the queue: all 1 slots are busy with 'a' of run {run}")
    );
    bench.cancel_job(a.job.id);
    assert_eq!(says("a", &pool(1)), "is being stopped: alice cancelled it");
}

#[test]
fn the_position_counts_only_jobs_that_want_the_same_slots() {
    let bench = Bench::new();
    bench.open_jobs(json!([{ "id": "busy" }]));
    bench.start();
    for repo in 2..=4 {
        bench.open(
            &new_run(repo),
            json!([{ "id": "ours" }, { "id": "theirs", "runs_on": "mac" }]),
        );
    }
    let listed = bench.read(|db| crate::waiting(db, 100, &pool(1)));
    assert_eq!(listed.len(), 6);
    let mut ours = Vec::new();
    for (job, reason) in &listed {
        let alone = bench.read(|db| explain(db, job.id, &pool(1))).unwrap();
        assert_eq!(alone, *reason, "the page and the job agree");
        if let WaitReason::Busy { position, .. } = reason {
            ours.push(*position);
        }
    }
    assert_eq!(ours, [1, 2, 3]);
    let next = bench.claim(&["linux"]).unwrap().job.id;
    assert_eq!(
        next, listed[0].0.id,
        "the page's order is the order of handing out"
    );
}

#[test]
fn counts_tell_where_jobs_stand() {
    let bench = Bench::new();
    bench.open_jobs(json!([
        { "id": "a" }, { "id": "b" }, { "id": "c" }, { "id": "d", "needs": ["a"] },
    ]));
    bench.open(
        &NewRun {
            held: true,
            ..new_run(2)
        },
        json!([{ "id": "h" }]),
    );
    bench.start();
    bench.claim(&["linux"]).unwrap();
    let counts = bench.read(crate::counts);
    let numbers = [
        counts.held,
        counts.blocked,
        counts.queued,
        counts.leased,
        counts.running,
    ];
    assert_eq!(numbers, [1; 5]);
    assert_eq!(bench.read(crate::running).len(), 2);
}
