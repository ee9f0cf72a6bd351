//! Who starts and stops the appliance: a systemd unit, or whoever started it by hand, in whose
//! place the guard then starts it with the same arguments, folder and outlets.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::layout::Prefix;

/// How long a process may take to end after it was killed.
const PATIENCE: Duration = Duration::from_secs(25);
/// Where the installer notes which process serves, without systemd.
const PID_FILE: &str = "/run/cofferdam/serve.pid";

/// Who starts and stops the appliance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Keeper {
    /// systemd, by this unit.
    Unit(String),
    /// Nobody but us.
    Process {
        /// The words after the program's name.
        arguments: Vec<String>,
        /// The working directory.
        folder: PathBuf,
    },
}

/// What a process that is about to be replaced hands on.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    outlets: [Option<File>; 2],
    environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
}

/// A process of the appliance, ours or not.
pub(crate) struct Process {
    pub(crate) pid: u32,
    handle: OwnedFd,
    child: Option<Child>,
    /// What it was started with, where we started it.
    legacy: Option<Arc<Legacy>>,
}

impl Keeper {
    /// Who keeps the process `pid`, by its control group and command line.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let look = || format!("cannot read /proc/{pid}; does the appliance still run?");
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(look)?;
        if let Some(unit) = unit_in(&groups)
            && Path::new("/run/systemd/system").exists()
        {
            return Ok(Self::Unit(unit));
        }
        let line = fs::read(format!("/proc/{pid}/cmdline")).with_context(look)?;
        let arguments = line
            .split(|b| *b == 0)
            .skip(1)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        let mut arguments: Vec<String> = arguments.collect();
        // The line ends with a zero byte.
        arguments.pop();
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).with_context(look)?;
        Ok(Self::Process { arguments, folder })
    }

    /// Stops the process, with this much patience, and starts `current` in its place.
    pub(crate) fn restart(
        &self,
        prefix: &Prefix,
        data: &Path,
        old: Option<Process>,
        patience: Duration,
    ) -> anyhow::Result<Option<Process>> {
        match self {
            Self::Unit(unit) => {
                let all = with_own_needs(unit)?;
                let words = |verb: &'static [&str]| -> Vec<String> {
                    let verb = verb.iter().map(|word| (*word).to_owned());
                    verb.chain(all.clone()).collect()
                };
                if let Err(error) = systemctl(&words(&["reset-failed"])) {
                    tracing::debug!(%error, "nothing to reset");
                }
                systemctl(&words(&["restart", "--no-block"]))?;
                Ok(None)
            }
            Self::Process { .. } => {
                let legacy = old.as_ref().map(Process::legacy).unwrap_or_default();
                let noted = old.as_ref().and_then(|old| PidFile::of(old.pid));
                if let Some(old) = old {
                    old.stop(patience)?;
                }
                let fresh = self.start(prefix, data, legacy)?;
                if let Some(file) = noted {
                    file.note(fresh.pid);
                }
                Ok(Some(fresh))
            }
        }
    }

    /// Starts `current` as a child of this process.
    pub(crate) fn start(
        &self,
        prefix: &Prefix,
        data: &Path,
        legacy: Arc<Legacy>,
    ) -> anyhow::Result<Process> {
        let Self::Process { arguments, folder } = self else {
            bail!("a unit is started by systemd");
        };
        let program = prefix.current_program();
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null());
        if !legacy.environment.is_empty() {
            command.env_clear();
            command.envs(legacy.environment.iter().cloned());
        }
        command
            .env("COFFERDAM_DATA", data)
            .stdout(legacy.outlet(0, prefix)?)
            .stderr(legacy.outlet(1, prefix)?);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Process::of_child(child, legacy)
    }
}

impl Legacy {
    fn of(pid: u32) -> Self {
        let open = |fd: u32| {
            let path = format!("/proc/{pid}/fd/{fd}");
            OpenOptions::new().append(true).open(path).ok()
        };
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let environment = environment
            .split(|b| *b == 0)
            .filter_map(|pair| {
                let at = pair.iter().position(|b| *b == b'=')?;
                let text = |bytes: &[u8]| std::ffi::OsString::from_vec(bytes.to_vec());
                Some((text(&pair[..at]), text(&pair[at + 1..])))
            })
            .collect();
        Self {
            outlets: [open(1), open(2)],
            environment,
        }
    }

    fn outlet(&self, index: usize, prefix: &Prefix) -> anyhow::Result<Stdio> {
        let file = match &self.outlets[index] {
            Some(file) => file.try_clone(),
            None => OpenOptions::new()
                .create(true)
                .append(true)
                .open(prefix.file("update.log")),
        };
        Ok(file.context("no outlet for the appliance's lines")?.into())
    }
}

impl Process {
    fn of_child(child: Child, legacy: Arc<Legacy>) -> anyhow::Result<Self> {
        let mut process = Self::of(child.id())?;
        process.child = Some(child);
        process.legacy = Some(legacy);
        Ok(process)
    }

    /// What it hands on to the process that takes its place.
    pub(crate) fn legacy(&self) -> Arc<Legacy> {
        match &self.legacy {
            Some(legacy) => legacy.clone(),
            None => Arc::new(Legacy::of(self.pid)),
        }
    }

