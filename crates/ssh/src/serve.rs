//! The listener: accepts connections within limits, until it is told to stop.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::ssh_key::{Algorithm, EcdsaCurve, HashAlg};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::waiting::Waiting;
use crate::{Door, HostKey, Limits, connection};

/// What every connection shares.
pub(crate) struct Listener {
    pub(crate) door: Arc<dyn Door>,
    pub(crate) limits: Limits,
    pub(crate) config: Arc<Config>,
    pub(crate) waiting: Arc<Waiting>,
}

/// How long to wait when the system gives no connection, as when descriptors have run out.
const BREATH: Duration = Duration::from_millis(200);
/// How long commands at work may take to end after a request to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Key exchanges with forward secrecy and no SHA-1; the last three are marks, not exchanges.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];

/// Algorithms of signatures: the host's own, and those that a client may sign in with.
const KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

const CIPHERS: &[cipher::Name] = &[
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];

const MACS: &[mac::Name] = &[
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512,
    mac::HMAC_SHA256,
];

fn config(key: &HostKey, limits: &Limits) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Cofferdam")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // Which keys are known is no secret to whoever has one; there is no password to guess.
        auth_rejection_time: Duration::ZERO,
        keys: vec![key.private()],
        window_size: 1 << 20,
        channel_buffer_size: 32,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(KEYS),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: limits.attempts,
        inactivity_timeout: Some(limits.idle.max(limits.stall)),
        keepalive_interval: Some(limits.keep_alive),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

/// Serves `door` on `listener` until `shutdown` comes, then lets commands at work end.
pub async fn serve(
    listener: TcpListener,
    key: &HostKey,
    door: Arc<dyn Door>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let shared = Arc::new(Listener {
        door,
        config: Arc::new(config(key, &limits)),
        waiting: Waiting::new(limits.waiting, limits.waiting_per_address),
        limits,
    });
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no SSH connection can be accepted just now");
                let breath = timeout(BREATH, std::future::pending::<()>());
                debug_assert!(breath.await.is_err());
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "too many SSH connections: one was hung up on");
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _place = place;
            connection::run(stream, peer, shared).await;
        });
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(PATIENCE, all).await.is_err() {
        tracing::info!("SSH connections that were still open are closed");
    }
    Ok(())
}
