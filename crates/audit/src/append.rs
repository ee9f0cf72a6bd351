//! Appending: an entry becomes one exact line, and the line a leaf.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use evidence::tree::leaf_hash;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use store::Tx;
use vocab::{Clock, Entropy, Fence, Stopwatch};

use crate::state::{Block, Counts, Gate};
use crate::{Actor, Blocked, Cause, Entry, Out, Seq, State, Who, jcs, sql};

/// The longest line; what is longer was not bounded by its maker.
const LINE_BYTES: usize = evidence::tiles::ENTRY_MAX_BYTES;

/// Where entries come from: the same for the life of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The appliance's name, chosen at `init`; not a DNS name.
    pub host: String,
    /// The kernel's boot id.
    pub boot: String,
}

/// Appends entries. Cheap to clone; every state crate's writers take one by reference.
#[derive(Clone, Debug)]
pub struct Auditor(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    clock: Clock,
    entropy: Entropy,
    origin: Origin,
    started: Stopwatch,
    generation: AtomicI64,
    pub(crate) gate: Gate,
}

/// Why an entry cannot be appended. The action that it tells of must not happen then.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The database refused.
    #[error("cannot append to the audit log, so nothing was changed; run `cofferdam fsck`")]
    Database(#[source] rusqlite::Error),
    /// Something is in the log's way; reading goes on.
    #[error("the audit log takes no entries, so nothing was changed")]
    Blocked(#[source] Blocked),
    /// The details are too long.
    #[error(
        "audit entry {kind} would be {size_bytes} bytes long; at most {} are kept",
        LINE_BYTES
    )]
    TooLong {
        /// The kind of entry.
        kind: &'static str,
        /// How long its line would be.
        size_bytes: usize,
    },
}

impl From<rusqlite::Error> for AppendError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

struct Opening {
    field: String,
    salt: [u8; 16],
    value: String,
}

impl Auditor {
    /// An auditor of this process.
    #[must_use]
    pub fn new(clock: Clock, entropy: Entropy, origin: Origin) -> Self {
        Self(Arc::new(Shared {
            clock,
            entropy,
            origin,
            started: Stopwatch::start(),
            generation: AtomicI64::new(0),
            gate: Gate::default(),
        }))
    }

