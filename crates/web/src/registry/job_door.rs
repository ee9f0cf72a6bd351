//! A job's own loopback, served: only what its generation holds, only while it runs.
//!
//! Whoever can connect is inside the job's network namespace, so that no proof is asked for; the
//! fence is checked with each request all the same. Bounded in connections and in the time for a
//! request's head. Invariant: when [`Serving`] is dropped, no connection is open any more.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

use super::Seat;
use crate::routes;
use crate::state::App;

/// Connections of one job that are served at a time; more wait.
const CONNECTIONS: usize = 64;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(30);

/// Serves the loopbacks of jobs.
#[derive(Clone)]
pub struct JobDoor {
    app: App,
    runtime: Handle,
}

/// One job's loopback while it is served; dropping it ends that, connections included, and waits
/// until that is done: drop it off the runtime.
#[derive(Debug)]
#[must_use = "a loopback is served until this is dropped"]
pub struct Serving {
    stop: Option<oneshot::Sender<()>>,
    ended: mpsc::Receiver<()>,
}

impl JobDoor {
    /// Serves from `app` on the threads of `runtime`.
    #[must_use]
    pub fn new(app: App, runtime: Handle) -> Self {
        Self { app, runtime }
    }

    /// Serves `seat` on `listener`.
    ///
    /// Errors: when the socket cannot be used.
    pub fn serve(&self, seat: Seat, listener: std::net::TcpListener) -> io::Result<Serving> {
        listener.set_nonblocking(true)?;
        let mut listener = {
            let _in = self.runtime.enter();
            TcpListener::from_std(listener)?
        };
        let router = routes::job_router(self.app.clone(), seat);
        let (stop, stopped) = oneshot::channel();
        let (alive, ended) = mpsc::channel();
        self.runtime.spawn(async move {
            let mut connections = JoinSet::new();
            tokio::select! {
                _ = stopped => {}
                () = accept(&mut listener, &router, &mut connections) => {}
            }
            drop(listener);
            connections.shutdown().await;
            drop(alive);
        });
        Ok(Serving {
            stop: Some(stop),
            ended,
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Nothing is ever sent: the channel closes when all has ended, the runtime included.
        let ended = self.ended.recv().is_err();
        debug_assert!(ended, "nobody sends");
    }
}

async fn accept(listener: &mut TcpListener, router: &Router, connections: &mut JoinSet<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        // Tries again by itself, after a while, when no descriptor is left.
        let (stream, _) = Listener::accept(listener).await;
        while connections.try_join_next().is_some() {}
        let router = router.clone();
        connections.spawn(async move {
            talk(stream, router).await;
            drop(place);
        });
    }
}

async fn talk(stream: TcpStream, router: Router) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its send delay");
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of a job ended early");
    }
}