    /// A process that somebody else started.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let handle = raw
            .map(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .context("0 is no process")?
            .with_context(|| format!("there is no process {pid}"))?;
        Ok(Self {
            pid,
            handle,
            child: None,
            legacy: None,
        })
    }

    /// Whether it ends within `most`.
    pub(crate) fn ends_within(&self, most: Duration) -> bool {
        let until = Timespec::try_from(most).unwrap_or(Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        });
        let mut watched = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut watched, Some(&until)).is_ok_and(|ready| ready > 0)
    }

    /// How it ended, in words; it must have.
    pub(crate) fn ending(&mut self) -> String {
        match self.child.as_mut().map(Child::wait) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => error.to_string(),
            None => "it is gone".to_owned(),
        }
    }

    /// Asks it to end and waits `most`; kills it then.
    pub(crate) fn stop(mut self, most: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        if !self.ends_within(most) {
            tracing::warn!(pid = self.pid, "it did not end when asked; it is killed");
            self.signal(Signal::KILL);
            if !self.ends_within(PATIENCE) {
                bail!("process {} cannot be killed", self.pid);
            }
        }
        self.ending();
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.handle, signal) {
            tracing::debug!(%error, pid = self.pid, "it had ended");
        }
    }

    /// Memory that it holds now, 0 when that cannot be read.
    pub(crate) fn memory_bytes(pid: u32) -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        let pages = text.split_whitespace().nth(1).and_then(|t| t.parse().ok());
        pages.unwrap_or(0u64) * rustix::param::page_size() as u64
    }
}

/// The unit that a process belongs to, by `/proc/<pid>/cgroup`.
fn unit_in(groups: &str) -> Option<String> {
    groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| path.split('/').rev())
        .find(|part| part.starts_with("cofferdam") && part.ends_with(".service"))
        .map(str::to_owned)
}

/// The file that notes which process serves, if it is this one that it notes.
struct PidFile(&'static Path);

impl PidFile {
    fn of(pid: u32) -> Option<Self> {
        let path = Path::new(PID_FILE);
        let noted = fs::read_to_string(path).ok()?;
        (noted.trim() == pid.to_string()).then_some(Self(path))
    }

    fn note(&self, pid: u32) {
        if let Err(error) = fs::write(self.0, format!("{pid}\n")) {
            tracing::warn!(%error, "{} is out of date", self.0.display());
        }
    }
}

/// A unit and those of ours that it requires: they run the same program.
fn with_own_needs(unit: &str) -> anyhow::Result<Vec<String>> {
    let needs = systemctl(&["show", "--property=Requires", "--value", unit])?;
    let ours = needs
        .split_whitespace()
        .filter(|need| need.starts_with("cofferdam") && need.ends_with(".service"));
    Ok(ours.map(str::to_owned).chain([unit.to_owned()]).collect())
}

/// Runs `systemctl WORDS`; gives what it printed.
pub(crate) fn systemctl(words: &[impl AsRef<str>]) -> anyhow::Result<String> {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    let output = Command::new("systemctl")
        .args(&words)
        .stdin(Stdio::null())
        .output()
        .context("cannot run systemctl")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("systemctl {} failed: {}", words.join(" "), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What systemd knows of a unit's process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct UnitFacts {
    pub(crate) pid: u32,
    pub(crate) restarts: u32,
    pub(crate) state: String,
}

/// Asks systemd of `unit`.
pub(crate) fn unit_facts(unit: &str) -> anyhow::Result<UnitFacts> {
    let wanted = "--property=MainPID,NRestarts,ActiveState";
    Ok(facts_in(&systemctl(&["show", wanted, unit])?))
}

fn facts_in(text: &str) -> UnitFacts {
    let of = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    UnitFacts {
        pid: of("MainPID").parse().unwrap_or(0),
        restarts: of("NRestarts").parse().unwrap_or(0),
        state: of("ActiveState").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_known_by_the_control_group() {
        assert_eq!(
            unit_in("0::/system.slice/cofferdam.service\n").unwrap(),
            "cofferdam.service"
        );
        assert_eq!(
            unit_in("0::/system.slice/cofferdam.service/appliance\n").unwrap(),
            "cofferdam.service"
        );
        for other in ["0::/user.slice/user-0.slice\n", "0::/\n", ""] {
            assert_eq!(unit_in(other), None, "{other}");
        }
        let facts = facts_in("MainPID=17\nNRestarts=2\nActiveState=active\n");
        assert_eq!(
            (facts.pid, facts.restarts, facts.state.as_str()),
            (17, 2, "active")
        );
    }

    #[test]
    fn a_process_that_nobody_keeps_hands_on_its_words() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        // The words of a program that has just begun are not there at once.
        let line = format!("/proc/{}/cmdline", child.id());
        while fs::read(&line).unwrap().is_empty() {
            std::thread::yield_now();
        }
        let kept = Keeper::of(child.id()).unwrap();
        let Keeper::Process { arguments, folder } = kept else {
            panic!("{kept:?}");
        };
        assert_eq!(arguments, ["600"]);
        assert_eq!(folder, std::env::current_dir().unwrap());
        let process = Process::of(child.id()).unwrap();
        assert!(!process.ends_within(Duration::ZERO));
        process.stop(Duration::from_secs(30)).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
