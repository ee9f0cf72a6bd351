//! Where no service manager runs the host: the appliance as a process in the background, with its
//! id in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::place::{Place, make_dir, put, remove};

fn pid_file(place: &Place) -> PathBuf {
    place.at("/run/cofferdam/serve.pid")
}

/// The process that serves, if it lives and is ours.
pub(crate) fn running(place: &Place) -> Option<u32> {
    let pid: u32 = fs::read_to_string(pid_file(place))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let versions = fs::canonicalize(place.opt()).ok()?;
    exe.starts_with(versions).then_some(pid)
}

/// Starts serving, unless it does already; gives the process's id.
pub(crate) fn start(place: &Place, data: &Path, log: &Path) -> anyhow::Result<u32> {
    if let Some(pid) = running(place) {
        return Ok(pid);
    }
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = output.try_clone()?;
    let child = Command::new(place.program())
        .args(["serve", "--own-session", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .current_dir("/")
        .spawn()
        .with_context(|| format!("cannot start {}", place.program().display()))?;
    let file = pid_file(place);
    make_dir(file.parent().unwrap_or(Path::new("/")))?;
    put(&file, format!("{}\n", child.id()).as_bytes(), 0o644)?;
    Ok(child.id())
}

/// Ends it, if it runs, and waits; whether it did.
pub(crate) fn stop(place: &Place) -> anyhow::Result<bool> {
    let Some(pid) = running(place) else {
        remove(&pid_file(place))?;
        return Ok(false);
    };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else {
        bail!("the id of the serving process is no id")
    };
    let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .context("cannot watch the serving process")?;
    rustix::process::pidfd_send_signal(&fd, Signal::TERM)
        .context("cannot end the serving process")?;
    let mut polled = [rustix::event::PollFd::new(
        &fd,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    if rustix::event::poll(&mut polled, Some(&limit))? == 0 {
        bail!("the serving process did not end within a minute of being asked");
    }
    remove(&pid_file(place))?;
    Ok(true)
}
