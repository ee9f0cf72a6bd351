//! What a token may be used for, within what its user may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One thing a token may be used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// `repo:read`: see repos, clone and fetch.
    RepoRead,
    /// `repo:write`: push too.
    RepoWrite,
    /// `repo:admin`: make, share, rename and delete repos, and set their secrets too.
    RepoAdmin,
    /// `run:read`: see runs, logs, the queue, runners and images.
    RunRead,
    /// `run:write`: start, cancel and repeat runs too.
    RunWrite,
    /// `admin`: everything its user may do, save managing their own tokens and password.
    Admin,
}

/// What a token may be used for, as a set. Text: the words with commas between.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scopes(BTreeSet<Scope>);

/// A word that names no scope.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{text}' is not a scope; the scopes are repo:read, repo:write, repo:admin, run:read, \
     run:write and admin, with commas between them"
)]
pub struct ScopeError {
    text: String,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RepoRead,
        Self::RepoWrite,
        Self::RepoAdmin,
        Self::RunRead,
        Self::RunWrite,
        Self::Admin,
    ];

    /// The word that is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RepoRead => "repo:read",
            Self::RepoWrite => "repo:write",
            Self::RepoAdmin => "repo:admin",
            Self::RunRead => "run:read",
            Self::RunWrite => "run:write",
            Self::Admin => "admin",
        }
    }

    /// Whether a token with this scope may do what asks for `needed`.
    #[must_use]
    pub fn covers(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::RepoAdmin => {
                matches!(needed, Self::RepoAdmin | Self::RepoWrite | Self::RepoRead)
            }
            Self::RepoWrite => matches!(needed, Self::RepoWrite | Self::RepoRead),
            Self::RunWrite => matches!(needed, Self::RunWrite | Self::RunRead),
            Self::RepoRead | Self::RunRead => self == needed,
        }
    }
}

impl Scopes {
    /// Whether any of these covers `needed`.
    #[must_use]
    pub fn cover(&self, needed: Scope) -> bool {
        self.0.iter().any(|scope| scope.covers(needed))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = Scope> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == text)
            .ok_or_else(|| ScopeError {
                text: text.chars().take(40).collect(),
            })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for Scopes {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        text.split([',', ' '])
            .filter(|word| !word.is_empty())
            .map(str::parse)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_scopes_cover_narrower_ones_and_never_the_other_way() {
        let covered = |scope: Scope| -> String {
            let all = Scope::ALL.into_iter().filter(|n| scope.covers(*n));
            all.collect::<Scopes>().to_string()
        };
        assert_eq!(covered(Scope::RepoRead), "repo:read");
        assert_eq!(covered(Scope::RepoWrite), "repo:read,repo:write");
        assert_eq!(covered(Scope::RepoAdmin), "repo:read,repo:write,repo:admin");
        assert_eq!(covered(Scope::RunRead), "run:read");
        assert_eq!(covered(Scope::RunWrite), "run:read,run:write");
        assert_eq!(
            covered(Scope::Admin),
            "repo:read,repo:write,repo:admin,run:read,run:write,admin"
        );
    }

    #[test]
    fn texts_come_back_and_unknown_words_are_refused() {
        let scopes: Scopes = "run:write, repo:read".parse().unwrap();
        assert_eq!(scopes.to_string(), "repo:read,run:write");
        assert!("repo:read,root".parse::<Scopes>().is_err());
        assert!("".parse::<Scopes>().unwrap().is_empty());
    }
}
