//! What the kernel says about a jail: facts for the receipt, usage, what teardown found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::Limits;

/// One line of a `uid_map` or `gid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A namespace of the jail beside the launcher's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// `user`, `mnt`, `pid`, `net`, `ipc`, `uts` or `cgroup`.
    pub kind: String,
    /// Inode number of the jail's.
    pub inode: u64,
    /// Inode number of the host's.
    pub host_inode: u64,
}

impl Namespace {
    /// Whether the jail has one of its own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.inode != self.host_inode
    }
}

/// The control group that a jail is held in, as read back from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupFacts {
    /// `v2` or `v1`.
    pub version: String,
    /// Path below the hierarchy's root.
    pub path: String,
    /// Limit of memory in bytes; none: unlimited.
    pub memory_max_bytes: Option<u64>,
    /// Limit of processes; none: unlimited.
    pub pids_max: Option<u64>,
    /// Limit of processor time in thousandths; none: unlimited.
    pub cpu_millis: Option<u64>,
    /// Whether swap is denied; none: this kernel does not account it.
    pub no_swap: Option<bool>,
}

/// A mount in the jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where.
    pub target: String,
    /// File system.
    pub kind: String,
    /// Whether it can be written.
    pub read_only: bool,
}

/// Landlock as enforced on the jail's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandlockFacts {
    /// The kernel's ABI; 0: it has no Landlock.
    pub abi: u32,
    /// Whether a domain is in force.
    pub enforced: bool,
    /// Whether it covers TCP ports (ABI 4).
    pub ports: bool,
}

/// What isolates a jail, read from the kernel for a process that runs as its jobs do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Which slot.
    pub slot: u32,
    /// Kernel release.
    pub kernel: String,
    /// Host name of the machine.
    pub host: String,
    /// `/proc/PID/uid_map`.
    pub uid_map: Vec<IdRange>,
    /// `/proc/PID/gid_map`.
    pub gid_map: Vec<IdRange>,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
    /// `Seccomp:` of `/proc/PID/status`: 0 off, 2 filter.
    pub seccomp_mode: u32,
    /// `NoNewPrivs:` of `/proc/PID/status`.
    pub no_new_privs: bool,
    /// `CapEff:` of `/proc/PID/status`, by name.
    pub capabilities: Vec<String>,
    /// Its Landlock domain.
    pub landlock: LandlockFacts,
    /// Its control group.
    pub cgroup: CgroupFacts,
    /// Limits asked for.
    pub limits: Limits,
    /// `Max file size` and `Max open files` of `/proc/PID/limits`.
    pub rlimits: BTreeMap<String, u64>,
    /// Image layers (or `/usr` of the host) below the root, bottom first.
    pub layers: Vec<String>,
    /// `/proc/PID/mountinfo`.
    pub mounts: Vec<Mount>,
    /// Paths of `/proc` that are covered.
    pub masked: Vec<String>,
    /// Interfaces of `/proc/PID/net/dev`.
    pub interfaces: Vec<String>,
}

impl Facts {
    /// The isolation layers in force, by name, in the order of the design's table.
    #[must_use]
    pub fn layers_in_force(&self) -> Vec<&'static str> {
        let own = |kind: &str| self.namespaces.iter().any(|n| n.kind == kind && n.is_own());
        let mapped = self.uid_map.first().is_some_and(|m| m.outside != 0);
        let all = [
            ("user namespace", own("user") && mapped),
            ("mount namespace", own("mnt")),
            ("pid namespace", own("pid")),
            ("network namespace", own("net")),
            ("ipc namespace", own("ipc")),
            ("uts namespace", own("uts")),
            ("cgroup namespace", own("cgroup")),
            ("seccomp", self.seccomp_mode == 2),
            (
                "dropped capabilities",
                self.capabilities.len() <= crate::caps::JOB_CAPS.len(),
            ),
            ("no_new_privs", self.no_new_privs),
            ("landlock", self.landlock.enforced),
            ("memory limit", self.cgroup.memory_max_bytes.is_some()),
            ("pids limit", self.cgroup.pids_max.is_some()),
        ];
        all.into_iter()
            .filter(|(_, on)| *on)
            .map(|(name, _)| name)
            .collect()
    }
}

