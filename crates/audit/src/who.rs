//! Who acted, and by which door they came.

use std::net::SocketAddr;

use vocab::{Fence, SshKeyId, TokenId, UserId, UserName};

/// Who acted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Actor {
    /// Cofferdam itself.
    System,
    /// Somebody who has not said who they are.
    Anonymous,
    /// A person, signed in.
    User {
        /// Their id.
        id: UserId,
        /// Their sign-in name; enters lines only as a commitment.
        name: UserName,
    },
    /// A program with a person's token.
    Token {
        /// Whose token.
        user: UserId,
        /// Their sign-in name; enters lines only as a commitment.
        name: UserName,
        /// Which token.
        token: TokenId,
    },
    /// A person, shown by an SSH key of theirs.
    SshKey {
        /// Whose key.
        user: UserId,
        /// Their sign-in name; enters lines only as a commitment.
        name: UserName,
        /// The key's fingerprint, `SHA256:` and 43 letters of base64.
        fingerprint: String,
    },
    /// A program with an SSH key of one repo.
    DeployKey {
        /// Which key.
        key: SshKeyId,
        /// Its fingerprint, `SHA256:` and 43 letters of base64.
        fingerprint: String,
    },
    /// A running job.
    Job {
        /// Which one, and by which hand-out.
        fence: Fence,
    },
    /// Somebody at the control socket of this machine.
    Operator {
        /// The peer's user id on this machine.
        uid: u32,
    },
}

/// The door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    /// The HTTP listener.
    Http,
    /// The control socket.
    Control,
    /// The SSH listener.
    Ssh,
    /// No door: Cofferdam's own doing.
    Internal,
}

/// Who acted, from where, in which request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who {
    /// Who acted.
    pub actor: Actor,
    /// By which door.
    pub via: Via,
    /// The request's id, to find its trace.
    pub request: Option<String>,
    /// The peer's address; its IP enters lines only as a commitment.
    pub peer: Option<SocketAddr>,
}

impl Who {
    /// Somebody at a door, with no request id or address yet.
    #[must_use]
    pub fn new(actor: Actor, via: Via) -> Self {
        Self {
            actor,
            via,
            request: None,
            peer: None,
        }
    }

    /// Cofferdam's own doing.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Actor::System, Via::Internal)
    }

    /// The same, with the peer's address.
    #[must_use]
    pub fn from_peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The same, as part of a request.
    #[must_use]
    pub fn in_request(mut self, request: impl Into<String>) -> Self {
        self.request = Some(request.into());
        self
    }

    /// The same door and request, another actor: for a sign-in that has just succeeded.
    #[must_use]
    pub fn acting_as(&self, actor: Actor) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// The user behind this, if there is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self.actor {
            Actor::User { id, .. }
            | Actor::Token { user: id, .. }
            | Actor::SshKey { user: id, .. } => Some(id),
            _ => None,
        }
    }
}

impl Actor {
    /// The word for what this is, as lines have it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Anonymous => "anonymous",
            Self::User { .. } => "user",
            Self::Token { .. } => "token",
            Self::SshKey { .. } | Self::DeployKey { .. } => "key",
            Self::Job { .. } => "job",
            Self::Operator { .. } => "operator",
        }
    }

    /// The tagged id, which [`crate::Filter::actor`] finds: `u:17`, `key:3`, `job:4`, `uid:0`,
    /// `system`.
    #[must_use]
    pub fn tagged(&self) -> String {
        match self {
            Self::System => "system".into(),
            Self::Anonymous => "anonymous".into(),
            Self::User { id, .. }
            | Self::Token { user: id, .. }
            | Self::SshKey { user: id, .. } => id.tagged(),
            Self::DeployKey { key, .. } => key.tagged(),
            Self::Job { fence } => fence.job.tagged(),
            Self::Operator { uid } => format!("uid:{uid}"),
        }
    }

    /// The name of the person behind this, if there is one.
    #[must_use]
    pub fn name(&self) -> Option<&UserName> {
        match self {
            Self::User { name, .. } | Self::Token { name, .. } | Self::SshKey { name, .. } => {
                Some(name)
            }
            _ => None,
        }
    }
}

impl Via {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Control => "control",
            Self::Ssh => "ssh",
            Self::Internal => "internal",
        }
    }
}
