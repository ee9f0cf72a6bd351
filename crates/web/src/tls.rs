//! TLS on the web listener: handshakes happen beside the accepting, under a limit of time and
//! number, so that a silent stranger holds nobody up.
//!
//! Refuses, in words that a person can read, whoever speaks plain HTTP to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serve::Addr;

/// How long a peer may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes under way at a time; more wait in the kernel's queue.
const AT_A_TIME: usize = 256;

/// Every record of a handshake begins with this byte; no HTTP request does.
const HANDSHAKE_RECORD: u8 = 0x16;

/// What somebody reads who spoke plain HTTP.
const PLAIN: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this appliance speaks https on this port; write https:// before its name\n";

/// A listener whose connections are encrypted.
pub(crate) struct Secure {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    bound: SocketAddr,
}

impl Secure {
    /// Takes over `listener`. Must be called within the runtime.
    pub(crate) fn over<L>(listener: L, config: Arc<rustls::ServerConfig>) -> io::Result<Self>
    where
        L: Listener<Io = TcpStream, Addr = SocketAddr>,
    {
        let bound = listener.local_addr()?;
        let (done, ready) = mpsc::channel(AT_A_TIME);
        tokio::spawn(accept_all(listener, TlsAcceptor::from(config), done));
        Ok(Self { ready, bound })
    }
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting ends only with this listener or by a panic, which was told.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.bound)
    }
}

impl Connected<IncomingStream<'_, Secure>> for Addr {
    fn connect_info(stream: IncomingStream<'_, Secure>) -> Self {
        Self(*stream.remote_addr())
    }
}

async fn accept_all<L>(
    mut listener: L,
    acceptor: TlsAcceptor,
    done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) where
    L: Listener<Io = TcpStream, Addr = SocketAddr>,
{
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    loop {
        let accepted = tokio::select! {
            () = done.closed() => return,
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (place, (stream, peer)) = accepted;
        let (acceptor, done) = (acceptor.clone(), done.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, handshake(&acceptor, stream)).await {
                Ok(Ok(Some(secured))) => {
                    if done.send((secured, peer)).await.is_err() {
                        tracing::debug!(%peer, "came while the server was stopping");
                    }
                }
                Ok(Ok(None)) => tracing::debug!(%peer, "spoke plain HTTP, told so"),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
                Err(_) => tracing::debug!(%peer, "its TLS handshake took too long"),
            }
            drop(place);
        });
    }
}

/// The encrypted stream; none when the peer spoke no TLS, which it was told.
async fn handshake(
    acceptor: &TlsAcceptor,
    mut stream: TcpStream,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0_u8];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE_RECORD {
        stream.write_all(PLAIN.as_bytes()).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    acceptor.accept(stream).await.map(Some)
}
