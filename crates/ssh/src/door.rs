//! What the listener asks of whoever knows people and repos.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::DuplexStream;

use crate::GitCommand;

/// A key that its owner has proved to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offered {
    /// `SHA256:` and 43 letters of base64.
    pub fingerprint: String,
    /// The algorithm of the signature, such as `rsa-sha2-512`.
    pub algorithm: String,
}

/// Who may come in. All calls block: they are made off the runtime.
pub trait Door: Send + Sync + 'static {
    /// Whether some key has this fingerprint.
    fn knows(&self, fingerprint: &str) -> bool;

    /// Lets in whoever has proved to have `key`; none where it opens nothing.
    fn enter(&self, peer: SocketAddr, key: &Offered) -> Option<Arc<dyn Guest>>;

    /// A connection ended that had offered these keys and got in by none. `why` is a stable code.
    fn turned_away(&self, peer: SocketAddr, fingerprints: &[String], why: &'static str);
}

/// A command at work.
pub type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Somebody who has come in.
pub trait Guest: Send + Sync + 'static {
    /// What somebody is told who asks for a shell: who they are, and what there is instead.
    fn greeting(&self) -> String;

    /// Serves one command; `protocol` is the client's `GIT_PROTOCOL`.
    ///
    /// Whether it is allowed is judged here. When the client goes, both streams fail.
    fn serve(&self, command: GitCommand, protocol: Option<String>, streams: Streams) -> Work;
}

/// The two ends of a command. Each holds a bounded number of bytes; who writes waits.
#[derive(Debug)]
pub struct Streams {
    /// What the client sends.
    pub input: DuplexStream,
    /// What the client gets.
    pub output: DuplexStream,
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The exit status that the client hears; 0 is success.
    pub status: u32,
    /// A line for the client's terminal; may be empty.
    pub words: String,
}
