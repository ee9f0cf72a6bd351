//! What a step's `uses` names.

use serde::{Deserialize, Serialize};

/// An action, by where it is found.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ActionRef {
    /// `owner/name[/path]@ref`
    Repo {
        /// The owner.
        owner: String,
        /// The repo.
        name: String,
        /// The folder in the repo; empty for its root.
        path: String,
        /// The tag, branch or commit.
        git_ref: String,
    },
    /// `https://host/owner/name[/path]@ref`
    Url {
        /// The host.
        host: String,
        /// The owner.
        owner: String,
        /// The repo.
        name: String,
        /// The folder in the repo; empty for its root.
        path: String,
        /// The tag, branch or commit.
        git_ref: String,
    },
    /// `./folder` of the workspace.
    Local(String),
    /// `docker://image`
    Docker(String),
}

/// A `uses` that names no action.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' names no action")]
pub struct ActionRefError {
    text: String,
}

impl ActionRef {
    /// Parses a `uses`.
    ///
    /// Errors: it is of none of the forms `owner/name[/path]@ref`, `./folder`, `docker://image`,
    /// `https://host/owner/name[/path]@ref`.
    pub fn parse(text: &str) -> Result<Self, ActionRefError> {
        let wrong = || ActionRefError {
            text: text.to_owned(),
        };
        if let Some(image) = text.strip_prefix("docker://") {
            // An empty image is told when the action is looked up.
            return Ok(Self::Docker(image.to_owned()));
        }
        if text == "." || text.starts_with("./") || text.starts_with(".\\") {
            return Ok(Self::Local(text.replace('\\', "/")));
        }
        if let Some(rest) = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
        {
            let (host, rest) = rest.split_once('/').ok_or_else(wrong)?;
            let (owner, name, path, git_ref) = split_repo(rest).ok_or_else(wrong)?;
            if host.is_empty() {
                return Err(wrong());
            }
            return Ok(Self::Url {
                host: host.to_owned(),
                owner,
                name,
                path,
                git_ref,
            });
        }
        let (owner, name, path, git_ref) = split_repo(text).ok_or_else(wrong)?;
        Ok(Self::Repo {
            owner,
            name,
            path,
            git_ref,
        })
    }

    /// The owner, name, path and ref of an action that lies in a repo.
    #[must_use]
    pub fn repo(&self) -> Option<(&str, &str, &str, &str)> {
        match self {
            Self::Repo {
                owner,
                name,
                path,
                git_ref,
            }
            | Self::Url {
                owner,
                name,
                path,
                git_ref,
                ..
            } => Some((owner, name, path, git_ref)),
            Self::Local(_) | Self::Docker(_) => None,
        }
    }
}

impl ActionRef {
    /// As [`ActionRef::repo`], for those that a bundle can carry: names without a host, and
    /// addresses of the public hosts that such names stand for.
    #[must_use]
    pub fn carried(&self) -> Option<(&str, &str, &str, &str)> {
        match self {
            Self::Url { host, .. } if !PUBLIC_HOSTS.contains(&host.as_str()) => None,
            _ => self.repo(),
        }
    }
}

/// Hosts of public actions.
const PUBLIC_HOSTS: [&str; 4] = [
    "github.com",
    "code.forgejo.org",
    "data.forgejo.org",
    "gitea.com",
];

/// A path of slashes without `.`, `..` and empty parts, below the folder `from`; `None` when it
/// leads out of the root, is absolute, or has parts that no tree holds.
#[must_use]
pub fn path_below(from: &str, path: &str) -> Option<String> {
    if path.starts_with(['/', '\\']) || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Splits `owner/name[/path]@ref`.
fn split_repo(text: &str) -> Option<(String, String, String, String)> {
    let (place, git_ref) = text.split_once('@')?;
    let mut parts = place.splitn(3, ['/', '\\']);
    let (owner, name) = (parts.next()?, parts.next()?);
    let path = parts.next().unwrap_or_default().trim_matches(['/', '\\']);
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(':');
    if !plain(owner) || !plain(name) || git_ref.is_empty() || text.contains("..") {
        return None;
    }
    Some((
        owner.to_owned(),
        name.to_owned(),
        path.replace('\\', "/"),
        git_ref.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let repo = |path: &str, git_ref: &str| ActionRef::Repo {
            owner: "actions".into(),
            name: "cache".into(),
            path: path.into(),
            git_ref: git_ref.into(),
        };
        assert_eq!(ActionRef::parse("actions/cache@v4"), Ok(repo("", "v4")));
        assert_eq!(
            ActionRef::parse("actions/cache/save@v4.1"),
            Ok(repo("save", "v4.1"))
        );
        assert_eq!(
            ActionRef::parse("actions/cache/a/b/@feature/x"),
            Ok(repo("a/b", "feature/x"))
        );
        assert_eq!(
            ActionRef::parse("./.github/act"),
            Ok(ActionRef::Local("./.github/act".into()))
        );
        assert_eq!(
            ActionRef::parse("docker://alpine:3.20"),
            Ok(ActionRef::Docker("alpine:3.20".into()))
        );
        let url = ActionRef::parse("https://code.forgejo.org/actions/cache/save@v4").unwrap();
        assert_eq!(url.repo(), Some(("actions", "cache", "save", "v4")));
    }

    #[test]
    fn a_path_stays_below_its_root() {
        let below = |from: &str, path: &str| path_below(from, path);
        assert_eq!(below("save", "../dist/i.js").as_deref(), Some("dist/i.js"));
        assert_eq!(below("", "./a//b/./c").as_deref(), Some("a/b/c"));
        assert_eq!(below("a/b", "..\\c").as_deref(), Some("a/c"));
        assert_eq!(below("", ".").as_deref(), Some(""));
        for path in ["..", "a/../../b", "/etc/passwd", "\\x", "a\0b"] {
            assert_eq!(below("", path), None, "{path}");
        }
        assert_eq!(below("save", "../../x"), None);
    }

    #[test]
    fn what_names_no_action_is_refused() {
        for text in [
            "",
            "checkout",
            "checkout@v4",
            "actions/checkout",
            "actions/checkout@",
            "/checkout@v4",
            "$docker://alpine:3",
            "..docker://a/b@c",
            "actions//@v1",
            "a/b/../c@v1",
            "https://h@v1",
        ] {
            assert!(ActionRef::parse(text).is_err(), "{text}");
        }
    }
}
