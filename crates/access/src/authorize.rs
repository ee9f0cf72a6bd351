//! The one place that decides who may do what.

use audit::{Actor, AppendError, Auditor, Entry, Kind, Seq, Who};
use store::{Db, Tx};
use vocab::{OwnerName, RepoId, RepoPath, UserId, Visibility};

use crate::{Action, Level, Need, Principal, Role, Scope, sql};

/// What the decision needs to know of a repo. `forge::Repo` has it all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RepoFacts {
    /// Its id.
    pub id: RepoId,
    /// Its path, for audit entries.
    pub path: RepoPath,
    /// The user who owns its namespace, if one does.
    pub owner_user: Option<UserId>,
    /// Who may see it.
    pub visibility: Visibility,
}

/// What an action is done to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resource {
    /// The instance as a whole.
    Instance,
    /// A user's account.
    User(UserId),
    /// A namespace in which a repo is to be made.
    Namespace {
        /// Its name.
        name: OwnerName,
        /// Whether it exists, and if so which user owns it, if one does.
        owner: Option<Option<UserId>>,
    },
    /// A repo.
    Repo(RepoFacts),
    /// A repo that does not exist. Denied as one that is not shared.
    NoRepo,
    /// What a generation serves: images, packages, actions, tools, files.
    Supply {
        /// Whether the site's settings let anybody have it.
        open: bool,
    },
}

/// Proof that an action was allowed. Only [`authorize`] makes one.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a grant is what the handler works by"]
pub struct Grant {
    action: Action,
    actor: Actor,
    user: Option<UserId>,
    repo: Option<RepoId>,
}

impl Grant {
    /// What was allowed.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// To whom.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// To which user, if it was one.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.user
    }

    /// On which repo, if it was one.
    #[must_use]
    pub fn repo(&self) -> Option<RepoId> {
        self.repo
    }
}

/// Why an action is not allowed.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// It asks for a signed-in user.
    #[error("{action} needs a signed-in user; sign in, or give an access token as the password")]
    NotSignedIn {
        /// The action.
        action: Action,
    },
    /// The token was not made for it.
    #[error("this token cannot be used for {action}: it lacks the scope {needed}")]
    Scope {
        /// The action.
        action: Action,
        /// What the token lacks.
        needed: Scope,
    },
    /// No token can be used for it.
    #[error("{action} cannot be done with a token; sign in with a password")]
    NoToken {
        /// The action.
        action: Action,
    },
    /// The deploy key was not made for it.
    #[error("this deploy key may only read; ask the repo's owner for one that may write")]
    ReadOnlyKey,
    /// The repo does not exist or may not be known of.
    #[error("there is no such repo, or it is not shared with you")]
    NoRepo,
    /// The repo may be known of, and that is all.
    #[error("{action} needs {needed} access to this repo; ask its owner")]
    Level {
        /// The action.
        action: Action,
        /// What it needs.
        needed: Level,
    },
    /// The account or namespace is somebody else's, or only an administrator may.
    #[error("{action} is not allowed to you; ask an administrator")]
    Forbidden {
        /// The action.
        action: Action,
    },
    /// The action was asked for on something that it cannot be done to.
    #[error("{action} cannot be done to that")]
    WrongResource {
        /// The action.
        action: Action,
    },
    /// The decision could not be made.
    #[error("the database refused, so {action} is denied")]
    Unavailable {
        /// The action.
        action: Action,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl Denied {
    /// The stable code in audit entries and API answers.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSignedIn { .. } => "E_NOT_SIGNED_IN",
            Self::Scope { .. } => "E_SCOPE",
            Self::NoToken { .. } => "E_NO_TOKEN",
            Self::ReadOnlyKey => "E_READ_ONLY_KEY",
            Self::NoRepo => "E_NO_REPO",
            Self::Level { .. } => "E_LEVEL",
            Self::Forbidden { .. } => "E_FORBIDDEN",
            Self::WrongResource { .. } => "E_RESOURCE",
            Self::Unavailable { .. } => "E_UNAVAILABLE",
        }
    }

    /// The HTTP status that says it: 401, 403, 404 or 503.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::NotSignedIn { .. } => 401,
            Self::NoRepo => 404,
            Self::Unavailable { .. } => 503,
            _ => 403,
        }
    }
}

/// Decides whether `principal` may do `action` to `resource`.
///
/// Whatever the table does not allow is denied, and so is everything while the database fails.
pub fn authorize(
    db: &Db,
    principal: &Principal,
    action: Action,
    resource: &Resource,
) -> Result<Grant, Denied> {
    fits(action, resource)?;
    match principal {
        Principal::Operator { .. } => {}
        Principal::Job { repo, .. } => job_may(action, *repo, resource)?,
        Principal::Anonymous => anonymous_may(action, resource)?,
        Principal::User { user, role, .. } => person_may(db, *user, *role, action, resource)?,
        Principal::SshKey { user, role, .. } => {
            only_git(action)?;
            person_may(db, *user, *role, action, resource)?;
        }
        Principal::DeployKey { repo, writes, .. } => {
            only_git(action)?;
            deploy_key_may(action, *repo, *writes, resource)?;
        }
        Principal::Token {
            user, role, scopes, ..
        } => {
            let requirement = action.requirement();
            match requirement.scope {
                Some(needed) if !scopes.cover(needed) => {
                    // What a token lacks must not tell that there is such a repo.
                    if let Resource::Repo(facts) = resource
                        && level(db, *user, *role, facts)
                            .map_err(|source| Denied::Unavailable { action, source })?
                            .is_none()
                    {
                        return Err(Denied::NoRepo);
                    }
                    return Err(Denied::Scope { action, needed });
                }
                None if requirement.need != Need::Anyone => return Err(Denied::NoToken { action }),
                _ => person_may(db, *user, *role, action, resource)?,
            }
        }
    }
    Ok(Grant {
        action,
        actor: principal.actor(),
        user: principal.user(),
        repo: match resource {
            Resource::Repo(facts) => Some(facts.id),
            _ => None,
        },
    })
}

