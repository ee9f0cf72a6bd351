//! The demonstration: a fresh appliance, a real push, and a green, a red and again a green run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, anyhow, bail};
use testkit::appliance::{Appliance, password_of};
use testkit::git::Tree;
use vocab::Stopwatch;

use crate::shell::{part, run as run_program, say};
use crate::{dist, image, shell, tools};

const USER: &str = "dev";
const REPO: &str = "lab/tasks-app";

/// What a healthy line of the application is, and the fault that its tests find.
const SOUND: &str = "default=0) + 1";
const BROKEN: &str = "default=0) + 2";

/// Printed by the last step of the workflow, whatever happened before it.
const LAST_STEP: &str = "this step ran although the tests may have failed";

/// Runs it all. With `exit` the appliance is stopped at the end; otherwise it serves on until
/// Ctrl-C. An error when anything went otherwise than told.
pub(crate) fn run(root: &Path, exit: bool, binary: Option<PathBuf>) -> Result<()> {
    if !shell::is_root() {
        bail!("the demonstration builds an image and starts sandboxes; run it as root");
    }
    let watch = Stopwatch::start();
    tools::ensure(tools::DEMO)?;
    let binary = match binary {
        Some(path) => path,
        None => dist::build(root, "release")?,
    };
    let image = image::ensure(root, Some(&binary))?;
    let mut stage = Stage::set_up(root, &binary, &image)?;
    stage.green_red_green()?;
    let seconds = watch.elapsed().as_secs();
    say(&format!(
        "all went as told: green, red, green; {seconds} s from the first command"
    ));
    if exit {
        part("stop the appliance", || {
            stage.appliance.stop().map_err(plain)
        })?;
        return Ok(());
    }
    stage.serve_on()
}

struct Stage {
    appliance: Appliance,
    tree: Tree,
    url: String,
}

impl Stage {
    fn set_up(root: &Path, binary: &Path, image: &Path) -> Result<Self> {
        let folder = root.join("target/demo");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot empty {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder)?;
        let data = folder.join("data");
        let mut appliance = part(
            &format!("make a data directory: {}", data.display()),
            || Appliance::init(binary, &data).map_err(plain),
        )?;
        part("start the appliance", || appliance.start().map_err(plain))?;
        say(&format!("it serves http://{}/", appliance.address()));
        let file = image.to_str().context("the path of the image is no text")?;
        part("import the image (every digest is checked)", || {
            let said = appliance.ok(&["image", "import", file]).map_err(plain)?;
            print!("{said}");
            Ok(())
        })?;
        let (tree, url) = part(
            &format!("create user {USER}, a token and repo {REPO}"),
            || {
                let token = appliance.user(USER, &[]).map_err(plain)?;
                appliance.repo(REPO, USER).map_err(plain)?;
                let tree = Tree::init(&folder.join("tasks-app")).map_err(plain)?;
                let source = root.join("appliance/tasks-app/.");
                run_program(Command::new("cp").arg("-r").arg(source).arg(&tree.folder))?;
                Ok((tree, appliance.url(REPO, USER, &token)))
            },
        )?;
        Ok(Self {
            appliance,
            tree,
            url,
        })
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

    /// Commits, pushes, follows the run in this terminal, and checks its verdict.
    fn push(&self, message: &str, green: bool) -> Result<()> {
        let colour = if green { "green" } else { "red" };
        let before = self.newest_run()?;
        self.tree.commit(message).map_err(plain)?;
        say(&format!("git push origin main: {message}"));
        let said = self.tree.push(&self.url, "HEAD:main").map_err(plain)?;
        print!("{}", without_token(&said));
        say("cofferdam run watch (the log as it comes)");
        let verdict = self.show(&["run", "watch", REPO])?;
        if self.newest_run()? == before {
            bail!("the push started no run");
        }
        say("the receipt: whose computer was that, was it fresh, what could it reach?");
        self.show(&["run", "show", REPO])?;
        let log = self.appliance.ok(&["run", "log", REPO]).map_err(plain)?;
        if !log.contains(LAST_STEP) {
            bail!("the last step did not print its line");
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
        let runs = self.appliance.json(&["run", "list", REPO]).map_err(plain)?;
        let rows = runs.as_array().or_else(|| runs["runs"].as_array());
        let newest = rows.and_then(|rows| rows.first());
        Ok(newest.and_then(|run| run["number"].as_i64()))
    }

    fn show(&self, words: &[&str]) -> Result<ExitStatus> {
        let mut command = self.appliance.command(words);
        command
            .status()
            .with_context(|| format!("cannot start {}", shell::show(&command)))
    }

    /// Says where everything is, and waits until somebody ends the appliance.
    fn serve_on(&mut self) -> Result<()> {
        let address = self.appliance.address().to_owned();
        let password = password_of(USER);
        say(&format!("the repo: http://{address}/{REPO}"));
        say(&format!("sign in as {USER} with the password: {password}"));
        say(&format!(
            "push yourself: cd {} and change tasks.py",
            self.tree.folder.display()
        ));
        say("Ctrl-C ends the appliance");
        self.appliance
            .server()
            .map_err(plain)?
            .wait()
            .map_err(plain)?;
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
