//! Starting a command: a fork of init that takes off everything a job must not have.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::CapabilitySet;

use super::Jailed;
use crate::error::ExecError;
use crate::landlock::InForce;
use crate::protocol::Command;
use crate::sys::{self, Cloned};
use crate::{caps, landlock, seccomp};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn stage(what: &'static str) -> impl FnOnce(io::Error) -> ExecError {
    move |e| ExecError::Stage {
        stage: what.to_owned(),
        why: e.to_string(),
    }
}

/// Starts a command; its process id once its program runs.
pub(super) fn start(
    jailed: &Jailed,
    command: &Command,
    stdio: [Option<OwnedFd>; 3],
) -> Result<i32, ExecError> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| stage("a pipe")(e.into()))?;
    match sys::clone_process(0, None) {
        Ok(Cloned::Child) => {
            drop(reader);
            let why = become_command(jailed, command, stdio);
            // Nobody to tell when this fails: the exit code says that nothing was run.
            if let Ok(json) = serde_json::to_vec(&why) {
                drop(File::from(writer).write_all(&json));
            }
            sys::exit_now(126)
        }
        Ok(Cloned::Parent { pid, .. }) => {
            drop(writer);
            let mut json = Vec::new();
            File::from(reader)
                .read_to_end(&mut json)
                .map_err(stage("a new process"))?;
            if json.is_empty() {
                return Ok(pid);
            }
            Err(serde_json::from_slice(&json).map_err(|e| stage("a new process")(e.into()))?)
        }
        Err(e) => Err(super::fork_failed(&e)),
    }
}

fn become_command(jailed: &Jailed, command: &Command, stdio: [Option<OwnedFd>; 3]) -> ExecError {
    match try_command(jailed, command, stdio) {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

fn try_command(
    jailed: &Jailed,
    command: &Command,
    stdio: [Option<OwnedFd>; 3],
) -> Result<std::convert::Infallible, ExecError> {
    let prepared = Prepared::new(command)?;
    own_place(jailed, stdio).map_err(stage("descriptors and control group"))?;
    let cwd = if command.cwd.is_empty() {
        "/"
    } else {
        &command.cwd
    };
    let ids = Ids {
        uid: command.uid,
        gid: command.gid,
        groups: command.groups.clone(),
    };
    lock_down(jailed, &ids, Some(cwd), false)?;
    Err(prepared.exec(&command.argv[0]))
}

/// Session, control group, standard descriptors; everything else closes with exec.
fn own_place(jailed: &Jailed, stdio: [Option<OwnedFd>; 3]) -> io::Result<()> {
    rustix::process::setsid()?;
    join_job_group(jailed)?;
    for (number, fd) in (0..).zip(stdio) {
        let fd = match fd {
            Some(fd) => fd,
            None => rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?,
        };
        sys::dup_onto(fd.as_fd(), number)?;
    }
    sys::close_on_exec_from(3)
}

/// Moves this process to the group that is killed as a whole when memory runs out.
pub(super) fn join_job_group(jailed: &Jailed) -> io::Result<()> {
    match &jailed.job_cgroup {
        Some(procs) => (&*procs).write_all(b"0"),
        None => Ok(()),
    }
}

/// Ids of a job's process, as the jail knows them.
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// Takes off everything that a job must not have, in the one order that works: limits, ids,
/// capabilities, directory, Landlock, no_new_privs, seccomp.
pub(super) fn lock_down(
    jailed: &Jailed,
    ids: &Ids,
    cwd: Option<&str>,
    whiteouts: bool,
) -> Result<InForce, ExecError> {
    let off = &jailed.spec.off;
    if !off.rlimits {
        limits(jailed).map_err(stage("rlimits"))?;
    }
    sys::default_signals().map_err(stage("signals"))?;
    become_ids(ids).map_err(stage("user and group ids"))?;
    if !off.capabilities {
        let keep = if ids.uid == 0 {
            caps::job_set()
        } else {
            CapabilitySet::empty()
        };
        caps::limit(keep).map_err(stage("dropping capabilities"))?;
    }
    if let Some(cwd) = cwd {
        std::env::set_current_dir(cwd).map_err(|e| ExecError::Cwd {
            cwd: cwd.to_owned(),
            why: e.to_string(),
        })?;
    }
    if !off.no_new_privs {
        rustix::thread::set_no_new_privs(true).map_err(|e| stage("no_new_privs")(e.into()))?;
    }
    let in_force = if off.landlock {
        InForce {
            abi: sys::landlock_abi(),
            enforced: false,
        }
    } else {
        landlock::enforce(&jailed.spec.landlock, whiteouts).map_err(stage("landlock"))?
    };
    if !off.seccomp {
        sys::load_seccomp(&seccomp::program()).map_err(stage("seccomp"))?;
    }
    Ok(in_force)
}

fn limits(jailed: &Jailed) -> io::Result<()> {
    let limits = &jailed.spec.limits;
    for (resource, value) in [
        (Resource::Fsize, limits.file_size_bytes),
        (Resource::Nofile, limits.open_files.into()),
        // One byte, not none: this alone keeps the kernel from handing the core of a job to a
        // program of the host.
        (Resource::Core, 1),
        (Resource::Memlock, 8 << 20),
    ] {
        // A limit can be lowered by anybody, and raised only by the host's root.
        let now = rustix::process::getrlimit(resource)
            .maximum
            .unwrap_or(u64::MAX);
        let value = value.min(now);
        let new = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        rustix::process::setrlimit(resource, new)?;
    }
    Ok(())
}

fn become_ids(ids: &Ids) -> io::Result<()> {
    let groups: Vec<Gid> = ids.groups.iter().map(|g| Gid::from_raw(*g)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// A program, its arguments and environment as the kernel takes them.
struct Prepared {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Prepared {
    fn new(command: &Command) -> Result<Self, ExecError> {
        let c = |text: &str| {
            CString::new(text).map_err(|_| ExecError::Stage {
                stage: "arguments and environment".to_owned(),
                why: "one holds a zero byte".to_owned(),
            })
        };
        let Some(program) = command.argv.first().filter(|p| !p.is_empty()) else {
            return Err(ExecError::NotFound {
                program: String::new(),
            });
        };
        let path = command.env.iter().rev().find(|(name, _)| name == "PATH");
        let candidates = if program.contains('/') {
            vec![c(program)?]
        } else {
            let path = path.map_or(DEFAULT_PATH, |(_, value)| value.as_str());
            let dirs = path
                .split(':')
                .map(|dir| if dir.is_empty() { "." } else { dir });
            dirs.map(|dir| c(&format!("{dir}/{program}")))
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            candidates,
            argv: command
                .argv
                .iter()
                .map(|a| c(a))
                .collect::<Result<_, _>>()?,
            env: command
                .env
                .iter()
                .map(|(name, value)| c(&format!("{name}={value}")))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Tries the candidates in order; returns only when none runs.
    fn exec(&self, program: &str) -> ExecError {
        let mut last = None;
        for candidate in &self.candidates {
            let e = sys::exec(candidate, &self.argv, &self.env);
            match e.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                _ => last = Some((candidate, e)),
            }
            if last
                .as_ref()
                .is_some_and(|(_, e)| e.raw_os_error() != Some(libc::EACCES))
            {
                break;
            }
        }
        match last {
            None => ExecError::NotFound {
                program: program.to_owned(),
            },
            Some((candidate, e)) => ExecError::NotExecutable {
                program: program.to_owned(),
                why: format!("{}: {e}", candidate.to_string_lossy()),
            },
        }
    }
}
