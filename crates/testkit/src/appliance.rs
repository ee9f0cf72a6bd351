//! The real binary: a data directory, a serving process, and the command line beside it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::Result;
use crate::program::Program;

/// The binary that cargo built beside the running test.
pub fn debug_binary() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let binary = own
        .ancestors()
        .nth(2)
        .map(|folder| folder.join("cofferdam"));
    match binary {
        Some(path) if path.is_file() => Ok(path),
        Some(path) => Err(format!("{} is missing; run `cargo build` first", path.display()).into()),
        None => Err("the test executable has no folder above it".into()),
    }
}

/// The image that `cargo xtask image` built; an error says how to build it.
pub fn debian_image(workspace: &Path) -> Result<PathBuf> {
    let path = workspace.join("target/image/debian.oci.tar");
    if path.is_file() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing; run `cargo xtask image` first",
        path.display()
    )
    .into())
}

/// One data directory and what serves it.
pub struct Appliance {
    binary: PathBuf,
    data: PathBuf,
    log: PathBuf,
    extra: Vec<String>,
    server: Option<Program>,
    address: String,
}

impl Appliance {
    /// Makes the data directory `data` with `init`. Its serving process logs to `data` + `.log`.
    pub fn init(binary: &Path, data: &Path) -> Result<Self> {
        let appliance = Self::at(binary, data);
        appliance.ok(&["init"])?;
        Ok(appliance)
    }

    /// The data directory `data` as it is.
    #[must_use]
    pub fn at(binary: &Path, data: &Path) -> Self {
        let mut log = data.as_os_str().to_owned();
        log.push(".log");
        Self {
            binary: binary.to_owned(),
            data: data.to_owned(),
            log: log.into(),
            extra: Vec::new(),
            server: None,
            address: String::new(),
        }
    }

    /// Further words for each later `serve`.
    pub fn serve_with(&mut self, words: &[&str]) {
        self.extra = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Where each later serving process logs.
    pub fn log_to(&mut self, path: &Path) {
        self.log = path.to_owned();
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The address that it serves, `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Starts serving on a free port; returns when it is ready.
    pub fn start(&mut self) -> Result {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(&self.extra).stderr(self.open_log()?);
        let mut server = Program::start(&mut command)?;
        let line = server
            .line()
            .map_err(|error| format!("serve did not get ready: {error}\n{}", self.log_end()))?;
        self.address = bound_address(&line)
            .ok_or_else(|| format!("the first line of serve has no address: {line:?}"))?;
        self.server = Some(server);
        Ok(())
    }

    /// The serving process.
    pub fn server(&mut self) -> Result<&mut Program> {
        self.server
            .as_mut()
            .ok_or_else(|| "nothing serves now".into())
    }

    /// Kills the serving process as a crash would.
    pub fn crash(&mut self) -> Result {
        self.server()?.kill()?;
        self.server = None;
        Ok(())
    }

    /// Asks the serving process to end, and waits; it must end with success.
    pub fn stop(&mut self) -> Result {
        let server = self.server()?;
        server.signal(rustix::process::Signal::TERM)?;
        let status = server.wait()?;
        self.server = None;
        if status.success() {
            return Ok(());
        }
        Err(format!(
            "serve ended with {status} after SIGTERM\n{}",
            self.log_end()
        )
        .into())
    }

    /// The command `cofferdam WORDS` on this data directory.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(words)
            .env("COFFERDAM_DATA", &self.data)
            .env_remove("COFFERDAM_SERVER")
            .env_remove("COFFERDAM_TOKEN")
            .stdin(Stdio::null());
        command
    }

    /// Runs `cofferdam WORDS` to its end.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        Ok(self.command(words).output()?)
    }

    /// Runs `cofferdam WORDS`; its standard output, or an error with all it said.
    pub fn ok(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words)?;
        self.verdict(words, &output)
    }

    /// As [`Appliance::ok`], with `input` on standard input.
    pub fn ok_with_input(&self, words: &[&str], input: &str) -> Result<String> {
        let mut file = tempfile::tempfile()?;
        std::io::Write::write_all(&mut file, input.as_bytes())?;
        std::io::Seek::rewind(&mut file)?;
        let output = self.command(words).stdin(file).output()?;
        self.verdict(words, &output)
    }

    /// As [`Appliance::ok`], with `--json`, parsed.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(words);
        let text = self.ok(&all)?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text:?}").into())
    }

    /// Makes a user; gives a new token of theirs with these scopes (the usual ones for none).
    pub fn user(&self, name: &str, scopes: &[&str]) -> Result<String> {
        self.ok_with_input(&["user", "create", name], &password_of(name))?;
        self.token(name, scopes)
    }

    /// Makes a token for `user`.
    pub fn token(&self, user: &str, scopes: &[&str]) -> Result<String> {
        let mut words = vec!["token", "create", user];
        for scope in scopes {
            words.extend(["--scope", scope]);
        }
        Ok(self.ok(&words)?.trim().to_owned())
    }

    /// Makes the repo `path` for `user`.
    pub fn repo(&self, path: &str, user: &str) -> Result {
        self.ok(&["repo", "create", path, "--for", user]).map(drop)
    }

    /// Where git finds the repo `path` as `user` with `token`.
    #[must_use]
    pub fn url(&self, path: &str, user: &str, token: &str) -> String {
        format!("http://{user}:{token}@{}/{path}.git", self.address)
    }

    /// Every bare repository on its disk.
    pub fn repositories(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.data.join("repos"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "git") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn verdict(&self, words: &[&str], output: &Output) -> Result<String> {
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = format!("{stdout}{stderr}");
        let line = words.join(" ");
        Err(format!(
            "cofferdam {line} ended with {}: {said}\n{}",
            output.status,
            self.log_end()
        )
        .into())
    }

    fn open_log(&self) -> Result<File> {
        Ok(OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?)
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let start = log.char_indices().rev().nth(3000).map_or(0, |(at, _)| at);
        format!("the end of its log:\n{}", &log[start..])
    }
}

/// The password that [`Appliance::user`] gives to `name`.
#[must_use]
pub fn password_of(name: &str) -> String {
    format!("correct horse battery {name}")
}

/// The address in the first line of `serve`.
fn bound_address(line: &str) -> Option<String> {
    let start = line.find("127.0.0.1:")?;
    let address = line[start..]
        .chars()
        .take_while(|c| c.is_ascii_digit() || ".:".contains(*c));
    Some(
        address
            .collect::<String>()
            .trim_end_matches(['.', ':'])
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_address_is_found_in_a_sentence() {
        let line = "listening on http://127.0.0.1:4711/ (pid 3)";
        assert_eq!(bound_address(line).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(bound_address("ready"), None);
    }
}
