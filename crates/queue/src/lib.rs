//! Runs, their jobs, and who may work on which job until when.
//!
//! Owns the tables `run`, `run_plan`, `label_set`, `job`, `queue_turn`, `attempt`, `step`, `attest_due`, `attestation`
//! and the files below `DATA/logs`. Invariants: a job has one holder at a time; each hand-out raises its
//! epoch, and whatever comes with an older fence is refused and recorded; an attempt that started
//! is never silently run twice; every run ends; a row that cannot be understood fails alone.
//! Source: design/architecture.md, "Invariants".

mod advance;
mod attest;
mod by;
mod cancel;
mod check;
mod claim;
mod expire;
mod explain;
mod group;
mod holder;
pub mod logs;
mod nearest;
mod open;
mod plan;
mod read;
mod rerun;
mod sql;
mod types;

pub use advance::RUN_JOBS;
pub use attest::{
    Attestation, attest_due, attest_in_vain, attestation, attested, each_attestation, is_attest_due,
};
pub use cancel::{cancel_job, cancel_run};
pub use check::check;
pub use claim::claim;
pub use expire::{expire_leases, recover};
pub use explain::{Need, Occupant, WaitReason, explain, waiting};
pub use holder::{
    LEASE, cancel_asked, finish, is_current, renew, started, step_finished, step_started,
};
pub use open::{drop_push, open_failed_run, open_run, release_push};
pub use read::{
    attempt, attempts_of, counts, inputs_of, job, jobs_of, problems, recent_runs, run,
    run_by_number, running, runs_of, runs_of_push, steps_of,
};
pub use rerun::rerun;
pub use types::{
    AttemptRow, CancelAsked, Capacity, Claimed, Counts, Ended, Fenced, JobRow, Lost, NewRun, Offer,
    Opened, QueueError, Recovered, Renewed, Rerun, RunFilter, RunRow, StepEnded, StepRow,
};

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "queue",
    files: &[
        ("0001_queue", include_str!("../migrations/0001_queue.sql")),
        (
            "0002_concurrency",
            include_str!("../migrations/0002_concurrency.sql"),
        ),
        ("0003_attest", include_str!("../migrations/0003_attest.sql")),
    ],
};

#[cfg(test)]
mod tests;
