//! One job as handed to a runner: everything it may know, nothing it would have to look up.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use vocab::Fence;

use crate::executor::{ImageFacts, Limits, NetworkPolicy};
use crate::receipt::RunnerIdentity;
use crate::supply::{CarriedAction, Supply};

/// One attempt at one job.
#[derive(Clone, Debug)]
pub struct JobOrder {
    /// Whose this is; every effect carries it.
    pub fence: Fence,
    /// The `github` context as the server filled it; the runner adds what only it knows
    /// (`workspace`, `event_path`, `action` and the paths of the command files).
    pub github: Map<String, Value>,
    /// The `needs` context: `{job: {result, outputs}}`.
    pub needs: Map<String, Value>,
    /// The `vars` context.
    pub vars: Vec<(String, String)>,
    /// The `inputs` context.
    pub inputs: Map<String, Value>,
    /// The `secrets` context. Every value is masked in all that leaves the runner.
    pub secrets: Vec<(String, Secret)>,
    /// The image, or `None` for the host's own read-only `/usr`.
    pub image: Option<ImageFacts>,
    /// What the job may use; the workflow's own time limit can only lower `limits.timeout`.
    pub limits: Limits,
    /// What it may reach.
    pub network: NetworkPolicy,
    /// What the job's generation holds; none when nothing was imported, or outside an appliance.
    pub supply: Option<Arc<dyn Supply>>,
    /// The actions of that generation that the steps need, near and far.
    pub actions: Vec<CarriedAction>,
    /// Where the job finds its generation served, on its own loopback, without a slash at the
    /// end; none when nobody serves it.
    pub endpoint: Option<String>,
    /// How long a cancelled step is asked before it is ended.
    pub grace: Grace,
    /// The appliance's address as links show it, without a slash at its end.
    pub server_url: String,
    /// The appliance's API, as actions call it.
    pub api_url: String,
    /// Who runs it.
    pub runner: RunnerIdentity,
    /// When it was put in the queue.
    pub queued_at: SystemTime,
    /// When this runner claimed it.
    pub claimed_at: SystemTime,
    /// Whether debug lines are shown (`RUNNER_DEBUG`).
    pub debug: bool,
}

/// How a step that must stop is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grace {
    /// After an interrupt.
    pub interrupt: Duration,
    /// After the terminate signal that follows it; then everything is killed.
    pub terminate: Duration,
    /// What all steps that still run after a cancellation (`if: always()`) may take together.
    pub cleanup: Duration,
}

impl Default for Grace {
    /// As hosted runners do: 7.5 s, 2.5 s; clean-up steps get 5 minutes.
    fn default() -> Self {
        Self {
            interrupt: Duration::from_millis(7_500),
            terminate: Duration::from_millis(2_500),
            cleanup: Duration::from_secs(300),
        }
    }
}

/// A value that must never be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the job only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
