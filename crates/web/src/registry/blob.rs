//! A blob as an answer: whole or a part of it, under its digest as ETag, cached for ever.

use std::io::{Read as _, SeekFrom};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use store::BlobError;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;
use vocab::Digest;

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

fn lists(tags: &str, own: &str) -> bool {
    tags.split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == own || tag == "*")
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

/// The part of a blob that a `Range` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// All of it: no part that is served alone was asked for.
    Whole,
    Bytes {
        from: u64,
        length: u64,
    },
    Beyond,
}

/// One range of bytes (RFC 9110, 14.1.2); several at once are answered with the whole.
fn part(text: &str, size: u64) -> Part {
    let Some(spec) = text.strip_prefix("bytes=").map(str::trim) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match last.parse::<u64>() {
            Ok(0) => Part::Beyond,
            Ok(n) if size > 0 => Part::Bytes {
                from: size - n.min(size),
                length: n.min(size),
            },
            Ok(_) => Part::Beyond,
            Err(_) => Part::Whole,
        };
    }
    let Ok(from) = first.parse::<u64>() else {
        return Part::Whole;
    };
    let to = match last {
        "" => size.saturating_sub(1),
        last => match last.parse::<u64>() {
            Ok(to) => to.min(size.saturating_sub(1)),
            Err(_) => return Part::Whole,
        },
    };
    if from >= size {
        Part::Beyond
    } else if to < from {
        Part::Whole
    } else {
        Part::Bytes {
            from,
            length: to - from + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob_and_odd_ones_are_ignored() {
        let bytes = |from, length| Part::Bytes { from, length };
        assert_eq!(part("bytes=0-9", 100), bytes(0, 10));
        assert_eq!(part("bytes=90-", 100), bytes(90, 10));
        assert_eq!(part("bytes=-10", 100), bytes(90, 10));
        assert_eq!(part("bytes=-500", 100), bytes(0, 100));
        assert_eq!(part("bytes=50-500", 100), bytes(50, 50));
        for beyond in ["bytes=100-", "bytes=-0"] {
            assert_eq!(part(beyond, 100), Part::Beyond, "{beyond}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
        for odd in [
            "items=0-9",
            "bytes=9-0",
            "bytes=0-1,5-6",
            "bytes=x-1",
            "bytes=5",
        ] {
            assert_eq!(part(odd, 100), Part::Whole, "{odd}");
        }
    }

    #[test]
    fn an_etag_is_found_in_a_list() {
        assert!(lists("\"a\", W/\"b\"", "\"b\"") && lists("*", "\"b\""));
        assert!(!lists("\"a\"", "\"b\""));
    }
}
