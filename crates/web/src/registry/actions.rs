//! Actions of a generation, as git repositories that can be cloned and fetched. Read only.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, Request};
use axum::http::HeaderMap;
use axum::response::Response;
use bundle::Item;
use git::{Repository, Service, Transport, UploadLimits};
use serde::Deserialize;

use super::Shelf;
use crate::fault::Fault;
use crate::git_http::{self, Asked};
use crate::stream;

/// Longest request of a fetch, unpacked.
const REQUEST_BYTES: u64 = 16 << 20;

#[derive(Deserialize)]
pub(crate) struct Named {
    owner: String,
    name: String,
}

/// `GET /actions/{owner}/{name}.git/info/refs`
pub(crate) async fn info_refs(
    shelf: Shelf,
    Path(named): Path<Named>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let repository = find(&shelf, &named).await?;
    if asked.service() != Some(Service::UploadPack) {
        return Err(Fault::denied("actions of a generation can only be read")
            .todo("clone or fetch, with git 1.6.6 or newer"));
    }
    let protocol = git_http::protocol(&headers);
    let text = shelf
        .app
        .off(move || {
            let mut text = Vec::new();
            let limits = UploadLimits::default();
            git::advertise(
                &repository,
                Service::UploadPack,
                protocol,
                Transport::Http,
                &limits,
                &mut text,
            )
            .map_err(Fault::internal)?;
            Ok(text)
        })
        .await?;
    let kind = format!("application/x-{}-advertisement", Service::UploadPack.name());
    Ok(git_http::answer(&kind, Body::from(text)))
}

/// `POST /actions/{owner}/{name}.git/git-upload-pack`
pub(crate) async fn upload_pack(
    shelf: Shelf,
    Path(named): Path<Named>,
    request: Request,
) -> Result<Response, Fault> {
    let (protocol, mut input) = git_http::open(Service::UploadPack, request, REQUEST_BYTES)?;
    let repository = find(&shelf, &named).await?;
    let turn = git_http::turn(&shelf.app).await?;
    let (mut out, body) = stream::writer();
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let limits = UploadLimits::default();
        let served = git::upload_pack(&repository, protocol, &mut input, &mut out, &limits);
        if let Err(error) = served {
            tracing::info!(%error, "a fetch of an action ended early");
        }
    });
    Ok(git_http::answer(
        "application/x-git-upload-pack-result",
        body,
    ))
}

/// The repository of the action that is named, made now if it must be.
async fn find(shelf: &Shelf, named: &Named) -> Result<Arc<Repository>, Fault> {
    let name = named.name.strip_suffix(".git").unwrap_or(&named.name);
    let full = format!("{}/{name}", named.owner);
    let found = shelf.named("action", &full).await?.into_iter().next();
    let Some(Item::Action(action)) = found else {
        return Err(shelf.absent("action", &full));
    };
    let app = shelf.app.clone();
    let open = move || app.0.actions.repository(&action).map_err(Fault::internal);
    shelf.app.off(open).await
}
