//! Tells a service manager that this process is ready, and that it lives: one datagram each to
//! the socket that it named. Without a manager nothing is sent.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The manager's socket.
pub(crate) struct Manager(Option<SocketAddr>);

impl Manager {
    /// The manager that started this process.
    pub(crate) fn of_environment() -> Self {
        Self(
            std::env::var("NOTIFY_SOCKET")
                .ok()
                .and_then(|name| address(&name)),
        )
    }

    /// Says that the service is ready.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// Says that the service begins to stop.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Says that the service lives.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, word: &str) {
        let Some(address) = &self.0 else { return };
        let send = || -> io::Result<usize> {
            UnixDatagram::unbound()?.send_to_addr(word.as_bytes(), address)
        };
        if let Err(error) = send() {
            tracing::warn!(%error, word, "the service manager was not told");
        }
    }

    /// How often the manager wants to hear that the service lives; none when it does not.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?;
        let own = std::process::id().to_string();
        match std::env::var("WATCHDOG_PID") {
            Ok(pid) if pid != own => return None,
            _ => {}
        }
        let limit: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
        // Twice within the limit, so that one late word is no end.
        (limit > 0).then(|| Duration::from_micros(limit / 2))
    }
}

/// A path, or after `@` a name in the kernel's own name space.
fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None if name.starts_with('/') => SocketAddr::from_pathname(name).ok(),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_that_the_service_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let ear = UnixDatagram::bind(&path).unwrap();
        Manager(address(path.to_str().unwrap())).ready();
        let mut heard = [0; 32];
        let length = ear.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        assert!(address("relative").is_none());
        Manager(None).ready();
    }
}
