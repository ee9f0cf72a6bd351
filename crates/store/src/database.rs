//! One writing connection that writers share in turn, a few reading ones, and what happens around
//! a commit.

use std::collections::HashSet;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use rusqlite::{Connection, OpenFlags};

use crate::group::{Leave, Writer};
use crate::{
    Applied, Blobs, Change, DataLock, Db, LockError, MigrateError, Migrations, Schema, sql,
};

type Listener = Box<dyn Fn(&[Change]) + Send + Sync>;

/// How to open a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreOptions {
    /// Leaves out every fsync. Only for the control runs of the power-cut harness, which must
    /// then lose data.
    pub skip_fsync: bool,
}

/// The database and blobs of one data directory. Shared by reference between threads.
pub struct Store {
    dir: PathBuf,
    blobs: Blobs,
    writer: Mutex<Writer>,
    /// Writers that wait for the one connection.
    pub(crate) waiting: AtomicUsize,
    readers: Mutex<Vec<Connection>>,
    listeners: RwLock<Vec<Listener>>,
    broken: AtomicBool,
    _lock: DataLock,
}

/// Why the store cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory is in use or not writable.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The schema cannot be brought to this version.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// SQLite refused a statement or a commit.
    #[error("the database refused: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The disk is full; nothing was written.
    #[error("no space left for the database; free space in the data directory, then try again")]
    Full,
    /// SQLite undid a transaction in which others had written too.
    #[error("the disk refused a write of the same moment, so nothing was changed; try again")]
    Undone,
    /// An earlier commit failed half-way; what the disk holds must be read afresh.
    #[error("writing has stopped after a failed commit; check the disk, then restart cofferdam")]
    Stopped,
    /// A file beside the database failed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A writing transaction. Everything in it happens or nothing does.
pub struct Tx<'a> {
    db: &'a Connection,
    changes: Vec<Change>,
}

impl Tx<'_> {
    /// Has `change` told to the listeners once this transaction has been committed.
    pub fn announce(&mut self, change: Change) {
        self.changes.push(change);
    }
}

impl Deref for Tx<'_> {
    type Target = Db;

    fn deref(&self) -> &Db {
        self.db
    }
}

impl Store {
    /// Opens `dir`, which must exist: locks it, recovers the database, applies `migrations`.
    pub fn open(
        dir: &Path,
        migrations: &[Migrations],
        options: StoreOptions,
    ) -> Result<Self, StoreError> {
        Self::open_after(dir, migrations, options, None)
    }

    /// As [`Store::open`], for a program that may have to give way to the one before it: refuses
    /// every migration after which a program that knows `before` could not use the database.
    pub fn open_after(
        dir: &Path,
        migrations: &[Migrations],
        options: StoreOptions,
        before: Option<&Schema>,
    ) -> Result<Self, StoreError> {
        let lock = DataLock::take(dir)?;
        let path = dir.join("cofferdam.db");
        let mut writer = Connection::open(&path)?;
        writer.set_prepared_statement_cache_capacity(256);
        writer.execute_batch(sql::PRAGMAS)?;
        if options.skip_fsync {
            writer.execute_batch("PRAGMA synchronous = OFF")?;
        }
        crate::migrate::migrate(&mut writer, migrations, before)?;
        let blobs = Blobs::open(&dir.join("blobs"), options.skip_fsync).map_err(|source| {
            StoreError::Io {
                path: dir.join("blobs"),
                source,
            }
        })?;
        if !options.skip_fsync {
            crate::sync_dir(dir).map_err(|source| StoreError::Io {
                path: dir.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            blobs,
            writer: Mutex::new(Writer::new(writer)),
            waiting: AtomicUsize::new(0),
            readers: Mutex::new(Vec::new()),
            listeners: RwLock::new(Vec::new()),
            broken: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The content-addressed blobs.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Calls `listener` after every commit that announced changes, on the committing thread:
    /// it must be quick and must not write.
    pub fn on_change(&self, listener: impl Fn(&[Change]) + Send + Sync + 'static) {
        self.listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(listener));
    }

    /// Runs `work` in the one writing transaction and commits durably if it returns `Ok`.
    ///
    /// Writers that wait for each other are committed together, with one fsync; each sees what
    /// those before it wrote, and none returns before all of it is on the disk.
    ///
    /// Errors of `work` roll back. A failed commit stops all later writes ([`StoreError::Stopped`]),
    /// save for a full disk, which SQLite undoes cleanly.
    pub fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (value, changes) = self.commit(work)?;
        if !changes.is_empty() {
            let mut seen = HashSet::new();
            let changes: Vec<Change> = changes.into_iter().filter(|c| seen.insert(*c)).collect();
            for listener in self
                .listeners
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
            {
                listener(&changes);
            }
        }
        Ok(value)
    }

    fn commit<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, E>,
    ) -> Result<(T, Vec<Change>), E> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::AcqRel);
        if self.is_stopped() {
            writer.stop();
            return Err(StoreError::Stopped.into());
        }
        writer.enter()?;
        let mut tx = Tx {
            db: writer.db(),
            changes: Vec::new(),
        };
        let done = catch_unwind(AssertUnwindSafe(|| work(&mut tx)));
        let Tx { changes, .. } = tx;
        let waits = self.waiting.load(Ordering::Acquire) > 0;
        let value = match done {
            Ok(Ok(value)) => value,
            other => {
                let others = writer.take_back(waits).map_err(|error| self.failed(error));
                drop(writer);
                if let Err(error) = others {
                    tracing::error!(%error, "what others wrote was not committed");
                }
                return match other {
                    Err(panic) => resume_unwind(panic),
                    Ok(result) => Err(result.err().unwrap_or_else(|| StoreError::Undone.into())),
                };
            }
        };
        let left = writer.leave(waits).map_err(|error| self.failed(error));
        drop(writer);
        if let Leave::Wait(group) = left? {
            group.wait()?;
        }
        Ok((value, changes))
    }

    /// After a commit that failed for another reason than room, nothing more is written.
    fn failed(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::Full | StoreError::Undone) {
            self.broken.store(true, Ordering::Release);
        }
        error
    }

    /// Whether writing has stopped after a failed commit.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Runs `look` on a reading connection, which sees one consistent snapshot.
    pub fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&Db) -> Result<T, E>,
    ) -> Result<T, E> {
        let pooled = self
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut db = match pooled {
            Some(db) => db,
            None => self.open_reader().map_err(E::from)?,
        };
        let snapshot = db.transaction().map_err(|e| E::from(classify(e)))?;
        let result = look(&snapshot);
        snapshot.finish().map_err(|e| E::from(classify(e)))?;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < 8 {
            readers.push(db);
        }
        result
    }

    /// What SQLite's own check finds wrong, in words; empty when all is well.
    pub fn integrity(&self) -> Result<Vec<String>, StoreError> {
        self.read(|db| Ok(sql::integrity(db)?))
    }

    /// Takes what was committed over into the database file and empties the write-ahead log, so
    /// that nothing of earlier states is left in it. Whether that could be done now: readers that
    /// still look at an earlier state keep it, and the next call or restart does it.
    pub fn empty_wal(&self) -> Result<bool, StoreError> {
        // A connection of its own: the writer may be in the middle of others' transaction.
        let db = Connection::open(self.dir.join("cofferdam.db"))?;
        Ok(sql::empty_wal(&db)?)
    }

    fn open_reader(&self) -> Result<Connection, StoreError> {
        open_reader(&self.dir)
    }

    /// Every migration that was applied to the database, whatever this program knows.
    pub fn applied(&self) -> Result<Vec<Applied>, StoreError> {
        self.read(|db| Ok(crate::migrate::list(db)?))
    }
}

