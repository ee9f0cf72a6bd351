//! Files of `ui/assets`, embedded, served under addresses that change with their content.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use rust_embed::RustEmbed;

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
