//! Writes down what a job does: its log lines to the file, its steps to the database.

use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use queue::logs::{Kind, LogWriter};
use queue::{Claimed, Ended, Fenced, QueueError, StepEnded};
use runner::executor::Facts;
use runner::{Annotation, Cancel, LineKind, Observer, StepReport};
use store::Tx;
use vocab::Fence;

use crate::dispatcher::{Parts, chain};
use crate::{Held, JobSeat};

/// The observer of one attempt.
pub(crate) struct Recorder<'a> {
    parts: &'a Parts,
    fence: Fence,
    seat: JobSeat,
    cancel: &'a Cancel,
    state: Mutex<State>,
}

struct State {
    writer: Option<LogWriter>,
    /// The step that is running, for the job's last words.
    step: u32,
    /// Whether the queue knows that the job started.
    started: bool,
    /// Whether the log's own failure was told already.
    failed: bool,
    /// The job's loopback while it is served.
    endpoint: Option<Box<dyn Send>>,
}

impl<'a> Recorder<'a> {
    /// Opens the log of the attempt.
    pub(crate) fn open(
        parts: &'a Parts,
        claimed: &Claimed,
        held: &Held,
        cancel: &'a Cancel,
    ) -> std::io::Result<Self> {
        let fence = claimed.fence;
        let writer = parts.logs.writer(fence.job, fence.attempt)?;
        let state = State {
            writer: Some(writer),
            step: 0,
            started: false,
            failed: false,
            endpoint: None,
        };
        let seat = JobSeat {
            fence,
            repo: claimed.run.repo,
            generation: held.generation(),
        };
        Ok(Self {
            parts,
            fence,
            seat,
            cancel,
            state: Mutex::new(state),
        })
    }

    /// The job's last words and the end of its log, durably.
    pub(crate) fn close(&self, ended: &Ended) {
        self.ending();
        let now = self.parts.clock.now();
        let mut state = self.state();
        if !ended.reason.is_empty() {
            let step = state.step;
            self.append(&mut state, now, step, Kind::System, &ended.reason);
        }
        if let Some(writer) = state.writer.take()
            && let Err(error) = writer.finish(now)
        {
            tracing::error!(%error, "the log was not closed");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, state: &mut State, at: SystemTime, step: u32, kind: Kind, text: &str) {
        let Some(writer) = &mut state.writer else {
            return;
        };
        let written = writer
            .append(at, step, kind, text)
            .and_then(|()| writer.flush());
        match written {
            Ok(()) => state.failed = false,
            Err(error) if !state.failed => {
                state.failed = true;
                tracing::error!(%error, "log lines cannot be written");
            }
            Err(_) => {}
        }
    }

    /// Tells the queue; a lease that was lost stops the job.
    fn tell(&self, what: &str, work: impl FnOnce(&mut Tx<'_>) -> Result<Fenced<()>, QueueError>) {
        match self.parts.store.write(work) {
            Ok(Fenced::Done(())) => {}
            Ok(Fenced::Lost(lost)) => self.cancel.request(&lost.to_string()),
            Err(error) => {
                tracing::error!(what, error = %chain(&error), "the queue was not told");
            }
        }
    }
}

impl Observer for Recorder<'_> {
    fn prepared(&self, _facts: &Facts, endpoint: Option<TcpListener>) {
        // A listener that nobody serves is closed: connections are refused.
        let (Some(listener), Some(server)) = (endpoint, &self.parts.endpoint) else {
            return;
        };
        let mut state = self.state();
        match server.serve(self.seat, listener) {
            Ok(serving) => state.endpoint = Some(serving),
            Err(reason) => {
                tracing::error!(reason, "a job's loopback is not served");
                let text = format!("nothing is served on the loopback of this job: {reason}");
                let now = self.parts.clock.now();
                self.append(&mut state, now, 0, Kind::Error, &text);
            }
        }
    }

    fn ending(&self) {
        // Dropped outside the lock: it waits for the last connection.
        let serving = self.state().endpoint.take();
        drop(serving);
    }

    fn step_started(&self, step: u32, name: &str, at: SystemTime) {
        let (offset, first) = {
            let mut state = self.state();
            state.step = step;
            let offset = state.writer.as_ref().map_or(0, LogWriter::offset);
            (offset, !std::mem::replace(&mut state.started, true))
        };
        let auditor = &self.parts.auditor;
        self.tell("a step started", |tx| {
            if first && let Fenced::Lost(lost) = queue::started(tx, at, auditor, self.fence)? {
                return Ok(Fenced::Lost(lost));
            }
            queue::step_started(tx, at, auditor, self.fence, step, name, offset)
        });
    }

    fn line(&self, step: u32, at: SystemTime, kind: LineKind, text: &str) {
        let kind = match kind {
            LineKind::Out => Kind::Out,
            LineKind::Info => Kind::Info,
            LineKind::Command => Kind::Command,
            LineKind::Group => Kind::Group,
            LineKind::Endgroup => Kind::Endgroup,
            LineKind::Error => Kind::Error,
            LineKind::Warning => Kind::Warning,
            LineKind::Notice => Kind::Notice,
            LineKind::Debug => Kind::Debug,
            LineKind::Receipt => Kind::Receipt,
        };
        self.append(&mut self.state(), at, step, kind, text);
    }

    fn annotation(&self, _step: u32, _annotation: &Annotation) {
        // All annotations come once more, together, in the job's report.
    }

    fn step_finished(&self, step: u32, report: &StepReport, at: SystemTime) {
        let ended = StepEnded {
            number: step,
            name: report.name.clone(),
            outcome: report.outcome,
            conclusion: report.conclusion,
            exit_code: report.exit_code,
            reason: report.reason.clone(),
        };
        let auditor = &self.parts.auditor;
        self.tell("a step ended", |tx| {
            queue::step_finished(tx, at, auditor, self.fence, &ended)
        });
    }
}
