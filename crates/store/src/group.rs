//! Group commit: writers that wait for each other share one transaction on disk.
//!
//! Each writer works alone, in a savepoint, on the one writing connection. Whoever leaves while
//! another waits leaves the transaction open to them; whoever leaves last commits for all, and
//! nobody returns before that. Invariant: what a writer was told is durable, or it is undone.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use vocab::Stopwatch;

use crate::database::classify;
use crate::{StoreError, sql};

/// Most writers in one transaction.
const MOST: usize = 1_024;
/// A group that is older than this takes in nobody else.
const LONGEST: Duration = Duration::from_millis(10);

/// How a group ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Committed,
    Full,
    Undone,
    Failed,
}

/// A transaction with several writers in it.
#[derive(Debug, Default)]
pub(crate) struct Group(OnceLock<End>);

impl Group {
    fn tell(&self, end: End) {
        // It ends once.
        self.0.get_or_init(|| end);
    }

    /// Waits until whoever leaves last has committed. All wake at once, and none holds up another.
    pub(crate) fn wait(&self) -> Result<(), StoreError> {
        match self.0.wait() {
            End::Committed => Ok(()),
            End::Full => Err(StoreError::Full),
            End::Undone => Err(StoreError::Undone),
            End::Failed => Err(StoreError::Stopped),
        }
    }
}

/// The writing connection, and the transaction that is open on it.
#[derive(Debug)]
pub(crate) struct Writer {
    db: Connection,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    group: Arc<Group>,
    members: usize,
    age: Stopwatch,
}

/// What whoever leaves has to do.
#[derive(Debug)]
pub(crate) enum Leave {
    /// It is on the disk.
    Done,
    /// Somebody else commits; wait for that, without the writer.
    Wait(Arc<Group>),
}

impl Writer {
    pub(crate) fn new(db: Connection) -> Self {
        Self { db, open: None }
    }

    /// The connection, for work between [`Writer::enter`] and its end.
    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    /// Joins the open transaction, or begins one.
    pub(crate) fn enter(&mut self) -> Result<(), StoreError> {
        if self.open.is_none() {
            sql::begin(&self.db).map_err(classify)?;
            self.open = Some(Open {
                group: Arc::default(),
                members: 0,
                age: Stopwatch::start(),
            });
        }
        sql::savepoint(&self.db).map_err(|error| {
            self.abandon(End::Undone);
            classify(error)
        })
    }

    /// Takes back what was done since [`Writer::enter`]. What others did before is committed, unless
    /// somebody `waits` who will do that.
    ///
    /// Errors: as of a commit; they are about what others did.
    pub(crate) fn take_back(&mut self, waits: bool) -> Result<(), StoreError> {
        if self.db.is_autocommit() || sql::take_back(&self.db).is_err() {
            // SQLite has undone the whole transaction by itself, as it does on a full disk.
            self.abandon(End::Undone);
            return Ok(());
        }
        match &self.open {
            Some(open) if open.members == 0 => {
                self.abandon(End::Undone);
                Ok(())
            }
            Some(open) if waits && open.takes_more() => Ok(()),
            _ => self.commit(),
        }
    }

    /// Keeps what was done since [`Writer::enter`]. It is committed, unless somebody `waits` who
    /// will do that.
    pub(crate) fn leave(&mut self, waits: bool) -> Result<Leave, StoreError> {
        if self.db.is_autocommit() || sql::keep(&self.db).is_err() {
            self.abandon(End::Undone);
            return Err(StoreError::Undone);
        }
        if let Some(open) = self.open.as_mut() {
            open.members += 1;
            if waits && open.takes_more() {
                return Ok(Leave::Wait(Arc::clone(&open.group)));
            }
        }
        self.commit().map(|()| Leave::Done)
    }

    /// Undoes all that is not committed.
    pub(crate) fn stop(&mut self) {
        self.abandon(End::Failed);
    }

    fn abandon(&mut self, end: End) {
        if !self.db.is_autocommit()
            && let Err(error) = sql::roll_back(&self.db)
        {
            tracing::error!(%error, "a transaction was not rolled back");
        }
        if let Some(open) = self.open.take() {
            open.group.tell(end);
        }
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let committed = sql::commit(&self.db).map_err(classify);
        let end = match &committed {
            Ok(()) => End::Committed,
            Err(StoreError::Full) => End::Full,
            Err(_) => End::Failed,
        };
        self.abandon(end);
        committed
    }
}

impl Open {
    fn takes_more(&self) -> bool {
        self.members < MOST && self.age.elapsed() < LONGEST
    }
}

#[cfg(test)]
mod tests;
