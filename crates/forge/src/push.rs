//! Pushes: the intent before any ref moves, and how it ended.

use std::time::SystemTime;

use audit::{AppendError, Auditor, Entry, Kind, Seq, Who};
use serde_json::{Value, json};
use store::{Change, Db, Tx};
use vocab::{PushId, RepoId, UserId, unix_ms};

use crate::repo::about;
use crate::{Oid, Repo, sql};

/// How many refs an audit entry lists; it counts them all.
const LISTED_REFS: usize = 50;

/// A ref that a push would move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefUpdate {
    /// The full name: `refs/heads/main`.
    pub name: String,
    /// Where it stands; none when it does not exist.
    pub old: Option<Oid>,
    /// Where it shall stand; none deletes it.
    pub new: Option<Oid>,
    /// Whether `new` does not follow from `old`.
    pub forced: bool,
}

/// What a push does to a ref.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefKind {
    /// It did not exist.
    Create,
    /// It moves forward.
    Update,
    /// It moves to where it could not get forward.
    Force,
    /// It goes.
    Delete,
}

/// What became of a ref of a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RefStatus {
    /// Not known yet: the push is an open intent.
    Pending,
    /// It stood at the new place when the push ended.
    Moved,
    /// It was not moved, for this reason.
    Refused(String),
}

/// Where a push stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PushState {
    /// Its refs may or may not have moved.
    Intent,
    /// At least one ref moved.
    Done,
    /// No ref moved.
    Withdrawn,
}

/// A ref of a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PushRef {
    /// From where to where.
    pub update: RefUpdate,
    /// What that is.
    pub kind: RefKind,
    /// What became of it.
    pub status: RefStatus,
}

/// One push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Push {
    /// Its id.
    pub id: PushId,
    /// Into which repo.
    pub repo: RepoId,
    /// Who pushed, if it was a user.
    pub user: Option<UserId>,
    /// Who pushed, as the audit log tags them.
    pub actor: String,
    /// When its intent was written.
    pub at: SystemTime,
    /// Where it stands.
    pub state: PushState,
    /// The audit entry of its intent.
    pub entry: Seq,
    /// Its refs, in the order of the push.
    pub refs: Vec<PushRef>,
}

/// Why a push cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// There is no such repo.
    #[error("there is no repo {repo}; it may have just been deleted")]
    UnknownRepo {
        /// The id.
        repo: RepoId,
    },
    /// There is no such open push.
    #[error("push {push} is not open: it was settled before, or never begun")]
    NotOpen {
        /// The id.
        push: PushId,
    },
    /// A push of nothing.
    #[error("a push must have at least one ref")]
    Empty,
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

impl RefUpdate {
    /// What this does to the ref.
    #[must_use]
    pub fn kind(&self) -> RefKind {
        match (&self.old, &self.new) {
            (_, None) => RefKind::Delete,
            (None, Some(_)) => RefKind::Create,
            (Some(_), Some(_)) if self.forced => RefKind::Force,
            (Some(_), Some(_)) => RefKind::Update,
        }
    }

    fn told(&self) -> Value {
        json!({
            "ref": self.name,
            "old": self.old.as_ref().map(Oid::as_str),
            "new": self.new.as_ref().map(Oid::as_str),
            "kind": self.kind().as_str(),
        })
    }
}

impl RefKind {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Force => "force",
            Self::Delete => "delete",
        }
    }
}

/// Writes the intent of a push, before any of its refs moves, with its audit entries.
pub fn begin_push(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    repo: RepoId,
    refs: &[RefUpdate],
) -> Result<PushId, PushError> {
    if refs.is_empty() {
        return Err(PushError::Empty);
    }
    let repo = sql::repo_by_id(tx, repo)?.ok_or(PushError::UnknownRepo { repo })?;
    let now_ms = unix_ms(log.now());
    let id = sql::insert_push(tx, repo.id, who.user(), &who.actor.tagged(), now_ms)?;
    for (place, update) in (0i64..).zip(refs) {
        sql::insert_ref(tx, id, place, update)?;
    }
    let all: Vec<&RefUpdate> = refs.iter().collect();
    let entry = log.append(tx, who, entry(Kind::GitPush, &repo, id, &all))?;
    sql::set_entry(tx, id, entry)?;
    for (kind, alarming) in [
        (RefKind::Force, Kind::GitForcePush),
        (RefKind::Delete, Kind::GitRefDelete),
    ] {
        let these: Vec<&RefUpdate> = refs.iter().filter(|r| r.kind() == kind).collect();
        if !these.is_empty() {
            let told = self::entry(alarming, &repo, id, &these).parent(entry);
            log.append(tx, who, told)?;
        }
    }
    Ok(id)
}

