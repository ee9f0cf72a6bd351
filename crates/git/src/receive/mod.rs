//! `git receive-pack`: a push, in two phases.
//!
//! [`receive_pack`] reads commands and pack, keeps the pack in quarantine and checks it. What it
//! returns can be looked into, refused ref by ref, then made durable; only then are refs moved
//! and the report written. Dropped before that, it leaves nothing behind.

mod command;
mod connectivity;
mod fsck;
mod ingest;
mod quarantine;
mod report;

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use gix::hash::ObjectId;
use gix::objs::Kind;

use crate::gc::InFlight;
use crate::objects::{Objects, ReadError};
use crate::pktline::PktReader;
use crate::refname;
use crate::refs_update::{RefOutcome, RefUpdate, update_refs};
use crate::repo::Repository;
use crate::upload::hidden;
use crate::walk;

pub use command::{Capabilities, CommandKind, RefCommand};
pub(crate) use connectivity::check as check_whole;
pub(crate) use fsck::name as check_name;
pub(crate) use ingest::ingest;
use quarantine::Quarantine;
pub(crate) use quarantine::{Dir as QuarantineDir, PREFIX as QUARANTINE_PREFIX};

/// What one push may bring, and what it may do.
#[derive(Clone, Debug)]
pub struct ReceiveLimits {
    /// The largest pack.
    pub max_pack_bytes: u64,
    /// The largest single object, inflated.
    pub max_object_bytes: usize,
    /// The most objects in one pack.
    pub max_objects: u32,
    /// The most refs in one push.
    pub max_refs: usize,
    /// Refuse updates of branches that drop commits.
    pub deny_non_fast_forward: bool,
    /// Refuse to delete the branch that `HEAD` names.
    pub deny_default_branch_deletion: bool,
    /// Refs whose full names start with one of these cannot be pushed.
    pub hidden_prefixes: Vec<String>,
    /// Threads that index the pack, at most.
    pub threads: usize,
    /// How much of the rest of a refused push is read, so that the client comes to hear why.
    /// 0 where the client waits for the answer with its stream open (SSH, stdio).
    pub drain_bytes: u64,
}

impl Default for ReceiveLimits {
    fn default() -> Self {
        Self {
            max_pack_bytes: 2 << 30,
            max_object_bytes: 128 << 20,
            max_objects: 5_000_000,
            max_refs: 10_000,
            deny_non_fast_forward: false,
            deny_default_branch_deletion: true,
            hidden_prefixes: vec!["refs/pull/".to_owned()],
            threads: 2,
            drain_bytes: 4 << 30,
        }
    }
}

/// Why a whole push is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The connection failed.
    #[error("the connection broke off")]
    Connection(#[source] io::Error),
    /// The server's disk failed.
    #[error("the server could not store the push: {0}")]
    Disk(#[source] io::Error),
    /// The request breaks the protocol.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// Too many refs.
    #[error("the push names more than {limit} refs; push fewer at a time")]
    TooManyRefs {
        /// The limit.
        limit: usize,
    },
    /// The pack is too large.
    #[error(
        "the pack is larger than the {limit_bytes} bytes allowed; push fewer commits at a time, or leave out large files"
    )]
    PackTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// An object is too large.
    #[error(
        "object {nth} of the pack has {size_bytes} bytes, more than the {limit_bytes} allowed; keep large files outside the repository"
    )]
    ObjectTooLarge {
        /// Counts the objects of the pack from 1.
        nth: u32,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: usize,
    },
    /// Too many objects.
    #[error(
        "the pack has {objects} objects, more than the {limit} allowed; push fewer commits at a time"
    )]
    TooManyObjects {
        /// How many there are.
        objects: u32,
        /// The limit.
        limit: u32,
    },
    /// The pack cannot be read.
    #[error("the pack is damaged: {0}")]
    PackDamaged(String),
    /// An object breaks a rule of its format.
    #[error("object {id} is refused: {rule}")]
    BadObject {
        /// The object.
        id: ObjectId,
        /// The rule.
        rule: &'static str,
    },
    /// History would have holes.
    #[error("the push lacks an object: {0}")]
    Incomplete(#[source] ReadError),
}

