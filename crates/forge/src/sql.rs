//! Every query of this crate.

use audit::Seq;
use rusqlite::types::{FromSqlError, Value};
use rusqlite::{OptionalExtension, Row, params, params_from_iter};
use store::{Db, Tx};
use vocab::{OwnerId, PushId, RepoId, RepoPath, Sight, UserId, Visibility, from_unix_ms};

use crate::{
    Namespace, NamespaceKind, NewRepo, Oid, Push, PushRef, PushState, Query, RefKind, RefStatus,
    RefUpdate, Repo,
};

const REPO: &str = "SELECT r.id, o.name, r.name, o.id, o.user, r.visibility, r.default_branch,
    r.description, r.created_ms, r.pushed_ms, r.size_bytes
    FROM repo r CROSS JOIN owner o ON o.id = r.owner";

pub(crate) enum RowState {
    Live,
    Deleted,
    Absent,
}

/// Parses a stored text; a text that does not parse is from another version or was edited.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|e| corrupt(column, e))
}

fn corrupt(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        column,
        rusqlite::types::Type::Text,
        Box::new(FromSqlError::Other(Box::new(error))),
    )
}

fn as_namespace(row: &Row<'_>) -> rusqlite::Result<Namespace> {
    let kind: String = row.get(2)?;
    Ok(Namespace {
        id: OwnerId(row.get(0)?),
        name: parsed(row, 1)?,
        kind: if kind == "person" {
            NamespaceKind::Person
        } else {
            NamespaceKind::Group
        },
        user: row.get::<_, Option<i64>>(3)?.map(UserId),
    })
}

fn as_repo(row: &Row<'_>) -> rusqlite::Result<Repo> {
    Ok(Repo {
        id: RepoId(row.get(0)?),
        path: RepoPath {
            owner: parsed(row, 1)?,
            name: parsed(row, 2)?,
        },
        owner: OwnerId(row.get(3)?),
        owner_user: row.get::<_, Option<i64>>(4)?.map(UserId),
        visibility: parsed(row, 5)?,
        default_branch: row.get(6)?,
        description: row.get(7)?,
        created: from_unix_ms(row.get(8)?),
        pushed: row.get::<_, Option<i64>>(9)?.map(from_unix_ms),
        size_bytes: row.get(10)?,
    })
}

pub(crate) fn namespace(db: &Db, key: &str) -> rusqlite::Result<Option<Namespace>> {
    db.prepare_cached("SELECT id, name, kind, user FROM owner WHERE name_key = ?1")?
        .query_row([key], as_namespace)
        .optional()
}

