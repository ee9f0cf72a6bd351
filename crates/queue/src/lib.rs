//! Runs, their jobs, and who may work on which job until when.
//!
//! Owns the tables `run`, `run_plan`, `label_set`, `job`, `queue_turn`, `attempt`, `step` and the
//! files below `DATA/logs`. Invariants: a job has one holder at a time; each hand-out raises its
//! epoch, and whatever comes with an older fence is refused and recorded; an attempt that started
//! is never silently run twice; every run ends; a row that cannot be understood fails alone.
//! Source: design/architecture.md, "Invariants".
//!
//! Writers take a transaction, the instant, the auditor and who acts:
//!
//! ```text
//! open_run(tx, now, auditor, who, &NewRun, &workflow::Workflow) -> Result<Opened, QueueError>
//! open_failed_run(tx, now, auditor, who, &NewRun, &[String]) -> Result<Opened, _>
//! release_push(tx, now, auditor, PushId) -> Result<Vec<RunId>, _>     drop_push(same)
//! claim(tx, now, auditor, &Offer) -> Result<Option<Claimed>, _>
//! renew(tx, now, auditor, Fence, lease: Duration) -> Result<Fenced<Renewed>, _>
//! started(tx, now, auditor, Fence) -> Result<Fenced<()>, _>
//! step_started(tx, now, auditor, Fence, number, name, log_offset) -> Result<Fenced<()>, _>
//! step_finished(tx, now, auditor, Fence, &StepEnded) -> Result<Fenced<()>, _>
//! finish(tx, now, auditor, Fence, &Ended) -> Result<Fenced<()>, _>
//! expire_leases(tx, now, auditor) -> Result<Vec<Fence>, _>
//! recover(tx, now, auditor, alive: &dyn Fn(Fence) -> bool) -> Result<Recovered, _>
//! cancel_run(tx, now, auditor, who, RunId) / cancel_job(…, JobId) -> Result<(), _>
//! rerun(tx, now, auditor, who, RunId, Rerun) -> Result<Vec<JobId>, _>
//! ```
//!
//! Readers take a plain connection:
//!
//! ```text
//! explain(db, JobId, &[Capacity]) -> Result<Option<WaitReason>, QueueError>
//! run(db, RunId) -> Result<Option<RunRow>, _>      run_by_number(db, RepoId, RunNumber)
//! runs_of(db, RepoId, &RunFilter { state, git_ref, workflow_path, before: Option<RunNumber>, limit })
//! recent_runs(db, &[RepoId], limit) -> Result<Vec<RunRow>, _>
//! problems(db, RunId) -> Result<Vec<String>, _>
//! jobs_of(db, RunId) -> Result<Vec<JobRow>, _>     job(db, JobId) -> Result<Option<JobRow>, _>
//! attempts_of(db, JobId) -> Result<Vec<AttemptRow>, _>
//! attempt(db, JobId, Attempt) -> Result<Option<AttemptRow>, _>
//! steps_of(db, JobId, Attempt) -> Result<Vec<StepRow>, _>
//! waiting(db, limit) -> Result<Vec<JobRow>, _>     in the order they will be handed out
//! running(db) -> Result<Vec<JobRow>, _>
//! counts(db) -> Result<Counts { held, blocked, queued, leased, running }, _>
//! cancel_asked(db, Fence) -> Result<bool, _>
//! ```

pub mod logs;
mod types;

pub use types::{
    AttemptRow, CancelAsked, Capacity, Claimed, Ended, Fenced, JobRow, Lost, NewRun, Offer, Opened,
    QueueError, Rerun, RunRow, StepEnded, StepRow,
};

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "queue",
    files: &[("0001_queue", include_str!("../migrations/0001_queue.sql"))],
};
