//! What goes into the queue and what comes out of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vocab::{
    Attempt, Fence, JobId, JobState, Outcome, PushId, RepoId, RunId, RunNumber, RunState, UserId,
};

/// A run that is about to be opened, all but its jobs.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Whose workflow it is.
    pub repo: RepoId,
    /// The push that caused it, when one did.
    pub push: Option<PushId>,
    /// The workflow's file in the repo, such as `.github/workflows/ci.yml`.
    pub workflow_path: String,
    /// Its `name`, or its path.
    pub workflow_name: String,
    /// What people read first: the commit's subject.
    pub title: String,
    /// The event's name, such as `push`.
    pub event: String,
    /// The full ref name.
    pub git_ref: String,
    /// The commit, in hex.
    pub sha: String,
    /// Who caused it.
    pub actor: UserId,
    /// The name they had then.
    pub actor_name: String,
    /// The `github` context, an object. `run_id`, `run_number` and `run_attempt` are filled in by
    /// the queue.
    pub github: Value,
    /// The `inputs` context, an object.
    pub inputs: Value,
    /// The `vars` context, an object.
    pub vars: Value,
    /// Whether it waits for [`crate::release_push`] before any job may be claimed.
    pub held: bool,
    /// Whether its code comes from somebody who has no trust here.
    pub untrusted: bool,
}

/// A run that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub run: RunId,
    /// Its number in its repo.
    pub number: RunNumber,
    /// False when it failed at once, as an invalid workflow does.
    pub alive: bool,
}

/// One run, as pages and the API show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its repo.
    pub repo: RepoId,
    /// Its number there.
    pub number: RunNumber,
    /// The push that caused it.
    pub push: Option<PushId>,
    /// The workflow's file.
    pub workflow_path: String,
    /// The workflow's name.
    pub workflow_name: String,
    /// The commit's subject.
    pub title: String,
    /// The event's name.
    pub event: String,
    /// The full ref name.
    pub git_ref: String,
    /// The commit, in hex.
    pub sha: String,
    /// Who caused it.
    pub actor: UserId,
    /// The name they had then.
    pub actor_name: String,
    /// Whether its code comes from somebody who has no trust here.
    pub untrusted: bool,
    /// How often it has been run, from 1.
    pub attempt: Attempt,
    /// Where it stands.
    pub state: RunState,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, when no job says so; else empty.
    pub reason: String,
    /// Who asked to cancel it.
    pub cancel: Option<CancelAsked>,
    /// Unix milliseconds, UTC.
    pub created_ms: i64,
    /// When its first job started.
    pub started_ms: Option<i64>,
    /// When its last job ended.
    pub finished_ms: Option<i64>,
}

/// Who asked that something be cancelled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelAsked {
    /// In words.
    pub by: String,
    /// Unix milliseconds, UTC.
    pub at_ms: i64,
}

/// One job, as pages and the API show it: one leg of a matrix, or a whole job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Its run.
    pub run: RunId,
    /// Its repo.
    pub repo: RepoId,
    /// Its name in the workflow file, such as `test`; the legs of a matrix share it.
    pub key: String,
    /// Which leg of its matrix, from 0.
    pub leg: u32,
    /// As shown, such as `test (3.11)`.
    pub name: String,
    /// The keys of the jobs it waits for.
    pub needs: Vec<String>,
    /// Its values of the matrix.
    pub matrix: Option<Value>,
    /// The labels it asks of a runner; empty until it has been planned.
    pub labels: Vec<String>,
    /// Where it stands.
    pub state: JobState,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Whether `continue-on-error` keeps a failure of it from failing the run.
    pub forgiven: bool,
    /// Why it stands or ended so, where that is not plain.
    pub reason: String,
    /// The attempt that is shown, from 1.
    pub attempt: Attempt,
    /// Who holds or held it.
    pub runner: Option<String>,
    /// Who asked to cancel it.
    pub cancel: Option<CancelAsked>,
    /// Unix milliseconds, UTC.
    pub created_ms: i64,
    /// When it could first be claimed.
    pub queued_ms: Option<i64>,
    /// When its first step started.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
}

/// One attempt at a job that was handed to a runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptRow {
    /// The job.
    pub job: JobId,
    /// Counted from 1.
    pub attempt: Attempt,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, in words.
    pub reason: String,
    /// Who held it; nobody when it ended before it was handed out.
    pub runner: Option<String>,
    /// When it could be claimed.
    pub queued_ms: Option<i64>,
    /// When it was handed out.
    pub assigned_ms: Option<i64>,
    /// When its first step started.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// What later jobs see, an object of texts.
    pub outputs: Value,
    /// The steps' summaries, Markdown.
    pub summary: String,
    /// The remarks on the code, an array.
    pub annotations: Value,
    /// Whose computer that was, whether it was fresh, what it could reach.
    pub receipt: Option<Value>,
}

/// One step of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// 0 sets the job up; the workflow's own count from 1.
    pub number: u32,
    /// As shown.
    pub name: String,
    /// Before `continue-on-error`; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// After `continue-on-error`.
    pub conclusion: Option<Outcome>,
    /// Code of its program, when one ran.
    pub exit_code: Option<i32>,
    /// Why it failed or was skipped, in words.
    pub reason: String,
    /// Where its first line stands in the log, in bytes.
    pub log_offset: u64,
    /// Unix milliseconds, UTC.
    pub started_ms: i64,
    /// When it ended.
    pub finished_ms: Option<i64>,
}