    /// The clock that entries are dated by; actions date their rows by it too.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// The source of salts, ids and keys.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.0.entropy
    }

    /// Says which imported generation is active from now on; 0 before the first.
    pub fn set_generation(&self, generation: i64) {
        self.0.generation.store(generation, Ordering::Relaxed);
    }

    /// Refuses every further entry, and so every further change: tampering was found. Only a
    /// restart, which looks again, takes this back.
    pub fn refuse(&self, found: &str) {
        self.block(Cause::Tampered, found);
    }

    /// What tampering was found, if any was.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        let blocked = self.0.gate.blocked()?;
        (blocked.cause == Cause::Tampered).then_some(blocked.what)
    }

    /// Whether the log takes entries now: for pages, the API and metrics.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.gate.blocked().map_or(State::Open, State::Blocked)
    }

    /// Refuses changes from now on, because of `cause`; `what` says what was found. Whether it is
    /// the first to say so: what was found first is what is told.
    pub fn block(&self, cause: Cause, what: &str) -> bool {
        self.0.gate.close(Block {
            cause,
            what: what.to_owned(),
            since: self.now(),
            noted: false,
            inherited: false,
            counts: Counts::default(),
        })
    }

    /// Appends `entry` to the log, in the transaction of the action that it tells of.
    ///
    /// The time in the line is never before that of the last entry: when the clock went back,
    /// the line says `"clk":"floor"`.
    pub fn append(&self, tx: &mut Tx<'_>, who: &Who, entry: Entry) -> Result<Seq, AppendError> {
        self.0
            .gate
            .pass(who, &entry)
            .map_err(AppendError::Blocked)?;
        self.put(tx, who, &entry).map_err(|error| self.full(error))
    }

    /// A disk without any room left is not found out a second time.
    fn full(&self, error: AppendError) -> AppendError {
        let AppendError::Database(cause) = &error else {
            return error;
        };
        if cause.sqlite_error_code() != Some(rusqlite::ErrorCode::DiskFull) {
            return error;
        }
        self.block(Cause::Space, "no space is left in the data directory");
        match self.0.gate.blocked() {
            Some(blocked) => AppendError::Blocked(blocked),
            None => error,
        }
    }

    fn put(&self, tx: &mut Tx<'_>, who: &Who, entry: &Entry) -> Result<Seq, AppendError> {
        let head = sql::head(tx)?;
        let now_us = unix_us(self.now());
        let t_us = now_us.max(head.t_us);
        let seq = Seq(head.size);
        let mut openings = Vec::new();
        let clk = if now_us < head.t_us { "floor" } else { "sys" };
        let line = self.line(seq, t_us, clk, who, entry, &mut openings);
        if line.len() > LINE_BYTES {
            return Err(AppendError::TooLong {
                kind: entry.kind.as_str(),
                size_bytes: line.len(),
            });
        }
        let leaf = leaf_hash(line.as_bytes());
        sql::insert(
            tx,
            &sql::NewLine {
                seq: seq.0,
                t_us,
                kind: entry.kind.as_str(),
                actor: &who.actor.tagged(),
                object: entry.object.as_ref().map_or("", |o| o.id.as_str()),
                out: entry.out.as_str(),
                line: &line,
                leaf: &leaf,
            },
        )?;
        for opening in openings {
            sql::insert_opening(tx, seq.0, &opening.field, &opening.salt, &opening.value)?;
        }
        sql::set_head(tx, seq.0 + 1, t_us, &leaf)?;
        Ok(seq)
    }

    fn line(
        &self,
        seq: Seq,
        t_us: i64,
        clk: &str,
        who: &Who,
        entry: &Entry,
        openings: &mut Vec<Opening>,
    ) -> String {
        let mut line = Map::new();
        line.insert("v".into(), 1.into());
        line.insert("seq".into(), seq.0.into());
        line.insert("t".into(), timestamp(t_us).into());
        let mono = i64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        line.insert("mono".into(), mono.into());
        line.insert("boot".into(), self.0.origin.boot.as_str().into());
        line.insert("clk".into(), clk.into());
        line.insert("host".into(), self.0.origin.host.as_str().into());
        let generation = self.0.generation.load(Ordering::Relaxed);
        line.insert("gen".into(), generation.into());
        line.insert("act".into(), entry.kind.as_str().into());
        line.insert("cat".into(), entry.kind.family().into());
        line.insert("sev".into(), severity(entry).into());
        line.insert("out".into(), entry.out.as_str().into());
        if let Some(why) = &entry.why {
            line.insert("why".into(), why.as_str().into());
        }
        line.insert("who".into(), self.who(who, openings));
        line.insert("src".into(), self.source(who, openings));
        if let Some(object) = &entry.object {
            let mut map = Map::new();
            map.insert("type".into(), object.kind.as_str().into());
            map.insert("id".into(), object.id.as_str().into());
            if let Some(name) = &object.name {
                map.insert("name".into(), name.as_str().into());
            }
            line.insert("obj".into(), map.into());
        }
        let mut details = entry.details.clone();
        for (key, value) in &entry.private {
            let commitment = self.commit(format!("d.{key}_c"), value, openings);
            details.insert(format!("{key}_c"), commitment.into());
        }
        if !details.is_empty() {
            line.insert("d".into(), details.into());
        }
        let link = link(who, entry);
        if !link.is_empty() {
            line.insert("link".into(), link.into());
        }
        let mut out = String::with_capacity(512);
        jcs::write(&line.into(), &mut out);
        out
    }

    fn who(&self, who: &Who, openings: &mut Vec<Opening>) -> Value {
        let mut map = Map::new();
        map.insert("type".into(), who.actor.kind().into());
        map.insert("id".into(), who.actor.tagged().into());
        if let Some(name) = who.actor.name() {
            let commitment = self.commit("who.name_c".into(), name.as_str(), openings);
            map.insert("name_c".into(), commitment.into());
        }
        match &who.actor {
            Actor::Token { token, .. } => {
                map.insert("cred".into(), token.tagged().into());
            }
            Actor::SshKey { fingerprint, .. } | Actor::DeployKey { fingerprint, .. } => {
                map.insert("auth".into(), "ssh".into());
                map.insert("cred".into(), fingerprint.as_str().into());
            }
            Actor::Job { fence } => {
                map.insert("cred".into(), fence_text(fence).into());
            }
            _ => {}
        }
        map.into()
    }

    fn source(&self, who: &Who, openings: &mut Vec<Opening>) -> Value {
        let mut map = Map::new();
        map.insert("via".into(), who.via.as_str().into());
        if let Some(peer) = who.peer {
            let commitment = self.commit("src.ip_c".into(), &peer.ip().to_string(), openings);
            map.insert("ip_c".into(), commitment.into());
            map.insert("port".into(), peer.port().into());
        }
        map.into()
    }

    /// SHA-256(salt || value) as hex; the salt and value are kept beside the log.
    fn commit(&self, field: String, value: &str, openings: &mut Vec<Opening>) -> String {
        let salt = self.0.entropy.bytes::<16>();
        let hash = commitment(&salt, value);
        openings.push(Opening {
            field,
            salt,
            value: value.to_owned(),
        });
        hash
    }
}

/// What a line has in place of a personal value.
pub(crate) fn commitment(salt: &[u8], value: &str) -> String {
    hex::encode(
        Sha256::new()
            .chain_update(salt)
            .chain_update(value.as_bytes())
            .finalize(),
    )
}

/// A refusal or failure matters at least a little, however routine the action is.
fn severity(entry: &Entry) -> u8 {
    match entry.out {
        Out::Success => entry.kind.severity(),
        Out::Denied | Out::Failure => entry.kind.severity().max(2),
    }
}

fn fence_text(fence: &Fence) -> String {
    format!(
        "{}/{}/{}",
        fence.job.tagged(),
        fence.attempt.get(),
        fence.epoch
    )
}

fn link(who: &Who, entry: &Entry) -> Map<String, Value> {
    let mut link = Map::new();
    if let Some(request) = &who.request {
        link.insert("req".into(), request.as_str().into());
    }
    if let Some(job) = entry.job {
        link.insert("job".into(), job.tagged().into());
    }
    if let Some(parent) = entry.parent {
        link.insert("parent".into(), json!(parent.0));
    }
    link
}

fn unix_us(at: SystemTime) -> i64 {
    let us = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_micros());
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with six decimals, as every line has it.
pub(crate) fn timestamp(t_us: i64) -> String {
    let at = jiff::Timestamp::from_microsecond(t_us).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
