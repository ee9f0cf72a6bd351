//! The messages themselves: caller to launcher, caller to init, and their answers.

use serde::{Deserialize, Serialize};

use crate::error::{CreateError, ExecError, FileError};
use crate::facts::{Facts, LayerFacts, LayerLimits, Residue, Usage, View};
use crate::spec::{DefenceOff, ExitStatus, JailSpec, LauncherConfig};

/// Caller to launcher, on its main channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToLauncher {
    /// First message.
    Hello(LauncherConfig),
    /// Descriptors: the launcher's end of the jail's channel, init's end of the jail's channel,
    /// and for a layer the directory's name in `layer`.
    Create {
        spec: Box<JailSpec>,
        layer: Option<LayerDir>,
    },
}

/// Where a layer is unpacked: `parent/name`, made by the launcher.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LayerDir {
    pub(crate) parent: String,
    pub(crate) name: String,
}

/// Answer to [`ToLauncher::Hello`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Hello {
    Ready,
    Refused(String),
}

/// Caller to launcher, on a jail's channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWarden {
    /// Facts of the process with this id in the jail's pid namespace.
    Facts {
        pid: u32,
    },
    Usage,
    /// Marks directories of the layer as opaque.
    MarkOpaque {
        paths: Vec<String>,
    },
    Destroy,
}

/// Launcher to caller, on a jail's channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWarden {
    Created { slot: u32, pid: u32, id_base: u32 },
    NotCreated(CreateError),
    Facts(Box<Facts>),
    Usage(Usage),
    Marked,
    Gone(Box<Residue>),
    Failed(String),
}

/// Caller to init. The first descriptor is the channel for the answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToInit {
    /// Further descriptors: those of stdin, stdout, stderr that are `true`.
    Exec { command: Command, stdio: [bool; 3] },
    /// Further descriptors as the builtin says.
    Builtin {
        builtin: Builtin,
        uid: u32,
        gid: u32,
    },
    /// Ends every process but init.
    KillAll,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Command {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Work that init's own code does as a job process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Builtin {
    /// Descriptor: the archive.
    UnpackTar {
        dest: String,
        /// Leading parts of names that are dropped.
        strip: u32,
    },
    /// Descriptor: the archive. Keeps owners, handles whiteouts, below `/layer`.
    UnpackLayer {
        limits: LayerLimits,
    },
    /// Descriptor: where the content goes.
    ReadFile {
        path: String,
        max_bytes: u64,
    },
    /// Descriptor: the content.
    WriteFile {
        path: String,
        mode: u32,
    },
    Remove {
        path: String,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    /// Lives until the answer channel is closed, and says what Landlock said.
    Hold,
    /// Looks around as a job.
    View,
}

/// Caller to init, on the channel of one command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToExec {
    Kill(i32),
}

/// Init to caller, on the channel of one command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromExec {
    Started { pid: u32 },
    NotStarted(ExecError),
    Answer(Result<Answer, FileError>),
    Exited(ExitStatus),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Unpacked {
        facts: LayerFacts,
        opaque: Vec<String>,
    },
    Holding {
        landlock_abi: u32,
        landlock_enforced: bool,
    },
    View(Box<View>),
}

/// Init's first message to the caller.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromInit {
    /// Descriptor: the listening socket, when a service port was asked for.
    Ready,
    NotReady(CreateError),
}

/// Launcher to a fresh init, whose ids and control group are set now: do what needs no request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) off: DefenceOff,
}

/// Launcher to a half-made init: the rest of what it needs. Descriptors in the order of the fields.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finish {
    pub(crate) spec: JailSpec,
    /// Where each mount descriptor goes in the jail.
    pub(crate) mounts: Vec<MountAt>,
    /// Whether a descriptor of `cgroup.procs` for jobs follows.
    pub(crate) job_cgroup: bool,
    /// Whether the root directory is to be furnished as for `HostUsr`.
    pub(crate) host_usr: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountAt {
    pub(crate) target: String,
    /// Whether the mount is of a file.
    pub(crate) file: bool,
}
