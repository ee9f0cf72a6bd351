//! Users: made, found, suspended, and what they are in this instance.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use audit::{AppendError, Auditor, Entry, Kind, Who};
use store::{Db, Tx};
use vocab::{UserId, UserName, unix_ms};

use crate::{PasswordHash, sql};

/// What a user is in this instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Has their own repos and those shared with them.
    Member,
    /// May do everything that needs no control socket.
    Admin,
}

/// A word that names no role.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a role; the roles are member and admin")]
pub struct RoleError {
    text: String,
}

/// A user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// Their sign-in name, as first written.
    pub name: UserName,
    /// What they are in this instance.
    pub role: Role,
    /// Since when they exist.
    pub created: SystemTime,
    /// Since when they may not sign in, if so.
    pub suspended: Option<SystemTime>,
    /// Whether they can sign in with a password.
    pub has_password: bool,
}

/// A user to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewUser {
    /// Their sign-in name.
    pub name: UserName,
    /// Their password; none leaves them with tokens only.
    pub password: Option<PasswordHash>,
    /// What they are in this instance.
    pub role: Role,
}

/// Why a user cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is one of that name.
    #[error("user {name} exists already; choose another name (upper and lower case are the same)")]
    Taken {
        /// The name there is.
        name: UserName,
    },
    /// There is none of that id.
    #[error("there is no user {id}")]
    Unknown {
        /// The id.
        id: UserId,
    },
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The database refused.
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

impl Role {
    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        match text {
            "member" => Ok(Self::Member),
            "admin" => Ok(Self::Admin),
            _ => Err(RoleError {
                text: text.chars().take(40).collect(),
            }),
        }
    }
}

/// How a name is compared.
pub(crate) fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The user of that id.
pub fn user(db: &Db, id: UserId) -> rusqlite::Result<Option<User>> {
    sql::user(db, id)
}

/// The user of that name, without regard to case.
pub fn user_by_name(db: &Db, name: &UserName) -> rusqlite::Result<Option<User>> {
    sql::user_by_name(db, &key(name.as_str()))
}

/// All users, by name.
pub fn users(db: &Db) -> rusqlite::Result<Vec<User>> {
    sql::users(db)
}

/// Makes a user.
pub fn create_user(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    new: &NewUser,
) -> Result<User, UserError> {
    if let Some(there) = user_by_name(tx, &new.name)? {
        return Err(UserError::Taken { name: there.name });
    }
    let id = sql::insert_user(tx, new, &key(new.name.as_str()), unix_ms(log.now()))?;
    let entry = Entry::success(Kind::UserCreate)
        .unnamed_object("user", id.tagged())
        .detail("role", new.role.as_str())
        .detail("password", new.password.is_some())
        .private("name", new.name.as_str());
    log.append(tx, who, entry)?;
    known(tx, id)
}

/// Gives a user another password and ends all their sessions.
pub fn set_password(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: UserId,
    password: &PasswordHash,
) -> Result<(), UserError> {
    known(tx, id)?;
    sql::set_password(tx, id, password.as_str())?;
    let ended = sql::end_sessions(tx, id)?;
    let kind = if who.user() == Some(id) {
        Kind::PasswordChange
    } else {
        Kind::PasswordReset
    };
    let entry = Entry::success(kind)
        .unnamed_object("user", id.tagged())
        .detail("sessions_ended", ended);
    log.append(tx, who, entry)?;
    Ok(())
}

/// Changes what a user is in this instance.
pub fn set_role(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: UserId,
    role: Role,
) -> Result<(), UserError> {
    let before = known(tx, id)?;
    if before.role == role {
        return Ok(());
    }
    sql::set_role(tx, id, role)?;
    let kind = match role {
        Role::Admin => Kind::RoleGrant,
        Role::Member => Kind::RoleRevoke,
    };
    let entry = Entry::success(kind)
        .unnamed_object("user", id.tagged())
        .detail("role", Role::Admin.as_str());
    log.append(tx, who, entry)?;
    Ok(())
}

/// Lets a user do nothing more: ends their sessions; their tokens are refused from now on.
pub fn suspend_user(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: UserId,
) -> Result<(), UserError> {
    if known(tx, id)?.suspended.is_some() {
        return Ok(());
    }
    sql::set_suspended(tx, id, Some(unix_ms(log.now())))?;
    let ended = sql::end_sessions(tx, id)?;
    let entry = Entry::success(Kind::UserSuspend)
        .unnamed_object("user", id.tagged())
        .detail("sessions_ended", ended);
    log.append(tx, who, entry)?;
    Ok(())
}

/// Ends a suspension.
pub fn restore_user(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    id: UserId,
) -> Result<(), UserError> {
    if known(tx, id)?.suspended.is_none() {
        return Ok(());
    }
    sql::set_suspended(tx, id, None)?;
    let entry = Entry::success(Kind::UserRestore).unnamed_object("user", id.tagged());
    log.append(tx, who, entry)?;
    Ok(())
}

fn known(db: &Db, id: UserId) -> Result<User, UserError> {
    sql::user(db, id)?.ok_or(UserError::Unknown { id })
}
