//! The executor that needs nothing but this host: each job in a jail of its own.

mod words;

use std::collections::HashSet;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runner::executor::{
    AttemptSpec, Ended, ExecSpec, Executor, ExecutorError, Exit, Facts, Layer, LiveProcess,
    Process, Residue, Sandbox, SandboxError, Shown, Signal, Usage, User,
};
use sandbox::{ExecError, ExitStatus, FileError, Jail, JailSpec, Launcher, ReadOnlyBind, Root};
use vocab::{Clock, Fence};

use words::{layers, limits, residue, root, usage};

/// Port on a job's own 127.0.0.1 at which the appliance serves it.
pub const SERVICE_PORT: u16 = 8470;

/// What the init's own helpers are called in the process list.
const HELPER: &str = "sandbox-init";

/// Holds jobs in jails that one launcher makes.
#[derive(Debug)]
pub struct Embedded {
    launcher: Arc<Launcher>,
    live: Arc<Mutex<HashSet<Fence>>>,
    off: sandbox::DefenceOff,
}

impl Embedded {
    /// Jobs go into jails of this launcher.
    #[must_use]
    pub fn new(launcher: Arc<Launcher>) -> Self {
        Self {
            launcher,
            live: Arc::default(),
            off: sandbox::DefenceOff::default(),
        }
    }

    /// The same with layers left out: for the control runs of tests. A launcher in service
    /// refuses it.
    #[must_use]
    pub fn without(self, off: sandbox::DefenceOff) -> Self {
        Self { off, ..self }
    }

    fn jail_spec(&self, attempt: &AttemptSpec) -> JailSpec {
        let root = match &attempt.image {
            Some(image) => Root::Layers(image.layers.clone()),
            None => Root::HostUsr,
        };
        let asked = &attempt.limits;
        JailSpec {
            hostname: attempt.hostname.clone(),
            limits: sandbox::Limits {
                memory_bytes: asked.memory_bytes,
                pids: asked.pids,
                cpu_millis: Some(asked.cpu_millis),
                disk_bytes: asked.disk_bytes,
                file_size_bytes: asked.disk_bytes,
                ..sandbox::Limits::default()
            },
            binds: attempt.shown.iter().map(bind).collect(),
            service_port: Some(SERVICE_PORT),
            off: self.off,
            ..JailSpec::new(root)
        }
    }
}

impl Executor for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn probe(&self) -> Result<Vec<Layer>, ExecutorError> {
        let unavailable = |reason: String| ExecutorError::Unavailable { reason };
        let spec = JailSpec::new(Root::HostUsr);
        let jail = self
            .launcher
            .create(&spec)
            .map_err(|e| unavailable(e.to_string()))?;
        let facts = jail.facts().map_err(|e| unavailable(e.to_string()))?;
        jail.destroy().map_err(|e| unavailable(e.to_string()))?;
        Ok(layers(&facts))
    }

    fn prepare(&self, attempt: &AttemptSpec) -> Result<Box<dyn Sandbox>, ExecutorError> {
        let place = Place::take(&self.live, attempt.fence)?;
        let jail = self
            .launcher
            .create(&self.jail_spec(attempt))
            .map_err(|e| ExecutorError::Failed {
                reason: e.to_string(),
            })?;
        Ok(Box::new(EmbeddedSandbox {
            jail,
            listener: Mutex::new(true),
            _place: place,
        }))
    }

    fn list(&self) -> Result<Vec<Fence>, ExecutorError> {
        Ok(self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect())
    }
}

/// An attempt's entry among the live ones; gone when its sandbox is.
#[derive(Debug)]
struct Place {
    live: Arc<Mutex<HashSet<Fence>>>,
    fence: Fence,
}

impl Place {
    fn take(live: &Arc<Mutex<HashSet<Fence>>>, fence: Fence) -> Result<Self, ExecutorError> {
        if live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(fence)
        {
            Ok(Self {
                live: live.clone(),
                fence,
            })
        } else {
            let attempt = format!("{} of {}", fence.attempt, fence.job.tagged());
            Err(ExecutorError::AlreadyPrepared { attempt })
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.fence);
    }
}

