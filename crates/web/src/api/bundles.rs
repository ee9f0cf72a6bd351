//! Bundles: verdict, difference, import, undo, history, collection, scrub, slips, trust.
//!
//! A medium is named by its path on the appliance. Somebody at the web listener may name only
//! places below the settings' media folders, and learns nothing about others.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use audit::{Entry, Kind, Via};
use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bundle::root::Root;
use bundle::{Judged, Verified};
use serde::Deserialize;
use serde_json::{Value, json};
use supply::bundles::{self, BundleError, Plan, Progress};
use vocab::Digest;

use super::{bad_json, witnesses};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::uses;

type Body<T> = Result<Json<T>, JsonRejection>;

/// How long a look at the progress waits for something new.
pub(crate) const WAIT: Duration = Duration::from_secs(10);

impl From<BundleError> for Fault {
    fn from(error: BundleError) -> Self {
        let (code, words) = (error.code(), crate::push::chain(&error));
        let status = match &error {
            BundleError::Store(_) | BundleError::Audit(_) | BundleError::Io { .. } => {
                let fault = Self::internal(error);
                // What stands in the audit log's way has a code of its own.
                return match fault.code {
                    Some(_) => fault,
                    None => fault.code(code),
                };
            }
            BundleError::Busy { .. }
            | BundleError::TrustFixed { .. }
            | BundleError::NothingBefore
            | BundleError::NotKept(_) => StatusCode::CONFLICT,
            BundleError::Space { .. } | BundleError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        match words.split_once("; ") {
            Some((said, todo)) => Self::new(status, said).todo(todo).code(code),
            None => Self::new(status, words).code(code),
        }
    }
}

/// Which medium.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    path: PathBuf,
    #[serde(default)]
    quorum_override: bool,
}

/// The place, if whoever asks may have it read.
fn allowed(ctx: &Ctx, body: Body<Place>) -> Result<Place, Fault> {
    let Json(mut place) = body.map_err(|e| bad_json(&e))?;
    place.path = medium(ctx, &place.path)?;
    Ok(place)
}

/// The path of a medium, if whoever asks may have it read.
pub(crate) fn medium(ctx: &Ctx, path: &Path) -> Result<PathBuf, Fault> {
    if !path.is_absolute() {
        return Err(Fault::bad("the path of a medium is not absolute")
            .todo("begin it with a slash, such as /media/stick"));
    }
    if ctx.who.via == Via::Control {
        return Ok(path.to_owned());
    }
    let media = &ctx.app.config.media;
    let outside = || {
        let shown: Vec<String> = media.iter().map(|m| m.display().to_string()).collect();
        Fault::denied("a bundle is read from a medium only")
            .todo(format!(
                "name a folder below {}, or use the command line on the appliance",
                shown.join(", ")
            ))
            .code("E_PLACE")
    };
    let plain = |path: &Path| {
        path.components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
    };
    let below = |path: &Path| media.iter().any(|folder| path.starts_with(folder));
    if !plain(path) || !below(path) {
        return Err(outside());
    }
    // A link on the medium may lead out of it; what is not there is told like what is elsewhere.
    let real = path.canonicalize().map_err(|_| outside())?;
    let inside = media
        .iter()
        .filter_map(|folder| folder.canonicalize().ok())
        .any(|folder| real.starts_with(folder));
    if !inside {
        return Err(outside());
    }
    Ok(real)
}

fn verified_json(verified: &Verified) -> Value {
    let manifest = &verified.manifest;
    let new: Vec<Value> = verified
        .new_roots
        .iter()
        .map(|(root, _)| root_json(root))
        .collect();
    json!({
        "product": manifest.product,
        "channel": manifest.channel,
        "seq": manifest.seq,
        "content": manifest.content,
        "arch": manifest.arch,
        "created": manifest.created,
        "not_after": manifest.not_after,
        "security_epoch": manifest.security_epoch,
        "manifest": verified.digest,
        "signers": verified.signers,
        "comment": verified.comment,
        "override_by": verified.override_by,
        "root": verified.root.number(),
        "new_roots": new,
        "volumes": manifest.volumes.iter().map(|v| json!({"name": v.name, "size": v.size})).collect::<Vec<_>>(),
        "blobs": manifest.blobs.len(),
        "items": manifest.items.len(),
        "size_bytes": manifest.volumes.iter().map(|v| v.size).sum::<u64>(),
        "delta": manifest.base.is_some(),
    })
}

