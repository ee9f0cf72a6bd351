//! An appliance that is installed under a prefix, so that it can be updated; and the builds that
//! it is offered.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bundle::Manifest;
use bundle::manifest::{Closure, FORMAT, Item, Origin, SelfUpdate};
use cofferdam::Program as Build;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};
use store::{Store, StoreError, StoreOptions};
use tempfile::TempDir;
use testkit::appliance::{Appliance, debug_binary};
use testkit::program::Program;
use testkit::{Result, http};
use vocab::{Clock, Digest};

use crate::{copy_site, folder, prepared_site};

/// An installed appliance. Dropping it ends whatever serves its data.
pub struct Installed {
    /// Everything of it.
    pub folder: TempDir,
    /// Where programs are.
    pub prefix: PathBuf,
    /// For the command line; never serves itself.
    pub cli: Appliance,
    /// Where it serves.
    pub address: String,
    /// The digest of the program that it began with, in hex.
    pub first: String,
    started: Option<Program>,
    seq: i64,
}

/// What an offered build promises, beside its bytes.
#[derive(Clone, Debug)]
pub struct Promise {
    /// Its version.
    pub version: String,
    /// The architecture on its label.
    pub arch: String,
    /// How many migrations of each crate it knows.
    pub schema: BTreeMap<String, u32>,
    /// The oldest appliance that can take it.
    pub min_appliance: String,
    /// The security epoch of its bundle.
    pub epoch: u64,
}

impl Default for Promise {
    fn default() -> Self {
        let schema = Build::THIS.schema();
        Self {
            version: "0.2.0".to_owned(),
            arch: "amd64".to_owned(),
            schema: schema
                .into_iter()
                .map(|(owner, n)| (owner, u32::try_from(n).unwrap_or(0)))
                .collect(),
            min_appliance: "0.1.0".to_owned(),
            epoch: 1,
        }
    }
}

impl Promise {
    /// With one more migration of the queue.
    #[must_use]
    pub fn with_migration(mut self) -> Self {
        *self.schema.entry("queue".to_owned()).or_default() += 1;
        self
    }
}

/// The bytes of another build: what it is stands at its end. See `candidate.rs`.
pub fn build(what: &Value) -> Result<Vec<u8>> {
    let path = debug_binary()?.with_file_name("candidate");
    let mut bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    bytes.extend_from_slice(b"\n#candidate ");
    bytes.extend_from_slice(what.to_string().as_bytes());
    Ok(bytes)
}

/// A build of version 0.2.0 with this fault; "" for none.
pub fn faulty(fault: &str) -> Result<Vec<u8>> {
    build(&json!({ "version": "0.2.0", "fault": fault }))
}

impl Installed {
    /// With no image: jobs of its own run in the host's `/usr`. Not yet started.
    pub fn bare() -> Result<Self> {
        let folder = folder()?;
        let data = folder.path().join("data");
        let cli = Appliance::init(&debug_binary()?, &data)?;
        Self::around(folder, cli)
    }

    /// With the Debian image. Not yet started.
    pub fn with_image() -> Result<Self> {
        let folder = folder()?;
        let data = folder.path().join("data");
        copy_site(&prepared_site()?, &data)?;
        let cli = Appliance::at(&debug_binary()?, &data);
        Self::around(folder, cli)
    }

    fn around(folder: TempDir, cli: Appliance) -> Result<Self> {
        let prefix = folder.path().join("prefix");
        let binary = debug_binary()?;
        let first = hex_of(&std::fs::read(&binary)?);
        let home = prefix.join("versions").join(&first);
        std::fs::create_dir_all(&home)?;
        // The same file: a digest names it, nobody writes to it.
        if std::fs::hard_link(&binary, home.join("cofferdam")).is_err() {
            std::fs::copy(&binary, home.join("cofferdam"))?;
        }
        release(&home, "0.1.0", 1)?;
        std::os::unix::fs::symlink(format!("versions/{first}"), prefix.join("current"))?;
        let free = TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?.to_string();
        drop(free);
        Ok(Self {
            folder,
            prefix,
            cli,
            address,
            first,
            started: None,
            seq: 0,
        })
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.cli.data()
    }

    /// What `current` names, in hex.
    pub fn current(&self) -> Result<String> {
        link(&self.prefix.join("current")).ok_or_else(|| "there is no current".into())
    }

    /// What `previous` names, in hex.
    #[must_use]
    pub fn previous(&self) -> Option<String> {
        link(&self.prefix.join("previous"))
    }