pub(crate) fn insert_owner(
    tx: &Tx<'_>,
    new: &Namespace,
    key: &str,
    now_ms: i64,
) -> rusqlite::Result<Namespace> {
    let kind = match new.kind {
        NamespaceKind::Person => "person",
        NamespaceKind::Group => "group",
    };
    let id = tx
        .prepare_cached(
            "INSERT INTO owner (name, name_key, kind, user, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .insert(params![new.name.as_str(), key, kind, new.user.map(UserId::get), now_ms])?;
    Ok(Namespace {
        id: OwnerId(id),
        ..new.clone()
    })
}

pub(crate) fn repo_by_path(db: &Db, owner: &str, name: &str) -> rusqlite::Result<Option<Repo>> {
    db.prepare_cached(
        "SELECT r.id, o.name, r.name, o.id, o.user, r.visibility, r.default_branch,
            r.description, r.created_ms, r.pushed_ms, r.size_bytes
         FROM owner o CROSS JOIN repo r ON r.owner = o.id
         WHERE o.name_key = ?1 AND r.name_key = ?2 AND r.deleted_ms IS NULL",
    )?
    .query_row([owner, name], as_repo)
    .optional()
}

pub(crate) fn repo_by_id(db: &Db, id: RepoId) -> rusqlite::Result<Option<Repo>> {
    db.prepare_cached(&format!("{REPO} WHERE r.id = ?1 AND r.deleted_ms IS NULL"))?
        .query_row([id.get()], as_repo)
        .optional()
}

pub(crate) fn repo_row(db: &Db, id: RepoId) -> rusqlite::Result<RowState> {
    let deleted: Option<Option<i64>> = db
        .prepare_cached("SELECT deleted_ms FROM repo WHERE id = ?1")?
        .query_row([id.get()], |row| row.get(0))
        .optional()?;
    Ok(match deleted {
        None => RowState::Absent,
        Some(None) => RowState::Live,
        Some(Some(_)) => RowState::Deleted,
    })
}

pub(crate) fn live_ids(db: &Db) -> rusqlite::Result<Vec<RepoId>> {
    db.prepare_cached("SELECT id FROM repo WHERE deleted_ms IS NULL ORDER BY id")?
        .query_map([], |row| row.get(0).map(RepoId))?
        .collect()
}

pub(crate) fn insert_repo(
    tx: &Tx<'_>,
    owner: OwnerId,
    new: &NewRepo,
    key: &str,
    now_ms: i64,
) -> rusqlite::Result<RepoId> {
    tx.prepare_cached(
        "INSERT INTO repo (owner, name, name_key, visibility, default_branch, description,
            created_ms, active_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )?
    .insert(params![
        owner.get(),
        new.path.name.as_str(),
        key,
        new.visibility.as_str(),
        new.default_branch,
        new.description,
        now_ms
    ])
    .map(RepoId)
}

pub(crate) fn rename(tx: &Tx<'_>, id: RepoId, name: &str, key: &str) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE repo SET name = ?2, name_key = ?3 WHERE id = ?1")?
        .execute(params![id.get(), name, key])?;
    Ok(())
}

pub(crate) fn set_visibility(tx: &Tx<'_>, id: RepoId, to: Visibility) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE repo SET visibility = ?2 WHERE id = ?1")?
        .execute(params![id.get(), to.as_str()])?;
    Ok(())
}

pub(crate) fn mark_deleted(tx: &Tx<'_>, id: RepoId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE repo SET deleted_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}

pub(crate) fn set_size(tx: &Tx<'_>, id: RepoId, size_bytes: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE repo SET size_bytes = ?2 WHERE id = ?1")?
        .execute(params![id.get(), size_bytes])?;
    Ok(())
}

pub(crate) fn touch(tx: &Tx<'_>, id: RepoId, now_ms: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE repo SET pushed_ms = ?2, active_ms = ?2 WHERE id = ?1")?
        .execute(params![id.get(), now_ms])?;
    Ok(())
}

/// The conditions of a query, and their values.
fn conditions(query: &Query) -> (String, Vec<Value>) {
    let mut text = String::from(" WHERE r.deleted_ms IS NULL");
    let mut values: Vec<Value> = Vec::new();
    match &query.sight {
        Sight::Everything => {}
        Sight::SignedIn { user, shared } => {
            text.push_str(
                " AND (r.visibility IN ('instance', 'public') OR o.user = ?
                   OR r.id IN (SELECT value FROM json_each(?)))",
            );
            let shared: Vec<i64> = shared.iter().map(|id| id.get()).collect();
            values.push(user.get().into());
            values.push(serde_json::Value::from(shared).to_string().into());
        }
        Sight::One(repo) => {
            text.push_str(" AND (r.visibility = 'public' OR r.id = ?)");
            values.push(repo.get().into());
        }
        Sight::Public => text.push_str(" AND r.visibility = 'public'"),
    }
    if let Some(owner) = query.owner {
        text.push_str(" AND r.owner = ?");
        values.push(owner.get().into());
    }
    if let Some(search) = &query.search {
        text.push_str(" AND instr(lower(o.name || '/' || r.name), ?) > 0");
        values.push(search.to_ascii_lowercase().into());
    }
    if let Some(after) = query.after {
        text.push_str(" AND (r.active_ms, r.id) < (?, ?)");
        values.push(after.active_ms.into());
        values.push(after.id.get().into());
    }
    (text, values)
}

/// The text of a listing query and its values, for [`list`] and for the test of its plan.
pub(crate) fn listing(query: &Query, limit: u32) -> (String, Vec<Value>) {
    let (conditions, mut values) = conditions(query);
    values.push(i64::from(limit).into());
    let text = format!("{REPO}{conditions} ORDER BY r.active_ms DESC, r.id DESC LIMIT ?");
    (text, values)
}

pub(crate) fn list(db: &Db, query: &Query, limit: u32) -> rusqlite::Result<Vec<Repo>> {
    let (text, values) = listing(query, limit);
    db.prepare_cached(&text)?
        .query_map(params_from_iter(values), as_repo)?
        .collect()
}

pub(crate) fn count(db: &Db, query: &Query) -> rusqlite::Result<i64> {
    let (conditions, values) = conditions(&Query {
        after: None,
        ..query.clone()
    });
    let text =
        format!("SELECT count(*) FROM repo r CROSS JOIN owner o ON o.id = r.owner{conditions}");
    db.prepare_cached(&text)?
        .query_row(params_from_iter(values), |row| row.get(0))
}

pub(crate) fn insert_push(
    tx: &Tx<'_>,
    repo: RepoId,
    user: Option<UserId>,
    actor: &str,
    now_ms: i64,
) -> rusqlite::Result<PushId> {
    tx.prepare_cached(
        "INSERT INTO push (repo, user, actor, at_ms, state, entry)
         VALUES (?1, ?2, ?3, ?4, 'intent', -1)",
    )?
    .insert(params![repo.get(), user.map(UserId::get), actor, now_ms])
    .map(PushId)
}

pub(crate) fn set_entry(tx: &Tx<'_>, id: PushId, entry: Seq) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE push SET entry = ?2 WHERE id = ?1")?
        .execute(params![id.get(), entry.0])?;
    Ok(())
}

pub(crate) fn insert_ref(
    tx: &Tx<'_>,
    push: PushId,
    place: i64,
    update: &RefUpdate,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO push_ref (push, place, name, old, new, kind, status)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending')",
    )?
    .execute(params![
        push.get(),
        place,
        update.name,
        update.old.as_ref().map(Oid::as_str),
        update.new.as_ref().map(Oid::as_str),
        update.kind().as_str()
    ])?;
    Ok(())
}