/// Whether the action can be done to such a thing at all.
fn fits(action: Action, resource: &Resource) -> Result<(), Denied> {
    let fits = match (action.requirement().need, resource) {
        (Need::Repo(_), Resource::NoRepo) => return Err(Denied::NoRepo),
        (Need::Repo(_), Resource::Repo(_))
        | (Need::Namespace, Resource::Namespace { .. })
        | (Need::Own, Resource::User(_))
        | (Need::Supply, Resource::Supply { .. })
        | (Need::Anyone | Need::SignedIn | Need::Operator, Resource::Instance)
        | (Need::Admin, Resource::Instance | Resource::User(_)) => true,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(Denied::WrongResource { action })
    }
}

fn job_may(action: Action, own: RepoId, resource: &Resource) -> Result<(), Denied> {
    match resource {
        Resource::Repo(facts) if facts.id == own && action.requirement().job => Ok(()),
        Resource::Supply { .. } if action.requirement().job => Ok(()),
        Resource::Repo(facts) if facts.id != own => Err(Denied::NoRepo),
        _ => Err(Denied::Forbidden { action }),
    }
}

/// No SSH key opens more than git.
fn only_git(action: Action) -> Result<(), Denied> {
    match action {
        Action::GitFetch | Action::GitPush => Ok(()),
        _ => Err(Denied::Forbidden { action }),
    }
}

/// A deploy key knows its own repo, and of no other that there is one.
fn deploy_key_may(
    action: Action,
    own: RepoId,
    writes: bool,
    resource: &Resource,
) -> Result<(), Denied> {
    match resource {
        Resource::Repo(facts) if facts.id != own => Err(Denied::NoRepo),
        Resource::Repo(_) if writes || action == Action::GitFetch => Ok(()),
        Resource::Repo(_) => Err(Denied::ReadOnlyKey),
        _ => Err(Denied::Forbidden { action }),
    }
}

fn anonymous_may(action: Action, resource: &Resource) -> Result<(), Denied> {
    let public = matches!(resource, Resource::Repo(f) if f.visibility == Visibility::Public);
    match action.requirement().need {
        Need::Anyone => Ok(()),
        Need::Repo(Level::Read) if public => Ok(()),
        Need::Supply if *resource == (Resource::Supply { open: true }) => Ok(()),
        _ => Err(Denied::NotSignedIn { action }),
    }
}

fn person_may(
    db: &Db,
    user: UserId,
    role: Role,
    action: Action,
    resource: &Resource,
) -> Result<(), Denied> {
    let unavailable = |source| Denied::Unavailable { action, source };
    let admin = role == Role::Admin;
    let allowed = match (action.requirement().need, resource) {
        (Need::Anyone | Need::SignedIn | Need::Supply, _) => true,
        (Need::Own, Resource::User(whose)) => admin || *whose == user,
        (Need::Namespace, Resource::Namespace { name, owner }) => match owner {
            Some(owner) => admin || *owner == Some(user),
            None => {
                let named =
                    sql::user_by_name(db, &crate::user::key(name.as_str())).map_err(unavailable)?;
                named.is_none_or(|named| admin || named.id == user)
            }
        },
        (Need::Repo(needed), Resource::Repo(facts)) => {
            let has = level(db, user, role, facts).map_err(unavailable)?;
            return match has {
                None => Err(Denied::NoRepo),
                Some(has) if has < needed => Err(Denied::Level { action, needed }),
                Some(_) => Ok(()),
            };
        }
        (Need::Admin, _) => admin,
        _ => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Denied::Forbidden { action })
    }
}

/// How much of a repo a user has; none means that they may not know of it.
pub fn level(
    db: &Db,
    user: UserId,
    role: Role,
    repo: &RepoFacts,
) -> rusqlite::Result<Option<Level>> {
    if role == Role::Admin || repo.owner_user == Some(user) {
        return Ok(Some(Level::Admin));
    }
    let shared = sql::collaborator_level(db, repo.id, user)?;
    let seen = match repo.visibility {
        Visibility::Private => None,
        Visibility::Instance | Visibility::Public => Some(Level::Read),
    };
    Ok(shared.max(seen))
}

/// Notes a denial in the audit log.
///
/// Not noted, so that nobody can fill the log: what an unknown caller asked for, and what only
/// reads when a signed-in person asked for it. A token out of its bounds is always noted.
pub fn record_denial(
    tx: &mut Tx<'_>,
    log: &Auditor,
    who: &Who,
    action: Action,
    resource: &Resource,
    denied: &Denied,
) -> Result<Option<Seq>, AppendError> {
    let kind = match (&who.actor, denied) {
        (Actor::Anonymous, _) => None,
        (Actor::Token { .. }, Denied::Scope { .. } | Denied::NoToken { .. }) => {
            Some(Kind::TokenUseDenied)
        }
        _ => action.requirement().kind,
    };
    let Some(kind) = kind else {
        return Ok(None);
    };
    let entry = Entry::denied(kind, denied.code()).detail("action", action.as_str());
    let entry = match resource {
        Resource::Repo(facts) => entry.object("repo", facts.id.tagged(), facts.path.to_string()),
        Resource::User(user) => entry.unnamed_object("user", user.tagged()),
        Resource::Namespace { name, .. } => entry.detail("namespace", name.as_str()),
        Resource::Instance | Resource::NoRepo | Resource::Supply { .. } => entry,
    };
    log.append(tx, who, entry).map(Some)
}

#[cfg(test)]
mod tests;
