//! Queue, runners, images, this host, the audit log.

use std::str::FromStr as _;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use supply::{ImageName, ImageRow, ImportError};

use super::bad;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::stream;

/// `GET /api/v1/queue`
pub(crate) async fn queue(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let rows = crate::pages::pool::rows(&ctx).await?;
    let jobs: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.job.id,
                "name": row.job.name,
                "repo": row.repo.path.to_string(),
                "run": row.run.number,
                "state": row.job.state,
                "labels": row.job.labels,
                "reason": row.why,
                "since": row.job.started_ms.or(row.job.queued_ms).unwrap_or(row.job.created_ms),
            })
        })
        .collect();
    Ok(Json(json!({ "jobs": jobs })))
}

/// `GET /api/v1/runners`
pub(crate) async fn runners(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let rows = crate::pages::pool::rows(&ctx).await?;
    let app = ctx.app.clone();
    let shown = ctx
        .app
        .off(move || {
            Ok(json!({
                "runners": app.facilities.capacity(),
                "slots": crate::pages::pool::slots_for(&app, &rows),
                "isolation": app.facilities.isolation(),
            }))
        })
        .await?;
    Ok(Json(shown))
}

/// `GET /api/v1/doctor`
pub(crate) async fn doctor(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let facilities = ctx.app.facilities.clone();
    Ok(Json(ctx.app.off(move || Ok(facilities.doctor())).await?))
}

fn image_json(image: &ImageRow) -> Value {
    let mut out = serde_json::to_value(image).unwrap_or_default();
    out["name"] = image.shown_name().into();
    out["imported"] = image.imported_ms.into();
    out
}

/// `GET /api/v1/images`
pub(crate) async fn images(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let images = ctx.app.read(|db| Ok(supply::images(db)?)).await?;
    Ok(Json(
        json!({ "images": images.iter().map(image_json).collect::<Vec<_>>() }),
    ))
}

#[derive(Deserialize)]
pub(crate) struct NamePath {
    name: String,
}

/// `PUT /api/v1/images/{name}`: the body is a tar of an OCI layout, or a docker-archive.
pub(crate) async fn import(
    ctx: Ctx,
    Path(path): Path<NamePath>,
    request: Request<Body>,
) -> Result<Response, Fault> {
    let name = ImageName::from_str(&path.name).map_err(bad)?;
    let (parts, body) = request.into_parts();
    let limit = ctx.app.config.limits.image_bytes;
    let input = stream::reader(&parts.headers, body, limit)
        .map_err(|e| Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, e))?;
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let imported = ctx
        .app
        .off(move || {
            supply::import_image(&app.store, &app.auditor, &who, &*app.unpack, &name, input)
                .map_err(import_fault)
        })
        .await?;
    let mut shown = image_json(&imported.image);
    shown["notices"] = json!(imported.notices);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

fn import_fault(error: ImportError) -> Fault {
    let words = crate::push::chain(&error);
    match error {
        ImportError::Archive(_)
        | ImportError::Image(_)
        | ImportError::Layer { .. }
        | ImportError::Unpack { .. } => Fault::new(StatusCode::UNPROCESSABLE_ENTITY, words)
            .todo("make the archive again, then import it"),
        ImportError::Store(e) => e.into(),
        other => Fault::internal(other),
    }
}

/// `DELETE /api/v1/images/{name}`
pub(crate) async fn remove_image(
    ctx: Ctx,
    Path(path): Path<NamePath>,
) -> Result<Json<Value>, Fault> {
    let who = ctx.who.clone();
    let name = path.name.clone();
    let gone = ctx
        .app
        .write(move |app, tx| -> Result<_, ImageFault> {
            Ok(supply::remove(tx, &app.auditor, &who, &name)?)
        })
        .await?;
    match gone {
        Some(image) => Ok(Json(json!({ "removed": image_json(&image) }))),
        None => Err(Fault::missing(format!("image {}", path.name))),
    }
}

#[derive(Debug, thiserror::Error)]
enum ImageFault {
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl From<ImageFault> for Fault {
    fn from(error: ImageFault) -> Self {
        match error {
            ImageFault::Store(e) => e.into(),
            other @ ImageFault::Append(_) => Self::internal(other),
        }
    }
}