pub(crate) fn end_ref(
    tx: &Tx<'_>,
    push: PushId,
    place: i64,
    refused: Option<&str>,
) -> rusqlite::Result<()> {
    let status = if refused.is_some() {
        "refused"
    } else {
        "moved"
    };
    tx.prepare_cached("UPDATE push_ref SET status = ?3, why = ?4 WHERE push = ?1 AND place = ?2")?
        .execute(params![push.get(), place, status, refused])?;
    Ok(())
}

pub(crate) fn end_push(
    tx: &Tx<'_>,
    id: PushId,
    state: PushState,
    now_ms: i64,
) -> rusqlite::Result<()> {
    let state = match state {
        PushState::Intent => "intent",
        PushState::Done => "done",
        PushState::Withdrawn => "withdrawn",
    };
    tx.prepare_cached("UPDATE push SET state = ?2, ended_ms = ?3 WHERE id = ?1")?
        .execute(params![id.get(), state, now_ms])?;
    Ok(())
}

/// Whether a later push that moved the ref started from where `update` was to put it.
pub(crate) fn moved_on(
    db: &Db,
    repo: RepoId,
    push: PushId,
    update: &RefUpdate,
) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM push p JOIN push_ref f ON f.push = p.id
            WHERE p.repo = ?1 AND p.id > ?2 AND f.name = ?3 AND f.old IS ?4
            AND f.status = 'moved')",
    )?
    .query_row(
        params![
            repo.get(),
            push.get(),
            update.name,
            update.new.as_ref().map(Oid::as_str)
        ],
        |row| row.get(0),
    )
}

const PUSH: &str = "SELECT id, repo, user, actor, at_ms, state, entry FROM push";

