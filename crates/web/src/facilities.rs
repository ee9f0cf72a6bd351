//! What the server asks of whatever runs the jobs: slots, capacity, facts about this host.

use std::time::Duration;

use serde::Serialize;
use vocab::JobId;

/// Answers for the pool and its executors. Called on blocking threads; must be quick.
pub trait Facilities: Send + Sync + 'static {
    /// Runners as waiting jobs see them, for their wait reasons.
    fn capacity(&self) -> Vec<queue::Capacity>;

    /// Every slot and what it does now.
    fn slots(&self) -> Vec<Slot>;

    /// Facts about the isolation that this host gives, read from its kernel.
    fn isolation(&self) -> Vec<Fact>;

    /// All that `cofferdam doctor` says, as JSON.
    fn doctor(&self) -> serde_json::Value;

    /// What program answers, and where it listens.
    fn program(&self) -> ProgramFacts {
        ProgramFacts::default()
    }

    /// Why no job is started for now, if none is.
    fn held(&self) -> Option<String> {
        None
    }

    /// Starts no further job, waits for those that run, at most `patience`, then ends them as
    /// lost with the reason `lost`. Blocks; gives how many ended by themselves and how many did
    /// not.
    fn hold(&self, patience: Duration, why: &str, lost: &str) -> (usize, usize) {
        tracing::debug!(?patience, why, lost, "there is nothing to hold");
        (0, 0)
    }

    /// Starts jobs again.
    fn let_go(&self) {}

    /// Tries what the appliance is for. Blocks.
    fn self_test(&self) -> Vec<Check> {
        Vec::new()
    }
}

/// What program this is, and where it listens.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ProgramFacts {
    /// Its version.
    pub version: String,
    /// SHA-256 of its file, in hex; empty while it is being computed.
    pub sha256: String,
    /// Process id.
    pub pid: u32,
    /// The address that it listens on.
    pub address: String,
    /// Whether the settings leave the choice of the port to the system.
    pub any_port: bool,
    /// Whether it speaks TLS there.
    pub secure: bool,
}

/// One thing that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// Such as `job`.
    pub name: &'static str,
    /// Whether it went well.
    pub good: bool,
    /// In words.
    pub detail: String,
}

/// One place in which a job can run.
#[derive(Clone, Debug, Serialize)]
pub struct Slot {
    /// Such as `appliance-0001/1`.
    pub name: String,
    /// What it does.
    pub state: SlotState,
    /// The job it runs.
    pub job: Option<JobId>,
    /// More in words: since when, or why it is not ready.
    pub note: String,
}

/// What a slot does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotState {
    /// A sandbox stands ready.
    Warm,
    /// Free; the next job makes its sandbox first.
    Idle,
    /// Runs a job.
    Busy,
    /// Cannot take a job; the note says why.
    Down,
}

/// One fact, with where it was read.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// Such as `seccomp`.
    pub name: String,
    /// In words.
    pub value: String,
    /// Whether it is as it should be; `None` when it is neither good nor bad.
    pub good: Option<bool>,
}

/// Facilities of a server that runs no jobs itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacilities;

impl Facilities for NoFacilities {
    fn capacity(&self) -> Vec<queue::Capacity> {
        Vec::new()
    }

    fn slots(&self) -> Vec<Slot> {
        Vec::new()
    }

    fn isolation(&self) -> Vec<Fact> {
        Vec::new()
    }

    fn doctor(&self) -> serde_json::Value {
        serde_json::json!({ "findings": [], "note": "this server runs no jobs itself" })
    }
}
