//! The caller's handle on one jail, and on the commands that run in it.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::error::{ExecError, FileError, LostError};
use crate::facts::{Facts, LayerFacts, LayerLimits, Residue, Usage, View};
use crate::protocol::{Answer, Builtin, Command, FromExec, FromWarden, ToExec, ToInit, ToWarden};
use crate::spec::{ExecSpec, ExitStatus, JailSpec};
use crate::wire::{self, Channel};

/// A live jail. Share it by reference or `Arc`; every call may come from any thread.
///
/// Dropping it without [`Jail::destroy`] ends it too, but nobody hears what was left.
#[derive(Debug)]
pub struct Jail {
    spec: JailSpec,
    warden: Mutex<Channel>,
    init: Channel,
    listener: Option<OwnedFd>,
    slot: u32,
    pid: u32,
    id_base: u32,
}

/// A command that was started in a jail. Dropping it leaves the command running.
#[derive(Debug)]
pub struct Exec {
    channel: Channel,
    pid: u32,
    ended: Mutex<Option<ExitStatus>>,
}

/// Readable when the command has ended: for an event loop; then ask [`Exec::wait`].
impl AsFd for Exec {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Exec {
    /// Process id in the jail's own pid namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the command's own process has ended, whatever its children hold open;
    /// none when `timeout` passed first (no timeout waits for ever).
    pub fn wait(&self, timeout: Option<Duration>) -> Option<ExitStatus> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = ended.as_ref() {
            return Some(status.clone());
        }
        match self.channel.ready(timeout) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(_) => return Some(ExitStatus::JailLost),
        }
        let status = match self.channel.recv::<FromExec>() {
            Ok(Some((FromExec::Exited(status), _))) => status,
            _ => ExitStatus::JailLost,
        };
        *ended = Some(status.clone());
        Some(status)
    }

    /// Sends a signal to the command, its process group and its descendants.
    pub fn kill(&self, signal: i32) -> Result<(), LostError> {
        self.channel
            .send(&ToExec::Kill(signal), &[])
            .map_err(|e| LostError {
                why: format!("its init does not answer: {e}"),
            })
    }
}

impl Jail {
    pub(crate) fn new(
        spec: JailSpec,
        warden: Channel,
        init: Channel,
        listener: Option<OwnedFd>,
        (slot, pid, id_base): (u32, u32, u32),
    ) -> Self {
        Self {
            spec,
            warden: Mutex::new(warden),
            init,
            listener,
            slot,
            pid,
            id_base,
        }
    }

    /// Which slot it has.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Host process id of its init.
    #[must_use]
    pub fn init_pid(&self) -> u32 {
        self.pid
    }

    /// Host id that is root inside.
    #[must_use]
    pub fn id_base(&self) -> u32 {
        self.id_base
    }

    /// What was asked for.
    #[must_use]
    pub fn spec(&self) -> &JailSpec {
        &self.spec
    }

    /// The socket that listens on [`JailSpec::service_port`] of the jail's own 127.0.0.1,
    /// blocking; each call gives another handle on the same socket.
    pub fn listener(&self) -> std::io::Result<Option<TcpListener>> {
        self.listener
            .as_ref()
            .map(|fd| Ok(TcpListener::from(fd.try_clone()?)))
            .transpose()
    }

    /// Starts a command under the whole lockdown; answers once its program runs.
    pub fn exec(&self, spec: ExecSpec) -> Result<Exec, ExecError> {
        let ExecSpec {
            argv,
            env,
            cwd,
            uid,
            gid,
            groups,
            stdin,
            stdout,
            stderr,
        } = spec;
        let stdio = [stdin, stdout, stderr];
        let present = [stdio[0].is_some(), stdio[1].is_some(), stdio[2].is_some()];
        let command = Command {
            argv,
            env,
            cwd,
            uid,
            gid,
            groups,
        };
        let fds: Vec<BorrowedFd<'_>> = stdio.iter().flatten().map(AsFd::as_fd).collect();
        self.ask(
            &ToInit::Exec {
                command,
                stdio: present,
            },
            &fds,
        )
    }

