//! The init: PID 1 of a jail. Makes the inside of it, starts commands under the lockdown, reaps,
//! and reports how they end.
//!
//! It is a fork of the launcher that never executes a program: its memory belongs to the host's
//! user namespace and its ids are outside of the jail's, so nothing inside can trace, read or
//! change it, and there is no file of it to overwrite.

mod builtin;
mod child;
mod setup;
mod unpack;
mod view;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::error::{CreateError, ExecError};
use crate::procfs;
use crate::protocol::{Begin, Finish, FromExec, FromInit, ToExec, ToInit};
use crate::spec::{ExitStatus, JailSpec};
use crate::sys::{self, Cloned};
use crate::wire::Channel;

/// Descriptor number of the channel to the launcher.
const SETUP_FD: i32 = 3;

/// Everything that a command's process needs to lock itself down.
struct Jailed {
    spec: JailSpec,
    job_cgroup: Option<File>,
}

/// A command that has not been reaped yet.
struct Running {
    pid: i32,
    /// None once the caller has let go of it.
    channel: Option<Channel>,
}

struct Init {
    jailed: Jailed,
    setup: Channel,
    control: Channel,
    signals: OwnedFd,
    running: Vec<Running>,
}

/// Becomes the init; the process is a fresh clone of the launcher. Never returns.
pub(crate) fn main(setup: Channel) -> ! {
    // A panic must not unwind into the launcher's frames below.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let setup = only_channel(setup)?;
        run(setup)
    }));
    let code = match ended {
        Ok(Ok(())) => 0,
        Ok(Err(e)) => {
            crate::sys::say!("sandbox init: {e}");
            1
        }
        Err(_) => 70,
    };
    sys::exit_now(code)
}

/// Keeps the channel as descriptor 3, 0 to 2 as they are, and closes everything else.
fn only_channel(setup: Channel) -> io::Result<Channel> {
    let fd = setup.into_fd();
    sys::dup_onto(fd.as_fd(), SETUP_FD)?;
    // The old number is closed with all others; its owner must not close it once more.
    std::mem::forget(fd);
    sys::close_from(SETUP_FD + 1)?;
    Ok(Channel::from(sys::adopt(SETUP_FD)))
}

fn run(setup: Channel) -> io::Result<()> {
    rustix::thread::set_name(c"sandbox-init")?;
    setup::die_with_launcher(true)?;
    let Some((begin, _)) = setup.recv::<Begin>()? else {
        return Ok(());
    };
    let early = setup::early(&begin.off);
    let Some((finish, fds)) = setup.recv::<Finish>()? else {
        return Ok(());
    };
    let mut fds = fds.into_iter();
    let control = Channel::from(fds.next().ok_or(io::ErrorKind::InvalidData)?);
    let (jailed, listener, signals) = match early.and_then(|early| prepare(finish, early, fds)) {
        Ok(ready) => ready,
        Err(why) => return control.send(&FromInit::NotReady(why), &[]),
    };
    let listening: Vec<BorrowedFd<'_>> = listener.iter().map(AsFd::as_fd).collect();
    control.send(&FromInit::Ready, &listening)?;
    drop(listener);
    let mut init = Init {
        jailed,
        setup,
        control,
        signals,
        running: Vec::new(),
    };
    init.serve()
}

type Ready = (Jailed, Option<OwnedFd>, OwnedFd);

fn prepare(
    finish: Finish,
    early: setup::Early,
    mut fds: impl Iterator<Item = OwnedFd>,
) -> Result<Ready, CreateError> {
    let mounts: Vec<OwnedFd> = fds.by_ref().take(finish.mounts.len()).collect();
    let job_cgroup = fds.next().filter(|_| finish.job_cgroup).map(File::from);
    let listener = setup::inside(&finish, early, mounts)?;
    let signals = sys::child_signals().map_err(|e| CreateError::Stage {
        stage: "signals".to_owned(),
        why: e.to_string(),
    })?;
    Ok((
        Jailed {
            spec: finish.spec,
            job_cgroup,
        },
        listener,
        signals,
    ))
}

