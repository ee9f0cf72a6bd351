//! Who watches a job run. Everything that arrives here is masked already.

use std::net::TcpListener;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::executor::Facts;
use crate::report::StepReport;

/// Told of everything that happens, in order, on the job's own thread.
///
/// Step 0 sets the job up; then come what actions run first, the workflow's steps, what actions
/// run last, and a step that completes the job.
pub trait Observer: Send + Sync {
    /// The sandbox stands. `endpoint` is the listening socket on the job's loopback, to be served
    /// until the job ends.
    fn prepared(&self, facts: &Facts, endpoint: Option<TcpListener>);

    /// A step starts.
    fn step_started(&self, step: u32, name: &str, at: SystemTime);

    /// The steps are over and their programs gone; the sandbox is about to be destroyed. Whatever
    /// was served on the job's loopback ends now.
    fn ending(&self) {}

    /// One line of a step's log, without its line end.
    fn line(&self, step: u32, at: SystemTime, kind: LineKind, text: &str);

    /// A remark on the code or the run, for the run's page.
    fn annotation(&self, step: u32, annotation: &Annotation);

    /// A step has ended, or was skipped.
    fn step_finished(&self, step: u32, report: &StepReport, at: SystemTime);
}

/// What a log line is. The words are those of the log files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineKind {
    /// Printed by the step.
    Out,
    /// The runner's own words.
    Info,
    /// The command that the step runs, echoed.
    Command,
    /// Opens a group that may be folded.
    Group,
    /// Closes it; the text is empty.
    Endgroup,
    /// An error annotation.
    Error,
    /// A warning annotation.
    Warning,
    /// A notice annotation.
    Notice,
    /// Only of interest when debugging.
    Debug,
    /// One line of the receipt.
    Receipt,
}

impl LineKind {
    /// The word in log files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Info => "info",
            Self::Command => "command",
            Self::Group => "group",
            Self::Endgroup => "endgroup",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Debug => "debug",
            Self::Receipt => "receipt",
        }
    }
}

/// How grave an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Notice,
    /// Worth mending.
    Warning,
    /// Wrong.
    Error,
}

/// A remark on the code or the run (`::error file=…::…`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// How grave.
    pub level: Level,
    /// The remark.
    pub message: String,
    /// Its heading.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The file it is about, as the step named it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// First line, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// Last line.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_line: Option<u32>,
    /// First column, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u32>,
    /// Last column.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub end_column: Option<u32>,
}

impl Annotation {
    /// A remark about no file in particular.
    #[must_use]
    pub fn new(level: Level, message: &str) -> Self {
        Self {
            level,
            message: message.to_owned(),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
        }
    }
}