/// A push that was refused as a whole. Tell the client with [`ReceiveError::write_report`].
#[derive(Debug, thiserror::Error)]
#[error("{refusal}")]
pub struct ReceiveError {
    /// Why.
    #[source]
    pub refusal: Refusal,
    commands: Vec<RefCommand>,
    capabilities: Capabilities,
}

impl ReceiveError {
    fn new(refusal: Refusal) -> Self {
        Self {
            refusal,
            commands: Vec::new(),
            capabilities: Capabilities::default(),
        }
    }

    /// The refs that the push named, as far as it was read.
    #[must_use]
    pub fn commands(&self) -> &[RefCommand] {
        &self.commands
    }

    /// Writes the report in which the client reads why.
    pub fn write_report(&self, out: &mut dyn Write) -> io::Result<()> {
        report::failure(&self.refusal, &self.commands, self.capabilities, out)
    }
}

/// A push, received and checked; nothing of it is visible yet.
pub struct Received {
    repo: Arc<Repository>,
    /// The refs it names, with what is refused about each.
    pub commands: Vec<RefCommand>,
    /// What the client can do.
    pub capabilities: Capabilities,
    quarantine: Quarantine,
    _in_flight: InFlight,
}

/// Receives one push up to, not including, anything that others can see.
///
/// `progress` gets lines for the user while the pack is worked on. A push without commands
/// (a client that had nothing to send) has an empty `commands`.
pub fn receive_pack(
    repo: &Arc<Repository>,
    input: &mut dyn Read,
    limits: &ReceiveLimits,
    progress: &mut dyn FnMut(&str),
) -> Result<Received, ReceiveError> {
    let mut input = PktReader::new(BufReader::with_capacity(64 << 10, input));
    let (commands, capabilities) = command::read(&mut input, repo.hash, limits)?;
    let mut received = Received {
        repo: Arc::clone(repo),
        commands,
        capabilities,
        quarantine: Quarantine::none(),
        _in_flight: InFlight::begin(repo),
    };
    let outcome = received.take_pack(&mut input.inner, limits, progress);
    match outcome {
        Ok(()) => Ok(received),
        Err(refusal) => {
            if !matches!(refusal, Refusal::Connection(_)) {
                drain(&mut input.inner, limits.drain_bytes);
            }
            Err(ReceiveError {
                refusal,
                commands: std::mem::take(&mut received.commands),
                capabilities,
            })
        }
    }
}

/// Reads on so that the client finishes sending and then listens.
fn drain(input: &mut dyn Read, bytes: u64) {
    if bytes > 0
        && let Err(e) = io::copy(&mut input.take(bytes), &mut io::sink())
    {
        tracing::debug!(error = %e, "the client of a refused push went away");
    }
}

impl Received {
    fn take_pack(
        &mut self,
        input: &mut dyn io::BufRead,
        limits: &ReceiveLimits,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), Refusal> {
        if self.commands.iter().any(|c| c.new.is_some()) {
            self.repo.keep_packs_few().map_err(Refusal::Disk)?;
            let main = self.repo.objects();
            self.quarantine = ingest::ingest(&self.repo, main.main(), input, limits, progress)?;
        }
        let objects = self.objects();
        self.check_names(limits)?;
        connectivity::check(
            &self.repo,
            &objects,
            self.quarantine.bundle(),
            &self.commands,
        )?;
        self.check_policy(&objects, limits)
    }

    fn check_names(&mut self, limits: &ReceiveLimits) -> Result<(), Refusal> {
        for command in &mut self.commands {
            let problem = refname::problem(&command.name).map(str::to_owned);
            let kept = hidden(&command.name, &limits.hidden_prefixes)
                .then(|| "this ref is the server's own; it cannot be pushed".to_owned());
            command.refused = command.refused.take().or(problem).or(kept);
        }
        Ok(())
    }

