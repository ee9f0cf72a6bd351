//! One connection from its first byte to its last: how long it may do what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Limits;
use crate::handler::Handler;
use crate::leash::Leash;
use crate::serve::Listener;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody has signed in.
    Login,
    /// Somebody has, and so many commands are at work.
    In { commands: usize },
}

/// A command at work; it counts until this is dropped.
pub(crate) struct Busy(Arc<watch::Sender<Phase>>);

impl Busy {
    pub(crate) fn begin(phase: &Arc<watch::Sender<Phase>>) -> Self {
        phase.send_modify(|phase| {
            let commands = match phase {
                Phase::Login => 0,
                Phase::In { commands } => *commands,
            };
            *phase = Phase::In {
                commands: commands + 1,
            };
        });
        Self(Arc::clone(phase))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|phase| {
            if let Phase::In { commands } = phase {
                *commands = commands.saturating_sub(1);
            }
        });
    }
}

/// What a connection tried before it was let in.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    pub(crate) fingerprints: Vec<String>,
    pub(crate) is_in: bool,
    /// A code for why, where it was more than an unknown key.
    pub(crate) why: Option<&'static str>,
}

/// Serves one connection to its end.
pub(crate) async fn run(stream: TcpStream, peer: SocketAddr, listener: Arc<Listener>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its send delay");
    }
    let (leash, cut) = Leash::new(stream);
    let cut = Arc::new(Mutex::new(cut));
    let seat = listener.waiting.enter(peer, Arc::clone(&cut));
    let phase = Arc::new(watch::Sender::new(Phase::Login));
    let trail = Arc::new(Mutex::new(Trail::default()));
    let watched = phase.subscribe();
    let handler = Handler::new(Arc::clone(&listener), peer, seat, phase, Arc::clone(&trail));
    let talk = async {
        let config = Arc::clone(&listener.config);
        let session = russh::server::run_stream(config, leash, handler).await?;
        session.await
    };
    tokio::pin!(talk);
    let ended = tokio::select! {
        ended = &mut talk => ended,
        () = time_is_up(watched, &listener.limits) => {
            cut.lock().unwrap_or_else(PoisonError::into_inner).now();
            talk.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an SSH connection ended early");
    }
    let trail = std::mem::take(&mut *trail.lock().unwrap_or_else(PoisonError::into_inner));
    if !trail.is_in && !trail.fingerprints.is_empty() {
        let why = trail.why.unwrap_or("E_UNKNOWN_KEY");
        let door = Arc::clone(&listener.door);
        let told = tokio::task::spawn_blocking(move || {
            door.turned_away(peer, &trail.fingerprints, why);
        });
        if let Err(error) = told.await {
            tracing::error!(%error, "a refused sign-in could not be told");
        }
    }
}

/// Resolves once the connection has been in one phase for longer than it may.
async fn time_is_up(mut phase: watch::Receiver<Phase>, limits: &Limits) {
    loop {
        let patience = match *phase.borrow_and_update() {
            Phase::Login => limits.login_grace,
            Phase::In { commands: 0 } => limits.idle,
            // Each command has a limit of its own.
            Phase::In { .. } => Duration::MAX,
        };
        match timeout(patience, phase.changed()).await {
            Ok(Ok(())) => {}
            // The session is over, and whoever waits for it hears of it.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}