struct EmbeddedSandbox {
    jail: Jail,
    /// Whether the listener has not been taken yet.
    listener: Mutex<bool>,
    _place: Place,
}

impl Sandbox for EmbeddedSandbox {
    fn exec(&self, spec: &ExecSpec, output: OwnedFd) -> Result<Box<dyn Process>, SandboxError> {
        let program = spec.argv.first().cloned().unwrap_or_default();
        let failed = |reason: String| SandboxError::Exec {
            program: program.clone(),
            reason,
        };
        let errors = output.try_clone().map_err(|e| failed(e.to_string()))?;
        let exec = self.jail.exec(sandbox::ExecSpec {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            uid: spec.user.uid,
            gid: spec.user.gid,
            stdout: Some(output),
            stderr: Some(errors),
            ..sandbox::ExecSpec::default()
        });
        match exec {
            Ok(exec) => Ok(Box::new(EmbeddedProcess(exec))),
            Err(ExecError::JailLost) => Err(gone(ExecError::JailLost.to_string())),
            Err(ExecError::NotFound { program }) => Err(SandboxError::NoProgram { program }),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn unpack_stripped(
        &self,
        dest: &str,
        archive: OwnedFd,
        owner: User,
        strip: u32,
    ) -> Result<(), SandboxError> {
        let owner = (owner.uid, owner.gid);
        match self.jail.unpack_stripped(dest, archive, owner, strip) {
            Ok(_) => Ok(()),
            Err(error) => Err(file_error("unpacking into", dest, error)),
        }
    }

    fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError> {
        match self.jail.read_file(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(file_error("reading", path, error)),
        }
    }

    fn mkdir(&self, path: &str, mode: u32, owner: User) -> Result<(), SandboxError> {
        let made = self.jail.mkdir(path, mode, (owner.uid, owner.gid));
        made.map_err(|error| file_error("making", path, error))
    }

    fn remove(&self, path: &str) -> Result<(), SandboxError> {
        self.jail
            .remove(path)
            .map_err(|error| file_error("removing", path, error))
    }

    fn facts(&self) -> Result<Facts, SandboxError> {
        let facts = self.jail.facts().map_err(|e| gone(e.to_string()))?;
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        Ok(Facts {
            host: facts.host.clone(),
            kernel: facts.kernel.clone(),
            boot_id: boot_id.map_or_else(|e| format!("not readable: {e}"), |t| t.trim().to_owned()),
            layers: layers(&facts),
            uid_map: facts
                .uid_map
                .iter()
                .map(|m| [m.inside, m.outside, m.count])
                .collect(),
            limits: limits(&facts),
            interfaces: facts.interfaces.clone(),
            root: root(&facts),
        })
    }

    fn usage(&self) -> Result<Usage, SandboxError> {
        self.jail
            .usage()
            .map(|u| usage(&u))
            .map_err(|e| gone(e.to_string()))
    }

    fn processes(&self) -> Result<Vec<LiveProcess>, SandboxError> {
        // A helper of the init that has just answered may still be ending. Its name proves
        // nothing, so it is only waited for, never left out.
        for _ in 0..20 {
            let live = self.live_processes()?;
            if live.iter().all(|(name, _)| name != HELPER) {
                return Ok(live.into_iter().map(|(_, p)| p).collect());
            }
            Clock::sleep(Duration::from_millis(1));
        }
        Ok(self.live_processes()?.into_iter().map(|(_, p)| p).collect())
    }

    fn kill_all(&self) -> Result<(), SandboxError> {
        self.jail.kill_all_jobs().map_err(|e| gone(e.to_string()))
    }

    fn take_listener(&self) -> Option<TcpListener> {
        let mut there = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut *there) {
            return None;
        }
        match self.jail.listener() {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "a job's listener could not be handed on");
                None
            }
        }
    }

    fn destroy(self: Box<Self>) -> Ended {
        let before = self.jail.usage().ok().map(|u| usage(&u));
        match self.jail.destroy() {
            Ok(found) => Ended {
                usage: Some(usage(&found.usage)),
                residue: residue(&found),
            },
            Err(error) => Ended {
                usage: before,
                residue: Residue {
                    not_searched: vec![format!("anything: {error}")],
                    ..Residue::default()
                },
            },
        }
    }
}

