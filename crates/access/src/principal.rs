//! Who asks, once they have shown it.

use audit::{Actor, Via, Who};
use vocab::{Fence, RepoId, SessionId, SshKeyId, TokenId, UserId, UserName};

use crate::{Role, Scopes};

/// Who asks. Made by [`crate::session`], [`crate::authenticate_token`],
/// [`crate::authenticate_key`], the control socket (by peer credentials) and the pool (for a
/// running job).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Nobody known.
    Anonymous,
    /// A person in a browser.
    User {
        /// Their id.
        user: UserId,
        /// Their sign-in name.
        name: UserName,
        /// What they are in this instance.
        role: Role,
        /// By which session.
        session: SessionId,
    },
    /// A program with a person's token.
    Token {
        /// Whose token.
        user: UserId,
        /// Their sign-in name.
        name: UserName,
        /// What they are in this instance.
        role: Role,
        /// Which token.
        token: TokenId,
        /// What it may be used for.
        scopes: Scopes,
    },
    /// A person with an SSH key of theirs: git, and nothing else.
    SshKey {
        /// Their id.
        user: UserId,
        /// Their sign-in name.
        name: UserName,
        /// What they are in this instance.
        role: Role,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// A program with an SSH key of one repo: git on that repo, and nothing else.
    DeployKey {
        /// Which key.
        key: SshKeyId,
        /// The key's fingerprint.
        fingerprint: String,
        /// Its repo.
        repo: RepoId,
        /// Whether it may push.
        writes: bool,
    },
    /// A running job.
    Job {
        /// Which one, and by which hand-out. Whoever acts on it checks that it still holds.
        fence: Fence,
        /// Its repo.
        repo: RepoId,
    },
    /// Somebody at the control socket of this machine.
    Operator {
        /// The peer's user id on this machine.
        uid: u32,
    },
}

impl Principal {
    /// This principal as audit entries name it.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match self {
            Self::Anonymous => Actor::Anonymous,
            Self::User { user, name, .. } => Actor::User {
                id: *user,
                name: name.clone(),
            },
            Self::Token {
                user, name, token, ..
            } => Actor::Token {
                user: *user,
                name: name.clone(),
                token: *token,
            },
            Self::SshKey {
                user,
                name,
                fingerprint,
                ..
            } => Actor::SshKey {
                user: *user,
                name: name.clone(),
                fingerprint: fingerprint.clone(),
            },
            Self::DeployKey {
                key, fingerprint, ..
            } => Actor::DeployKey {
                key: *key,
                fingerprint: fingerprint.clone(),
            },
            Self::Job { fence, .. } => Actor::Job { fence: *fence },
            Self::Operator { uid } => Actor::Operator { uid: *uid },
        }
    }

    /// This principal at a door, for the audit entries of what it does.
    #[must_use]
    pub fn who(&self, via: Via) -> Who {
        Who::new(self.actor(), via)
    }

    /// The user behind this, if there is one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User { user, .. } | Self::Token { user, .. } | Self::SshKey { user, .. } => {
                Some(*user)
            }
            _ => None,
        }
    }

    /// The user and their role, if there is one.
    pub(crate) fn user_and_role(&self) -> Option<(UserId, Role)> {
        match self {
            Self::User { user, role, .. }
            | Self::Token { user, role, .. }
            | Self::SshKey { user, role, .. } => Some((*user, *role)),
            _ => None,
        }
    }
}
