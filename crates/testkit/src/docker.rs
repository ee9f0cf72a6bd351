//! A docker daemon of a test's own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use vocab::Clock;

use crate::Result;

/// A docker daemon in a folder of its own; ended with its containerd when dropped.
pub struct Daemon {
    child: Child,
    host: String,
}

impl Daemon {
    /// Starts `dockerd`, which may have words of its own, without any network and with all it has
    /// below `folder`; returns once it answers.
    ///
    /// An error has the daemon's log when that ended.
    pub fn start(dockerd: &mut Command, folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name);
        let host = format!("unix://{}", at("docker.sock").display());
        let log = File::create(at("dockerd.log"))?;
        let child = dockerd
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false"])
            .arg(format!("--host={host}"))
            .arg("--data-root")
            .arg(at("docker"))
            .arg("--exec-root")
            .arg(at("docker-run"))
            .arg("--pidfile")
            .arg(at("docker.pid"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut daemon = Self { child, host };
        while !daemon.answers()? {
            if let Some(status) = daemon.child.try_wait()? {
                let log = std::fs::read_to_string(at("dockerd.log"))?;
                return Err(format!("dockerd ended with {status}: {log}").into());
            }
            Clock::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// What `docker --host` takes.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    fn answers(&self) -> Result<bool> {
        let asked = Command::new("docker")
            .args(["--host", &self.host, "version"])
            .output()?;
        Ok(asked.status.success())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let asked = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if asked.is_err() || self.child.wait().is_err() {
            eprintln!("a docker daemon may still run");
        }
    }
}
