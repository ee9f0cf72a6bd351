//! The audit log: lines that fit, one entry with its proof, the checkpoint, and the export.

use audit::{Entry, Export, ExportError, Extra, Filter, Kind, Seq, Wanted};
use axum::Json;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Db, StoreError};
use vocab::{JobId, UserName, from_unix_ms};

use super::attest::Statements;
use super::chains::Chains;
use super::inventory;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;
use crate::stream;

/// Most receipts that one export carries.
const RECEIPTS_MAX: usize = 50_000;

/// Most actors that are looked through for a hint.
const ACTORS_MAX: u32 = 1_000;

/// What is asked for, in an address's query.
#[derive(Deserialize, Clone, Default)]
pub(crate) struct Which {
    limit: Option<u32>,
    kind: Option<String>,
    before: Option<i64>,
    after: Option<i64>,
    actor: Option<String>,
    object: Option<String>,
    /// Milliseconds since 1970 UTC.
    since: Option<i64>,
    until: Option<i64>,
    /// For an export: `1` opens the names in it.
    names: Option<u8>,
    /// For an export: sizes of earlier ones, with commas.
    earlier: Option<String>,
}

pub(crate) fn tagged(db: &Db, actor: Option<String>) -> Result<Option<String>, Fault> {
    let Some(text) = actor else { return Ok(None) };
    if text.contains(':') {
        return Ok(Some(text));
    }
    let named = match text.parse::<UserName>() {
        Ok(name) => access::user_by_name(db, &name).map_err(Fault::internal)?,
        Err(_) => None,
    };
    if named.is_none() && text == "operator" {
        return Ok(Some("uid:0".to_owned()));
    }
    // `system` and `anonymous` are nobody's sign-in name.
    Ok(Some(named.map_or(text, |user| user.id.tagged())))
}

impl Which {
    pub(crate) fn filter(self, db: &Db) -> Result<Filter, Fault> {
        Ok(Filter {
            since: self.since.map(from_unix_ms),
            until: self.until.map(from_unix_ms),
            actor: tagged(db, self.actor)?,
            kind: self.kind,
            object: self.object,
            generation: None,
            before: self.before.map(Seq),
            after: self.after.map(Seq),
            ..Filter::default()
        })
    }

    fn wanted(self, db: &Db) -> Result<Wanted, Fault> {
        let earlier = self.earlier.unwrap_or_default();
        let earlier = earlier.split(',').filter(|size| !size.is_empty());
        Ok(Wanted {
            since: self.since.map(from_unix_ms),
            until: self.until.map(from_unix_ms),
            actor: tagged(db, self.actor)?,
            kind: self.kind,
            object: self.object,
            with_names: self.names == Some(1),
            proved: Vec::new(),
            earlier: earlier
                .take(64)
                .map(|size| {
                    size.parse()
                        .map_err(|_| Fault::bad("earlier= takes numbers"))
                })
                .collect::<Result<_, _>>()?,
        })
    }
}

/// `GET /api/v1/audit`: exact lines, the newest last.
pub(crate) async fn list(ctx: Ctx, Query(which): Query<Which>) -> Result<Json<Value>, Fault> {
    let limit = which.limit.unwrap_or(50).clamp(1, 1000);
    let follows = which.after.is_some();
    let read = move |db: &Db| {
        let asked = which.actor.clone();
        let filter = which.filter(db)?;
        let lines = audit::list(db, &filter, limit).map_err(Fault::internal)?;
        let mut redacted = serde_json::Map::new();
        for line in &lines {
            let fields = audit::redacted(db, line.seq, &line.text).map_err(Fault::internal)?;
            if !fields.is_empty() {
                redacted.insert(line.seq.0.to_string(), fields.into());
            }
        }
        let hint = match asked {
            Some(asked) if lines.is_empty() => Some(others(db, &asked)?),
            _ => None,
        };
        Ok((filter, lines, redacted, hint))
    };
    let (filter, lines, redacted, hint) = ctx.app.read(read).await?;
    if !follows {
        note_search(&ctx, searched(&filter)).await;
    }
    let mut entries: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(&line.text).unwrap_or_else(|_| line.text.clone().into()))
        .collect();
    entries.reverse();
    let mut shown = json!({ "entries": entries, "redacted": redacted });
    if let Some(hint) = hint {
        shown["hint"] = hint.into();
    }
    Ok(Json(shown))
}

