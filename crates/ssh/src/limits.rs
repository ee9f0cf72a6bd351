//! What clients may take of the listener.

use std::time::Duration;

/// Upper bounds, so that nobody can take the listener away from the others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that have not signed in, at a time; one more ends the oldest of them.
    pub waiting: usize,
    /// The same for one address (IPv4) or one network of 64 bits (IPv6).
    pub waiting_per_address: usize,
    /// Connections at a time, signed in or not; one more is hung up on.
    pub connections: usize,
    /// How long a sign-in may take.
    pub login_grace: Duration,
    /// Refused sign-ins of one connection.
    pub attempts: usize,
    /// Keys that one connection may offer.
    pub offers: usize,
    /// Commands of one connection at a time.
    pub commands: usize,
    /// How long a connection may stay without a command.
    pub idle: Duration,
    /// How long a command may run without a byte either way.
    pub stall: Duration,
    /// How often a silent client is asked whether it is still there; it may miss three.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 128,
            waiting_per_address: 32,
            connections: 1024,
            login_grace: Duration::from_secs(30),
            attempts: 8,
            offers: 24,
            commands: 8,
            idle: Duration::from_secs(600),
            stall: Duration::from_secs(900),
            keep_alive: Duration::from_secs(30),
        }
    }
}