/// What a free slot can take.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The name of the runner, as shown.
    pub runner: String,
    /// All labels it serves; a job fits when each of its labels is among them.
    pub labels: Vec<String>,
    /// How long it may keep silent.
    pub lease: std::time::Duration,
}

/// A job that was handed out, and all that is needed to run it.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Must come with everything that is reported.
    pub fence: Fence,
    /// Its run.
    pub run: RunRow,
    /// The job.
    pub job: JobRow,
    /// What to do.
    /// What to do.
    pub spec: workflow::JobSpec,
    /// The `github` context.
    pub github: Value,
    /// The `inputs` context.
    pub inputs: Value,
    /// The `vars` context.
    pub vars: Value,
    /// The `needs` context.
    pub needs: Value,
    /// When the lease ends unless renewed: Unix milliseconds, UTC.
    pub lease_until_ms: i64,
}

/// How a job ended, as its holder tells it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The verdict.
    pub outcome: Outcome,
    /// Why, in words; empty when it went well.
    pub reason: String,
    /// What later jobs see.
    pub outputs: Vec<(String, String)>,
    /// The steps' summaries, Markdown, at most 1 MiB each.
    pub summary: String,
    /// The remarks on the code, an array.
    pub annotations: Value,
    /// The receipt.
    pub receipt: Option<Value>,
}

/// How a step ended, as the job's holder tells it.
#[derive(Clone, Debug)]
pub struct StepEnded {
    /// Which.
    pub number: u32,
    /// As shown; what an earlier start said is replaced.
    pub name: String,
    /// Before `continue-on-error`.
    pub outcome: Outcome,
    /// After it.
    pub conclusion: Outcome,
    /// Code of its program, when one ran.
    pub exit_code: Option<i32>,
    /// Why, in words.
    pub reason: String,
}

/// Runners of one kind, as far as waiting jobs care.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Capacity {
    /// The name, as shown.
    pub runner: String,
    /// All labels it serves.
    pub labels: Vec<String>,
    /// Labels that it will serve once something is ready, each with what that is, in words.
    #[serde(default)]
    pub pending: Vec<(String, String)>,
    /// How many jobs it runs at a time.
    pub slots: usize,
    /// Why it takes no job now, in words, when it does not.
    pub paused: Option<String>,
}

/// What a holder learns when it renews its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// When the lease now ends: Unix milliseconds, UTC.
    pub until_ms: i64,
    /// Whether somebody asked to cancel the job.
    pub cancel_asked: bool,
}

/// What a start found of the jobs that were out when the last process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Never started: queued again.
    pub requeued: Vec<Fence>,
    /// Started, and nobody works on them any more: ended as lost. Seal their logs.
    pub lost: Vec<Fence>,
    /// Still worked on.
    pub alive: Vec<Fence>,
}

/// Which of a repo's runs to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only of this commit.
    pub sha: Option<String>,
    /// Only of this full ref name.
    pub git_ref: Option<String>,
    /// Only of this workflow file.
    pub workflow_path: Option<String>,
    /// Only unfinished ones.
    pub open: bool,
    /// Only with smaller numbers: the last one of the page before.
    pub before: Option<RunNumber>,
    /// At most so many; 0 is 30, and never more than 1,000.
    pub limit: u32,
}

/// How many jobs stand where, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Wait for their push.
    pub held: u64,
    /// Wait for other jobs.
    pub blocked: u64,
    /// May be claimed, or wait for their matrix.
    pub queued: u64,
    /// Handed out, no step started.
    pub leased: u64,
    /// At work.
    pub running: u64,
}

/// Which jobs of a run to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rerun {
    /// Every one.
    All,
    /// Those that did not go well, and those that depend on them.
    Failed,
    /// This one, and those that depend on it.
    Job(JobId),
}

/// What comes of an effect that carried a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a holder that has lost its lease must stop"]
pub enum Fenced<T> {
    /// The holder was the right one, and it was done.
    Done(T),
    /// The job belongs to nobody or to another; nothing was done but the refusal recorded.
    Lost(Lost),
}

impl<T> Fenced<T> {
    /// As a result, for `?` after the transaction has been committed.
    pub fn held(self) -> Result<T, Lost> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Lost(lost) => Err(lost),
        }
    }
}

/// The holder of this fence no longer holds the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "job {} is no longer held by hand-out {} of attempt {}; stop working on it",
    fence.job, fence.epoch, fence.attempt
)]
pub struct Lost {
    /// As shown by the holder.
    pub fence: Fence,
}

/// Why the queue could not do or tell something.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The audit log refused, so nothing was done.
    #[error(transparent)]
    Audit(#[from] audit::AppendError),
    /// A stored value cannot be understood.
    #[error("{what} {id} cannot be read from the database: {reason}")]
    Unreadable {
        /// The kind of row.
        what: &'static str,
        /// Its id.
        id: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// No such run.
    #[error("there is no run {0}")]
    NoRun(RunId),
    /// No such job.
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// The run has not ended.
    #[error("run {0} has not finished; cancel it, or wait, before running it again")]
    StillRunning(RunId),
    /// Nothing to run again.
    #[error("run {0} has no job to run again: {1}")]
    NothingToRerun(RunId, &'static str),
    /// More jobs than a run may have.
    #[error("run {run} would have {got} jobs; at most {limit} are allowed. Split the workflow")]
    TooManyJobs {
        /// The run.
        run: RunId,
        /// As planned.
        got: usize,
        /// The cap.
        limit: usize,
    },
}

impl From<rusqlite::Error> for QueueError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