/// Who has entries, said to whoever asked for somebody who has none.
fn others(db: &Db, asked: &str) -> Result<String, Fault> {
    let people = access::users(db).map_err(Fault::internal)?;
    let named = |actor: String| match people.iter().find(|user| user.id.tagged() == actor) {
        Some(user) => format!("{} ({actor})", user.name),
        None if actor == "uid:0" => format!("operator ({actor})"),
        None => actor,
    };
    let all = audit::actors(db, ACTORS_MAX).map_err(Fault::internal)?;
    // A job is an actor of its own, and there may be many.
    let all = all.into_iter().filter(|actor| !actor.starts_with("job:"));
    let mut all: Vec<String> = all.map(named).collect();
    let near =
        |name: &String| std::cmp::Reverse(common(&asked.to_lowercase(), &name.to_lowercase()));
    all.sort_by_key(near);
    all.truncate(12);
    let known = match people.iter().any(|user| user.name.as_str() == asked) {
        true => format!("no such entry by {asked}"),
        false => format!("nobody called '{asked}' has entries"),
    };
    Ok(format!("{known}; entries are by {}", all.join(", ")))
}

/// How many neighbouring letters two names share.
fn common(a: &str, b: &str) -> usize {
    let pairs: Vec<&[u8]> = b.as_bytes().windows(2).collect();
    let shared = a.as_bytes().windows(2).filter(|pair| pairs.contains(pair));
    shared.count()
}

pub(crate) fn no_seal(app: &App) -> Fault {
    let why = app.auditor.refusing();
    let why = why.as_deref().unwrap_or("it is not sealed here");
    Fault::conflict(format!("the audit log cannot be proved: {why}")).todo("run `cofferdam fsck`")
}

/// The entry of a search: what was asked for, as far as it names nobody.
pub(crate) fn searched(filter: &Filter) -> Entry {
    let mut entry = Entry::success(Kind::AuditSearch);
    for (name, value) in [("action", &filter.kind), ("object", &filter.object)] {
        if let Some(value) = value {
            entry = entry.detail(name, value.as_str());
        }
    }
    // What is no id may be somebody's name.
    match &filter.actor {
        Some(actor) if actor.contains(':') => entry.detail("actor", actor.as_str()),
        Some(actor) => entry.private("actor", actor.as_str()),
        None => entry,
    }
}

/// Notes that somebody reads the log. Reading goes on where that cannot be noted: whether it was.
pub(crate) async fn note_search(ctx: &Ctx, entry: Entry) -> bool {
    let who = ctx.who.clone();
    let noted = ctx
        .app
        .write(move |app, tx| -> Result<(), Noted> {
            Ok(app.auditor.append(tx, &who, entry).map(drop)?)
        })
        .await;
    if let Err(fault) = &noted {
        tracing::warn!(error = fault.error, cause = ?fault.chain(), "a search was not noted");
    }
    noted.is_ok()
}

/// `GET /api/v1/audit/exports/{id}?seen=`: how far an export has come that a page began; with
/// `seen` as soon as there is something newer.
pub(crate) async fn progress(
    ctx: Ctx,
    Path(id): Path<String>,
    Query(query): Query<super::bundles::Seen>,
) -> Result<Json<Value>, Fault> {
    let job = ctx.app.0.exports.find(&id)?;
    let shown = ctx.app.off(move || {
        Ok(match query.seen {
            Some(seen) => job.wait(seen, super::bundles::WAIT),
            None => job.look(),
        })
    });
    Ok(Json(json!(shown.await?)))
}

/// `GET /api/v1/audit/state`: whether the log takes entries, and what is in its way.
pub(crate) async fn state(ctx: Ctx) -> Json<Value> {
    let state = ctx.app.auditor.state();
    let mut shown = json!(state);
    if let audit::State::Blocked(blocked) = state {
        shown["todo"] = blocked.cause.todo().into();
    }
    Json(shown)
}