fn as_push(row: &Row<'_>) -> rusqlite::Result<Push> {
    let state: String = row.get(5)?;
    Ok(Push {
        id: PushId(row.get(0)?),
        repo: RepoId(row.get(1)?),
        user: row.get::<_, Option<i64>>(2)?.map(UserId),
        actor: row.get(3)?,
        at: from_unix_ms(row.get(4)?),
        state: match state.as_str() {
            "intent" => PushState::Intent,
            "done" => PushState::Done,
            _ => PushState::Withdrawn,
        },
        entry: Seq(row.get(6)?),
        refs: Vec::new(),
    })
}

fn as_ref(row: &Row<'_>) -> rusqlite::Result<PushRef> {
    let oid = |column| -> rusqlite::Result<Option<Oid>> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| text.parse().map_err(|e| corrupt(column, e)))
            .transpose()
    };
    let kind: String = row.get(3)?;
    let kind = match kind.as_str() {
        "create" => RefKind::Create,
        "force" => RefKind::Force,
        "delete" => RefKind::Delete,
        _ => RefKind::Update,
    };
    let status: String = row.get(4)?;
    Ok(PushRef {
        update: RefUpdate {
            name: row.get(0)?,
            old: oid(1)?,
            new: oid(2)?,
            forced: kind == RefKind::Force,
        },
        kind,
        status: match status.as_str() {
            "pending" => RefStatus::Pending,
            "moved" => RefStatus::Moved,
            _ => RefStatus::Refused(row.get::<_, Option<String>>(5)?.unwrap_or_default()),
        },
    })
}

fn with_refs(db: &Db, mut push: Push) -> rusqlite::Result<Push> {
    push.refs = db
        .prepare_cached(
            "SELECT name, old, new, kind, status, why FROM push_ref WHERE push = ?1 ORDER BY place",
        )?
        .query_map([push.id.get()], as_ref)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(push)
}

pub(crate) fn push(db: &Db, id: PushId) -> rusqlite::Result<Option<Push>> {
    db.prepare_cached(&format!("{PUSH} WHERE id = ?1"))?
        .query_row([id.get()], as_push)
        .optional()?
        .map(|push| with_refs(db, push))
        .transpose()
}

pub(crate) fn pushes(
    db: &Db,
    repo: RepoId,
    before: Option<PushId>,
    limit: u32,
) -> rusqlite::Result<Vec<Push>> {
    db.prepare_cached(&format!(
        "{PUSH} WHERE repo = ?1 AND id < ?2 AND state <> 'withdrawn' ORDER BY id DESC LIMIT ?3"
    ))?
    .query_map(
        params![repo.get(), before.map_or(i64::MAX, PushId::get), limit],
        as_push,
    )?
    .collect::<rusqlite::Result<Vec<_>>>()?
    .into_iter()
    .map(|push| with_refs(db, push))
    .collect()
}

pub(crate) fn open_intents(db: &Db) -> rusqlite::Result<Vec<Push>> {
    db.prepare_cached(&format!("{PUSH} WHERE state = 'intent' ORDER BY id DESC"))?
        .query_map([], as_push)?
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .map(|push| with_refs(db, push))
        .collect()
}

/// Fills the namespace 1 with `repos` rows, for the test of the listing's plan.
#[cfg(test)]
pub(crate) fn fill(tx: &Tx<'_>, repos: i64) -> rusqlite::Result<usize> {
    tx.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
         INSERT INTO repo (owner, name, name_key, visibility, default_branch, description,
            created_ms, active_ms)
         SELECT 1, 'r' || i, 'r' || i, 'public', 'main', '', i, i FROM n",
        [repos],
    )
}

/// How SQLite would answer a listing.
#[cfg(test)]
pub(crate) fn plan_of_list(db: &Db, query: &Query) -> rusqlite::Result<String> {
    let (text, values) = listing(query, 50);
    let steps = db
        .prepare(&format!("EXPLAIN QUERY PLAN {text}"))?
        .query_map(params_from_iter(values), |row| row.get(3))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(steps.join("\n"))
}
