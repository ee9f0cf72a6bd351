//! The queue's behaviour, one file a subject, over a real store in a temporary directory.

mod claims;
mod groups;
mod holders;
mod model;
mod needs;
mod people;
mod plans;
mod waits;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use audit::{Actor, Auditor, Origin, Via, Who};
use serde_json::{Value, json};
use store::{Change, Store, StoreOptions, Tx};
use vocab::{
    Clock, Entropy, Fence, JobId, JobState, Outcome, PushId, RepoId, RunId, RunState, UserId,
};
use workflow::Workflow;

use crate::{Claimed, Ended, Fenced, JobRow, NewRun, Offer, Opened, QueueError, RunRow};

/// A store, a clock moved by hand, and everything that listeners were told.
pub(crate) struct Bench {
    pub(crate) store: Store,
    pub(crate) auditor: Auditor,
    pub(crate) clock: Clock,
    pub(crate) told: Arc<Mutex<Vec<Change>>>,
    _dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let migrations = [audit::MIGRATIONS, crate::MIGRATIONS];
        // Most tests are about logic, not about the disk.
        let options = StoreOptions { skip_fsync: true };
        let store = Store::open(dir.path(), &migrations, options).unwrap();
        let clock = Clock::scripted(vocab::from_unix_ms(1_000_000));
        let origin = Origin {
            host: "test".into(),
            boot: "boot".into(),
        };
        let auditor = Auditor::new(clock.clone(), Entropy::scripted(1), origin);
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = told.clone();
        store.on_change(move |changes| ear.lock().unwrap().extend_from_slice(changes));
        Self {
            store,
            auditor,
            clock,
            told,
            _dir: dir,
        }
    }

    pub(crate) fn write<T>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, QueueError>,
    ) -> Result<T, QueueError> {
        self.store.write(work)
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&store::Db) -> Result<T, QueueError>) -> T {
        self.store.read(look).unwrap()
    }

    pub(crate) fn open(&self, new: &NewRun, jobs: Value) -> Opened {
        self.open_workflow(new, &workflow(jobs))
    }

    pub(crate) fn open_workflow(&self, new: &NewRun, workflow: &Workflow) -> Opened {
        let (now, auditor) = (self.clock.now(), &self.auditor);
        self.write(|tx| crate::open_run(tx, now, auditor, &alice(), new, workflow))
            .unwrap()
    }

    /// Opens a run in repo 1.
    pub(crate) fn open_jobs(&self, jobs: Value) -> RunId {
        self.open(&new_run(1), jobs).run
    }

    pub(crate) fn claim(&self, labels: &[&str]) -> Option<Claimed> {
        self.write(|tx| crate::claim(tx, self.clock.now(), &self.auditor, &offer(labels)))
            .unwrap()
    }

    /// Claims a job for the label `linux` and starts it.
    pub(crate) fn start(&self) -> Claimed {
        let claimed = self.claim(&["linux"]).expect("a job is claimable");
        self.started(claimed.fence).held().unwrap();
        claimed
    }

    pub(crate) fn started(&self, fence: Fence) -> Fenced<()> {
        self.write(|tx| crate::started(tx, self.clock.now(), &self.auditor, fence))
            .unwrap()
    }

    pub(crate) fn finish(&self, fence: Fence, outcome: Outcome) -> Fenced<()> {
        self.finish_with(fence, &ended(outcome))
    }

    pub(crate) fn finish_with(&self, fence: Fence, ended: &Ended) -> Fenced<()> {
        self.write(|tx| crate::finish(tx, self.clock.now(), &self.auditor, fence, ended))
            .unwrap()
    }

    /// Claims, starts and ends the next job, which must be called `name`.
    pub(crate) fn run_job(&self, name: &str, outcome: Outcome) {
        let claimed = self.start();
        assert_eq!(claimed.job.name, name);
        self.finish(claimed.fence, outcome).held().unwrap();
    }

    pub(crate) fn expire(&self) -> Vec<Fence> {
        self.write(|tx| crate::expire_leases(tx, self.clock.now(), &self.auditor))
            .unwrap()
    }

    pub(crate) fn cancel_run(&self, run: RunId) {
        self.write(|tx| crate::cancel_run(tx, self.clock.now(), &self.auditor, &alice(), run))
            .unwrap();
    }

    pub(crate) fn cancel_job(&self, job: JobId) {
        self.write(|tx| crate::cancel_job(tx, self.clock.now(), &self.auditor, &alice(), job))
            .unwrap();
    }

    pub(crate) fn rerun(&self, run: RunId, which: crate::Rerun) -> Result<Vec<JobId>, QueueError> {
        self.write(|tx| crate::rerun(tx, self.clock.now(), &self.auditor, &alice(), run, which))
    }

    pub(crate) fn run(&self, run: RunId) -> RunRow {
        self.read(|db| crate::run(db, run)).unwrap()
    }

    pub(crate) fn jobs(&self, run: RunId) -> Vec<JobRow> {
        self.read(|db| crate::jobs_of(db, run))
    }

    pub(crate) fn job(&self, run: RunId, name: &str) -> JobRow {
        let jobs = self.jobs(run);
        let found = jobs.iter().find(|job| job.name == name);
        found
            .unwrap_or_else(|| panic!("no job {name} among {jobs:?}"))
            .clone()
    }

    /// `name state` or `name outcome` of every job of a run.
    pub(crate) fn standing(&self, run: RunId) -> Vec<String> {
        self.jobs(run)
            .iter()
            .map(|job| match job.outcome {
                Some(outcome) => format!("{} {outcome}", job.name),
                None => format!("{} {}", job.name, job.state),
            })
            .collect()
    }

    pub(crate) fn assert_ended(&self, run: RunId, outcome: Outcome) {
        let row = self.run(run);
        assert_eq!(
            (row.state, row.outcome),
            (RunState::Finished, Some(outcome))
        );
        assert!(row.finished_ms.is_some());
    }

    /// The kinds of all audit entries so far, oldest first.
    pub(crate) fn audited(&self) -> Vec<String> {
        self.read(|db| {
            let mut statement = db.prepare("SELECT line FROM audit_entry ORDER BY seq")?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(lines.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            format!(
                "{} {}",
                line["act"].as_str().unwrap(),
                line["out"].as_str().unwrap()
            )
        })
        .collect()
    }

    pub(crate) fn told(&self) -> Vec<Change> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    pub(crate) fn sabotage(&self, sql: &str) {
        self.write(|tx| Ok(tx.execute_batch(sql)?)).unwrap();
    }
}