fn root_json(root: &Root) -> Value {
    let statement = root.statement();
    let role = |role: &bundle::root::Role| {
        let keys: Vec<Value> = role
            .keys
            .iter()
            .map(|key| json!({"id": key.id, "name": key.name}))
            .collect();
        json!({"threshold": role.threshold, "keys": keys})
    };
    json!({
        "number": root.number(),
        "site": statement.site,
        "created": statement.created,
        "fingerprint": root.fingerprint().hex(),
        "root": role(&statement.root),
        "release": role(&statement.release),
        "revoked": statement.revoked,
    })
}

fn plan_json(plan: &Plan) -> Value {
    let judged = match &plan.judged {
        Ok(Judged::New) => json!({"verdict": "new"}),
        Ok(Judged::Already) => json!({"verdict": "already"}),
        Err(error) => json!({
            "verdict": "refused",
            "code": error.code(),
            "error": crate::push::chain(error),
        }),
    };
    json!({
        "bundle": verified_json(&plan.verified),
        "judged": judged,
        "strays": plan.strays,
        "missing_blobs": plan.missing_blobs,
        "missing_bytes": plan.missing_bytes,
        "unpack_bytes": plan.unpack_bytes,
        "free_bytes": plan.free_bytes,
        "seconds": plan.seconds,
    })
}

/// `POST /api/v1/bundles/verify`: the verdict from the signed part alone.
pub(crate) async fn verify(ctx: Ctx, body: Body<Place>) -> Result<Json<Value>, Fault> {
    let place = allowed(&ctx, body)?;
    let intake = ctx.app.intake.clone();
    let work = move || Ok(plan_json(&intake.plan(&place.path, place.quorum_override)?));
    Ok(Json(ctx.app.off(work).await?))
}

/// `POST /api/v1/bundles/diff`: what it changes, and whom that touches.
pub(crate) async fn diff(ctx: Ctx, body: Body<Place>) -> Result<Json<Value>, Fault> {
    let place = allowed(&ctx, body)?;
    let app = ctx.app.clone();
    let work = move || {
        let plan = app.intake.plan(&place.path, place.quorum_override)?;
        let uses = uses::of_all_repos(&app)?;
        let diff = app
            .store
            .read(|db| bundles::diff(db, &plan.verified, &uses))?;
        let mut shown = plan_json(&plan);
        shown["diff"] = json!(diff);
        Ok(shown)
    };
    Ok(Json(ctx.app.off(work).await?))
}

/// `POST /api/v1/bundles/import`: verifies, then reads in the background.
pub(crate) async fn import(ctx: Ctx, body: Body<Place>) -> Result<Response, Fault> {
    let place = allowed(&ctx, body)?;
    let progress = begin(&ctx, place.path, place.quorum_override).await?;
    Ok((StatusCode::ACCEPTED, Json(json!(progress.snapshot()))).into_response())
}

/// Verifies the medium and goes on in the background.
pub(crate) async fn begin(
    ctx: &Ctx,
    path: PathBuf,
    quorum_override: bool,
) -> Result<Arc<Progress>, Fault> {
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    let begun = ctx
        .app
        .off(move || Ok(intake.begin(&path, &who, quorum_override)?))
        .await?;
    let progress = begun.progress();
    tokio::task::spawn_blocking(move || {
        // How it ended is in the progress, which outlives this task.
        drop(begun.run());
    });
    Ok(progress)
}