/// A data directory looked at from outside, whether or not another process serves it. Changes
/// nothing, migrates nothing.
pub struct Glance {
    db: Connection,
}

impl Glance {
    /// Opens the database of `dir`, which must be there, for reading.
    pub fn at(dir: &Path) -> Result<Self, StoreError> {
        let db = open_reader(dir)?;
        Ok(Self { db })
    }

    /// Every migration that was applied.
    pub fn applied(&self) -> Result<Vec<Applied>, StoreError> {
        Ok(crate::migrate::list(&self.db)?)
    }

    /// What query functions take.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }
}

fn open_reader(dir: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(
        dir.join("cofferdam.db"),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.set_prepared_statement_cache_capacity(256);
    db.execute_batch(sql::READER_PRAGMAS)?;
    Ok(db)
}

pub(crate) fn classify(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::Full,
        _ => StoreError::Sqlite(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vocab::RepoId;

    use super::*;

    const T: Migrations = Migrations {
        owner: "t",
        files: &[("0001_t", "CREATE TABLE t (x INT NOT NULL) STRICT")],
    };

    fn open(dir: &Path) -> Store {
        Store::open(dir, &[T], StoreOptions::default()).unwrap()
    }

    #[test]
    fn an_error_in_the_work_leaves_no_trace_and_tells_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let told = Arc::new(Mutex::new(Vec::new()));
        let ear = told.clone();
        store.on_change(move |c| ear.lock().unwrap().extend_from_slice(c));
        let failed: Result<(), StoreError> = store.write(|tx| {
            tx.announce(Change::Queue);
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            Err(StoreError::Full)
        });
        assert!(failed.is_err());
        store
            .write::<_, StoreError>(|tx| {
                tx.announce(Change::Repo(RepoId(1)));
                tx.announce(Change::Repo(RepoId(1)));
                Ok(tx.execute("INSERT INTO t VALUES (2)", [])?)
            })
            .unwrap();
        let rows: i64 = store
            .read::<_, StoreError>(|db| Ok(db.query_row("SELECT sum(x) FROM t", [], |r| r.get(0))?))
            .unwrap();
        assert_eq!(rows, 2);
        assert_eq!(*told.lock().unwrap(), [Change::Repo(RepoId(1))]);
    }

    #[test]
    fn readers_cannot_write_and_a_second_opener_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let wrote: Result<usize, StoreError> =
            store.read(|db| Ok(db.execute("INSERT INTO t VALUES (1)", [])?));
        assert!(wrote.is_err());
        assert!(matches!(
            Store::open(dir.path(), &[T], StoreOptions::default()),
            Err(StoreError::Lock(LockError::Held { .. }))
        ));
        assert!(store.integrity().unwrap().is_empty());
    }

    #[test]
    fn commits_are_on_the_disk_before_they_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let level: i64 = store
            .write::<_, StoreError>(|tx| Ok(tx.query_row("PRAGMA synchronous", [], |r| r.get(0))?))
            .unwrap();
        assert_eq!(level, 2, "synchronous=FULL");
    }
}