    fn check_policy(&mut self, objects: &Objects, limits: &ReceiveLimits) -> Result<(), Refusal> {
        let head = self.repo.head().map_err(Refusal::Disk)?;
        for command in &mut self.commands {
            if command.refused.is_some() {
                continue;
            }
            let branch = command.name.starts_with("refs/heads/");
            match (command.old, command.new) {
                (_, None) => {
                    if limits.deny_default_branch_deletion
                        && head.branch() == Some(command.name.as_str())
                    {
                        command.refused = Some(
                            "the default branch cannot be deleted; choose another first".to_owned(),
                        );
                    }
                }
                (old, Some(new)) => {
                    let kind = objects.header(&new).map_err(Refusal::Incomplete)?.0;
                    if branch && kind != Kind::Commit {
                        command.refused =
                            Some(format!("a branch must name a commit, not a {kind}"));
                        continue;
                    }
                    let Some(old) = old else { continue };
                    command.forced = !branch || !fast_forward(objects, old, new)?;
                    if branch && command.forced && limits.deny_non_fast_forward {
                        command.refused = Some("non-fast-forward".to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    /// The objects of the repository and of this push together.
    #[must_use]
    pub fn objects(&self) -> Objects {
        Objects::new(&self.repo, self.quarantine.bundle())
    }

    /// The repository that is pushed to.
    #[must_use]
    pub fn repository(&self) -> &Arc<Repository> {
        &self.repo
    }

    /// Refuses one ref, with words for the user; an earlier refusal stays.
    pub fn refuse(&mut self, name: &str, reason: &str) {
        for command in self.commands.iter_mut().filter(|c| c.name == name) {
            command.refused.get_or_insert_with(|| reason.to_owned());
        }
    }

    /// The refs to move: those not refused, and none when an atomic push has a refused one
    /// (the others are then refused for that).
    pub fn accepted(&mut self) -> Vec<RefUpdate> {
        if self.capabilities.atomic && self.commands.iter().any(|c| c.refused.is_some()) {
            for command in &mut self.commands {
                command
                    .refused
                    .get_or_insert_with(|| "atomic push: another ref was refused".to_owned());
            }
        }
        self.commands
            .iter()
            .filter(|c| c.refused.is_none())
            .map(|c| RefUpdate {
                name: c.name.clone(),
                old: c.old,
                new: c.new,
            })
            .collect()
    }

    /// Puts the pack among the repository's, durably: synced, renamed, directory synced. After
    /// it, refs may name what it holds.
    pub fn make_durable(&mut self) -> io::Result<()> {
        self.quarantine.migrate(&self.repo)
    }

    /// Notes what became of the refs, for the report.
    pub fn settle(&mut self, updates: &[RefUpdate], outcomes: &[RefOutcome]) {
        for (update, outcome) in updates.iter().zip(outcomes) {
            if let RefOutcome::Refused(why) | RefOutcome::Failed(why) = outcome {
                self.refuse(&update.name, why);
            }
        }
    }

    /// The second phase in one call, for servers that record no intent: durable objects, then
    /// refs. Returns what was asked of each ref that was not refused before, and its outcome.
    pub fn commit(&mut self) -> io::Result<Vec<(RefUpdate, RefOutcome)>> {
        let updates = self.accepted();
        if updates.is_empty() {
            return Ok(Vec::new());
        }
        self.make_durable()?;
        let outcomes = update_refs(&self.repo, &updates, self.capabilities.atomic);
        self.settle(&updates, &outcomes);
        Ok(updates.into_iter().zip(outcomes).collect())
    }

    /// Writes the report: `messages` as lines on the user's terminal, then each ref's fate.
    pub fn write_report(&self, out: &mut dyn Write, messages: &[String]) -> io::Result<()> {
        report::success(&self.commands, self.capabilities, messages, out)
    }
}

/// Whether `new` keeps all of `old`; what is no commit keeps nothing.
fn fast_forward(objects: &Objects, old: ObjectId, new: ObjectId) -> Result<bool, Refusal> {
    match objects.header(&old) {
        Ok((Kind::Commit, _)) => walk::is_ancestor(objects, old, new).map_err(Refusal::Incomplete),
        Ok(_) | Err(ReadError::Missing { .. }) => Ok(false),
        Err(e) => Err(Refusal::Incomplete(e)),
    }
}
