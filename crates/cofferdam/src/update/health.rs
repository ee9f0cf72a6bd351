//! What an appliance tries of itself: that it can do what it is for.

use std::sync::Arc;

use audit::{Auditor, Entry, Kind, Who};
use pool::Pool;
use store::{Store, StoreError};
use web::Check;

use crate::program;

/// What the tries need.
pub(crate) struct Health {
    pub(crate) store: Arc<Store>,
    pub(crate) auditor: Auditor,
}

impl Health {
    /// Tries everything; `pool` or why there is none.
    pub(crate) fn checks(&self, pool: Result<&Pool, String>) -> Vec<Check> {
        vec![
            check("database", self.database()),
            check("audit", self.audit()),
            check("people", self.people()),
            check("canary", self.canary()),
            check(
                "job",
                pool.and_then(|pool| {
                    let ran = pool.self_test()?;
                    Ok(format!("green in {} after {} ms", ran.image, ran.took_ms))
                }),
            ),
        ]
    }

    /// Every migration that this program knows is there, and the queue can be read.
    fn database(&self) -> Result<String, String> {
        if self.store.is_stopped() {
            return Err(StoreError::Stopped.to_string());
        }
        let applied = self.store.applied().map_err(words)?;
        for (owner, known) in program::this().schema() {
            let done = applied.iter().filter(|one| one.owner == owner).count();
            if i64::try_from(done).unwrap_or(0) < known {
                return Err(format!("{owner} is at migration {done} of {known}"));
            }
        }
        self.store
            .read(|db| Ok::<_, StoreError>(queue::counts(db)))
            .map_err(words)?
            .map_err(words)?;
        Ok(format!("{} migrations", applied.len()))
    }

    /// An entry is appended and read back.
    fn audit(&self) -> Result<String, String> {
        let seq = self
            .store
            .write(|tx| {
                let entry = Entry::success(Kind::IntegrityCheckOk).detail("what", "self-test");
                self.auditor
                    .append(tx, &Who::system(), entry)
                    .map_err(HealthError::from)
            })
            .map_err(words)?;
        let line = self
            .store
            .read(|db| Ok::<_, StoreError>(audit::line(db, seq)))
            .map_err(words)?
            .map_err(words)?;
        let line = line.ok_or("the entry that was appended is not there")?;
        if audit::leaf_hash(line.text.as_bytes()) == line.leaf {
            Ok(format!("entry {}", seq.0))
        } else {
            Err("the entry that was appended reads back as another".to_owned())
        }
    }

    /// Every account's sessions and tokens can be read.
    fn people(&self) -> Result<String, String> {
        let now = self.auditor.now();
        let read = self.store.read(|db| {
            let mut counts = (0, 0, 0);
            for user in access::users(db)? {
                counts.0 += 1;
                counts.1 += access::sessions(db, user.id, now)?.len();
                counts.2 += access::tokens(db, user.id)?.len();
            }
            Ok::<_, StoreError>(counts)
        });
        let (users, sessions, tokens) = read.map_err(words)?;
        Ok(format!(
            "{users} users, {sessions} sessions, {tokens} tokens"
        ))
    }

    /// A blob of the active generation is what its digest says.
    fn canary(&self) -> Result<String, String> {
        let Some(digest) = self.store.read(supply::canary).map_err(words)? else {
            return Ok("no generation is active".to_owned());
        };
        self.store.blobs().check(&digest).map_err(words)?;
        Ok(digest.to_string())
    }
}

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn check(name: &'static str, tried: Result<String, String>) -> Check {
    Check {
        name,
        good: tried.is_ok(),
        detail: tried.unwrap_or_else(|lack| lack),
    }
}

fn words(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
