//! What a client may ask for, request by request. Everything that is not here is refused.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::keys::ssh_key::{Algorithm, HashAlg, PublicKey};
use russh::server::{
    Auth, ChannelOpenHandle, Handler as Protocol, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::connection::{Busy, Phase, Trail};
use crate::serve::Listener;
use crate::session::{self, Start};
use crate::waiting::Seat;
use crate::{GitCommand, Guest, Offered};

/// The one user name.
const USER: &str = "git";
/// The one variable that a client may set.
const VARIABLE: &str = "GIT_PROTOCOL";
/// The longest value of it.
const VALUE_BYTES: usize = 256;
/// What a client hears whose line was refused.
const REFUSED: u32 = 128;

/// Why a connection is ended from this side.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandlerError {
    #[error(transparent)]
    Protocol(#[from] russh::Error),
    #[error("the client offered too many keys")]
    Offers,
    #[error("the server could not ask who has a key")]
    Asking(#[from] tokio::task::JoinError),
}

/// One connection.
pub(crate) struct Handler {
    listener: Arc<Listener>,
    peer: SocketAddr,
    seat: Option<Seat>,
    phase: Arc<watch::Sender<Phase>>,
    trail: Arc<Mutex<Trail>>,
    offers: usize,
    guest: Option<Arc<dyn Guest>>,
    channels: HashMap<ChannelId, Room>,
    /// The tasks of the channels; they end with the connection.
    tasks: JoinSet<()>,
}

/// A channel whose command is still to come.
#[derive(Default)]
struct Room {
    start: Option<oneshot::Sender<Start>>,
    protocol: Option<String>,
}

impl Handler {
    pub(crate) fn new(
        listener: Arc<Listener>,
        peer: SocketAddr,
        seat: Seat,
        phase: Arc<watch::Sender<Phase>>,
        trail: Arc<Mutex<Trail>>,
    ) -> Self {
        Self {
            listener,
            peer,
            seat: Some(seat),
            phase,
            trail,
            offers: 0,
            guest: None,
            channels: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    fn trail(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a key was shown, and refuses what no key could mend.
    fn is_fit(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> bool {
        let fingerprint = fingerprint(key);
        let mut trail = self.trail();
        if !trail.fingerprints.contains(&fingerprint) {
            trail.fingerprints.push(fingerprint);
        }
        if user != USER {
            trail.why = Some("E_USER_NAME");
        } else if *algorithm == (Algorithm::Rsa { hash: None }) {
            trail.why = Some("E_SHA1");
        } else {
            return true;
        }
        false
    }

    /// Hands a channel its work; `false` where it has some already.
    fn start(&mut self, channel: ChannelId, start: Start) -> bool {
        let room = self.channels.get_mut(&channel);
        let sender = room.and_then(|room| room.start.take());
        sender.is_some_and(|sender| sender.send(start).is_ok())
    }

    fn refuse(channel: ChannelId, session: &mut Session) -> Result<(), HandlerError> {
        Ok(session.channel_failure(channel)?)
    }
}

/// As `ssh-keygen -l` shows it.
fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl Protocol for Handler {
    type Error = HandlerError;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, HandlerError> {
        self.offers += 1;
        if self.offers > self.listener.limits.offers {
            return Err(HandlerError::Offers);
        }
        if !self.is_fit(user, offer.public_key, offer.algorithm) {
            return Ok(Auth::reject());
        }
        let (door, fingerprint) = (
            Arc::clone(&self.listener.door),
            fingerprint(offer.public_key),
        );
        let known = tokio::task::spawn_blocking(move || door.knows(&fingerprint)).await?;
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, HandlerError> {
        if !self.is_fit(user, key.public_key, key.algorithm) {
            return Ok(Auth::reject());
        }
        let offered = Offered {
            fingerprint: fingerprint(key.public_key),
            algorithm: key.algorithm.to_string(),
        };
        let (door, peer) = (Arc::clone(&self.listener.door), self.peer);
        let guest = tokio::task::spawn_blocking(move || door.enter(peer, &offered)).await?;
        let Some(guest) = guest else {
            // Whoever refused a key that it knows has noted that.
            self.trail().fingerprints.clear();
            return Ok(Auth::reject());
        };
        self.guest = Some(guest);
        self.trail().is_in = true;
        self.seat = None;
        self.phase.send_replace(Phase::In { commands: 0 });
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), HandlerError> {
        while self.tasks.try_join_next().is_some() {}
        if self.channels.len() >= self.listener.limits.commands {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let (start, started) = oneshot::channel();
        let room = Room {
            start: Some(start),
            protocol: None,
        };
        self.channels.insert(channel.id(), room);
        reply.accept().await;
        let stall = self.listener.limits.stall;
        self.tasks.spawn(session::run(channel, started, stall));
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), HandlerError> {
        self.channels.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        let fit = name == VARIABLE && value.len() <= VALUE_BYTES;
        match self.channels.get_mut(&channel) {
            Some(room) if fit => {
                room.protocol = Some(value.to_owned());
                Ok(session.channel_success(channel)?)
            }
            _ => Self::refuse(channel, session),
        }
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        let Some(guest) = self.guest.clone() else {
            return Self::refuse(channel, session);
        };
        let room = self.channels.get_mut(&channel);
        let protocol = room.and_then(|room| room.protocol.take());
        let start = match GitCommand::parse(line) {
            Ok(command) => Start::Git {
                guest,
                command,
                protocol,
                busy: Busy::begin(&self.phase),
            },
            Err(error) => Start::Say {
                words: format!("cofferdam: {error}"),
                status: REFUSED,
            },
        };
        match self.start(channel, start) {
            true => Ok(session.channel_success(channel)?),
            false => Self::refuse(channel, session),
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        let words = self.guest.as_ref().map(|guest| guest.greeting());
        let start = Start::Say {
            words: words.unwrap_or_default(),
            status: 1,
        };
        match self.start(channel, start) {
            true => Ok(session.channel_success(channel)?),
            false => Self::refuse(channel, session),
        }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        Self::refuse(channel, session)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        Self::refuse(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        Self::refuse(channel, session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), HandlerError> {
        Self::refuse(channel, session)
    }
}