/// `GET /api/v1/audit/checkpoint`: the signed size and root, and the keys to check them with.
pub(crate) async fn checkpoint(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let app = ctx.app.clone();
    let shown = ctx.app.off(move || {
        let seal = app.seal.as_ref().ok_or_else(|| no_seal(&app))?;
        let signed = seal.last().map_err(Fault::internal)?;
        Ok(json!({
            "size": signed.checkpoint.size,
            "root": hex::encode(signed.checkpoint.root),
            "note": signed.note,
            "key": seal.key().to_string(),
            "minisign": seal.minisign_key(),
        }))
    });
    Ok(Json(shown.await?))
}

/// `GET /api/v1/audit/entries/{id}`: one exact line, its leaf hash, and its way to the root.
pub(crate) async fn entry(ctx: Ctx, Path(seq): Path<i64>) -> Result<Json<Value>, Fault> {
    let app = ctx.app.clone();
    let shown = ctx.app.off(move || {
        let look = |db: &Db| -> Result<_, Fault> {
            let line = audit::line(db, Seq(seq)).map_err(Fault::internal)?;
            let opened = audit::openings(db, Seq(seq)).map_err(Fault::internal)?;
            let redacted = match &line {
                Some(line) => audit::redacted(db, line.seq, &line.text).map_err(Fault::internal)?,
                None => Vec::new(),
            };
            Ok((line, opened, redacted))
        };
        let (line, opened, redacted) = app.store.read(look)?;
        let line = line.ok_or_else(|| Fault::missing(format!("audit entry {seq}")))?;
        let seal = app.seal.as_ref().ok_or_else(|| no_seal(&app))?;
        let proof = match seal.prove(u64::try_from(seq).unwrap_or(u64::MAX)) {
            Ok(proof) => json!({
                "hashes": proof.hashes.iter().map(hex::encode).collect::<Vec<_>>(),
                "checkpoint": proof.signed.note,
            }),
            // It was made a moment ago; the next checkpoint has it.
            Err(audit::SealError::Outside { .. }) => Value::Null,
            Err(error) => return Err(Fault::internal(error)),
        };
        Ok(json!({
            "line": line.text, "leaf": hex::encode(line.leaf), "proof": proof,
            "redacted": redacted,
            "openings": opened.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }))
    });
    Ok(Json(shown.await?))
}

/// An export with its proofs taken, what it is of, and what goes beside the log.
pub(crate) fn prepared<'a>(
    app: &'a App,
    seal: &'a audit::Seal,
    mut wanted: Wanted,
) -> Result<(Export<'a>, Wanted, Vec<Extra>), Fault> {
    let chains = Chains::look(app, &mut wanted)?;
    let export = Export::begin(&app.store, seal, wanted.clone()).map_err(export_fault)?;
    let mut beside = chains.files(app, &export)?;
    if whole(&wanted) {
        beside.extend(inventory::files(app, wanted.with_names)?);
    }
    Ok((export, wanted, beside))
}

/// All that goes beside the log: what [`prepared`] gave, and what each job of the range left.
pub(crate) fn extras<'a>(
    app: &'a App,
    wanted: &Wanted,
    range: (u64, u64),
    beside: Vec<Extra>,
) -> impl Iterator<Item = Result<Extra, ExportError>> + use<'a> {
    beside
        .into_iter()
        .map(Ok)
        .chain(Statements::new(app, wanted, range))
        .chain(Receipts::new(app, wanted))
}

