//! The SSH listener: one user name, keys and no passwords, git's two commands and nothing else.
//!
//! Owns the host key `DATA/keys/ssh_host_ed25519_key`. Who has a key and what a command may is
//! asked of whoever made the [`Door`]; this crate decides neither. Refuses shells, terminals,
//! forwarding, subsystems, every variable but `GIT_PROTOCOL`, certificates, and signatures with
//! SHA-1. Invariants: connections that have not signed in are few and short-lived, whoever opens
//! them; a client that is gone ends what it had started; all buffers are bounded.
//! Source: docs/ssh.md.

mod connection;
mod door;
mod exec;
mod handler;
mod host_key;
mod leash;
mod limits;
mod serve;
mod session;
mod waiting;

pub use door::{Door, Ended, Guest, Offered, Streams, Work};
pub use exec::{ExecError, GitCommand, GitVerb};
pub use host_key::{HostKey, HostKeyError};
pub use limits::Limits;
pub use serve::serve;