#[derive(Deserialize)]
pub(crate) struct Seen {
    pub(crate) seen: Option<u64>,
}

/// `GET /api/v1/bundles/import?seen=`: how the import stands that runs or ran last; with `seen`
/// as soon as there is something newer.
pub(crate) async fn progress(ctx: Ctx, Query(query): Query<Seen>) -> Result<Json<Value>, Fault> {
    let Some(progress) = ctx.app.intake.current() else {
        return Ok(Json(Value::Null));
    };
    let work = move || {
        Ok(match query.seen {
            Some(seen) => progress.wait(seen, WAIT),
            None => progress.snapshot(),
        })
    };
    Ok(Json(json!(ctx.app.off(work).await?)))
}

/// `DELETE /api/v1/bundles/import`: asks that it end; what was read is kept.
pub(crate) async fn cancel(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let progress = end_import(&ctx).await?;
    Ok(Json(json!(progress.snapshot())))
}

/// Asks the import that runs to end.
pub(crate) async fn end_import(ctx: &Ctx) -> Result<Arc<Progress>, Fault> {
    let progress = ctx.app.intake.current();
    let running = progress.filter(|p| !p.snapshot().ended());
    let progress = running.ok_or_else(|| Fault::conflict("no import runs now"))?;
    let entry = Entry::success(Kind::BundleAborted).detail("asked", true);
    ctx.note(entry).await?;
    progress.cancel();
    Ok(progress)
}

/// Whether to do it, or only to say what it would do.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tried {
    dry_run: bool,
    abandon: bool,
}

/// `POST /api/v1/bundles/undo`: back to the generation before.
pub(crate) async fn undo(ctx: Ctx, body: Body<Tried>) -> Result<Json<Value>, Fault> {
    let Json(tried) = body.map_err(|e| bad_json(&e))?;
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    let work = move || Ok(json!(intake.undo(&who, tried.dry_run)?));
    Ok(Json(ctx.app.off(work).await?))
}

/// `POST /api/v1/bundles/gc`: removes what nothing needs.
pub(crate) async fn collect(ctx: Ctx, body: Body<Tried>) -> Result<Json<Value>, Fault> {
    let Json(tried) = body.map_err(|e| bad_json(&e))?;
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    let work = move || Ok(json!(intake.collect(&who, tried.abandon, tried.dry_run)?));
    Ok(Json(ctx.app.off(work).await?))
}

/// `GET /api/v1/bundles`: every generation, newest first, and imports that have not ended.
pub(crate) async fn history(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let shown = ctx
        .app
        .read(|db| {
            Ok(json!({
                "generations": bundles::history(db)?,
                "unfinished": bundles::unfinished(db)?,
            }))
        })
        .await?;
    Ok(Json(shown))
}

/// `POST /api/v1/bundles/scrub`: reads every blob again, in the background.
pub(crate) async fn scrub(ctx: Ctx) -> Result<Response, Fault> {
    let progress = begin_scrub(&ctx)?;
    Ok((StatusCode::ACCEPTED, Json(json!(progress.snapshot()))).into_response())
}

/// Begins to read every blob again, in the background.
pub(crate) fn begin_scrub(ctx: &Ctx) -> Result<Arc<Progress>, Fault> {
    let begun = ctx.app.intake.begin_scrub(&ctx.who)?;
    let progress = begun.progress();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = begun.run() {
            tracing::warn!(error = crate::push::chain(&error), "a scrub ended early");
        }
    });
    Ok(progress)
}

/// `GET /api/v1/bundles/scrub?seen=`: how far the last scrub came, and the one that runs.
pub(crate) async fn scrub_state(ctx: Ctx, Query(query): Query<Seen>) -> Result<Json<Value>, Fault> {
    let running = ctx.app.intake.scrubbing();
    let now = ctx
        .app
        .off(move || {
            Ok(running.map(|progress| match query.seen {
                Some(seen) => progress.wait(seen, WAIT),
                None => progress.snapshot(),
            }))
        })
        .await?;
    let (last, damaged) = ctx
        .app
        .read(|db| Ok((bundles::scrubbed(db)?, bundles::damaged(db)?)))
        .await?;
    Ok(Json(
        json!({ "running": now, "last": last, "damaged": damaged }),
    ))
}