fn entry(kind: Kind, repo: &Repo, push: PushId, refs: &[&RefUpdate]) -> Entry {
    let told: Vec<Value> = refs.iter().take(LISTED_REFS).map(|r| r.told()).collect();
    about(kind, repo)
        .detail("push", push.tagged())
        .detail("refs_total", refs.len())
        .detail("refs", told)
}

/// Ends a push whose refs have moved, save those in `refused` (`(ref, reason)`).
///
/// With all of them refused the push counts as withdrawn. What was refused has its own entry.
pub fn complete_push(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: PushId,
    refused: &[(String, String)],
) -> Result<PushState, PushError> {
    let push = sql::push(tx, id)?.ok_or(PushError::NotOpen { push: id })?;
    if push.state != PushState::Intent {
        return Err(PushError::NotOpen { push: id });
    }
    let mut not_moved = Vec::new();
    for (place, of) in (0i64..).zip(&push.refs) {
        let why = refused.iter().find(|(name, _)| *name == of.update.name);
        sql::end_ref(tx, id, place, why.map(|(_, why)| why.as_str()))?;
        if let Some((name, why)) = why {
            not_moved.push(json!({"ref": name, "why": why}));
        }
    }
    let state = if not_moved.len() == push.refs.len() {
        PushState::Withdrawn
    } else {
        PushState::Done
    };
    let now_ms = unix_ms(log.now());
    sql::end_push(tx, id, state, now_ms)?;
    if state == PushState::Done {
        sql::touch(tx, push.repo, now_ms)?;
    }
    if !not_moved.is_empty() {
        let total = not_moved.len();
        not_moved.truncate(LISTED_REFS);
        let mut entry = Entry::failure(Kind::GitPushRejected, "E_NOT_MOVED");
        if let Some(repo) = sql::repo_by_id(tx, push.repo)? {
            entry = entry.object("repo", repo.id.tagged(), repo.path.to_string());
        }
        let entry = entry
            .detail("push", id.tagged())
            .detail("refs_total", total)
            .detail("refs", not_moved)
            .parent(push.entry);
        log.append(tx, who, entry)?;
    }
    tx.announce(Change::Repo(push.repo));
    Ok(state)
}

/// Ends a push none of whose refs has moved.
pub fn withdraw_push(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: PushId,
    why: &str,
) -> Result<(), PushError> {
    let push = sql::push(tx, id)?.ok_or(PushError::NotOpen { push: id })?;
    let refused: Vec<(String, String)> = push
        .refs
        .into_iter()
        .map(|r| (r.update.name, why.to_owned()))
        .collect();
    complete_push(tx, log, who, id, &refused)?;
    Ok(())
}

/// Notes a push that was refused before its intent: a bad pack, a stale ref, no right to it.
/// `why` is a stable code such as `E_NOT_FAST_FORWARD`.
pub fn record_refused_push(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    repo: &Repo,
    refs: &[RefUpdate],
    why: &str,
) -> Result<Seq, AppendError> {
    let told: Vec<Value> = refs.iter().take(LISTED_REFS).map(RefUpdate::told).collect();
    let entry = Entry::denied(Kind::GitPushRejected, why)
        .object("repo", repo.id.tagged(), repo.path.to_string())
        .detail("refs_total", refs.len())
        .detail("refs", told);
    log.append(tx, who, entry)
}

/// Notes that somebody took objects of a repo; `whole` when they had none of it before.
pub fn record_fetch(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    repo: &Repo,
    whole: bool,
) -> Result<Seq, AppendError> {
    let kind = if whole {
        Kind::GitClone
    } else {
        Kind::GitFetch
    };
    log.append(tx, who, about(kind, repo))
}

/// One push with its refs.
pub fn push(db: &Db, id: PushId) -> rusqlite::Result<Option<Push>> {
    sql::push(db, id)
}

/// The last `limit` pushes that were not withdrawn, newest first, before push `before`.
pub fn pushes(
    db: &Db,
    repo: RepoId,
    before: Option<PushId>,
    limit: u32,
) -> rusqlite::Result<Vec<Push>> {
    sql::pushes(db, repo, before, limit)
}
