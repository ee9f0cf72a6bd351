//! Undo, collection, scrub and slips. What cannot be taken back is asked about on a page of its
//! own first, with what it would do.

use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use supply::bundles::{BundleError, Written};

use super::bundle_about::{self as about};
use super::{bundle_changes, frame, render, see};
use crate::api::bad_form;
use crate::api::bundles as api;
use crate::api::witnesses::growing;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::view::Row;
use crate::view::bundles::Confirm;
use crate::words;

/// `GET /bundles/undo`: what going back would change.
pub(crate) async fn ask_undo(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Undo", "Bundles").await?;
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    ctx.app
        .off(move || {
            let mut view = Confirm {
                frame,
                title: "Go back one generation".to_owned(),
                text: "Jobs that start afterwards see the earlier generation. Jobs that run keep \
                       theirs. The newer bundle can be imported again."
                    .to_owned(),
                refused: None,
                facts: Vec::new(),
                changes: None,
                action: "/bundles/undo",
                choice: None,
                button: "Go back".to_owned(),
            };
            match intake.undo(&who, true) {
                Ok(undone) => {
                    let bundle = &undone.bundle;
                    view.title = format!("Go back to generation {}", undone.to);
                    view.button = format!("Go back to generation {}", undone.to);
                    view.facts = vec![
                        Row::new("bundle", about::name(bundle)),
                        Row::new("content", words::plain(&bundle.content)),
                        Row::new("locked on", bundle.created.clone()),
                        Row::new(
                            "damaged or missing",
                            words::count(undone.lacking as u64, "blob"),
                        ),
                    ];
                    let against = format!("against generation {}", undone.from);
                    view.changes = Some(bundle_changes::changes(&undone.diff, against));
                }
                Err(error) => view.refused = Some(about::refused(error)?),
            }
            render(&view)
        })
        .await
}

/// `POST /bundles/undo`
pub(crate) async fn undo(ctx: Ctx) -> Result<Response, Fault> {
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    ctx.app.off(move || Ok(intake.undo(&who, false)?)).await?;
    Ok(see("/bundles"))
}

/// `GET /bundles/collect`: what a collection would remove.
pub(crate) async fn ask_collect(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Collect", "Bundles").await?;
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    ctx.app
        .off(move || {
            let mut view = Confirm {
                frame,
                title: "Remove what nothing needs".to_owned(),
                text: "Kept generations, running jobs, images imported by hand and unfinished \
                       imports keep what they need."
                    .to_owned(),
                refused: None,
                facts: Vec::new(),
                changes: None,
                action: "/bundles/collect",
                choice: Some(("abandon", "Give up unfinished imports, too")),
                button: "Remove".to_owned(),
            };
            match intake.collect(&who, false, true) {
                Ok(found) => {
                    view.facts = vec![
                        Row::new("generations", found.generations.to_string()),
                        Row::new("blobs", found.blobs.to_string()),
                        Row::new("their size", words::size(found.bytes)),
                    ];
                }
                Err(error) => view.refused = Some(about::refused(error)?),
            }
            render(&view)
        })
        .await
}

#[derive(Default, Deserialize)]
pub(crate) struct Collection {
    #[serde(default)]
    abandon: bool,
}

/// `POST /bundles/collect`
pub(crate) async fn collect(
    ctx: Ctx,
    form: Result<Form<Collection>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    ctx.app
        .off(move || Ok(intake.collect(&who, form.abandon, false)?))
        .await?;
    Ok(see("/bundles#upkeep"))
}

/// `POST /bundles/scrub`
pub(crate) async fn scrub(ctx: Ctx) -> Result<Response, Fault> {
    api::begin_scrub(&ctx)?;
    Ok(see("/bundles#upkeep"))
}

/// `POST /bundles/scrub/stop`
pub(crate) async fn stop_scrub(ctx: Ctx) -> Result<Response, Fault> {
    // One that has just ended is not in need of it.
    match api::end_scrub(&ctx).await {
        Err(fault) if fault.status != StatusCode::CONFLICT => Err(fault),
        Ok(_) | Err(_) => Ok(see("/bundles#upkeep")),
    }
}

/// `POST /bundles/have`: the slip of what is here, as a file.
pub(crate) async fn have(ctx: Ctx) -> Result<Response, Fault> {
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    slip(&ctx, "have.slip", move || {
        app.intake.have(&who, growing(&app))
    })
    .await
}

/// `POST /bundles/need`: the slip of what is lacking, as a file.
pub(crate) async fn need(ctx: Ctx) -> Result<Response, Fault> {
    let (intake, who) = (ctx.app.intake.clone(), ctx.who.clone());
    // What was asked for a moment ago is still in memory.
    let app = ctx.app.clone();
    slip(&ctx, "need.slip", move || {
        let now_ms = vocab::unix_ms(app.clock.now());
        app.wants.flush(&app.store, now_ms)?;
        intake.need(&who)
    })
    .await
}

async fn slip(
    ctx: &Ctx,
    name: &'static str,
    write: impl FnOnce() -> Result<Written, BundleError> + Send + 'static,
) -> Result<Response, Fault> {
    let written = ctx.app.off(move || Ok(write()?)).await?;
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::from_str(&disposition).map_err(Fault::internal)?,
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, written.text).into_response())
}
