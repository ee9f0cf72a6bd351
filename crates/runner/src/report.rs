//! How a job and its steps ended.

use serde::{Deserialize, Serialize};
use vocab::Outcome;

use crate::observer::Annotation;
use crate::receipt::Receipt;

/// How one step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// As shown.
    pub name: String,
    /// Its `id`, or empty.
    pub id: String,
    /// Before `continue-on-error`.
    pub outcome: Outcome,
    /// After `continue-on-error`.
    pub conclusion: Outcome,
    /// Code of its program, when one ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Why it failed or was skipped, in words; empty when it went well.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub reason: String,
    /// Its Markdown summary, masked, at most 1 MiB.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub summary: String,
    /// Unix milliseconds, UTC.
    pub started_ms: i64,
    /// Unix milliseconds, UTC.
    pub finished_ms: i64,
}

/// How a job ended: what the queue stores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobReport {
    /// The verdict. A job whose `continue-on-error` forgives it still says what happened.
    pub outcome: Outcome,
    /// Why, in words, when it did not go well.
    pub reason: String,
    /// What later jobs see in `needs.<job>.outputs`.
    pub outputs: Vec<(String, String)>,
    /// Every step, in order.
    pub steps: Vec<StepReport>,
    /// At most 10 of each level a step, 50 a job.
    pub annotations: Vec<Annotation>,
    /// Whose computer that was, whether it was fresh, what it could reach. `None` when no sandbox
    /// was ever made.
    pub receipt: Option<Receipt>,
}

impl StepReport {
    /// A step that has just started.
    pub(crate) fn new(name: &str, id: &str, started_ms: i64) -> Self {
        Self {
            name: name.to_owned(),
            id: id.to_owned(),
            outcome: Outcome::Success,
            conclusion: Outcome::Success,
            exit_code: None,
            reason: String::new(),
            summary: String::new(),
            started_ms,
            finished_ms: started_ms,
        }
    }

    pub(crate) fn end(&mut self, outcome: Outcome, reason: String, at_ms: i64) {
        self.outcome = outcome;
        self.conclusion = outcome;
        self.reason = reason;
        self.finished_ms = at_ms;
    }
}

impl JobReport {
    /// A job that never had a sandbox.
    pub(crate) fn refused(reason: String, setup: StepReport, annotations: Vec<Annotation>) -> Self {
        Self {
            outcome: Outcome::Failure,
            reason,
            outputs: Vec::new(),
            steps: vec![setup],
            annotations,
            receipt: None,
        }
    }
}