/// What a jail has used so far, from its control group and network namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Highest memory use in bytes; none: this kernel does not keep it.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time in nanoseconds.
    pub cpu_ns: u64,
    /// Most processes at once; none: this kernel does not keep it.
    pub pids_peak: Option<u64>,
    /// Forks refused by the limit.
    pub forks_refused: u64,
    /// Processes killed because memory ran out.
    pub oom_kills: u64,
    /// Bytes on the writable tmpfs now.
    pub disk_bytes: u64,
    /// Packets that had nowhere to go (IPv4 and IPv6): attempts to reach anything but loopback.
    pub network_attempts: u64,
    /// Bytes received on loopback.
    pub loopback_rx_bytes: u64,
    /// Bytes sent on loopback.
    pub loopback_tx_bytes: u64,
}

/// What the search after teardown found. Empty lists: nothing is left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// Processes that still have ids of the slot: `pid name`.
    pub processes: Vec<String>,
    /// Control groups that could not be removed.
    pub cgroups: Vec<String>,
    /// Mounts of the jail's file systems that some process still sees: `pid target`.
    pub mounts: Vec<String>,
    /// Paths of the slot on the host.
    pub paths: Vec<String>,
    /// Processes looked at.
    pub processes_searched: u32,
    /// Of these, how many let nobody read their mount namespace.
    pub processes_unreadable: u32,
    /// Mount namespaces looked at.
    pub namespaces_searched: u32,
    /// What could not be searched, and why.
    pub not_searched: Vec<String>,
    /// Use up to the end.
    pub usage: Usage,
}

impl Residue {
    /// Whether all was searched and nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.processes.is_empty()
            && self.cgroups.is_empty()
            && self.mounts.is_empty()
            && self.paths.is_empty()
            && self.not_searched.is_empty()
    }
}

/// Bounds on one image layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerLimits {
    /// Sum of the files' sizes.
    pub size_bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

impl Default for LayerLimits {
    fn default() -> Self {
        Self {
            size_bytes: 16 << 30,
            entries: 1_000_000,
        }
    }
}

/// What an unpacked layer or archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFacts {
    /// Entries unpacked, directories included.
    pub entries: u64,
    /// Bytes of file content.
    pub size_bytes: u64,
    /// Names that hide a lower layer's.
    pub whiteouts: u64,
    /// Directories that hide a lower layer's content.
    pub opaque: u64,
    /// Entries left out and why (device nodes), the first hundred.
    pub skipped: Vec<String>,
}

/// Whether a part of the host serves the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingState {
    /// It is there and works.
    Ok,
    /// It is missing; jobs run without it and the receipt says so.
    Missing,
    /// It is missing and no job starts without it.
    Mandatory,
}

/// One line of `cofferdam doctor` or `inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// Whether it serves.
    pub state: FindingState,
    /// What was found, in words.
    pub words: String,
    /// What to do about it; empty when nothing need be done.
    pub mend: String,
}

/// What a job in a jail can see and reach, found by a process that runs as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// User, group and their map.
    pub identity: Vec<String>,
    /// Processes it sees: `pid name`.
    pub processes: Vec<String>,
    /// Mounts it sees: `target kind ro|rw`.
    pub mounts: Vec<String>,
    /// Directories it can write to.
    pub writable: Vec<String>,
    /// Device nodes it can open.
    pub devices: Vec<String>,
    /// Network interfaces.
    pub interfaces: Vec<String>,
    /// Capabilities in force.
    pub capabilities: Vec<String>,
    /// Names in its environment.
    pub environment: Vec<String>,
    /// Open descriptors that it did not ask for.
    pub descriptors: Vec<String>,
    /// Places that a job should not reach, and what happened when it tried.
    pub attempts: Vec<Attempt>,
}

/// A try at something that a job should not be able to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried.
    pub what: String,
    /// Whether it was stopped.
    pub denied: bool,
    /// The kernel's answer.
    pub answer: String,
}
