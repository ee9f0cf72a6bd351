//! A blob as an answer: whole or a part of it, under its digest as ETag, cached for ever.

use std::io::{Read as _, SeekFrom};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use store::BlobError;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use vocab::Digest;

use super::asked::{Part, lists, part};
use crate::fault::Fault;
use crate::state::App;

/// Read from disk at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The blob, or the part of it that was asked for.
pub(super) async fn answer(
    app: &App,
    digest: &Digest,
    kind: &str,
    asked: &HeaderMap,
) -> Result<Response, Fault> {
    let tag = format!("\"{digest}\"");
    let text = |name| asked.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let mut response = if text(header::IF_NONE_MATCH).is_some_and(|tags| lists(tags, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // A part of another version would be nonsense, but a digest has no other version.
        let whole = text(header::IF_RANGE).is_some_and(|had| had != tag);
        let range = text(header::RANGE).filter(|_| !whole);
        content(app, digest, range).await?
    };
    let headers = response.headers_mut();
    if response_is_content(headers) {
        let kind = HeaderValue::from_str(kind).map_err(Fault::internal)?;
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(
        header::ETAG,
        HeaderValue::from_str(&tag).map_err(Fault::internal)?,
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
    Ok(response)
}

fn response_is_content(headers: &HeaderMap) -> bool {
    headers.contains_key(header::CONTENT_LENGTH)
}

async fn content(app: &App, digest: &Digest, range: Option<&str>) -> Result<Response, Fault> {
    let path = app.store.blobs().path(digest);
    let mut file = tokio::fs::File::open(&path)
        .await
        .map_err(|e| lost(digest, e))?;
    let size = file.metadata().await.map_err(|e| lost(digest, e))?.len();
    let (from, length, status) = match range.map(|text| part(text, size)) {
        None | Some(Part::Whole) => (0, size, StatusCode::OK),
        Some(Part::Bytes { from, length }) => (from, length, StatusCode::PARTIAL_CONTENT),
        Some(Part::Beyond) => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
        }
    };
    if from > 0 {
        file.seek(SeekFrom::Start(from))
            .await
            .map_err(|e| lost(digest, e))?;
    }
    let stream = ReaderStream::with_capacity(file.take(length), CHUNK_BYTES);
    let mut response = (status, Body::from_stream(stream)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", from + length - 1);
        headers.insert(
            header::CONTENT_RANGE,
            HeaderValue::from_str(&range).map_err(Fault::internal)?,
        );
    }
    Ok(response)
}

/// A blob that a generation needs and that is not there: the store is damaged.
fn lost(digest: &Digest, error: std::io::Error) -> Fault {
    if error.kind() == std::io::ErrorKind::NotFound {
        Fault::internal(BlobError::Missing(*digest))
    } else {
        Fault::internal(error)
    }
}

/// The bytes of a blob of at most `most` bytes. Blocking.
pub(super) fn small(app: &App, digest: &Digest, most: u64) -> Result<Vec<u8>, Fault> {
    let file = app.store.blobs().read(digest).map_err(Fault::internal)?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(Fault::internal)?;
    if bytes.len() as u64 > most {
        return Err(Fault::internal(BlobError::TooLarge { limit_bytes: most }));
    }
    Ok(bytes)
}
