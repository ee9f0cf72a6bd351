//! What a caller asks for: the launcher's settings, a jail, a command in it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How many host ids each slot owns.
pub const IDS_PER_SLOT: u32 = 65_536;

/// Settings of the launcher process, fixed for its life.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LauncherConfig {
    /// The binary to re-exec; its `main` must call [`crate::dispatch_reexec`] first.
    pub exe: PathBuf,
    /// A directory for the launcher's private mounts and slot locks (made when absent).
    /// Launchers that share ids must share it.
    pub state_dir: PathBuf,
    /// First host id of slot 0.
    pub id_base: u32,
    /// How many jails may live at once.
    pub slots: u32,
    /// cgroup under which jails live, as a path below the hierarchy's root;
    /// none: the launcher's own delegated one, else `cofferdam` at the top.
    pub cgroup_parent: Option<String>,
    /// Layers and binds must lie below one of these.
    pub source_roots: Vec<PathBuf>,
    /// How many half-made jails to keep ready.
    pub warm: u32,
    /// Honour [`DefenceOff`]. For the control runs of tests, never in service.
    pub allow_controls: bool,
}

impl LauncherConfig {
    /// The usual settings: this program's binary, `/run/cofferdam`, 64 slots from id 1879048192
    /// (a range that neither distributions nor systemd hand out), every source directory allowed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            exe: PathBuf::from("/proc/self/exe"),
            state_dir: PathBuf::from("/run/cofferdam"),
            id_base: 0x7000_0000,
            slots: 64,
            cgroup_parent: None,
            source_roots: vec![PathBuf::from("/")],
            warm: 0,
            allow_controls: false,
        }
    }
}

impl Default for LauncherConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// What the jail's root directory is made of. Its writable part is always a tmpfs of
/// [`Limits::disk_bytes`] that dies with the jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// Unpacked image layers, bottom first, owned on disk by the ids that the image names
    /// (0 is root); see [`crate::unpack_layer`].
    Layers(Vec<PathBuf>),
    /// A minimal root over the host's own read-only `/usr`.
    HostUsr,
}

/// What a jail may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all its processes, page cache and tmpfs included; no swap.
    pub memory_bytes: u64,
    /// Processes and threads at once.
    pub pids: u32,
    /// Thousandths of a processor; none: as much as there is.
    pub cpu_millis: Option<u32>,
    /// Size of everything it writes to disk (a tmpfs, so it counts as memory too).
    pub disk_bytes: u64,
    /// Largest single file (RLIMIT_FSIZE).
    pub file_size_bytes: u64,
    /// Open files of one process (RLIMIT_NOFILE).
    pub open_files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            pids: 4096,
            cpu_millis: None,
            disk_bytes: 3 << 30,
            file_size_bytes: 2 << 30,
            open_files: 65_536,
        }
    }
}

/// A host file or directory shown read-only in the jail, its owners as on the host (0 is root).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOnlyBind {
    /// On the host; below one of [`LauncherConfig::source_roots`].
    pub source: PathBuf,
    /// In the jail; absolute, made when absent.
    pub target: String,
}

/// Narrower rules than the jail's own walls, enforced by Landlock.
/// The default lets a job write and use loopback ports as it likes, but never make device
/// nodes or control devices other than terminals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockRules {
    /// Directories below which it may write; none: everywhere.
    pub write_below: Option<Vec<String>>,
    /// Ports it may connect to (TCP, loopback is all there is); none: all. Needs ABI 4.
    pub connect_ports: Option<Vec<u16>>,
    /// Ports it may listen on; none: all. Needs ABI 4.
    pub bind_ports: Option<Vec<u16>>,
}

/// Layers to leave out, so that a test can show that the layer is what stops the probe.
/// Refused unless the launcher was started with [`LauncherConfig::allow_controls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DefenceOff {
    /// No seccomp filter.
    pub seccomp: bool,
    /// All of root's capabilities within the jail's user namespace.
    pub capabilities: bool,
    /// no_new_privs not set.
    pub no_new_privs: bool,
    /// No Landlock domain.
    pub landlock: bool,
    /// No memory or pids limit.
    pub cgroup: bool,
    /// No rlimits.
    pub rlimits: bool,
    /// No limit on the size of the writable tmpfs.
    pub disk_limit: bool,
    /// The host's network namespace.
    pub network_namespace: bool,
    /// The host's pid namespace is shown in `/proc` and shared. Init is then not PID 1.
    pub pid_namespace: bool,
    /// The jail sees the host's root directory instead of its own.
    pub pivot: bool,
    /// Every slot gets the ids of slot 0.
    pub slot_ids: bool,
    /// The job keeps the host's ids: no user namespace.
    pub user_namespace: bool,
    /// Init stays dumpable and has the ids of the job's root.
    pub init_guard: bool,
    /// Init and the jail outlive the launcher.
    pub parent_death: bool,
}

impl DefenceOff {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// One jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailSpec {
    /// What its root directory is made of.
    pub root: Root,
    /// Its host name.
    pub hostname: String,
    /// What it may use up.
    pub limits: Limits,
    /// Host files shown in it.
    pub binds: Vec<ReadOnlyBind>,
    /// Port on its 127.0.0.1 on which the caller serves it ([`crate::Jail::listener`]);
    /// none: no such port.
    pub service_port: Option<u16>,
    /// Narrower rules for its processes.
    pub landlock: LandlockRules,
    /// Layers left out, for control runs.
    pub off: DefenceOff,
}

impl JailSpec {
    /// A jail with the usual limits, no binds and no service port.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self {
            root,
            hostname: "job".to_owned(),
            limits: Limits::default(),
            binds: Vec::new(),
            service_port: None,
            landlock: LandlockRules::default(),
            off: DefenceOff::default(),
        }
    }
}

/// A command to run in a jail.
#[derive(Debug, Default)]
pub struct ExecSpec {
    /// Program and arguments; a program without `/` is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment, in order.
    pub env: Vec<(String, String)>,
    /// Working directory in the jail; empty: `/`.
    pub cwd: String,
    /// User id inside the jail (0 is its root).
    pub uid: u32,
    /// Group id inside.
    pub gid: u32,
    /// Further group ids inside.
    pub groups: Vec<u32>,
    /// Standard input; none: `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Standard output; none: `/dev/null`. Pass a clone of one pipe for both outputs to combine them.
    pub stdout: Option<OwnedFd>,
    /// Standard error; none: `/dev/null`.
    pub stderr: Option<OwnedFd>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The whole jail ended under it; ask [`crate::Jail::usage`] whether memory ran out.
    JailLost,
}

impl ExitStatus {
    /// Whether it is code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Code(0)
    }
}
