//! Names that people choose: of users, owners and repos.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{name}' cannot be the name of {what}: use 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-', \
     start with a letter or digit, and end in neither '.' nor '.git'"
)]
pub struct NameError {
    what: &'static str,
    name: String,
}

fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    let fine = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !name.ends_with('.')
        && !name.to_ascii_lowercase().ends_with(".git")
        && !name.contains("..");
    if fine {
        Ok(())
    } else {
        Err(NameError {
            what,
            name: name.chars().take(80).collect(),
        })
    }
}

macro_rules! name {
    ($(#[doc = $doc:literal] $name:ident, $what:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

name! {
    #[doc = "A user's sign-in name; unique without regard to case."]
    UserName, "a user";
    #[doc = "The first half of a repo's path; unique without regard to case."]
    OwnerName, "an owner";
    #[doc = "The second half of a repo's path; unique within its owner without regard to case."]
    RepoName, "a repo";
}

/// A repo as people write it: `owner/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath {
    /// Who it belongs to.
    pub owner: OwnerName,
    /// What it is called there.
    pub name: RepoName,
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepoPath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (owner, name) = text.split_once('/').ok_or_else(|| NameError {
            what: "a repo (owner/name)",
            name: text.to_owned(),
        })?;
        Ok(Self {
            owner: owner.parse()?,
            name: name.parse()?,
        })
    }
}

impl TryFrom<String> for RepoPath {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_are_taken() {
        let path: RepoPath = "lab/tasks-app".parse().unwrap();
        assert_eq!(path.to_string(), "lab/tasks-app");
    }

    #[test]
    fn names_that_could_be_paths_or_options_are_refused() {
        for name in [
            "", ".", "..", "a/b", "-x", ".git", "x.git", "a..b", "a b", "é", "x.",
        ] {
            assert!(name.parse::<RepoName>().is_err(), "{name}");
        }
        assert!("x".repeat(65).parse::<UserName>().is_err());
    }
}