impl Init {
    /// Until the caller or the launcher is gone.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            let mut polled = vec![
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.control, PollFlags::IN),
            ];
            // With this layer off, for a control run, the launcher's end is not heeded.
            if !self.jailed.spec.off.parent_death {
                polled.push(PollFd::new(&self.setup, PollFlags::IN));
            }
            let fixed = polled.len();
            let mut whose = Vec::new();
            for (n, running) in self.running.iter().enumerate() {
                if let Some(channel) = &running.channel {
                    polled.push(PollFd::new(channel, PollFlags::IN));
                    whose.push(n);
                }
            }
            match rustix::event::poll(&mut polled, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let woke: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
            drop(polled);
            if fixed == 3 && woke[2] {
                return Ok(());
            }
            for (n, _) in whose
                .into_iter()
                .zip(&woke[fixed..])
                .filter(|(_, woke)| **woke)
            {
                self.listen(n);
            }
            if woke[0] {
                self.reap()?;
            }
            if woke[1] && !self.take()? {
                return Ok(());
            }
        }
    }

    /// One message on a command's channel.
    fn listen(&mut self, n: usize) {
        let running = &mut self.running[n];
        let Some(channel) = &running.channel else {
            return;
        };
        match channel.recv::<ToExec>() {
            Ok(Some((ToExec::Kill(signal), _))) => {
                if let Err(e) = kill_tree(running.pid, signal) {
                    crate::sys::say!("sandbox init: signal {signal} to {}: {e}", running.pid);
                }
            }
            Ok(None) | Err(_) => running.channel = None,
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        let mut info = [0_u8; 128 * 8];
        match rustix::io::read(&self.signals, &mut info) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        while let Some((pid, status)) = sys::reap()? {
            let Some(at) = self.running.iter().position(|r| r.pid == pid) else {
                continue;
            };
            let running = self.running.swap_remove(at);
            if let Some(channel) = running.channel {
                // A caller that let go of the command does not want to know.
                drop(channel.send(&FromExec::Exited(exit_status(status)), &[]));
            }
        }
        Ok(())
    }

    /// One request; whether the caller is still there.
    fn take(&mut self) -> io::Result<bool> {
        let Some((request, fds)) = self.control.recv::<ToInit>()? else {
            return Ok(false);
        };
        let mut fds = fds.into_iter();
        let Some(channel) = fds.next().map(Channel::from) else {
            return Ok(true);
        };
        match request {
            ToInit::Exec { command, stdio } => {
                let stdio = stdio.map(|there| if there { fds.next() } else { None });
                match child::start(&self.jailed, &command, stdio) {
                    Ok(pid) => self.started(pid, channel),
                    Err(why) => drop(channel.send(&FromExec::NotStarted(why), &[])),
                }
            }
            ToInit::Builtin { builtin, uid, gid } => match sys::clone_process(0, None) {
                Ok(Cloned::Child) => {
                    builtin::main(&self.jailed, builtin, (uid, gid), channel, fds.next())
                }
                Ok(Cloned::Parent { pid, .. }) => {
                    self.running.push(Running {
                        pid,
                        channel: Some(channel),
                    });
                }
                Err(e) => drop(channel.send(&FromExec::NotStarted(fork_failed(&e)), &[])),
            },
            ToInit::KillAll => {
                sys::kill(-1, libc::SIGKILL)?;
                drop(channel.send(&FromExec::Started { pid: 0 }, &[]));
                drop(channel.send(&FromExec::Exited(ExitStatus::Code(0)), &[]));
            }
        }
        Ok(true)
    }

    fn started(&mut self, pid: i32, channel: Channel) {
        let shown = u32::try_from(pid).unwrap_or(0);
        if channel.send(&FromExec::Started { pid: shown }, &[]).is_ok() {
            self.running.push(Running {
                pid,
                channel: Some(channel),
            });
        } else {
            self.running.push(Running { pid, channel: None });
        }
    }
}

fn fork_failed(e: &io::Error) -> ExecError {
    ExecError::Stage {
        stage: "a new process".to_owned(),
        why: e.to_string(),
    }
}

fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    }
}

/// Signals a command's process group, its session and its descendants.
fn kill_tree(pid: i32, signal: i32) -> io::Result<()> {
    let mut family = vec![pid];
    let mut parents = Vec::new();
    for other in procfs::pids()?
        .into_iter()
        .filter_map(|p| i32::try_from(p).ok())
    {
        // Fields behind the name, which is in parentheses: state, parent, group, session.
        let Ok(stat) = procfs::text(other, "stat") else {
            continue;
        };
        let Some((_, rest)) = stat.rsplit_once(')') else {
            continue;
        };
        let n: Vec<i32> = rest
            .split_whitespace()
            .skip(1)
            .map_while(|f| f.parse().ok())
            .collect();
        if let [parent, _, session, ..] = n[..] {
            if session == pid && other != pid {
                family.push(other);
            }
            parents.push((other, parent));
        }
    }
    let mut at = 0;
    while at < family.len() {
        let children = parents.iter().filter(|(_, parent)| *parent == family[at]);
        let new: Vec<i32> = children
            .map(|(p, _)| *p)
            .filter(|p| !family.contains(p))
            .collect();
        family.extend(new);
        at += 1;
    }
    sys::kill(-pid, signal)?;
    family
        .into_iter()
        .filter(|p| *p > 1)
        .try_for_each(|p| sys::kill(p, signal))
}