/// `DELETE /api/v1/bundles/scrub`: asks that it end; the next goes on there.
pub(crate) async fn cancel_scrub(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let progress = end_scrub(&ctx).await?;
    Ok(Json(json!(progress.snapshot())))
}

/// Asks the scrub that runs to end.
pub(crate) async fn end_scrub(ctx: &Ctx) -> Result<Arc<Progress>, Fault> {
    let Some(progress) = ctx.app.intake.scrubbing() else {
        return Err(Fault::conflict("no scrub runs now"));
    };
    let entry = Entry::success(Kind::BlobScrubbed).detail("stopped", true);
    ctx.note(entry).await?;
    progress.cancel();
    Ok(progress)
}

/// `POST /api/v1/bundles/have`: the slip of what is here.
pub(crate) async fn have(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let work = move || Ok(json!(app.intake.have(&who, witnesses::growing(&app))?));
    Ok(Json(ctx.app.off(work).await?))
}

/// `POST /api/v1/bundles/need`: the slip of what is lacking.
pub(crate) async fn need(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    Ok(Json(
        ctx.app.off(move || Ok(json!(intake.need(&who)?))).await?,
    ))
}

/// `GET /api/v1/bundles/trust`: the fingerprint, the statements, the key of the slips.
pub(crate) async fn trust(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let app = ctx.app.clone();
    let work = move || {
        let fingerprint = bundles::fingerprint(app.store.dir())?;
        let statements = app.store.read(bundles::statements)?;
        let shown: Vec<Value> = statements
            .iter()
            .map(|kept| {
                let mut shown = root_json(&kept.root);
                shown["accepted"] = kept.accepted_ms.into();
                shown["body"] = String::from_utf8_lossy(kept.root.bytes()).into();
                shown
            })
            .collect();
        let key = app.intake.slip_key();
        Ok(json!({
            "fingerprint": fingerprint.map(|d| d.hex()),
            "statements": shown,
            "slip_key": {"id": key.id(), "public": key.to_file()},
        }))
    };
    Ok(Json(ctx.app.off(work).await?))
}

/// The first statement's fingerprint, as it stands on paper.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paper {
    fingerprint: String,
}

/// `PUT /api/v1/bundles/trust`: pins the fingerprint.
pub(crate) async fn pin(ctx: Ctx, body: Body<Paper>) -> Result<Json<Value>, Fault> {
    let Json(paper) = body.map_err(|e| bad_json(&e))?;
    let digits: String = paper
        .fingerprint
        .trim()
        .trim_start_matches("sha256:")
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let digest: Digest = format!("sha256:{}", digits.to_lowercase())
        .parse()
        .map_err(|_| {
            Fault::bad("a fingerprint has 64 hex digits").todo("type it from the paper")
        })?;
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let work = move || {
        bundles::pin(&app.store, &app.auditor, &who, &digest)?;
        Ok(json!({ "fingerprint": digest.hex() }))
    };
    Ok(Json(ctx.app.off(work).await?))
}

/// `GET /api/v1/catalogue`: everything that is served, where it came from, who uses it, and what
/// jobs asked for in vain.
pub(crate) async fn catalogue(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let app = ctx.app.clone();
    let principal = ctx.principal.clone();
    let work = move || {
        let uses = uses::shown_to(&app, &principal)?;
        Ok(app.store.read(|db| {
            let listed = bundles::catalogue(db, &uses)?;
            let wants = supply::generation::wants(db)?;
            Ok::<_, store::StoreError>(json!({
                "generation": supply::generation::active(db)?,
                "items": listed,
                "wants": wants,
            }))
        })?)
    };
    Ok(Json(ctx.app.off(work).await?))
}
