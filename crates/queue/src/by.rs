//! Under whose name, and at which instant, something is done.

use std::time::SystemTime;

use audit::{Actor, Auditor, Entry, Kind, Who};
use store::Tx;
use vocab::{JobId, Outcome, RunId, unix_ms};

use crate::QueueError;

#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub(crate) now: SystemTime,
    pub(crate) auditor: &'a Auditor,
    pub(crate) who: &'a Who,
}

impl<'a> By<'a> {
    pub(crate) fn new(now: SystemTime, auditor: &'a Auditor, who: &'a Who) -> Self {
        Self { now, auditor, who }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        unix_ms(self.now)
    }

    pub(crate) fn record(&self, tx: &mut Tx<'_>, entry: Entry) -> Result<(), QueueError> {
        self.auditor.append(tx, self.who, entry)?;
        Ok(())
    }

    /// The entry of a job that has ended.
    pub(crate) fn record_end(
        &self,
        tx: &mut Tx<'_>,
        run: RunId,
        job: (JobId, &str),
        outcome: Outcome,
        more: impl FnOnce(Entry) -> Entry,
    ) -> Result<(), QueueError> {
        let entry = match outcome {
            Outcome::Success | Outcome::Skipped => Entry::success(Kind::JobCompleted),
            Outcome::Failure => Entry::failure(Kind::JobCompleted, "E_JOB_FAILED"),
            Outcome::Cancelled => Entry::success(Kind::JobCancelled),
            Outcome::TimedOut => Entry::failure(Kind::JobTimedOut, "E_TIMEOUT"),
            Outcome::Lost => Entry::failure(Kind::JobLost, "E_LOST"),
        };
        let entry = about(entry, run, job).detail("outcome", outcome.as_str());
        self.record(tx, more(entry))
    }

    /// Who this is, in words.
    pub(crate) fn in_words(&self) -> String {
        match &self.who.actor {
            Actor::System => "cofferdam".to_owned(),
            Actor::Anonymous => "somebody not signed in".to_owned(),
            Actor::User { name, .. } | Actor::Token { name, .. } | Actor::SshKey { name, .. } => {
                name.to_string()
            }
            Actor::DeployKey { .. } => "a deploy key".to_owned(),
            Actor::Job { fence } => format!("job {}", fence.job),
            Actor::Operator { uid } => format!("the operator (uid {uid})"),
        }
    }
}

/// Names a job in an entry.
pub(crate) fn about(entry: Entry, run: RunId, (job, name): (JobId, &str)) -> Entry {
    entry
        .object(
            "job",
            job.tagged(),
            name.chars().take(200).collect::<String>(),
        )
        .job(job)
        .detail("run", run.tagged())
}