impl EmbeddedSandbox {
    /// The processes with the slot's ids, each with the name that it gave itself.
    fn live_processes(&self) -> Result<Vec<(String, LiveProcess)>, SandboxError> {
        let ids = self.jail.id_base()..self.jail.id_base() + sandbox::IDS_PER_SLOT;
        let entries = std::fs::read_dir("/proc").map_err(|e| SandboxError::File {
            what: "reading",
            path: "/proc of the host".to_owned(),
            reason: e.to_string(),
        })?;
        let pids = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| *pid != self.jail.init_pid());
        Ok(pids
            .filter_map(|pid| live_process(pid, &ids))
            .take(100)
            .collect())
    }
}

struct EmbeddedProcess(sandbox::Exec);

impl Process for EmbeddedProcess {
    fn exit_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn wait(&mut self) -> Result<Exit, SandboxError> {
        Ok(match self.0.wait(None) {
            Some(ExitStatus::Code(code)) => Exit::Code(code),
            Some(ExitStatus::Signal(signal)) => Exit::Signal(signal),
            Some(ExitStatus::JailLost) | None => Exit::SandboxLost,
        })
    }

    fn signal(&self, signal: Signal) -> Result<(), SandboxError> {
        // signal(7): these three numbers are the same on every Linux.
        let number = match signal {
            Signal::Interrupt => 2,
            Signal::Terminate => 15,
            Signal::Kill => 9,
        };
        match self.0.kill(number) {
            // Nobody is left to hear it.
            Err(_) if self.0.wait(Some(Duration::ZERO)).is_some() => Ok(()),
            sent => sent.map_err(|e| gone(e.to_string())),
        }
    }
}

fn bind(shown: &Shown) -> ReadOnlyBind {
    ReadOnlyBind {
        source: shown.source.clone(),
        target: shown.target.clone(),
    }
}

fn gone(reason: String) -> SandboxError {
    SandboxError::Gone { reason }
}

fn file_error(what: &'static str, path: &str, error: FileError) -> SandboxError {
    match error {
        FileError::TooLarge { path, max_bytes } => SandboxError::TooLarge {
            path,
            limit: max_bytes,
        },
        FileError::Exec(ExecError::JailLost) => gone(error.to_string()),
        // An archive fails at one of its entries.
        FileError::Failed {
            what: inner,
            path: entry,
            why,
            ..
        } if entry != path => SandboxError::File {
            what,
            path: path.to_owned(),
            reason: format!("{inner} {entry}: {why}"),
        },
        FileError::Failed { why, .. } => SandboxError::File {
            what,
            path: path.to_owned(),
            reason: why,
        },
        error => SandboxError::File {
            what,
            path: path.to_owned(),
            reason: error.to_string(),
        },
    }
}

/// A process of the slot and the name that it gave itself, by the host's `/proc`: readable for
/// everybody, whatever the job does.
fn live_process(pid: u32, ids: &std::ops::Range<u32>) -> Option<(String, LiveProcess)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let uid: u32 = field("Uid")?.split_whitespace().next()?.parse().ok()?;
    if !ids.contains(&uid) || field("State")?.starts_with(['Z', 'X']) {
        return None;
    }
    let name = field("Name")?.to_owned();
    let inside = field("NSpid")?.split_whitespace().last()?.parse().ok()?;
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&cmdline).replace('\0', " ");
    let command = if words.trim().is_empty() {
        name.as_str()
    } else {
        words.trim()
    };
    let command = command
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(4096)
        .collect();
    Some((
        name,
        LiveProcess {
            pid: inside,
            command,
        },
    ))
}
