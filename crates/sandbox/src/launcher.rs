//! The caller's handle on the launcher process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::error::{CreateError, StartError, UnpackError};
use crate::facts::{LayerFacts, LayerLimits};
use crate::jail::Jail;
use crate::protocol::{FromInit, FromWarden, Hello, LayerDir, ToLauncher};
use crate::spec::{JailSpec, LauncherConfig, Root};
use crate::wire::Channel;

/// The launcher process: root, single-threaded, the only part that keeps capabilities.
///
/// Dropping the handle ends the process and every jail.
#[derive(Debug)]
pub struct Launcher {
    channel: Option<Channel>,
    /// None when the launcher is a service that was connected to.
    child: Option<Mutex<Child>>,
}

impl Launcher {
    /// Starts the launcher. Call it before threads start and before privileges are dropped.
    pub fn start(config: &LauncherConfig) -> Result<Self, StartError> {
        let spawn = |source| StartError::Spawn {
            exe: config.exe.display().to_string(),
            source,
        };
        let (ours, theirs) = Channel::pair().map_err(spawn)?;
        let child = Command::new(&config.exe)
            .arg0("sandbox-launcher")
            .arg(crate::reexec::LAUNCHER_WORD)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs.into_fd()))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(spawn)?;
        Self {
            channel: Some(ours),
            child: Some(Mutex::new(child)),
        }
        .greeted(config)
    }

    /// Connects to the launcher service ([`crate::listen`]) at `path`. Its settings count; this
    /// process needs no privileges.
    pub fn connect(path: &Path) -> Result<Self, StartError> {
        let connect = || -> std::io::Result<Channel> {
            let flags = rustix::net::SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(
                rustix::net::AddressFamily::UNIX,
                rustix::net::SocketType::SEQPACKET,
                flags,
                None,
            )?;
            rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path)?)?;
            Ok(Channel::from(socket))
        };
        let channel = connect().map_err(StartError::Ended)?;
        Self {
            channel: Some(channel),
            child: None,
        }
        .greeted(&LauncherConfig::new())
    }

    fn greeted(self, config: &LauncherConfig) -> Result<Self, StartError> {
        let channel = self.channel.as_ref().expect("set until it is dropped");
        channel
            .send(&ToLauncher::Hello(config.clone()), &[])
            .map_err(StartError::Ended)?;
        match channel.recv::<Hello>().map_err(StartError::Ended)? {
            Some((Hello::Ready, _)) => Ok(self),
            Some((Hello::Refused(why), _)) => Err(StartError::Refused { why }),
            None => Err(StartError::Ended(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// Process id of the launcher; none of a service that was connected to.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let child = self.child.as_ref()?;
        Some(child.lock().unwrap_or_else(PoisonError::into_inner).id())
    }

    /// Makes a jail: fresh namespaces, control group and ids, nothing running in it but its init.
    /// Blocks for milliseconds; may be called from many threads.
    pub fn create(&self, spec: &JailSpec) -> Result<Jail, CreateError> {
        self.create_with(spec, None)
    }

    fn create_with(&self, spec: &JailSpec, layer: Option<LayerDir>) -> Result<Jail, CreateError> {
        let gone = |_| CreateError::LauncherGone;
        let (warden, their_warden) = Channel::pair().map_err(gone)?;
        let (init, their_init) = Channel::pair().map_err(gone)?;
        let request = ToLauncher::Create {
            spec: Box::new(spec.clone()),
            layer,
        };
        let channel = self.channel.as_ref().ok_or(CreateError::LauncherGone)?;
        channel
            .send(&request, &[their_warden.as_fd(), their_init.as_fd()])
            .map_err(gone)?;
        drop((their_warden, their_init));
        let made = match warden.recv::<FromWarden>().map_err(gone)? {
            Some((FromWarden::Created { slot, pid, id_base }, _)) => (slot, pid, id_base),
            Some((FromWarden::NotCreated(why), _)) => return Err(why),
            _ => return Err(CreateError::LauncherGone),
        };
        let listener = match init.recv::<FromInit>() {
            Ok(Some((FromInit::Ready, fds))) => fds.into_iter().next(),
            Ok(Some((FromInit::NotReady(why), _))) => return Err(why),
            Ok(None) | Err(_) => {
                return Err(CreateError::Stage {
                    stage: "init".to_owned(),
                    why: "it ended before it was ready".to_owned(),
                });
            }
        };
        Ok(Jail::new(spec.clone(), warden, init, listener, made))
    }

    /// Unpacks one image layer (a tar stream, decompressed) into `parent/name`, which must not
    /// exist yet. The archive is read by a process inside a jail of its own that sees nothing but
    /// that directory; owners end up as the archive names them. On failure the directory is left
    /// as it is, for the caller to remove.
    pub fn unpack_layer(
        &self,
        parent: &Path,
        name: &str,
        archive: OwnedFd,
        limits: LayerLimits,
    ) -> Result<LayerFacts, UnpackError> {
        let mut spec = JailSpec::new(Root::HostUsr);
        spec.hostname = "unpack".to_owned();
        spec.limits.file_size_bytes = limits.size_bytes;
        spec.limits.memory_bytes = 512 << 20;
        spec.limits.disk_bytes = 16 << 20;
        spec.limits.pids = 16;
        let dir = LayerDir {
            parent: parent.display().to_string(),
            name: name.to_owned(),
        };
        let finish = |why: String| UnpackError::Finish {
            name: name.to_owned(),
            why,
        };
        let jail = self.create_with(&spec, Some(dir))?;
        let (facts, opaque) = jail.unpack_layer(archive, limits)?;
        jail.mark_opaque(opaque)
            .map_err(|e| finish(e.to_string()))?;
        let sync = File::open(parent.join(name)).and_then(|d| Ok(rustix::fs::syncfs(d)?));
        sync.map_err(|e| finish(format!("it could not be synced: {e}")))?;
        let residue = jail.destroy().map_err(|e| finish(e.to_string()))?;
        if !residue.is_clean() {
            return Err(finish(format!(
                "its sandbox left something behind: {residue:?}"
            )));
        }
        Ok(facts)
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        drop(self.channel.take());
        let Some(child) = &mut self.child else { return };
        let child = child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It ends by itself when the channel closes; waiting only reaps it.
        if let Err(e) = child.wait() {
            debug_assert!(false, "the launcher cannot be reaped: {e}");
        }
    }
}
