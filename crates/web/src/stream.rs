//! Bodies as blocking readers and writers, with bounded memory in between.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::io::{ReaderStream, SyncIoBridge};

/// What may wait between the network and a blocking thread, each way.
const PIPE_BYTES: usize = 256 << 10;

/// A request's body for a blocking thread, unpacked if it came packed.
///
/// Reads at most `limit_bytes` after unpacking, then fails. Must be made on the runtime and read
/// off it.
pub(crate) fn reader(
    headers: &HeaderMap,
    body: Body,
    limit_bytes: u64,
) -> Result<Box<dyn Read + Send>, UnknownEncoding> {
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map_or("identity", |value| value.to_str().unwrap_or("?"));
    let raw = SyncIoBridge::new(AsyncBody::new(body));
    let raw = BufReader::with_capacity(64 << 10, raw);
    let plain: Box<dyn Read + Send> = match encoding {
        "identity" | "" => Box::new(raw),
        "gzip" | "x-gzip" => Box::new(Gunzip::Unread(Some(raw))),
        other => return Err(UnknownEncoding(other.to_owned())),
    };
    Ok(Box::new(Limited {
        inner: plain,
        left: limit_bytes,
    }))
}

/// A body packed in a way that is not served.
#[derive(Debug, thiserror::Error)]
#[error("the body's content-encoding '{0}' is not served; send it plain or with gzip")]
pub(crate) struct UnknownEncoding(String);

/// The decoder reads as soon as it is made, which must not happen on the runtime.
enum Gunzip<R> {
    Unread(Option<R>),
    Begun(Box<MultiGzDecoder<R>>),
}

impl<R: Read> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Self::Unread(raw) = self {
            let raw = raw.take().ok_or(io::ErrorKind::UnexpectedEof)?;
            *self = Self::Begun(Box::new(MultiGzDecoder::new(raw)));
        }
        match self {
            Self::Begun(plain) => plain.read(out),
            Self::Unread(_) => Ok(0),
        }
    }
}

struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the body is larger than is allowed here",
            )
        })?;
        Ok(n)
    }
}

/// A response body, and the blocking end that fills it. Dropping the writer ends the body.
pub(crate) fn writer() -> (Box<dyn Write + Send>, Body) {
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    let body = Body::from_stream(ReaderStream::with_capacity(far, 64 << 10));
    let near = BufWriter::with_capacity(64 << 10, SyncIoBridge::new(near));
    (Box::new(near), body)
}

/// A body as an async reader.
struct AsyncBody {
    frames: BodyDataStream,
    rest: Bytes,
}

impl AsyncBody {
    fn new(body: Body) -> Self {
        Self {
            frames: body.into_data_stream(),
            rest: Bytes::new(),
        }
    }
}

impl AsyncRead for AsyncBody {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        use futures_core::Stream as _;
        while self.rest.is_empty() {
            match Pin::new(&mut self.frames).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                Poll::Ready(Some(Err(e))) => return Poll::Ready(Err(io::Error::other(e))),
            }
        }
        let n = self.rest.len().min(out.remaining());
        out.put_slice(&self.rest.split_to(n));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(headers: HeaderMap, body: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
        let mut from = reader(&headers, Body::from(body), limit).unwrap();
        tokio::task::spawn_blocking(move || {
            let mut out = Vec::new();
            from.read_to_end(&mut out).map(|_| out)
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn bodies_are_unpacked_and_bounded_after_unpacking() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&vec![b'a'; 100_000]).unwrap();
        let packed = packer.finish().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            read(headers.clone(), packed.clone(), 100_000)
                .await
                .unwrap()
                .len(),
            100_000
        );
        assert!(read(headers.clone(), packed, 99_999).await.is_err());
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        assert!(reader(&headers, Body::empty(), 1).is_err());
    }

    #[tokio::test]
    async fn what_a_thread_writes_arrives_in_full() {
        let (mut out, body) = writer();
        let thread = tokio::task::spawn_blocking(move || {
            for _ in 0..100 {
                out.write_all(&[7; 10_000]).unwrap();
            }
            out.flush().unwrap();
        });
        let bytes = body.collect().await.unwrap().to_bytes();
        thread.await.unwrap();
        assert_eq!(bytes.len(), 1_000_000);
    }
}