pub(crate) fn alice() -> Who {
    let name = "alice".parse().unwrap();
    Who::new(
        Actor::User {
            id: UserId(1),
            name,
        },
        Via::Http,
    )
}

pub(crate) fn offer(labels: &[&str]) -> Offer {
    Offer {
        runner: "embedded".into(),
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        lease: Duration::from_secs(60),
    }
}

pub(crate) fn ended(outcome: Outcome) -> Ended {
    Ended {
        outcome,
        reason: String::new(),
        outputs: Vec::new(),
        summary: String::new(),
        annotations: json!([]),
        receipt: None,
    }
}

pub(crate) fn new_run(repo: i64) -> NewRun {
    NewRun {
        repo: RepoId(repo),
        push: Some(PushId(repo * 100)),
        workflow_path: ".github/workflows/ci.yml".into(),
        workflow_name: "ci".into(),
        title: "a commit".into(),
        event: "push".into(),
        git_ref: "refs/heads/main".into(),
        sha: "0123456789abcdef0123456789abcdef01234567".into(),
        actor: UserId(1),
        actor_name: "alice".into(),
        github: json!({ "ref": "refs/heads/main", "event_name": "push" }),
        inputs: json!({}),
        vars: json!({ "LEVEL": "3" }),
        held: false,
        untrusted: false,
    }
}

/// A workflow of `jobs`, each an object with an `id` and whatever differs from a plain job on
/// `linux`.
pub(crate) fn workflow(jobs: Value) -> Workflow {
    let place = json!({ "line": 1, "column": 1 });
    let jobs: Vec<Value> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|given| {
            let mut job = json!({
                "position": place, "needs": [], "runs_on": "linux", "runs_on_position": place,
                "strategy": {}, "defaults": {}, "steps": [],
            });
            for (key, value) in given.as_object().unwrap() {
                job[key] = value.clone();
            }
            job
        })
        .collect();
    serde_json::from_value(json!({
        "path": ".github/workflows/ci.yml", "name": "ci", "on": { "unserved": [] },
        "defaults": {}, "jobs": jobs, "warnings": [],
    }))
    .unwrap()
}

#[test]
fn a_run_goes_from_push_to_verdict() {
    let bench = Bench::new();
    let run = bench.open_jobs(json!([
        { "id": "build", "name": "Build it" },
        { "id": "test", "needs": ["build"] },
    ]));
    assert_eq!(bench.standing(run), ["Build it queued", "test blocked"]);
    assert_eq!(bench.run(run).state, RunState::Waiting);
    let claimed = bench.start();
    assert_eq!(bench.run(run).state, RunState::Running);
    assert_eq!(claimed.github["run_number"], "1");
    assert_eq!(claimed.vars["LEVEL"], "3");
    assert_eq!(claimed.spec.leg.job, "build");
    let outputs = vec![("version".to_owned(), "1.2".to_owned())];
    bench
        .finish_with(
            claimed.fence,
            &Ended {
                outputs,
                ..ended(Outcome::Success)
            },
        )
        .held()
        .unwrap();
    let claimed = bench.start();
    assert_eq!(
        claimed.needs,
        json!({ "build": {
        "result": "success", "outputs": { "version": "1.2" } } })
    );
    bench
        .finish(claimed.fence, Outcome::Success)
        .held()
        .unwrap();
    bench.assert_ended(run, Outcome::Success);
    assert_eq!(
        bench.audited(),
        [
            "workflow.parsed success",
            "job.queued success",
            "job.assigned success",
            "job.started success",
            "job.completed success",
            "job.queued success",
            "job.assigned success",
            "job.started success",
            "job.completed success",
        ]
    );
    assert_eq!(bench.job(run, "test").state, JobState::Finished);
}
