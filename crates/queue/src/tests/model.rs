//! Random histories against the promises: one holder a job, nothing started is run twice under
//! one attempt, every run ends.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::json;
use vocab::{Attempt, Entropy, JobId, Outcome, RunState};

use super::*;
use crate::{LEASE, Rerun};

struct Dice(Entropy);

impl Dice {
    fn roll(&self, sides: usize) -> usize {
        usize::from(u16::from_be_bytes(self.0.bytes::<2>())) % sides
    }
}

fn jobs(dice: &Dice) -> Value {
    let count = 1 + dice.roll(5);
    let mut jobs = Vec::new();
    for n in 0..count {
        let needs: Vec<String> = (0..n)
            .filter(|_| dice.roll(3) == 0)
            .map(|m| format!("j{m}"))
            .collect();
        let mut job = json!({ "id": format!("j{n}"), "needs": needs });
        match dice.roll(6) {
            0 => job["condition"] = json!("always()"),
            1 => job["condition"] = json!("failure()"),
            2 => job["continue_on_error"] = json!(true),
            _ => {}
        }
        if dice.roll(3) == 0 {
            let legs: Vec<usize> = (0..=dice.roll(4)).collect();
            job["strategy"] = json!({ "matrix": { "n": legs } });
            if dice.roll(2) == 0 {
                job["strategy"]["max_parallel"] = json!(1 + dice.roll(2));
            }
            if dice.roll(2) == 0 {
                job["strategy"]["fail_fast"] = json!(false);
            }
        }
        if dice.roll(5) == 0 {
            job["runs_on"] = json!(["linux", "gpu"]);
        }
        if dice.roll(4) == 0 {
            job["concurrency"] = group(dice, "job");
        }
        jobs.push(job);
    }
    Value::Array(jobs)
}

fn group(dice: &Dice, kind: &str) -> Value {
    json!({
        "group": format!("{kind} {}", dice.roll(2)),
        "cancel_in_progress": dice.roll(3) == 0,
        "keep_all": dice.roll(3) == 0,
    })
}

#[derive(Default)]
struct Model {
    runs: Vec<RunId>,
    /// Good fences, and whether each has started.
    held: HashMap<Fence, bool>,
    /// Fences that must be refused.
    stale: Vec<Fence>,
    /// Attempts that have started, once and for all.
    started: HashSet<(JobId, Attempt)>,
}

impl Model {
    fn any(&self, dice: &Dice) -> Option<Fence> {
        let mut held: Vec<Fence> = self.held.keys().copied().collect();
        held.sort_by_key(|f| (f.job, f.epoch));
        (!held.is_empty()).then(|| held[dice.roll(held.len())])
    }

    fn step(&mut self, bench: &Bench, dice: &Dice) {
        match dice.roll(20) {
            0 | 1 if self.runs.len() < 12 => {
                let new = new_run(i64::try_from(1 + dice.roll(3)).unwrap());
                let mut workflow = workflow(jobs(dice));
                if dice.roll(3) == 0 {
                    let group = serde_json::from_value(group(dice, "run"));
                    workflow.concurrency = Some(group.unwrap());
                }
                self.runs.push(bench.open_workflow(&new, &workflow).run);
            }
            2..=7 => self.claim(bench, &["linux", "gpu"]),
            8 => self.claim(bench, &["linux"]),
            9..=11 => {
                if let Some(fence) = self.any(dice) {
                    bench.started(fence).held().unwrap();
                    if !self.held[&fence] {
                        assert!(self.started.insert((fence.job, fence.attempt)), "run twice");
                    }
                    self.held.insert(fence, true);
                }
            }
            12..=15 => {
                if let Some(fence) = self.any(dice) {
                    let outcome = [
                        Outcome::Success,
                        Outcome::Success,
                        Outcome::Failure,
                        Outcome::TimedOut,
                        Outcome::Cancelled,
                    ][dice.roll(5)];
                    bench.finish(fence, outcome).held().unwrap();
                    self.drop_fence(fence);
                }
            }
            16 => {
                if let Some(run) = self.runs.get(dice.roll(12)) {
                    bench.cancel_run(*run);
                }
            }
            17 => {
                if let Some(run) = self.runs.get(dice.roll(12)) {
                    let which = [Rerun::All, Rerun::Failed][dice.roll(2)];
                    match bench.rerun(*run, which) {
                        Ok(_)
                        | Err(QueueError::StillRunning(_) | QueueError::NothingToRerun(..)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            18 => {
                bench.clock.advance(Duration::from_secs(20));
                let taken = bench.expire();
                self.took_back(&taken);
            }
            19 => {
                let survivor = self.any(dice);
                let found = bench
                    .write(|tx| {
                        crate::recover(tx, bench.clock.now(), &bench.auditor, &|f| {
                            Some(f) == survivor
                        })
                    })
                    .unwrap();
                assert_eq!(found.alive, survivor.into_iter().collect::<Vec<_>>());
                self.took_back(&found.lost);
                self.took_back(&found.requeued);
            }
            _ => {}
        }
        if let Some(stale) = self.stale.get(dice.roll(30)) {
            assert!(matches!(
                bench.finish(*stale, Outcome::Success),
                Fenced::Lost(_)
            ));
        }
    }

    fn claim(&mut self, bench: &Bench, labels: &[&str]) {
        if let Some(claimed) = bench.claim(labels) {
            let fence = claimed.fence;
            assert!(
                !self.held.keys().any(|held| held.job == fence.job),
                "two holders"
            );
            assert!(
                !self.started.contains(&(fence.job, fence.attempt)),
                "started before"
            );
            self.held.insert(fence, false);
        }
    }

    fn drop_fence(&mut self, fence: Fence) {
        self.held
            .remove(&fence)
            .expect("the model knew this holder");
        self.stale.push(fence);
    }

    fn took_back(&mut self, fences: &[Fence]) {
        for fence in fences {
            self.drop_fence(*fence);
        }
    }

    fn check(&self, bench: &Bench) {
        let out: HashSet<JobId> = bench
            .read(crate::running)
            .iter()
            .map(|job| job.id)
            .collect();
        let known: HashSet<JobId> = self.held.keys().map(|fence| fence.job).collect();
        assert_eq!(out, known, "the database and the holders agree");
        assert_eq!(bench.read(crate::check), Vec::<String>::new());
    }
}

#[test]
fn random_histories_keep_every_promise() {
    for seed in 0..25 {
        let bench = Bench::new();
        let dice = Dice(Entropy::scripted(seed * 1_000_000));
        let mut model = Model::default();
        for _ in 0..200 {
            model.step(&bench, &dice);
            model.check(&bench);
        }
        // Whatever happened: with somebody at work, everything ends.
        for round in 0.. {
            assert!(round < 2_000, "seed {seed}: a run does not end");
            bench.clock.advance(LEASE);
            let taken = bench.expire();
            model.took_back(&taken);
            model.claim(&bench, &["linux", "gpu"]);
            match model.any(&dice) {
                Some(fence) => {
                    bench.finish(fence, Outcome::Success).held().unwrap();
                    model.drop_fence(fence);
                }
                None => break,
            }
        }
        model.check(&bench);
        for run in &model.runs {
            assert_eq!(bench.run(*run).state, RunState::Finished, "seed {seed}");
        }
        assert_eq!(bench.read(crate::counts), crate::Counts::default());
    }
}
