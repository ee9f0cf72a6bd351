//! One push, from its pack to its report, so that a power cut at any instant loses nothing.
//!
//! The order is the invariant: checked objects, durable objects, one transaction with the intent
//! and the runs it opens (held), durable refs, one transaction that completes the intent and
//! releases the runs, and only then the report. [`recover`] finishes what a dead process began.
//! Source: design/architecture.md, "One push".

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::{Arc, PoisonError};

use access::Action;
use audit::Who;
use forge::{Oid, RefUpdate as IntentRef, Repo};
use git::{ReceiveLimits, Received, RefOutcome, RefUpdate, Repository};
use store::Tx;
use vocab::{PushId, RepoId};

use crate::git_service::Caller;
use crate::plan::{self, PlannedRun};
use crate::state::App;

/// Why a push could not be taken to its end. What was begun is settled at the next start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushFault {
    #[error("the repository cannot be opened")]
    Open(#[from] git::OpenError),
    #[error("the client went away")]
    Client(#[from] io::Error),
    #[error("the push cannot be recorded")]
    Record(#[from] RecordError),
}

/// Why a push cannot be written down.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The forge refused.
    #[error(transparent)]
    Push(#[from] forge::PushError),
    /// An open push cannot be settled.
    #[error(transparent)]
    Settle(#[from] forge::RecoverError),
    /// The queue refused.
    #[error(transparent)]
    Queue(#[from] queue::QueueError),
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

/// An error and all its causes in one line, for the log.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        at = cause.source();
    }
    out
}

/// How a client hears why its push is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Client {
    /// It listens once it has sent everything (HTTP).
    SendsFirst,
    /// It listens all the time (SSH).
    Listens,
}

/// Serves one push: reads it from `input`, answers on `out`.
pub(crate) fn receive(
    caller: &Caller,
    client: Client,
    input: &mut dyn Read,
    out: &mut dyn Write,
) -> Result<(), PushFault> {
    let Caller { app, who, repo, .. } = caller;
    let repository = app.repository(repo.id)?;
    settle_leftovers(app);
    let received = git::receive_pack(&repository, input, &limits(app, client), &mut |_| {});
    let mut received = match received {
        Ok(received) => received,
        Err(error) => {
            app.0.counters.push(true);
            tracing::info!(refusal = %chain(&error.refusal), "a push was refused");
            if !matches!(error.refusal, git::Refusal::Connection(_)) {
                let refs = asked(error.commands());
                refused(app, who, repo, &refs, "E_BAD_PUSH")?;
            }
            error.write_report(out)?;
            return Ok(());
        }
    };
    // A long upload can outlive the right to it.
    if let Err(why) = caller.may(Action::GitPush) {
        let why = why.to_string();
        for command in &mut received.commands {
            command.refused.get_or_insert_with(|| why.clone());
        }
    }
    let updates = received.accepted();
    if updates.is_empty() {
        if !received.commands.is_empty() {
            app.0.counters.push(true);
            let refs = asked(&received.commands);
            refused(app, who, repo, &refs, "E_REFS_REFUSED")?;
        }
        received.write_report(out, &[])?;
        return Ok(());
    }
    let messages = match take(app, who, repo, &mut received, &updates) {
        Ok(messages) => messages,
        Err(error) => {
            app.0.counters.push(true);
            for update in &updates {
                received.refuse(
                    &update.name,
                    "the server could not record the push; try again",
                );
            }
            received.write_report(out, &[format!("error: {}", said(&error))])?;
            return Err(error);
        }
    };
    app.0.counters.push(false);
    received.write_report(out, &messages)?;
    Ok(())
}

/// What a pusher may hear of a failure of the server: nothing of its insides.
fn said(error: &PushFault) -> String {
    if let Some(blocked) = crate::fault::blocked(error) {
        return format!("the audit log takes no entries {blocked}");
    }
    match error {
        PushFault::Record(RecordError::Store(
            e @ (store::StoreError::Full | store::StoreError::Stopped),
        )) => e.to_string(),
        PushFault::Client(e) if e.kind() == io::ErrorKind::StorageFull => {
            "no space left on the server; tell its operator".to_owned()
        }
        _ => "the server could not record the push; tell its operator".to_owned(),
    }
}

pub(crate) fn limits(app: &App, client: Client) -> ReceiveLimits {
    let limits = &app.config.limits;
    let usual = ReceiveLimits::default();
    ReceiveLimits {
        max_pack_bytes: limits.push_bytes,
        max_object_bytes: usize::try_from(limits.object_bytes).unwrap_or(usize::MAX),
        drain_bytes: match client {
            Client::SendsFirst => usual.drain_bytes,
            Client::Listens => 0,
        },
        ..usual
    }
}

/// From plan to completed intent; the lines for the pusher's terminal.
fn take(
    app: &App,
    who: &Who,
    repo: &Repo,
    received: &mut Received,
    updates: &[RefUpdate],
) -> Result<Vec<String>, PushFault> {
    let plan = plan::of_push(app, who, repo, received, updates);
    received.make_durable()?;
    let begun = begin(app, who, repo, received, updates, &plan.runs)?;
    let repository = Arc::clone(received.repository());
    let outcomes = git::update_refs(&repository, updates, received.capabilities.atomic);
    received.settle(updates, &outcomes);
    end(app, who, &repository, &begun, updates, &outcomes)?;
    Ok(messages(
        app,
        repo,
        &begun,
        &plan.warnings,
        updates,
        &outcomes,
    ))
}

/// A push whose intent is on the disk.
pub(crate) struct Begun {
    push: PushId,
    /// The runs it opened, each with the ref that caused it.
    runs: Vec<(String, queue::Opened, String)>,
}

/// The first transaction: the intent, its audit entries, its runs (held).
pub(crate) fn begin(
    app: &App,
    who: &Who,
    repo: &Repo,
    received: &Received,
    updates: &[RefUpdate],
    planned: &[PlannedRun],
) -> Result<Begun, RecordError> {
    let refs: Vec<IntentRef> = updates
        .iter()
        .map(|update| IntentRef {
            name: update.name.clone(),
            old: update.old.map(oid),
            new: update.new.map(oid),
            forced: received
                .commands
                .iter()
                .any(|c| c.name == update.name && c.forced),
        })
        .collect();
    app.store.write(|tx| {
        let push = forge::begin_push(tx, &app.auditor, who, repo.id, &refs)?;
        let mut runs = Vec::new();
        for planned in planned {
            let opened = planned.open(tx, app, who, Some(push), true)?;
            runs.push((
                planned.new.git_ref.clone(),
                opened,
                planned.new.workflow_name.clone(),
            ));
        }
        Ok(Begun { push, runs })
    })
}

/// The second transaction; should it fail, the next push or the next start makes up for it.
pub(crate) fn end(
    app: &App,
    who: &Who,
    repository: &Repository,
    begun: &Begun,
    updates: &[RefUpdate],
    outcomes: &[RefOutcome],
) -> Result<(), PushFault> {
    let finished = finish(app, who, repository, begun, updates, outcomes);
    if finished.is_err() {
        // The refs stand; the rows do not say so yet.
        app.0
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(begun.push);
    }
    finished
}

/// The intent is complete, the runs of moved refs may start.
fn finish(
    app: &App,
    who: &Who,
    repository: &Repository,
    begun: &Begun,
    updates: &[RefUpdate],
    outcomes: &[RefOutcome],
) -> Result<(), PushFault> {
    let unsure = outcomes.iter().any(|o| matches!(o, RefOutcome::Failed(_)));
    if unsure {
        // The disk failed under a ref: what stands there now decides, as after a crash.
        tracing::error!(push = %begun.push, "a ref could not be written; settling by what stands");
        app.store
            .write(|tx| settle_one(tx, app, begun.push, &mut |_, name| look(repository, name)))?;
        return Ok(());
    }
    let refused: Vec<(String, String)> = updates
        .iter()
        .zip(outcomes)
        .filter_map(|(update, outcome)| match outcome {
            RefOutcome::Refused(why) | RefOutcome::Failed(why) => {
                Some((update.name.clone(), why.clone()))
            }
            RefOutcome::Done => None,
        })
        .collect();
    app.store.write(|tx| -> Result<(), RecordError> {
        forge::complete_push(tx, &app.auditor, who, begun.push, &refused)?;
        release(tx, app, begun.push, &refused)
    })?;
    Ok(())
}

/// Settles the pushes of this process whose second transaction failed, as on a full disk.
fn settle_leftovers(app: &App) {
    let left = std::mem::take(
        &mut *app
            .0
            .unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    for push in left {
        let settled = app.store.write(|tx| {
            settle_one(tx, app, push, &mut |repo, name| {
                look(&*app.repository(repo)?, name)
            })
        });
        if let Err(error) = settled {
            tracing::error!(%push, error = %chain(&error), "a push is still not settled");
            app.0
                .unsettled
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(push);
        }
    }
}

/// Lets the runs of a push go, save those whose ref was not moved.
fn release(
    tx: &mut Tx<'_>,
    app: &App,
    push: PushId,
    refused: &[(String, String)],
) -> Result<(), RecordError> {
    let now = app.clock.now();
    let system = Who::system();
    for run in queue::runs_of_push(tx, push)? {
        if refused.iter().any(|(name, _)| *name == run.git_ref) {
            // Twice: the second time also ends what waits for other jobs.
            queue::cancel_run(tx, now, &app.auditor, &system, run.id)?;
            queue::cancel_run(tx, now, &app.auditor, &system, run.id)?;
        }
    }
    queue::release_push(tx, now, &app.auditor, push)?;
    Ok(())
}

/// What a start did about the pushes that the last process left open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Their refs had moved: completed, their runs released.
    pub completed: Vec<PushId>,
    /// No ref had moved: withdrawn, their runs dropped.
    pub withdrawn: Vec<PushId>,
}

/// Settles every push whose end was not written. To be called before anything is served.
pub fn recover(app: &App) -> Result<Recovered, RecordError> {
    let open = app
        .store
        .read(|db| forge::open_intents(db).map_err(RecordError::from))?;
    let mut done = Recovered::default();
    for intent in open {
        let id = intent.id;
        let state = app.store.write(|tx| {
            settle(tx, app, intent, &mut |repo: RepoId, name: &str| {
                let repository = app.repository(repo)?;
                look(&repository, name)
            })
        })?;
        match state {
            forge::PushState::Withdrawn => done.withdrawn.push(id),
            forge::PushState::Done | forge::PushState::Intent => done.completed.push(id),
        }
        tracing::warn!(push = %id, ?state, "settled a push that the last process left open");
    }
    Ok(done)
}

type Look<'a> = dyn FnMut(RepoId, &str) -> Result<Option<Oid>, forge::LookError> + 'a;

fn settle_one(
    tx: &mut Tx<'_>,
    app: &App,
    push: PushId,
    look: &mut Look<'_>,
) -> Result<forge::PushState, RecordError> {
    let intent = forge::push(tx, push)?.ok_or(forge::PushError::NotOpen { push })?;
    settle(tx, app, intent, look)
}

fn settle(
    tx: &mut Tx<'_>,
    app: &App,
    intent: forge::Push,
    look: &mut Look<'_>,
) -> Result<forge::PushState, RecordError> {
    let settled = forge::recover(tx, &app.auditor, intent, look)?;
    let push = settled.push.id;
    if settled.state == forge::PushState::Withdrawn {
        queue::drop_push(tx, app.clock.now(), &app.auditor, push)?;
    } else {
        release(tx, app, push, &settled.refused)?;
    }
    Ok(settled.state)
}

fn look(repository: &Repository, name: &str) -> Result<Option<Oid>, forge::LookError> {
    Ok(repository.refs()?.get(name).map(oid))
}

/// Notes a push that moves nothing.
fn refused(
    app: &App,
    who: &Who,
    repo: &Repo,
    refs: &[IntentRef],
    why: &str,
) -> Result<(), RecordError> {
    app.store.write(|tx| {
        forge::record_refused_push(tx, &app.auditor, who, repo, refs, why)?;
        Ok(())
    })
}

fn asked(commands: &[git::RefCommand]) -> Vec<IntentRef> {
    commands
        .iter()
        .map(|command| IntentRef {
            name: command.name.clone(),
            old: command.old.map(oid),
            new: command.new.map(oid),
            forced: command.forced,
        })
        .collect()
}

/// The forge's form of an id that git gave.
pub(crate) fn oid(id: git::ObjectId) -> Oid {
    id.to_string()
        .parse()
        .expect("git prints ids as 40 or 64 lower-case hex digits")
}

fn messages(
    app: &App,
    repo: &Repo,
    begun: &Begun,
    warnings: &[String],
    updates: &[RefUpdate],
    outcomes: &[RefOutcome],
) -> Vec<String> {
    let moved = |name: &str| {
        updates
            .iter()
            .zip(outcomes)
            .any(|(update, outcome)| update.name == name && *outcome == RefOutcome::Done)
    };
    let mut lines = Vec::new();
    for (git_ref, opened, name) in begun.runs.iter().filter(|(git_ref, ..)| moved(git_ref)) {
        let short = git_ref
            .trim_start_matches("refs/heads/")
            .trim_start_matches("refs/tags/");
        let state = if opened.alive {
            "started"
        } else {
            "failed at once"
        };
        lines.push(format!(
            "run #{} of {name} on {short}: {state}",
            opened.number
        ));
        lines.push(format!(
            "  {}",
            app.url(&run_path(repo, opened.number.get()))
        ));
    }
    lines.extend(warnings.iter().map(|w| format!("warning: {w}")));
    if !lines.is_empty() {
        lines.insert(0, String::new());
        lines.push(String::new());
    }
    lines
}

/// The path of a run's page.
pub(crate) fn run_path(repo: &Repo, number: i64) -> String {
    format!("/{}/runs/{number}", repo.path)
}

/// The runs a push opened, for tests.
#[cfg(test)]
impl Begun {
    pub(crate) fn run_ids(&self) -> Vec<vocab::RunId> {
        self.runs.iter().map(|(_, opened, _)| opened.run).collect()
    }
}
