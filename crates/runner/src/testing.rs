//! An observer that remembers, for unit tests.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::executor::Facts;
use crate::observer::{Annotation, LineKind, Observer};
use crate::report::StepReport;

/// Remembers every line as `step kind text`.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<String>>);

impl Seen {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Observer for Seen {
    fn prepared(&self, _: &Facts, _: Option<TcpListener>) {}

    fn step_started(&self, _: u32, _: &str, _: SystemTime) {}

    fn line(&self, step: u32, _: SystemTime, kind: LineKind, text: &str) {
        let line = format!("{step} {} {text}", kind.as_str());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn annotation(&self, _: u32, _: &Annotation) {}

    fn step_finished(&self, _: u32, _: &StepReport, _: SystemTime) {}
}
