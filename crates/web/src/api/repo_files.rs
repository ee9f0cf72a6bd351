//! Repos as files: out, in, checked, and rid of what nothing reaches.

use std::time::Duration;

use audit::{Entry, Kind, Who};
use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forge::Repo;
use git::{Collected, PackError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::push::RecordError;
use crate::state::App;
use crate::{git_http, git_service, import, stream};

use super::bad_json;

type Body<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

/// How long what no ref reaches stays, unless the caller says so: days.
pub const GRACE_DAYS: u32 = 14;

/// `GET /api/v1/repos/{owner}/{repo}/bundle`
pub(crate) async fn export(ctx: Ctx) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let app = ctx.app.clone();
    let repository = ctx
        .app
        .off({
            let app = app.clone();
            move || {
                let repository = app.repository(repo.id).map_err(Fault::internal)?;
                let refs = repository.refs().map_err(Fault::internal)?;
                if refs.all().is_empty() {
                    return Err(Fault::conflict(PackError::Nothing));
                }
                Ok(repository)
            }
        })
        .await?;
    let turn = git_http::turn(&app).await?;
    let (mut out, body) = stream::writer();
    let (repo, who) = (ctx.repo()?.clone(), ctx.who.clone());
    let name = format!("{}.bundle", repo.path.name);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        match repository.write_bundle(&mut out) {
            Ok(_) => git_service::note_fetch(&app, &who, &repo, true),
            Err(error) => tracing::warn!(repo.id = %repo.id, %error, "an export ended early"),
        }
    });
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/x-git-bundle");
    headers.insert(header::CONTENT_TYPE, kind);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// `POST /api/v1/repos/{owner}/{repo}/import`
pub(crate) async fn take_in(ctx: Ctx, request: Request) -> Result<Json<Value>, Fault> {
    let (parts, body) = request.into_parts();
    let limit = ctx.app.config.limits.push_bytes.saturating_add(64 << 20);
    let input = stream::reader(&parts.headers, body, limit)
        .map_err(|e| Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, e))?;
    let repo = ctx.repo()?.clone();
    let turn = git_http::turn(&ctx.app).await?;
    let app = ctx.app.clone();
    let taken = app
        .off(move || {
            let _turn = turn;
            import::take(&ctx, &repo, input)
        })
        .await?;
    Ok(Json(taken))
}

/// `POST /api/v1/repos/{owner}/{repo}/check`
pub(crate) async fn check(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let repo = ctx.repo()?.id;
    let app = ctx.app.clone();
    let checked = ctx
        .app
        .off(move || {
            let repository = app.repository(repo).map_err(Fault::internal)?;
            repository.check().map_err(Fault::internal)
        })
        .await?;
    Ok(Json(json!({
        "packs": checked.packs,
        "objects": checked.objects,
        "refs": checked.refs,
        "problems": checked.problems,
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Collecting {
    #[serde(default)]
    grace_days: Option<u32>,
}

/// `POST /api/v1/repos/{owner}/{repo}/gc`
pub(crate) async fn collect(ctx: Ctx, body: Body<Collecting>) -> Result<Json<Value>, Fault> {
    let Json(asked) = body.map_err(|e| bad_json(&e))?;
    let days = asked.grace_days.unwrap_or(GRACE_DAYS);
    let repo = ctx.repo()?.clone();
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let done = ctx
        .app
        .off(move || {
            let repository = app.repository(repo.id).map_err(Fault::internal)?;
            let size = || repository.disk_bytes().map_err(Fault::internal);
            let before = size()?;
            let done = collect_repo(&app, &who, &repo, days)?;
            Ok(json!({
                "repo": repo.path.to_string(),
                "grace_days": days,
                "reachable": done.reachable,
                "set_aside": done.set_aside,
                "removed": done.removed,
                "packs_before": done.packs_before,
                "packs_after": done.packs_after,
                "bytes_before": before,
                "bytes_after": size()?,
            }))
        })
        .await?;
    Ok(Json(done))
}

/// Why a repo's objects were not sorted, or not noted to be.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The repository cannot be opened.
    #[error(transparent)]
    Open(#[from] git::OpenError),
    /// An object or a pack cannot be read or written.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The packs were sorted, but not looked at for clones.
    #[error("the larger packs cannot be looked at")]
    Prepare(#[source] std::io::Error),
    /// There is no entry of it.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl From<CollectError> for Fault {
    fn from(error: CollectError) -> Self {
        Self::internal(error)
    }
}

/// Sorts a repo's objects and removes what was aside for longer than `days`, with its entry.
/// Blocking.
///
/// # Errors
/// Before anything is done where the log takes no entries for another reason than scarce space.
pub fn collect_repo(
    app: &App,
    who: &Who,
    repo: &Repo,
    days: u32,
) -> Result<Collected, CollectError> {
    if let audit::State::Blocked(why) = app.auditor.state()
        && why.cause != audit::Cause::Space
    {
        return Err(RecordError::Append(audit::AppendError::Blocked(why)).into());
    }
    let repository = app.repository(repo.id)?;
    let grace = Duration::from_secs(u64::from(days) * 86_400);
    let done = repository.gc(grace, app.clock.now())?;
    let entry = Entry::success(Kind::GcRun)
        .object("repo", repo.id.tagged(), repo.path.to_string())
        .detail("grace_days", days)
        .detail("set_aside", done.set_aside)
        .detail("removed", done.removed);
    app.store.write(|tx| -> Result<(), RecordError> {
        app.auditor.append(tx, who, entry)?;
        Ok(())
    })?;
    repository.prepare_clones().map_err(CollectError::Prepare)?;
    Ok(done)
}