    fn ask(&self, request: &ToInit, fds: &[BorrowedFd<'_>]) -> Result<Exec, ExecError> {
        let lost = |_| ExecError::JailLost;
        let (channel, theirs) = Channel::pair().map_err(lost)?;
        let mut all = vec![theirs.as_fd()];
        all.extend_from_slice(fds);
        self.init.send(request, &all).map_err(lost)?;
        drop(all);
        drop(theirs);
        match channel.recv::<FromExec>().map_err(lost)? {
            Some((FromExec::Started { pid }, _)) => Ok(Exec {
                channel,
                pid,
                ended: Mutex::new(None),
            }),
            Some((FromExec::NotStarted(why), _)) => Err(why),
            _ => Err(ExecError::JailLost),
        }
    }

    /// Ends every process of the jail but its init; the jail stays usable.
    pub fn kill_all_jobs(&self) -> Result<(), LostError> {
        let exec = self
            .ask(&ToInit::KillAll, &[])
            .map_err(|e| LostError { why: e.to_string() })?;
        match exec.wait(None) {
            Some(ExitStatus::Code(0)) => Ok(()),
            _ => Err(LostError {
                why: "its init ended".to_owned(),
            }),
        }
    }

    fn builtin(
        &self,
        builtin: Builtin,
        (uid, gid): (u32, u32),
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Exec), FileError> {
        let exec = self.ask(&ToInit::Builtin { builtin, uid, gid }, fds)?;
        match exec.channel.recv::<FromExec>() {
            Ok(Some((FromExec::Answer(answer), _))) => Ok((answer?, exec)),
            _ => Err(FileError::Exec(ExecError::JailLost)),
        }
    }

    /// Unpacks a tar stream below `dest` (made when absent), as the user `owner` (uid, gid) of the
    /// jail: modes, symlinks and modification times as in the archive, names relative to `dest`.
    pub fn unpack_tar(
        &self,
        dest: &str,
        archive: OwnedFd,
        owner: (u32, u32),
    ) -> Result<LayerFacts, FileError> {
        self.unpack_stripped(dest, archive, owner, 0)
    }

    /// The same without the first `strip` parts of each name in the archive.
    pub fn unpack_stripped(
        &self,
        dest: &str,
        archive: OwnedFd,
        owner: (u32, u32),
        strip: u32,
    ) -> Result<LayerFacts, FileError> {
        let builtin = Builtin::UnpackTar {
            dest: dest.to_owned(),
            strip,
        };
        match self.builtin(builtin, owner, &[archive.as_fd()])?.0 {
            Answer::Unpacked { facts, .. } => Ok(facts),
            _ => Err(FileError::Exec(ExecError::JailLost)),
        }
    }

    pub(crate) fn unpack_layer(
        &self,
        archive: OwnedFd,
        limits: LayerLimits,
    ) -> Result<(LayerFacts, Vec<String>), FileError> {
        match self
            .builtin(Builtin::UnpackLayer { limits }, (0, 0), &[archive.as_fd()])?
            .0
        {
            Answer::Unpacked { facts, opaque } => Ok((facts, opaque)),
            _ => Err(FileError::Exec(ExecError::JailLost)),
        }
    }

    /// Reads a file of at most `max_bytes`, as the jail's root.
    pub fn read_file(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, FileError> {
        let failed = |e: std::io::Error| FileError::Failed {
            what: "reading".to_owned(),
            path: path.to_owned(),
            why: e.to_string(),
            errno: e.raw_os_error().unwrap_or(0),
        };
        let memfd = wire::memfd_with(&[]).map_err(failed)?;
        let builtin = Builtin::ReadFile {
            path: path.to_owned(),
            max_bytes,
        };
        self.builtin(builtin, (0, 0), &[memfd.as_fd()])?;
        wire::read_memfd(memfd, max_bytes).map_err(failed)
    }

    /// Writes a file (made or replaced; its directory made when absent), as the user `owner`
    /// (uid, gid) of the jail, with `mode` whatever the umask.
    pub fn write_file(
        &self,
        path: &str,
        bytes: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<(), FileError> {
        let memfd = wire::memfd_with(bytes).map_err(|e| FileError::Failed {
            what: "writing".to_owned(),
            path: path.to_owned(),
            why: e.to_string(),
            errno: e.raw_os_error().unwrap_or(0),
        })?;
        let builtin = Builtin::WriteFile {
            path: path.to_owned(),
            mode,
        };
        self.builtin(builtin, owner, &[memfd.as_fd()]).map(|_| ())
    }

    /// Removes a file or a directory with all below it; absent is no error.
    pub fn remove(&self, path: &str) -> Result<(), FileError> {
        self.builtin(
            Builtin::Remove {
                path: path.to_owned(),
            },
            (0, 0),
            &[],
        )
        .map(|_| ())
    }

    /// Makes a directory and those above it, as the user `owner` (uid, gid) of the jail;
    /// present is no error.
    pub fn mkdir(&self, path: &str, mode: u32, owner: (u32, u32)) -> Result<(), FileError> {
        self.builtin(
            Builtin::Mkdir {
                path: path.to_owned(),
                mode,
            },
            owner,
            &[],
        )
        .map(|_| ())
    }

    /// What a job here can see and reach, as found by a process that runs as one.
    pub fn view(&self) -> Result<View, FileError> {
        match self.builtin(Builtin::View, (0, 0), &[])?.0 {
            Answer::View(view) => Ok(*view),
            _ => Err(FileError::Exec(ExecError::JailLost)),
        }
    }

    /// What isolates this jail, read from the kernel for a process that runs as a job does.
    pub fn facts(&self) -> Result<Facts, LostError> {
        let (answer, exec) = self
            .builtin(Builtin::Hold, (0, 0), &[])
            .map_err(|e| LostError { why: e.to_string() })?;
        let Answer::Holding {
            landlock_abi,
            landlock_enforced,
        } = answer
        else {
            return Err(LostError {
                why: "its init gave no answer".to_owned(),
            });
        };
        match self.ask_warden(&ToWarden::Facts { pid: exec.pid })? {
            FromWarden::Facts(mut facts) => {
                facts.landlock.abi = landlock_abi;
                facts.landlock.enforced = landlock_enforced;
                facts.landlock.ports = landlock_enforced && landlock_abi >= 4;
                Ok(*facts)
            }
            other => Err(unexpected(other)),
        }
    }

    /// What it has used so far.
    pub fn usage(&self) -> Result<Usage, LostError> {
        match self.ask_warden(&ToWarden::Usage)? {
            FromWarden::Usage(usage) => Ok(usage),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) fn mark_opaque(&self, paths: Vec<String>) -> Result<(), LostError> {
        match self.ask_warden(&ToWarden::MarkOpaque { paths })? {
            FromWarden::Marked => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Ends the jail and everything in it, then searches the host for what is left of it.
    pub fn destroy(self) -> Result<Residue, LostError> {
        match self.ask_warden(&ToWarden::Destroy)? {
            FromWarden::Gone(residue) => Ok(*residue),
            other => Err(unexpected(other)),
        }
    }

    fn ask_warden(&self, request: &ToWarden) -> Result<FromWarden, LostError> {
        let warden = self.warden.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = |e: std::io::Error| LostError {
            why: format!("the launcher is gone: {e}"),
        };
        warden.send(request, &[]).map_err(lost)?;
        match warden.recv::<FromWarden>().map_err(lost)? {
            Some((answer, _)) => Ok(answer),
            None => Err(LostError {
                why: "the launcher is gone".to_owned(),
            }),
        }
    }
}

fn unexpected(answer: FromWarden) -> LostError {
    match answer {
        FromWarden::Failed(why) => LostError { why },
        other => LostError {
            why: format!("the launcher answered something else: {other:?}"),
        },
    }
}

/// A pipe for a command's output: the reader for the caller, the writer for [`ExecSpec`].
pub fn pipe() -> std::io::Result<(File, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((File::from(reader), writer))
}
