//! A connection that can be cut off from outside, whatever it waits for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// Ends the connection at the other end of the leash.
#[derive(Debug)]
pub(crate) struct Cut(Option<oneshot::Sender<()>>);

/// A stream that fails once it is cut.
pub(crate) struct Leash {
    stream: TcpStream,
    cut: oneshot::Receiver<()>,
    is_cut: bool,
}

impl Cut {
    #[cfg(test)]
    pub(crate) fn of(sender: oneshot::Sender<()>) -> Self {
        Self(Some(sender))
    }

    pub(crate) fn now(&mut self) {
        drop(self.0.take());
    }
}

impl Leash {
    pub(crate) fn new(stream: TcpStream) -> (Self, Cut) {
        let (sender, cut) = oneshot::channel();
        let leash = Self {
            stream,
            cut,
            is_cut: false,
        };
        (leash, Cut(Some(sender)))
    }

    /// Fails once it is cut; wakes the task when it is.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_cut {
            // A sender that was dropped is the cut itself.
            self.is_cut = Pin::new(&mut self.cut).poll(cx).is_ready();
        }
        if self.is_cut {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut off"));
        }
        Ok(())
    }
}

impl AsyncRead for Leash {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, out)
    }
}

impl AsyncWrite for Leash {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
