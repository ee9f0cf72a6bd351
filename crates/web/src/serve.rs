//! Listeners: accepts connections, lets requests in flight end when told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::state::App;
use crate::tls::Secure;

/// Serves people, git and programs on `listener` until `shutdown` comes, then drains.
pub async fn serve(
    listener: TcpListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = app.clone();
    let router = crate::routes::router(app);
    axum::serve(
        Quick(listener),
        router.into_make_service_with_connect_info::<Addr>(),
    )
    .with_graceful_shutdown(async move {
        shutdown.await;
        stopping.stop();
    })
    .await
}

/// As [`serve`], encrypted: HTTP/1.1 or HTTP/2 as the peer asks in its handshake.
pub async fn serve_tls(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = app.clone();
    let router = crate::routes::router(app);
    axum::serve(
        Secure::over(Quick(listener), config)?,
        router.into_make_service_with_connect_info::<Addr>(),
    )
    .with_graceful_shutdown(async move {
        shutdown.await;
        stopping.stop();
    })
    .await
}

/// Serves the operator on `listener` until `shutdown` comes, then drains.
///
/// A peer must be root or the user that this process runs as; others are hung up on.
pub async fn serve_control(
    listener: UnixListener,
    app: App,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let own = rustix::process::getuid().as_raw();
    let stopping = app.clone();
    let router = crate::routes::control_router(app);
    axum::serve(
        Control { listener, own },
        router.into_make_service_with_connect_info::<Peer>(),
    )
    .with_graceful_shutdown(async move {
        shutdown.await;
        stopping.stop();
    })
    .await
}

/// Small answers leave at once: a push is several short exchanges.
struct Quick(TcpListener);

impl Listener for Quick {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its send delay");
        }
        (stream, peer)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Quick>> for Addr {
    fn connect_info(stream: IncomingStream<'_, Quick>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The peer's address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addr(pub(crate) SocketAddr);

/// Who is at the other end of the control socket, by the kernel's word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
}

struct Control {
    listener: UnixListener,
    own: u32,
}

impl Listener for Control {
    type Io = UnixStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, _) = Listener::accept(&mut self.listener).await;
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == 0 || peer.uid() == self.own => {
                    return (stream, Peer { uid: peer.uid() });
                }
                Ok(peer) => tracing::warn!(uid = peer.uid(), "control socket: peer refused"),
                Err(error) => tracing::warn!(%error, "control socket: peer unknown, refused"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Peer { uid: self.own })
    }
}

impl Connected<IncomingStream<'_, Control>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Control>) -> Self {
        *stream.remote_addr()
    }
}

/// The caller's address when the request came over TCP.
pub(crate) fn address(extensions: &axum::http::Extensions) -> Option<SocketAddr> {
    extensions
        .get::<ConnectInfo<Addr>>()
        .map(|ConnectInfo(Addr(addr))| *addr)
}

/// The operator's user id when the request came over the control socket.
pub(crate) fn operator(extensions: &axum::http::Extensions) -> Option<u32> {
    extensions
        .get::<ConnectInfo<Peer>>()
        .map(|ConnectInfo(peer)| peer.uid)
}
