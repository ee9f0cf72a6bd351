//! What surrounds every answer: security headers, faults in the caller's language, the log.

use askama::Template as _;
use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde_json::json;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::Instrument as _;

use crate::fault::Fault;
use crate::identify::Door;
use crate::routes::Kind;
use crate::state::App;
use crate::view::Problem;
use crate::{href, pages, registry};

/// A body that stands still for so long is given up.
const BODY_SILENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// What a page may load and do: only what this server sends.
const PAGE_POLICY: &str = "default-src 'self'; img-src 'self' data:; object-src 'none'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Puts the layers around the routes.
pub(crate) fn around(routes: Router, app: App, door: Door) -> Router {
    let packed = SizeAbove::new(1024)
        .and(NotForContentType::new("application/x-git"))
        .and(NotForContentType::new("text/event-stream"))
        .and(NotForContentType::new("image/png"))
        // Blobs of generations, whose length clients count on.
        .and(NotForContentType::new("application/octet-stream"))
        .and(NotForContentType::new("application/vnd.oci"))
        .and(NotForContentType::new("application/vnd.docker"));
    routes
        .layer(middleware::from_fn_with_state(app, answer))
        .layer(CompressionLayer::new().compress_when(packed))
        .layer(RequestBodyTimeoutLayer::new(BODY_SILENCE))
        .layer(Extension(door))
}

/// No route has this address.
pub(crate) async fn nothing_here() -> Fault {
    Fault::missing("this address")
}

/// A route has this address, with another method.
pub(crate) async fn wrong_method() -> Fault {
    Fault::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not serve that method",
    )
    .todo("see docs/api.md for what it serves")
}

async fn answer(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let full = request
        .uri()
        .path_and_query()
        .map_or_else(|| path.clone(), ToString::to_string);
    let kind = kind_of(&path, request.headers());
    let host = request.headers().get(header::HOST).cloned();
    let span = tracing::info_span!("request", %method, path, actor = tracing::field::Empty, route = tracing::field::Empty);
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(fault) = response.extensions_mut().remove::<Fault>() {
        response = span.in_scope(|| told(&app, &fault, kind, &method, &full));
        if response.status() == StatusCode::UNAUTHORIZED {
            challenge(&app, &fault, kind, host.as_ref(), response.headers_mut());
        }
    }
    if matches!(kind, Kind::Api | Kind::Package) && response.status().is_client_error() {
        response = in_json(response).await;
    }
    app.0.counters.answered(response.status());
    tracing::debug!(parent: &span, status = response.status().as_u16(), "answered");
    secure(response.headers_mut());
    response
}

/// A refusal that an extractor worded as plain text, as the API words its own.
async fn in_json(response: Response) -> Response {
    let kind = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/plain")) {
        return response;
    }
    let status = response.status();
    match axum::body::to_bytes(response.into_body(), 4096).await {
        Ok(text) => {
            let error = String::from_utf8_lossy(&text).trim().to_owned();
            let body = json!({ "error": error, "what_to_do": "see docs/api.md" });
            (status, axum::Json(body)).into_response()
        }
        Err(_) => (
            status,
            axum::Json(json!({ "error": "the request is refused" })),
        )
            .into_response(),
    }
}

fn kind_of(path: &str, headers: &HeaderMap) -> Kind {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let first = path.split('/').nth(1).unwrap_or_default();
    if first == "v2" {
        Kind::Oci
    } else if matches!(first, "simple" | "files" | "toolcache") {
        Kind::Package
    } else if agent.starts_with("git/") || path.contains("/git-") || path.ends_with("/info/refs") {
        Kind::Git
    } else if path.starts_with("/api/") || !accepts.contains("text/html") {
        Kind::Api
    } else {
        Kind::Page
    }
}

fn secure(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    headers
        .entry("cross-origin-opener-policy")
        .or_insert(HeaderValue::from_static("same-origin"));
    headers
        .entry("permissions-policy")
        .or_insert(HeaderValue::from_static(
            "camera=(), microphone=(), geolocation=()",
        ));
}

/// The fault as its caller reads it.
fn told(app: &App, fault: &Fault, kind: Kind, method: &Method, full: &str) -> Response {
    let incident = fault.chain().map(|chain| {
        let incident = app.entropy.hex(4);
        tracing::error!(incident, cause = chain, "the server failed");
        incident
    });
    if kind == Kind::Page && fault.status == StatusCode::UNAUTHORIZED && *method == Method::GET {
        let next = href::value(full);
        return Redirect::to(&format!("/sign-in?next={next}")).into_response();
    }
    let mut response = match kind {
        Kind::Page => page(app, fault, incident),
        Kind::Oci => registry::oci::error(fault, incident),
        Kind::Api | Kind::Package => {
            let todo = fault.what_to_do.as_deref().unwrap_or("see docs/api.md");
            let mut body = json!({ "error": fault.error, "what_to_do": todo });
            if let Some(code) = fault.code {
                body["code"] = code.into();
            }
            if let Some(incident) = incident {
                body["incident"] = incident.into();
            }
            (fault.status, axum::Json(body)).into_response()
        }
        Kind::Git => {
            let mut text = fault.error.clone();
            if let Some(todo) = &fault.what_to_do {
                text.push_str("; ");
                text.push_str(todo);
            }
            if let Some(incident) = incident {
                text.push_str(&format!(" (incident {incident})"));
            }
            text.push('\n');
            (fault.status, text).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// How to say who asks: by name and password, or at the address where image clients get a token.
fn challenge(
    app: &App,
    fault: &Fault,
    kind: Kind,
    host: Option<&HeaderValue>,
    headers: &mut HeaderMap,
) {
    let realm = if kind == Kind::Oci {
        registry::oci::challenge(app, host)
    } else if fault.challenge || kind == Kind::Git {
        HeaderValue::from_static("Basic realm=\"Cofferdam\", charset=\"UTF-8\"")
    } else {
        return;
    };
    headers.insert(header::WWW_AUTHENTICATE, realm);
}

fn page(app: &App, fault: &Fault, incident: Option<String>) -> Response {
    let title = match fault.status {
        StatusCode::NOT_FOUND => "Not here",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::UNAUTHORIZED => "Sign in first",
        StatusCode::SERVICE_UNAVAILABLE => "Not now",
        status if status.is_server_error() => "The server failed",
        _ => "That did not work",
    };
    let mut frame = pages::frame_of(fault.user.clone(), pages::plain_seal(), title, "");
    frame.said.extend(pages::blocked(app, false));
    let view = Problem {
        frame,
        title: title.to_owned(),
        text: sentence(&fault.error),
        todo: fault.what_to_do.as_deref().map(sentence),
        code: fault.code,
        incident,
        sign_in: fault.user.is_none() && !fault.status.is_server_error(),
    };
    match view.render() {
        Ok(html) => {
            let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (fault.status, kind, html).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a page of a fault could not be rendered");
            (fault.status, "the server failed\n").into_response()
        }
    }
}

/// A message as a sentence: a capital first, a full stop last.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut out: String = match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => return String::new(),
    };
    if !out.ends_with(['.', '?', '!']) {
        out.push('.');
    }
    out
}
