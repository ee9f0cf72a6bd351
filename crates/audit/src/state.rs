//! Whether the log takes entries: what stands in its way, since when, and what happened meanwhile.
//!
//! While something does, a change is refused, since it would have no entry. What only looks, what
//! has begun and must be able to end, and what frees space goes on from the space kept for it; both
//! are counted, and the entry that resumes the log tells the counts.
//! Source: docs/audit.md, "When the log takes no entries".

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use vocab::unix_ms;

use crate::append::timestamp;
use crate::{Actor, Entry, Kind, Out, Who};

/// What kind of thing is in the log's way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The disk has less room than is kept for the log.
    Space,
    /// Tiles or checkpoint cannot be written.
    Unsealed,
    /// The database cannot be written.
    Database,
    /// The log was tampered with; only a restart looks again.
    Tampered,
}

impl Cause {
    /// What to do about it.
    #[must_use]
    pub fn todo(self) -> &'static str {
        match self {
            Self::Space => {
                "free space in the data directory; `cofferdam bundle gc`, `cofferdam image remove` \
                 and `cofferdam repo delete` still work"
            }
            Self::Unsealed => "see that audit/ in the data directory can be written",
            Self::Database => "check the disk, then restart cofferdam",
            Self::Tampered => {
                "run `cofferdam fsck`, then restore the whole data directory from a backup"
            }
        }
    }
}

/// Why the log takes no entries, and what happened since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, thiserror::Error)]
#[error("since {}: {what}; {}", self.since(), cause.todo())]
pub struct Blocked {
    /// What kind of thing it is.
    pub cause: Cause,
    /// What it is, in words.
    pub what: String,
    /// Since when, in milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Changes that were refused since.
    pub refused: u64,
    /// Entries that were taken all the same: of what goes on.
    pub went_on: u64,
}

impl Blocked {
    /// Since when, RFC 3339 in UTC.
    #[must_use]
    pub fn since(&self) -> String {
        timestamp(self.since_ms.saturating_mul(1_000))
    }
}

/// Whether the log takes entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It does.
    Open,
    /// It does not, and changes are refused.
    Blocked(Blocked),
}

/// What a block has to tell when it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) refused: BTreeMap<&'static str, u64>,
    pub(crate) went_on: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) cause: Cause,
    pub(crate) what: String,
    pub(crate) since: SystemTime,
    /// Whether `audit.append_blocked` stands in the log.
    pub(crate) noted: bool,
    /// Whether it began before this process.
    pub(crate) inherited: bool,
    pub(crate) counts: Counts,
}

/// The gate that every entry passes.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    block: Mutex<Option<Block>>,
}

impl Block {
    fn told(&self) -> Blocked {
        Blocked {
            cause: self.cause,
            what: self.what.clone(),
            since_ms: unix_ms(self.since),
            refused: self.counts.refused.values().sum(),
            went_on: self.counts.went_on.values().sum(),
        }
    }
}

impl Gate {
    fn hold(&self) -> MutexGuard<'_, Option<Block>> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes it; what was found first is what is told, save that tampering outweighs all else.
    /// Whether this was news.
    pub(crate) fn close(&self, block: Block) -> bool {
        let mut held = self.hold();
        let outweighed = held
            .as_ref()
            .is_none_or(|old| block.cause == Cause::Tampered && old.cause != Cause::Tampered);
        if outweighed {
            *held = Some(block);
            self.closed.store(true, Ordering::Release);
        }
        outweighed
    }

    /// Opens it again, unless the log was tampered with.
    pub(crate) fn open(&self) {
        let mut held = self.hold();
        if held.as_ref().is_some_and(|b| b.cause != Cause::Tampered) {
            *held = None;
            self.closed.store(false, Ordering::Release);
        }
    }

    pub(crate) fn noted(&self) {
        if let Some(block) = self.hold().as_mut() {
            block.noted = true;
        }
    }

    pub(crate) fn block(&self) -> Option<Block> {
        match self.closed.load(Ordering::Acquire) {
            true => self.hold().clone(),
            false => None,
        }
    }

    pub(crate) fn blocked(&self) -> Option<Blocked> {
        match self.closed.load(Ordering::Acquire) {
            true => self.hold().as_ref().map(Block::told),
            false => None,
        }
    }

    /// Lets an entry through or not, and counts it.
    pub(crate) fn pass(&self, who: &Who, entry: &Entry) -> Result<(), Blocked> {
        if !self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut held = self.hold();
        let Some(block) = held.as_mut() else {
            return Ok(());
        };
        let through = block.cause != Cause::Tampered && goes_on(who, entry);
        let counted = match through {
            true => &mut block.counts.went_on,
            false => &mut block.counts.refused,
        };
        if !matches!(
            entry.kind,
            Kind::AuditAppendBlocked | Kind::AuditAppendResumed
        ) {
            *counted.entry(entry.kind.as_str()).or_default() += 1;
        }
        match through {
            true => Ok(()),
            false => Err(block.told()),
        }
    }
}

/// Whether an entry is taken from the space that is kept for the log.
fn goes_on(who: &Who, entry: &Entry) -> bool {
    let own = matches!(who.actor, Actor::System | Actor::Job { .. });
    match entry.kind {
        // New work waits.
        Kind::JobAssigned => false,
        // What only looks, and who comes to look.
        Kind::GitClone
        | Kind::GitFetch
        | Kind::JobLogRead
        | Kind::AuditSearch
        | Kind::AuditExport
        | Kind::AuditExportRead
        | Kind::LoginOk
        | Kind::LoginFail
        | Kind::Logout
        | Kind::SessionCreate
        | Kind::LockoutStart => true,
        // What ends something or frees space.
        Kind::JobCancelled
        | Kind::RepoDelete
        | Kind::ImageRemoved
        | Kind::GcRun
        | Kind::BundleAborted
        | Kind::JobLogDeleted
        | Kind::SessionRevoke
        | Kind::TokenRevoke
        | Kind::UserSuspend => true,
        // Cofferdam's own doing: jobs that run, its health, the log itself.
        kind if own => matches!(
            kind.family(),
            "job" | "runner" | "secret" | "system" | "audit" | "selfupdate"
        ),
        _ => entry.out != Out::Success,
    }
}

#[cfg(test)]
mod tests;
