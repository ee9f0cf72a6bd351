//! Git's smart HTTP: advertisement, fetch, push. The dumb protocol is refused.

use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use git::{Protocol, Service, Transport, UploadLimits};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::push::Client;
use crate::state::App;
use crate::{git_service, push, stream};

/// Longest request of a fetch, unpacked: wants, haves and shallow lines.
const FETCH_REQUEST_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
pub(crate) struct Asked {
    service: Option<String>,
}

impl Asked {
    /// The service, if it is one.
    pub(crate) fn service(&self) -> Option<Service> {
        self.service.as_deref().and_then(Service::from_name)
    }
}

/// `GET …/info/refs?service=…`
pub(crate) async fn info_refs(
    ctx: Ctx,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let service = asked.service().ok_or_else(|| {
        Fault::denied("git's dumb protocol is not served").todo("use git 1.6.6 or newer")
    })?;
    if service == Service::ReceivePack {
        ctx.require(access::Action::GitPush).await?;
    }
    let protocol = protocol(&headers);
    let repo = ctx.repo()?.clone();
    let app = ctx.app.clone();
    let _turn = turn(&ctx.app).await?;
    let text = ctx
        .app
        .off(move || {
            let repository = app.repository(repo.id).map_err(Fault::internal)?;
            let mut text = Vec::new();
            let limits = UploadLimits::default();
            git::advertise(
                &repository,
                service,
                protocol,
                Transport::Http,
                &limits,
                &mut text,
            )
            .map_err(Fault::internal)?;
            Ok(text)
        })
        .await?;
    Ok(answer(
        &format!("application/x-{}-advertisement", service.name()),
        Body::from(text),
    ))
}

/// `POST …/git-upload-pack`
pub(crate) async fn upload_pack(ctx: Ctx, request: Request) -> Result<Response, Fault> {
    let (protocol, mut input) = open(Service::UploadPack, request, FETCH_REQUEST_BYTES)?;
    let caller = ctx.caller()?;
    let turn = turn(&ctx.app).await?;
    let (mut out, body) = stream::writer();
    let span = tracing::info_span!("fetch", repo.id = %caller.repo.id);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let _in = span.enter();
        match caller.app.repository(caller.repo.id) {
            Ok(repository) => {
                git_service::fetch(&caller, &repository, protocol, &mut input, &mut out);
            }
            Err(error) => tracing::error!(%error, "the repository cannot be opened"),
        }
    });
    Ok(answer("application/x-git-upload-pack-result", body))
}

/// `POST …/git-receive-pack`
pub(crate) async fn receive_pack(ctx: Ctx, request: Request) -> Result<Response, Fault> {
    let limit = ctx.app.config.limits.push_bytes.saturating_add(16 << 20);
    let (_, mut input) = open(Service::ReceivePack, request, limit)?;
    let caller = ctx.caller()?;
    let turn = turn(&ctx.app).await?;
    let (mut out, body) = stream::writer();
    let span = tracing::info_span!("push", repo.id = %caller.repo.id);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let _in = span.enter();
        if let Err(error) = push::receive(&caller, Client::SendsFirst, &mut input, &mut out) {
            tracing::error!(error = %crate::push::chain(&error), "a push could not be served");
        }
    });
    Ok(answer("application/x-git-receive-pack-result", body))
}

/// Anything else that only the dumb protocol asks for.
pub(crate) async fn dumb(_ctx: Ctx) -> Fault {
    Fault::denied("git's dumb protocol is not served").todo("use git 1.6.6 or newer")
}

/// Pushes and clones beyond the limit wait here, holding no thread.
pub(crate) async fn turn(app: &App) -> Result<OwnedSemaphorePermit, Fault> {
    Arc::clone(&app.0.git_slots)
        .acquire_owned()
        .await
        .map_err(Fault::internal)
}

pub(crate) fn protocol(headers: &HeaderMap) -> Protocol {
    Protocol::from_header(headers.get("git-protocol").and_then(|v| v.to_str().ok()))
}

pub(crate) fn open(
    service: Service,
    request: Request,
    limit_bytes: u64,
) -> Result<(Protocol, Box<dyn Read + Send>), Fault> {
    let (parts, body) = request.into_parts();
    let wanted = format!("application/x-{}-request", service.name());
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    if kind != Some(wanted.as_str()) {
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content type must be {wanted}"),
        ));
    }
    let input = stream::reader(&parts.headers, body, limit_bytes)
        .map_err(|e| Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, e))?;
    Ok((protocol(&parts.headers), input))
}

pub(crate) fn answer(kind: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, max-age=0, must-revalidate"),
    );
    headers.insert(
        header::EXPIRES,
        HeaderValue::from_static("Fri, 01 Jan 1980 00:00:00 GMT"),
    );
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
