//! After a crash: what became of the pushes whose end was not written.

use std::error::Error;

use audit::{Auditor, Who};
use store::{Db, Tx};
use vocab::RepoId;

use crate::push::{complete_push, withdraw_push};
use crate::{Oid, Push, PushError, PushState, RefUpdate, sql};

/// Why a ref cannot be looked up.
pub type LookError = Box<dyn Error + Send + Sync>;

/// Finds where a ref of a repo stands on disk; none when it does not exist.
pub type Look<'a> = dyn FnMut(RepoId, &str) -> Result<Option<Oid>, LookError> + 'a;

/// Why an open push cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Its refs cannot be read.
    #[error("cannot read {name} of repo {repo}, so it is not known whether a push moved it")]
    Look {
        /// The repo.
        repo: RepoId,
        /// The ref.
        name: String,
        /// Why.
        #[source]
        source: LookError,
    },
    /// Its end cannot be written.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

/// How an open push was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The push, as it stood open.
    pub push: Push,
    /// How it ended.
    pub state: PushState,
    /// The refs that had moved.
    pub moved: Vec<RefUpdate>,
    /// Those that had not, and why.
    pub refused: Vec<(String, String)>,
}

/// The pushes whose end was not written, newest first: the order in which [`recover`] must
/// settle them.
pub fn open_intents(db: &Db) -> rusqlite::Result<Vec<Push>> {
    sql::open_intents(db)
}

/// Settles one open push by what `look(repo, ref)` finds on disk: completed if its refs moved,
/// withdrawn if none did, and ref by ref if only some did.
///
/// A ref has moved if it stands at the push's new id, or if a later push that moved it started
/// from there.
pub fn recover(
    tx: &mut Tx<'_>,
    log: &Auditor,
    intent: Push,
    look: &mut Look<'_>,
) -> Result<Settled, RecoverError> {
    let mut moved = Vec::new();
    let mut refused = Vec::new();
    for of in &intent.refs {
        let update = &of.update;
        let at = look(intent.repo, &update.name).map_err(|source| RecoverError::Look {
            repo: intent.repo,
            name: update.name.clone(),
            source,
        })?;
        if at == update.new || sql::moved_on(tx, intent.repo, intent.id, update)? {
            moved.push(update.clone());
        } else {
            refused.push((update.name.clone(), reason(at.as_ref(), update)));
        }
    }
    let who = Who::system();
    let state = if moved.is_empty() {
        let why = "the server stopped before it moved";
        withdraw_push(tx, log, &who, intent.id, why)?;
        PushState::Withdrawn
    } else {
        complete_push(tx, log, &who, intent.id, &refused)?
    };
    Ok(Settled {
        push: intent,
        state,
        moved,
        refused,
    })
}

fn reason(at: Option<&Oid>, update: &RefUpdate) -> String {
    if at == update.old.as_ref() {
        return "the server stopped before it moved".to_owned();
    }
    let at = at.map_or("nowhere", Oid::as_str);
    format!("it stands at {at}, neither at the old nor at the new place")
}

#[cfg(test)]
mod tests;
