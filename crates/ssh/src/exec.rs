//! The line that a client asks to be run, as git writes it: a verb and one quoted path.
//!
//! Nothing is run and nothing is expanded: what is not exactly such a line is refused.

use vocab::RepoPath;

/// The longest line; a path of a repo is far shorter.
const LINE_BYTES: usize = 1024;

/// What git asks of a repo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GitVerb {
    /// A clone or a fetch.
    UploadPack,
    /// A push.
    ReceivePack,
}

/// One line, understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GitCommand {
    /// What is asked.
    pub verb: GitVerb,
    /// Of which repo.
    pub repo: RepoPath,
}

/// Why a line is refused, in words for the person at the other end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// It is no line that git would send.
    #[error("this is no command of git; use git clone, fetch or push")]
    Shape,
    /// Large file storage.
    #[error("git LFS is not served yet; keep large files outside the repository")]
    Lfs,
    /// A command of git that is not served.
    #[error("{0} is not served; use git clone, fetch or push")]
    Verb(&'static str),
    /// The path names no repo.
    #[error("'{0}' is no repo; a repo is owner/name, as in ssh://git@HOST/owner/name.git")]
    Path(String),
}

impl GitCommand {
    /// Reads a line such as `git-upload-pack '/lab/app.git'`.
    pub fn parse(line: &[u8]) -> Result<Self, ExecError> {
        let line = Some(line)
            .filter(|line| line.len() <= LINE_BYTES)
            .and_then(|line| std::str::from_utf8(line).ok())
            .ok_or(ExecError::Shape)?;
        let (verb, rest) = verb(line)?;
        let path = one_word(rest).ok_or(ExecError::Shape)?;
        let bare = path.strip_prefix('/').unwrap_or(&path);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let bare = bare.strip_suffix(".git").unwrap_or(bare);
        let repo = bare
            .parse()
            .map_err(|_| ExecError::Path(path.chars().filter(|c| !c.is_control()).collect()))?;
        Ok(Self { verb, repo })
    }
}

/// The verb, and what stands behind the space that ends it.
fn verb(line: &str) -> Result<(GitVerb, &str), ExecError> {
    let line = match line.strip_prefix("git ") {
        Some(rest) => rest,
        None => line.strip_prefix("git-").ok_or(ExecError::Shape)?,
    };
    let (verb, rest) = line.split_once(' ').ok_or(ExecError::Shape)?;
    match verb {
        "upload-pack" => Ok((GitVerb::UploadPack, rest)),
        "receive-pack" => Ok((GitVerb::ReceivePack, rest)),
        "lfs-authenticate" | "lfs-transfer" => Err(ExecError::Lfs),
        "upload-archive" => Err(ExecError::Verb("git archive --remote")),
        _ => Err(ExecError::Shape),
    }
}

/// The one word of `text`, with its quotes taken away: in single quotes everything stands for
/// itself; outside them a quote and an exclamation mark may be escaped, and only what no shell
/// would look at twice may stand bare.
fn one_word(text: &str) -> Option<String> {
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    c => word.push(c),
                }
            },
            '\\' => word.push(chars.next().filter(|c| matches!(c, '\'' | '!'))?),
            c if c.is_ascii_alphanumeric() || "/._-".contains(c) => word.push(c),
            _ => return None,
        }
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<(GitVerb, String)> {
        let command = GitCommand::parse(line.as_bytes()).ok()?;
        Some((command.verb, command.repo.to_string()))
    }

    #[test]
    fn what_git_sends_is_understood() {
        for line in [
            "git-upload-pack '/lab/app.git'",
            "git-upload-pack 'lab/app.git'",
            "git-upload-pack 'lab/app'",
            "git upload-pack '/lab/app.git'",
            "git-upload-pack lab/app.git",
            "git-upload-pack '/lab/'app.git",
            "git-upload-pack 'lab/app/'",
        ] {
            assert_eq!(
                read(line),
                Some((GitVerb::UploadPack, "lab/app".into())),
                "{line}"
            );
        }
        let push = read("git-receive-pack '/lab/app.git'");
        assert_eq!(push, Some((GitVerb::ReceivePack, "lab/app".into())));
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("git-upload-pack 'lab/{}'", "a".repeat(LINE_BYTES));
        for line in [
            "",
            "sh",
            "ls -la",
            "git-upload-pack",
            "git-upload-pack ",
            "git-upload-pack '",
            "git-upload-pack 'lab/app",
            "git-upload-pack  'lab/app'",
            "git-upload-pack 'lab/app' ",
            "git-upload-pack 'lab/app' extra",
            "git-upload-pack 'lab/app'; id",
            "git-upload-pack 'lab/app'\nid",
            "git-upload-pack lab/$(id)",
            "git-upload-pack \"lab/app\"",
            "git-upload-pack --strict 'lab/app'",
            "git-upload-pack --upload-pack=id",
            "git-upload-pack '../../etc/passwd'",
            "git-upload-pack 'lab/../x'",
            "git-upload-pack '//lab/app'",
            "git-upload-pack '~dev/app'",
            "git-upload-pack 'lab/app\0'",
            "git-shell 'lab/app'",
            "GIT-UPLOAD-PACK 'lab/app'",
            " git-upload-pack 'lab/app'",
            "git-upload-pack 'a'\\''b/c'",
            &long,
        ] {
            assert_eq!(read(line), None, "{line:?}");
        }
        assert!(GitCommand::parse(b"git-upload-pack '\xff/app'").is_err());
    }

    #[test]
    fn lfs_and_archives_are_refused_in_words() {
        let said = |line: &str| GitCommand::parse(line.as_bytes()).unwrap_err().to_string();
        assert!(said("git-lfs-authenticate lab/app.git upload").contains("LFS"));
        assert!(said("git-upload-archive 'lab/app'").contains("archive"));
        assert!(said("git-upload-pack 'lab'").contains("owner/name"));
    }
}