    /// The newest update as the guard wrote it down.
    pub fn trial(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(
            self.prefix.join("update.json"),
        )?)?)
    }

    /// Starts what `current` names, as an operator would; returns once it serves.
    pub fn start(&mut self) -> Result {
        let mut program = self.spawn()?;
        program
            .line()
            .map_err(|e| format!("it did not start: {e}\n{}", self.log()))?;
        self.started = Some(program);
        Ok(())
    }

    /// Starts what `current` names and does not wait.
    pub fn spawn(&self) -> Result<Program> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("serve.log"))?;
        Program::start(
            Command::new(self.prefix.join("current/cofferdam"))
                .args(["serve", "--listen", &self.address])
                .env("COFFERDAM_DATA", self.data())
                .stderr(log),
        )
    }

    /// What every serving process logged.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        format!(
            "{}\nguard:\n{}",
            read(self.folder.path().join("serve.log")),
            read(self.prefix.join("update.log"))
        )
    }

    /// What the serving program says of itself.
    pub fn running(&self) -> Result<Value> {
        let request = http::Request {
            method: "GET",
            path: "/api/v1/update",
            headers: &[],
            body: b"",
        };
        let answer = http::send_local(&self.data().join("control.sock"), &request)?;
        answer.json()
    }

    /// Waits until a program with this digest serves.
    pub fn serves(&self, hex: &str) -> Result {
        for _ in 0..600 {
            if self.running().is_ok_and(|r| r["sha256"] == hex)
                && http::get(&self.address, "/readyz", &[]).is_ok_and(|a| a.status == 200)
            {
                return Ok(());
            }
            Clock::sleep(Duration::from_millis(100));
        }
        Err(format!("{hex} does not serve\n{}", self.log()).into())
    }

    /// Ends whatever serves the data, and the guard, by their ids.
    pub fn stop(&mut self) -> Result {
        self.end(Signal::TERM)
    }

    /// Kills whatever serves the data, and the guard, by their ids.
    pub fn kill(&mut self) -> Result {
        self.end(Signal::KILL)
    }

    fn end(&mut self, by: Signal) -> Result {
        loop {
            let found = self.processes()?;
            if found.is_empty() {
                self.started = None;
                return Ok(());
            }
            for pid in found {
                // It is over when the kernel says so: its files are closed then.
                let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
                    continue;
                };
                signal(pid, by);
                let most = Timespec {
                    tv_sec: 60,
                    tv_nsec: 0,
                };
                let mut watched = [PollFd::new(&handle, PollFlags::IN)];
                if poll(&mut watched, Some(&most))? == 0 {
                    return Err(format!("{pid:?} does not end\n{}", self.log()).into());
                }
            }
            if let Some(started) = &mut self.started {
                // Reaped, so that it is gone from the list.
                started.has_ended()?;
            }
        }
    }

    /// The processes that run a program of the prefix, launchers left out: they end by themselves.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        Ok(self
            .commands()?
            .into_iter()
            .filter(|(_, line)| !line.contains("sandbox-launcher"))
            .map(|(pid, _)| pid)
            .collect())
    }

    /// The guards that are at work.
    pub fn guards(&self) -> Result<Vec<Pid>> {
        Ok(self
            .commands()?
            .into_iter()
            .filter(|(_, line)| line.contains(" update guard "))
            .map(|(pid, _)| pid)
            .collect())
    }

    fn commands(&self) -> Result<Vec<(Pid, String)>> {
        let versions = self.prefix.join("versions");
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let id = path.file_name().and_then(|n| n.to_str()?.parse().ok());
            let Some(pid) = id.and_then(Pid::from_raw) else {
                continue;
            };
            let exe = std::fs::read_link(path.join("exe")).unwrap_or_default();
            if exe.starts_with(&versions) {
                let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                found.push((pid, line));
            }
        }
        Ok(found)
    }

    /// The command `cofferdam WORDS` of the installed program.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.prefix.join("current/cofferdam"));
        command
            .args(words)
            .env("COFFERDAM_DATA", self.data())
            .env("COFFERDAM_PREFIX", &self.prefix)
            .stdin(Stdio::null());
        command
    }

    /// Runs `cofferdam update WORDS` to its end.
    pub fn update(&self, words: &[&str]) -> Result<Output> {
        let all = [&["update"], words].concat();
        Ok(self.command(&all).output()?)
    }

    /// `cofferdam update status`, parsed.
    pub fn status(&self) -> Result<Value> {
        let output = self.command(&["--json", "update", "status"]).output()?;
        serde_json::from_slice(&output.stdout)
            .map_err(|e| format!("{e}: {}", String::from_utf8_lossy(&output.stderr)).into())
    }

    /// Installs this program as the current one without any check; the one before is `previous`.
    pub fn install(&self, bytes: &[u8]) -> Result<String> {
        let hex = hex_of(bytes);
        let home = self.prefix.join("versions").join(&hex);
        std::fs::create_dir_all(&home)?;
        let program = home.join("cofferdam");
        std::fs::write(&program, bytes)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        release(&home, "0.2.0", 1)?;
        self.point("previous", &self.current()?)?;
        self.point("current", &hex)?;
        Ok(hex)
    }

    /// Points a link at a version, as something that was cut short would leave it.
    pub fn point(&self, name: &str, hex: &str) -> Result {
        let path = self.prefix.join(name);
        if path.is_symlink() {
            std::fs::remove_file(&path)?;
        }
        Ok(std::os::unix::fs::symlink(format!("versions/{hex}"), path)?)
    }

    /// Makes user `dev` and the repo `lab/app`; gives the address to push to, and the token.
    pub fn repo(&self) -> Result<(String, String)> {
        let token = self.cli.user("dev", &[])?;
        self.cli.repo("lab/app", "dev")?;
        let url = format!("http://dev:{token}@{}/lab/app.git", self.address);
        Ok((url, token))
    }

    /// Waits until the newest update is over; gives its state.
    pub fn over(&self) -> Result<String> {
        for _ in 0..900 {
            let state = self.trial()?["state"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            if matches!(state.as_str(), "healthy" | "rolled_back") {
                return Ok(state);
            }
            Clock::sleep(Duration::from_millis(100));
        }
        Err(format!("it never ends: {:#}\n{}", self.trial()?, self.log()).into())
    }

    /// Makes a generation active that brings this program, as an import would. Nothing may serve.
    /// Gives the digest, in hex.
    pub fn offer(&mut self, bytes: &[u8], promise: &Promise) -> Result<String> {
        self.seq += 1;
        let options = StoreOptions::default();
        let migrations = Build::THIS.migrations;
        let store = Store::open(self.data(), migrations, options)?;
        let (digest, size) = store.blobs().put(bytes, None, u64::MAX)?;
        let manifest = manifest(promise, digest, size, u64::try_from(self.seq)?);
        let text = serde_json::to_vec(&manifest)?;
        let (named, _) = store.blobs().put(&text[..], None, u64::MAX)?;
        store.write::<_, StoreError>(|tx| {
            tx.execute(
                "INSERT INTO bundle (product, channel, seq, content, manifest, signers, root,
                 created, not_after, size_bytes, missing_bytes, state, seen_ms)
                 VALUES ('lab', 'stable', ?1, '1', ?2, '[]', 1, '', '', 0, 0, 'committed', 0)",
                (self.seq, named.to_string()),
            )?;
            let bundle = tx.last_insert_rowid();
            supply::generation::insert(tx, bundle, &manifest, &[(digest, size)], 0)
        })?;
        Ok(digest.hex())
    }

    /// Kinds of the audit entries on updates, the newest last.
    pub fn told(&self) -> Result<Vec<String>> {
        let output = self
            .command(&["--json", "audit", "--kind", "selfupdate."])
            .output()?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let entries = answer.as_array().or_else(|| answer["entries"].as_array());
        Ok(entries
            .ok_or("no entries")?
            .iter()
            .filter_map(|entry| entry["act"].as_str().map(str::to_owned))
            .collect())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        for pid in self.processes().unwrap_or_default() {
            signal(pid, Signal::KILL);
        }
    }
}