/// `GET /api/v1/audit/export`: the range in one file, streamed.
pub(crate) async fn export(ctx: Ctx, Query(which): Query<Which>) -> Result<Response, Fault> {
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let (mut writer, body) = stream::writer();
    let (begun, begins) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let begin = || -> Result<_, Fault> {
            let seal = app.seal.as_ref().ok_or_else(|| no_seal(&app))?;
            let wanted = app.store.read(|db| which.wanted(db))?;
            let (export, wanted, beside) = prepared(&app, seal, wanted)?;
            let (first, end) = export.range();
            let entry = exported(export.size(), (first, end), &wanted);
            app.store
                .write::<_, Noted>(|tx| Ok(app.auditor.append(tx, &who, entry).map(drop)?))?;
            Ok((export, wanted, beside))
        };
        let (export, wanted, beside) = match begin() {
            Ok(begun) => begun,
            Err(error) => return drop(begun.send(Err(error))),
        };
        if begun.send(Ok(export.entries())).is_err() {
            return;
        }
        let extras = extras(&app, &wanted, export.range(), beside);
        let written = export.write(&mut writer, app.clock.now(), extras, &mut |_| {});
        if let Err(error) = written.map(drop) {
            // Its end is missing, which whoever checks it sees.
            tracing::warn!(%error, "an export ended early");
        }
    });
    let entries = begins.await.map_err(Fault::internal)??;
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"audit.cfa\"".to_owned(),
        ),
        (
            header::HeaderName::from_static("x-cofferdam-entries"),
            entries.to_string(),
        ),
    ];
    Ok((headers, body).into_response())
}

/// The entry of an export; from its size later exports prove that the log only grew.
pub(crate) fn exported(size: u64, (first, end): (u64, u64), wanted: &Wanted) -> Entry {
    Entry::success(Kind::AuditExport)
        .detail("size", size)
        .detail("first", first)
        .detail("end", end)
        .detail("names", wanted.with_names)
}

pub(crate) fn export_fault(error: ExportError) -> Fault {
    match error {
        ExportError::Empty => Fault::bad(error),
        ExportError::Broken => Fault::conflict(error),
        ExportError::Store(e) => e.into(),
        other => Fault::internal(other),
    }
}

/// Why an entry of its own was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Noted {
    #[error(transparent)]
    Seal(audit::SealError),
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Noted> for Fault {
    fn from(error: Noted) -> Self {
        match error {
            Noted::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

/// Whether an export of this hides nothing: what a filter hides is not told beside the log either.
pub(super) fn whole(wanted: &Wanted) -> bool {
    wanted.kind.is_none() && wanted.actor.is_none() && wanted.object.is_none()
}

/// The receipts of the jobs that ended in the range, newest first, a page at a time.
struct Receipts<'a> {
    app: &'a App,
    filter: Filter,
    page: Vec<JobId>,
    left: usize,
    done: std::collections::BTreeSet<JobId>,
}

impl<'a> Receipts<'a> {
    fn new(app: &'a App, wanted: &Wanted) -> Self {
        Self {
            app,
            filter: Filter {
                kind: Some(Kind::JobCompleted.as_str().to_owned()),
                since: wanted.since,
                until: wanted
                    .until
                    .or(Some(app.clock.now() + std::time::Duration::from_secs(1))),
                ..Filter::default()
            },
            page: Vec::new(),
            left: if whole(wanted) { RECEIPTS_MAX } else { 0 },
            done: std::collections::BTreeSet::new(),
        }
    }

    fn turn(&mut self, db: &Db) -> Result<bool, StoreError> {
        let lines = audit::list(db, &self.filter, 1_000)?;
        self.filter.before = lines.last().map(|line| line.seq);
        self.page = lines
            .iter()
            .filter_map(|line| {
                let value: Value = serde_json::from_str(&line.text).ok()?;
                let id = value["link"]["job"]
                    .as_str()
                    .or(value["obj"]["id"].as_str())?;
                id.rsplit(':').next()?.parse().ok().map(JobId)
            })
            .collect();
        Ok(!lines.is_empty())
    }
}

impl Iterator for Receipts<'_> {
    type Item = Result<Extra, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let app = self.app;
        while self.left > 0 {
            let Some(id) = self.page.pop() else {
                match app.store.read(|db| self.turn(db)) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error.into())),
                }
            };
            if !self.done.insert(id) {
                continue;
            }
            let receipt = app.store.read(|db| -> Result<_, Fault> {
                let Some(job) = queue::job(db, id)? else {
                    return Ok(None);
                };
                let attempt = queue::attempt(db, id, job.attempt)?;
                Ok(attempt.and_then(|attempt| attempt.receipt))
            });
            if let Ok(Some(receipt)) = receipt {
                self.left -= 1;
                let bytes = format!("{receipt}\n").into_bytes();
                return Some(Ok((format!("jobs/{}/receipt.json", id.0), bytes)));
            }
        }
        None
    }
}
