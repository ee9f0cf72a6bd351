//! The system's git, cut off from the settings of whoever runs the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::Result;

/// The settings of every git that tests run.
#[must_use]
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Dev")
        .env("GIT_AUTHOR_EMAIL", "dev@lab.example")
        .env("GIT_COMMITTER_NAME", "Dev")
        .env("GIT_COMMITTER_EMAIL", "dev@lab.example")
        .args(["-c", "safe.directory=*", "-c", "init.defaultBranch=main"])
        .args(["-c", "protocol.file.allow=always", "-c", "gc.auto=0"])
        .stdin(Stdio::null());
    command
}

/// Runs git in `folder`, whatever its verdict.
pub fn output(folder: &Path, words: &[&str]) -> Result<Output> {
    Ok(command(folder).args(words).output()?)
}

/// Runs git in `folder`; gives its standard output, or an error with all it said.
pub fn run(folder: &Path, words: &[&str]) -> Result<String> {
    let output = output(folder, words)?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "git {} ended with {}: {stdout}{stderr}",
        words.join(" "),
        output.status
    )
    .into())
}

/// A working tree.
pub struct Tree {
    /// Its folder.
    pub folder: PathBuf,
}

impl Tree {
    /// Makes an empty repository in the new folder `folder`.
    pub fn init(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        run(folder, &["init", "--quiet"])?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Runs git here.
    pub fn git(&self, words: &[&str]) -> Result<String> {
        run(&self.folder, words)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result {
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(std::fs::write(path, content)?)
    }

    /// Commits everything; gives the id of the commit.
    pub fn commit(&self, message: &str) -> Result<String> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Pushes `refspec` to `url`; gives what git printed on standard error, which holds the
    /// server's messages.
    pub fn push(&self, url: &str, refspec: &str) -> Result<String> {
        let output = output(&self.folder, &["push", url, refspec])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(said)
        } else {
            Err(said.into())
        }
    }
}

/// Fails unless stock git finds the repository at `folder` sound.
pub fn fsck(folder: &Path) -> Result {
    run(folder, &["fsck", "--strict", "--no-progress"]).map(drop)
}
