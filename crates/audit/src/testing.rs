//! What the tests of this crate have in common: a log of its own in a temporary folder.

use std::path::PathBuf;
use std::time::Duration;

use evidence::checkpoint::Checkpoint;
use store::{Store, StoreError, StoreOptions};
use vocab::{Clock, Entropy, UserId, from_unix_ms};

use crate::{
    Actor, AppendError, Auditor, Entry, Kind, MIGRATIONS, Origin, Seal, Seq, SettleError, Via, Who,
};

/// When each log begins.
pub(crate) const START_MS: i64 = 1_790_000_000_123;

/// Whatever a transaction of a test can end with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Settle(#[from] SettleError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// A log, its seal, its clock.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) seal: Seal,
    pub(crate) log: Auditor,
    pub(crate) clock: Clock,
    pub(crate) dir: tempfile::TempDir,
}

/// An empty log.
pub(crate) fn bed_called(origin: &str, seed: u64) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &[MIGRATIONS], StoreOptions { skip_fsync: true }).unwrap();
    let clock = Clock::scripted(from_unix_ms(START_MS));
    let host = Origin {
        host: origin.into(),
        boot: "b0".into(),
    };
    Bed {
        log: Auditor::new(clock.clone(), Entropy::scripted(seed), host),
        seal: Seal::open(dir.path(), origin, &Entropy::scripted(seed)).unwrap(),
        store,
        clock,
        dir,
    }
}

/// A log of `entries`, one a minute, of two people and two kinds.
pub(crate) fn bed(entries: u64) -> Bed {
    let bed = bed_called("lab-0001", 1);
    bed.append(entries);
    bed
}

impl Bed {
    pub(crate) fn append(&self, entries: u64) {
        self.store
            .write::<_, Error>(|tx| {
                for i in 0..entries {
                    let actor = Actor::User {
                        id: UserId(if i % 3 == 0 { 4 } else { 17 }),
                        name: "dev".parse().unwrap(),
                    };
                    let kind =
                        [Kind::GitPush, Kind::BundleCommitted][usize::try_from(i % 2).unwrap()];
                    self.log
                        .append(tx, &Who::new(actor, Via::Http), Entry::success(kind))?;
                    self.clock.advance(Duration::from_secs(60));
                }
                Ok(())
            })
            .unwrap();
    }

    /// One entry, or why there is none.
    pub(crate) fn try_one(&self, who: &Who, entry: Entry) -> Result<Seq, Error> {
        self.store
            .write::<_, Error>(|tx| Ok(self.log.append(tx, who, entry)?))
    }

    pub(crate) fn sealed(&self) -> Checkpoint {
        self.seal.seal(&self.store).unwrap().checkpoint
    }

    /// What is wrong with the seal.
    pub(crate) fn unsealed(&self) -> Vec<String> {
        self.seal.check(&self.store).unwrap()
    }

    /// What is wrong with the rows.
    pub(crate) fn rows_found(&self) -> Vec<String> {
        self.store
            .read::<_, Error>(|db| Ok(crate::check(db)?))
            .unwrap()
    }

    pub(crate) fn alter(&self, statement: &str) {
        self.store
            .write::<_, Error>(|tx| Ok(crate::sql::alter(tx, statement)?))
            .unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The newest entries of a kind, the newest first.
    pub(crate) fn told(&self, kind: Kind) -> Vec<serde_json::Value> {
        let filter = crate::Filter {
            kind: Some(kind.as_str().to_owned()),
            ..crate::Filter::default()
        };
        let lines = self
            .store
            .read::<_, Error>(|db| Ok(crate::list(db, &filter, 100)?))
            .unwrap();
        lines
            .iter()
            .map(|line| serde_json::from_str(&line.text).unwrap())
            .collect()
    }
}
