//! A temporary store with a scripted clock, for the tests of this crate.

use audit::{Auditor, Filter, Origin, Via, Who};
use serde_json::Value;
use store::{Db, Store, StoreError, StoreOptions, Tx};
use vocab::{Clock, Entropy, RepoId, UserId, Visibility, from_unix_ms};

use crate::{MIGRATIONS, NewUser, PasswordHash, RepoFacts, Role, User, create_user};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Access(#[from] crate::AccessError),
    #[error(transparent)]
    User(#[from] crate::UserError),
    #[error(transparent)]
    Secret(#[from] crate::SecretError),
    #[error(transparent)]
    SshKey(#[from] crate::SshKeyError),
    #[error(transparent)]
    Login(#[from] crate::LoginRefused),
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) log: Auditor,
    pub(crate) clock: Clock,
    _dir: tempfile::TempDir,
}

pub(crate) fn door() -> Who {
    Who::new(audit::Actor::Anonymous, Via::Http)
}

pub(crate) fn operator() -> Who {
    Who::new(audit::Actor::Operator { uid: 0 }, Via::Control)
}

pub(crate) fn repo(id: i64, owner: Option<UserId>, visibility: Visibility) -> RepoFacts {
    RepoFacts {
        id: RepoId(id),
        path: format!("lab/r{id}").parse().unwrap(),
        owner_user: owner,
        visibility,
    }
}

impl Bed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let all = [audit::MIGRATIONS, MIGRATIONS];
        let store = Store::open(dir.path(), &all, StoreOptions::default()).unwrap();
        let clock = Clock::scripted(from_unix_ms(1_790_000_000_000));
        let origin = Origin {
            host: "a".into(),
            boot: "b".into(),
        };
        let log = Auditor::new(clock.clone(), Entropy::scripted(1), origin);
        Self {
            store,
            log,
            clock,
            _dir: dir,
        }
    }

    pub(crate) fn write<T>(&self, work: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>) -> T {
        self.try_write(work).unwrap()
    }

    pub(crate) fn try_write<T>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.store.write(work)
    }

    pub(crate) fn read<T>(&self, work: impl FnOnce(&Db) -> rusqlite::Result<T>) -> T {
        self.store.read::<_, Error>(|db| Ok(work(db)?)).unwrap()
    }

    /// A user whose password, if they get one, is their name and ` password`.
    pub(crate) fn user(&self, name: &str, role: Role, password: bool) -> User {
        let hash = || PasswordHash::of(&format!("{name} password"), self.log.entropy()).unwrap();
        let new = NewUser {
            name: name.parse().unwrap(),
            password: password.then(hash),
            role,
        };
        self.write(|tx| Ok(create_user(tx, &self.log, &operator(), &new)?))
    }

    /// The audit log, oldest first.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let lines = self.read(|db| audit::list(db, &Filter::default(), 10_000));
        let parse = |line: &audit::Line| serde_json::from_str(&line.text).unwrap();
        lines.iter().rev().map(parse).collect()
    }

    /// Kind and outcome of each entry since the first `skip`, oldest first.
    pub(crate) fn kinds(&self, skip: usize) -> Vec<String> {
        self.entries()[skip..]
            .iter()
            .map(|e| {
                format!(
                    "{} {}",
                    e["act"].as_str().unwrap(),
                    e["out"].as_str().unwrap()
                )
            })
            .collect()
    }

    /// Whether `needle` stands anywhere in the data directory.
    pub(crate) fn on_disk(&self, needle: &str) -> bool {
        let mut dirs = vec![self.store.dir().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else if contains(&std::fs::read(path).unwrap(), needle.as_bytes()) {
                    return true;
                }
            }
        }
        false
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}