/// Sends a signal to a process, which may have ended meanwhile.
pub fn signal(pid: Pid, signal: Signal) {
    if kill_process(pid, signal).is_err() {
        println!("process {pid:?} had ended");
    }
}

/// SHA-256 in hex.
#[must_use]
pub fn hex_of(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()
}

/// What an installer notes of a version.
fn release(home: &Path, version: &str, epoch: u64) -> Result {
    let text = json!({ "version": version, "arch": "amd64", "schema": {}, "epoch": epoch });
    Ok(std::fs::write(home.join("release.json"), text.to_string())?)
}

fn link(path: &Path) -> Option<String> {
    let to = std::fs::read_link(path).ok()?;
    Some(to.file_name()?.to_str()?.to_owned())
}

fn manifest(promise: &Promise, program: Digest, size: u64, seq: u64) -> Manifest {
    Manifest {
        cofferdam_bundle: FORMAT,
        product: "lab".to_owned(),
        channel: "stable".to_owned(),
        seq,
        content: "1".to_owned(),
        arch: vec!["amd64".to_owned()],
        created: "2026-01-01".to_owned(),
        not_after: "2036-01-01".to_owned(),
        security_epoch: promise.epoch,
        min_appliance: promise.min_appliance.clone(),
        rollback_of: None,
        audience: Vec::new(),
        root: 1,
        base: None,
        volumes: Vec::new(),
        sums_sha256: Digest::of(b""),
        blobs: Vec::new(),
        items: vec![Item::Selfupdate(SelfUpdate {
            version: promise.version.clone(),
            arch: promise.arch.clone(),
            d: program,
            schema: promise.schema.clone(),
            source: Origin::default(),
        })],
        removes: Vec::new(),
        replaces: BTreeMap::new(),
        closure: Closure {
            blobs: 1,
            bytes: size,
        },
        lock_sha256: Digest::of(b""),
        notes: None,
    }
}
