//! The demonstration: a bundle is built and signed on this side; on the other side, in a network
//! that has nothing but loopback, a host installs itself from the stick, and a real push runs
//! green, red and again green.

pub(crate) mod carried;
mod sealed;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use testkit::appliance::password_of;
use testkit::git::Tree;
use vocab::Stopwatch;

use crate::shell::{part, run as run_program, say};
use crate::{dist, shell, tools};
use carried::Carried;
use sealed::Sealed;

const USER: &str = "dev";
const REPO: &str = "lab/tasks-app";

/// What a healthy line of the application is, and the fault that its tests find.
const SOUND: &str = "default=0) + 1";
const BROKEN: &str = "default=0) + 2";

/// Printed by the last step of the workflow, whatever happened before it.
const LAST_STEP: &str = "this step ran although the tests may have failed";

/// Runs it all. With `exit` everything is taken down at the end; otherwise it serves on until
/// somebody presses Enter. An error when anything went otherwise than told.
pub(crate) fn run(root: &Path, exit: bool, binary: Option<PathBuf>) -> Result<()> {
    if !shell::is_root() {
        bail!("the demonstration builds an image and starts sandboxes; run it as root");
    }
    let watch = Stopwatch::start();
    tools::ensure(tools::DEMO)?;
    let binary = match binary {
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?,
        None => dist::build(root, "release")?,
    };
    let folder = root.join("target/demo");
    Sealed::clear(&folder.join("host"))?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)?;
    let carried = Carried::make(root, &folder, &binary)?;
    let host = Sealed::install(&folder, &carried)?;
    let mut stage = Stage::set_up(root, &folder, host)?;
    stage.green_red_green()?;
    let seconds = watch.elapsed().as_secs();
    say(&format!(
        "all went as told: green, red, green, with no network at all; {seconds} s from the first \
         command"
    ));
    if !exit {
        stage.serve_on()?;
    }
    part("uninstall, data and all", || stage.host.uninstall())
}

struct Stage {
    host: Sealed,
    tree: Tree,
    url: String,
}

impl Stage {
    fn set_up(root: &Path, folder: &Path, host: Sealed) -> Result<Self> {
        let (tree, url) = part(
            &format!("create user {USER}, a token and repo {REPO}"),
            || {
                let password = folder.join("password");
                std::fs::write(&password, password_of(USER))?;
                let file = password.to_str().context("the path is no text")?;
                host.ok(&["user", "create", USER, "--password-file", file])?;
                let token = host.ok(&["token", "create", USER])?;
                host.ok(&["repo", "create", REPO, "--for", USER])?;
                let tree = Tree::init(&folder.join("tasks-app")).map_err(plain)?;
                let source = root.join("appliance/tasks-app/.");
                run_program(Command::new("cp").arg("-r").arg(source).arg(&tree.folder))?;
                let at = host.address();
                let url = format!("https://{USER}:{}@{at}/{REPO}.git", token.trim());
                Ok((tree, url))
            },
        )?;
        Ok(Self { host, tree, url })
    }

    fn green_red_green(&mut self) -> Result<()> {
        self.push("A task list with tests", true)?;
        self.edit(SOUND, BROKEN)?;
        self.push("Count tasks by two (this breaks a test)", false)?;
        self.edit(BROKEN, SOUND)?;
        self.push("Count tasks by one again", true)
    }

    fn edit(&self, from: &str, to: &str) -> Result<()> {
        let path = self.tree.folder.join("tasks.py");
        let text = std::fs::read_to_string(&path)?;
        if !text.contains(from) {
            bail!("{} does not hold {from:?}", path.display());
        }
        Ok(std::fs::write(&path, text.replace(from, to))?)
    }

    /// Commits, pushes over TLS, follows the run in this terminal, and checks its verdict.
    fn push(&self, message: &str, green: bool) -> Result<()> {
        let colour = if green { "green" } else { "red" };
        let before = self.newest_run()?;
        self.tree.commit(message).map_err(plain)?;
        say(&format!("git push origin main: {message}"));
        let pushed = self
            .host
            .inside("git")
            .arg("-C")
            .arg(&self.tree.folder)
            .args(["push", &self.url, "HEAD:main"])
            .env("GIT_SSL_CAINFO", self.host.authority())
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .output()
            .context("cannot start git")?;
        let said = String::from_utf8_lossy(&pushed.stderr);
        print!("{}", without_token(&said));
        if !pushed.status.success() {
            bail!("git push ended with {}", pushed.status);
        }
        say("cofferdam run watch (the log as it comes)");
        let verdict = self.show(&["run", "watch", REPO])?;
        if self.newest_run()? == before {
            bail!("the push started no run");
        }
        say("the receipt: whose computer was that, was it fresh, what could it reach?");
        self.show(&["run", "show", REPO])?;
        let log = self.host.ok(&["run", "log", REPO])?;
        for line in ["Successfully installed", LAST_STEP] {
            if !log.contains(line) {
                bail!("the log does not say {line:?}");
            }
        }
        let expected = if green { 0 } else { 1 };
        if verdict.code() != Some(expected) {
            bail!("the run should have been {colour}; `run watch` ended with {verdict}");
        }
        say(&format!("the run is {colour}, as it should be"));
        Ok(())
    }

    /// The number of the newest run, if there is one.
    fn newest_run(&self) -> Result<Option<i64>> {
        let text = self.host.ok(&["--json", "run", "list", REPO])?;
        let runs: serde_json::Value = serde_json::from_str(&text)?;
        let rows = runs.as_array().or_else(|| runs["runs"].as_array());
        let newest = rows.and_then(|rows| rows.first());
        Ok(newest.and_then(|run| run["number"].as_i64()))
    }

    fn show(&self, words: &[&str]) -> Result<ExitStatus> {
        let mut command = self.host.command(words);
        command
            .status()
            .with_context(|| format!("cannot start {}", shell::show(&command)))
    }

    /// Says where everything is, and waits until somebody presses Enter.
    fn serve_on(&self) -> Result<()> {
        let password = password_of(USER);
        say(&format!(
            "it serves https://{}/{REPO} in the network namespace {}",
            self.host.address(),
            self.host.network()
        ));
        say(&format!(
            "look from inside: ip netns exec {} curl --cacert {} https://{}/",
            self.host.network(),
            self.host.authority().display(),
            self.host.address()
        ));
        say(&format!("sign in as {USER} with the password: {password}"));
        say("Enter ends it");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(())
    }
}

/// What git said, without the token in the address.
fn without_token(said: &str) -> String {
    let mut shown = String::new();
    for line in said.split_inclusive('\n') {
        match (line.find("://"), line.find('@')) {
            (Some(start), Some(end)) if start < end => {
                shown.push_str(&line[..start + 3]);
                shown.push_str(&line[end + 1..]);
            }
            _ => shown.push_str(line),
        }
    }
    shown
}

/// An error of the test helpers as this program's own.
fn plain(error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
    anyhow!(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_shown() {
        let said = "To http://dev:secret@127.0.0.1:1/lab/a.git\nremote: run 1\n";
        assert_eq!(
            without_token(said),
            "To http://127.0.0.1:1/lab/a.git\nremote: run 1\n"
        );
    }

    #[test]
    fn the_application_holds_the_line_that_is_broken() {
        assert!(include_str!("../../../appliance/tasks-app/tasks.py").contains(SOUND));
    }
}
