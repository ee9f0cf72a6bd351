//! Git's smart HTTP: advertisement, fetch, push. The dumb protocol is refused.

use std::io::{Read, Write};
use std::sync::Arc;

use audit::Who;
use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use forge::Repo;
use git::{Protocol, Service, Transport, UploadLimits};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::fault::Fault;
use crate::guard::Ctx;
use crate::push::RecordError;
use crate::state::App;
use crate::{push, stream};

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
    let repo = ctx.repo()?.clone();
    let turn = turn(&ctx.app).await?;
    let (mut out, body) = stream::writer();
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let span = tracing::info_span!("fetch", repo.id = %repo.id);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let _in = span.enter();
        let repository = match app.repository(repo.id) {
            Ok(repository) => repository,
            Err(error) => return tracing::error!(%error, "the repository cannot be opened"),
        };
        let limits = UploadLimits::default();
        let mut input = Asking {
            inner: &mut input,
            has_some: false,
        };
        let mut out = Sending {
            inner: &mut out,
            bytes: 0,
            pack: false,
        };
        let served = git::upload_pack(&repository, protocol, &mut input, &mut out, &limits);
        app.0.counters.fetch(out.bytes);
        if let Err(error) = served {
            tracing::info!(%error, "a fetch ended early");
        }
        if out.pack {
            note_fetch(&app, &who, &repo, !input.has_some);
        }
    });
    Ok(answer("application/x-git-upload-pack-result", body))
}

/// `POST …/git-receive-pack`
pub(crate) async fn receive_pack(ctx: Ctx, request: Request) -> Result<Response, Fault> {
    let limit = ctx.app.config.limits.push_bytes.saturating_add(16 << 20);
    let (_, mut input) = open(Service::ReceivePack, request, limit)?;
    let repo = ctx.repo()?.clone();
    let turn = turn(&ctx.app).await?;
    let (mut out, body) = stream::writer();
    let span = tracing::info_span!("push", repo.id = %repo.id);
    let ctx = Arc::new(ctx);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let _in = span.enter();
        if let Err(error) = push::receive(&ctx, &repo, &mut input, &mut out) {
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

/// Notes in the audit log that objects were taken; the answer does not wait for it.
pub(crate) fn note_fetch(app: &App, who: &Who, repo: &Repo, whole: bool) {
    let noted = app.store.write(|tx| -> Result<(), RecordError> {
        forge::record_fetch(tx, &app.auditor, who, repo, whole)?;
        Ok(())
    });
    if let Err(error) = noted {
        tracing::error!(error = %push::chain(&error), "a fetch could not be noted");
    }
}

/// A fetch's request, watched for `have` lines: a clone has none.
struct Asking<'a> {
    inner: &'a mut (dyn Read + Send),
    has_some: bool,
}

impl Read for Asking<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(out)?;
        self.has_some |= out[..n].windows(5).any(|w| w == b"have ");
        Ok(n)
    }
}

/// A fetch's answer, counted, and watched for the beginning of a pack.
struct Sending<'a> {
    inner: &'a mut (dyn Write + Send),
    bytes: u64,
    pack: bool,
}

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.pack {
            self.pack = bytes.windows(4).any(|w| w == b"PACK");
        }
        let n = self.inner.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
