//! Files of `ui/assets`, embedded, served under addresses that change with their content.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use rust_embed::RustEmbed;

use crate::fault::Fault;
use crate::guard::Ctx;

#[derive(RustEmbed)]
#[folder = "../../ui/assets"]
struct Assets;

/// A short digest over all assets; pages append it to addresses.
pub(crate) fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(|| {
        let mut all = Vec::new();
        for name in Assets::iter() {
            if let Some(file) = Assets::get(&name) {
                all.extend_from_slice(&file.metadata.sha256_hash());
            }
        }
        vocab::Digest::of(&all).hex()[..12].to_owned()
    })
}

/// One embedded file.
pub(crate) async fn serve(Path(path): Path<String>) -> Response {
    let Some(file) = Assets::get(&path) else {
        let mut missing = Response::new(Body::from("no such asset\n"));
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return missing;
    };
    let kind = match path.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    };
    let mut found = Response::new(Body::from(file.data.into_owned()));
    let headers = found.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    found
}

/// The certificate of the authority that vouches for this server, for clients to trust.
pub(crate) async fn authority(ctx: Ctx) -> Result<Response, Fault> {
    let Some(pem) = &ctx.app.config.authority else {
        let words = "this appliance has no certificate authority of its own";
        let todo = "ask its operator whose certificate it uses";
        return Err(Fault::new(StatusCode::NOT_FOUND, words).todo(todo));
    };
    let mut found = Response::new(Body::from(pem.clone()));
    found.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-x509-ca-cert"),
    );
    Ok(found)
}
