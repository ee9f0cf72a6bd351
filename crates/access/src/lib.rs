//! Who may do what: people, sessions, tokens, keys, shares, secrets, and the one place that decides.
//!
//! Owns tables `user`, `login_failure`, `session`, `token`, `ssh_key`, `collaborator`, `secret`
//! and `variable`, and the key file `DATA/keys/secrets.key`. Invariants: every operation of every
//! door stands in [`Action`]'s table and passes [`authorize`]; what the table does not allow is
//! denied; passwords, tokens and cookies are kept as hashes only, secrets only sealed.
//! Source: design/architecture.md, "Invariants".

mod action;
mod authorize;
mod collaborator;
mod error;
mod keys;
mod login;
mod names;
mod password;
mod principal;
mod scope;
mod secrets;
mod session;
mod sql;
mod sshkey;
mod sshkey_text;
#[cfg(test)]
mod testing;
mod token;
mod user;
mod vars;

pub use action::{Action, Need, Requirement};
pub use authorize::{Denied, Grant, RepoFacts, Resource, authorize, level, record_denial};
pub use collaborator::{
    Collaborator, Level, LevelError, add_collaborator, collaborators, forget_repo,
    remove_collaborator, sight,
};
pub use error::AccessError;
pub use keys::{Keys, KeysError};
pub use login::{LoginRefused, authenticate_password, clear_lockout};
pub use names::{NAMED_VALUES_MAX, VALUE_BYTES_MAX, VALUE_CHARS_MIN, ValueError};
pub use password::{PasswordError, PasswordHash};
pub use principal::Principal;
pub use scope::{Scope, ScopeError, Scopes};
pub use secrets::{
    Home, Secret, SecretError, SecretInfo, SecretValue, list_secrets, remove_secret,
    reveal_for_job, set_secret,
};
pub use session::{
    NewSession, SESSION_LIFE, SessionInfo, SessionRefused, close_session, csrf_token, open_session,
    session, sessions, sweep_sessions,
};
pub use sshkey::{
    KeyHome, KeyRefused, NewKey, SshKeyError, SshKeyInfo, add_ssh_key, authenticate_key,
    deploy_keys, key_owner, knows_key, record_unknown_keys, remove_ssh_key, ssh_key, ssh_keys,
};
pub use sshkey_text::{KeyText, KeyTextError};
pub use token::{
    NewToken, TokenCreated, TokenInfo, TokenRefused, authenticate_token, create_token,
    revoke_token, token, tokens,
};
pub use user::{
    NewUser, Role, RoleError, User, UserError, create_user, restore_user, set_password, set_role,
    suspend_user, user, user_by_name, users,
};
pub use vars::{list_vars, remove_var, set_var, vars_for_job};

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "access",
    files: &[
        ("0001_people", include_str!("../migrations/0001_people.sql")),
        (
            "0002_ssh_keys",
            include_str!("../migrations/0002_ssh_keys.sql"),
        ),
    ],
};
