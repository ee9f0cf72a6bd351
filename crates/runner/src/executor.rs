//! What the runner asks of anything that can hold a job: the embedded sandbox, later a container
//! engine, a pod or a virtual machine. Every maker passes the same tests.

use std::net::TcpListener;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vocab::{Digest, Fence};

/// Makes sandboxes. Shared by all job threads.
pub trait Executor: Send + Sync {
    /// The kind that receipts name, such as `embedded`.
    fn kind(&self) -> &'static str;

    /// What this host offers and what is missing, in words.
    ///
    /// Errors: `Unavailable` when no job could be started here.
    fn probe(&self) -> Result<Vec<Layer>, ExecutorError>;

    /// A fresh sandbox for one attempt. Idempotent: a second call with the same fence, while the
    /// first sandbox lives, is refused rather than giving the attempt a second one.
    fn prepare(&self, attempt: &AttemptSpec) -> Result<Box<dyn Sandbox>, ExecutorError>;

    /// The attempts whose sandboxes exist now, for adoption or removal after a restart.
    fn list(&self) -> Result<Vec<Fence>, ExecutorError>;
}

/// One attempt's own machine, from preparation to destruction.
pub trait Sandbox: Send + Sync {
    /// Starts a program. Its standard output and standard error both go to `output`; its standard
    /// input is empty.
    fn exec(&self, spec: &ExecSpec, output: OwnedFd) -> Result<Box<dyn Process>, SandboxError>;

    /// Unpacks the tar that `archive` reads (a pipe or a file) below `dest`, which is made when
    /// absent, as files of `owner`. Nothing is written outside the sandbox, whatever the entries
    /// say.
    fn unpack_tar(&self, dest: &str, archive: OwnedFd, owner: User) -> Result<(), SandboxError> {
        self.unpack_stripped(dest, archive, owner, 0)
    }

    /// The same without the first `strip` parts of each name in the archive.
    fn unpack_stripped(
        &self,
        dest: &str,
        archive: OwnedFd,
        owner: User,
        strip: u32,
    ) -> Result<(), SandboxError>;

    /// A file's content, `None` when there is no such file.
    ///
    /// Errors: `TooLarge` above `limit` bytes.
    fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, SandboxError>;

    /// Makes a directory and those above it; present is fine.
    fn mkdir(&self, path: &str, mode: u32, owner: User) -> Result<(), SandboxError>;

    /// Removes a file or a whole directory; absent is fine.
    fn remove(&self, path: &str) -> Result<(), SandboxError>;

    /// What is in force around this job, as read from the kernel.
    fn facts(&self) -> Result<Facts, SandboxError>;

    /// What the job has used so far, as counted by the kernel.
    fn usage(&self) -> Result<Usage, SandboxError>;

    /// The programs that run in it now, besides its init. For the receipt, at the job's end.
    fn processes(&self) -> Result<Vec<LiveProcess>, SandboxError>;

    /// Ends every program in it at once; the sandbox itself lives on.
    fn kill_all(&self) -> Result<(), SandboxError>;

    /// The listening socket on the job's own loopback, bound before its first program started;
    /// whoever takes it serves the job's endpoint. `None` when it was taken or never made.
    fn take_listener(&self) -> Option<TcpListener>;

    /// Ends the sandbox, removes all that was its own, and searches for what is left of it.
    fn destroy(self: Box<Self>) -> Ended;
}

/// One program that runs in a sandbox.
pub trait Process: Send {
    /// Polls readable when the program has ended.
    fn exit_fd(&self) -> BorrowedFd<'_>;

    /// How it ended; blocks until it has.
    fn wait(&mut self) -> Result<Exit, SandboxError>;

    /// Sends a signal to the program and its process group. Fine when it has ended.
    fn signal(&self, signal: Signal) -> Result<(), SandboxError>;
}

/// What an attempt needs of its sandbox.
#[derive(Clone, Debug)]
pub struct AttemptSpec {
    /// Whose it is.
    pub fence: Fence,
    /// The root file system: an imported image, or `None` for the host's own read-only `/usr`.
    pub image: Option<ImageFacts>,
    /// What it may use.
    pub limits: Limits,
    /// Its host name inside.
    pub hostname: String,
    /// What it may reach.
    pub network: NetworkPolicy,
    /// Directories of the host that it sees and cannot write to, whoever it is.
    pub shown: Vec<Shown>,
}

/// A directory of the host that a job sees, read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// On the host.
    pub source: PathBuf,
    /// Inside; absolute, made when absent.
    pub target: String,
}

/// The image of a job, as the import recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// The name it was asked for by, such as `debian-12`.
    pub name: String,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Directories of its unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
    /// `NAME=value`, from its configuration.
    pub env: Vec<String>,
    /// Its configured user, empty for root.
    pub user: String,
}

/// What a job may use. Read back from the kernel for the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, file system upper layer in memory included.
    pub memory_bytes: u64,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub pids: u32,
    /// The writable layer.
    pub disk_bytes: u64,
    /// Wall time of the job, its clean-up not included.
    pub timeout: Duration,
}

/// What a job may reach over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkPolicy {
    /// Nothing but its own loopback.
    Loopback,
}

/// A program to start.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    /// Program and arguments; a program without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory inside.
    pub cwd: String,
    /// Who it runs as, by the ids inside.
    pub user: User,
}

/// Ids inside the sandbox. Root there is nobody on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The whole sandbox ended under it.
    SandboxLost,
}

impl Exit {
    /// As a shell shows it: the code, or 128 and the signal's number.
    #[must_use]
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::SandboxLost => 137,
        }
    }
}

/// The signals a runner sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Please stop, as from a keyboard.
    Interrupt,
    /// Please end.
    Terminate,
    /// Ends at once.
    Kill,
}

/// One program that runs in a sandbox, as its own `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveProcess {
    /// Process id inside.
    pub pid: u32,
    /// Command line, at most 4,096 characters of it. May hold secrets: the runner masks it.
    pub command: String,
}

/// One layer of isolation: whether it is in force for this job, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Such as `user namespace` or `seccomp`.
    pub name: String,
    /// Whether the kernel says that it is in force.
    pub in_force: bool,
    /// What the kernel said, or why it is missing.
    pub detail: String,
    /// Where that was read, such as `/proc/<init>/status Seccomp`.
    pub source: String,
}

/// What is in force around a job, read from the kernel after the sandbox was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The host's name (`uname`).
    pub host: String,
    /// The kernel's release (`uname`).
    pub kernel: String,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Every layer, in force or not.
    pub layers: Vec<Layer>,
    /// `inside outside count` of each line of `/proc/<init>/uid_map`.
    pub uid_map: Vec<[u32; 3]>,
    /// The limits that the kernel holds, with the place each was read from.
    pub limits: Vec<Limit>,
    /// The network interfaces in its namespace.
    pub interfaces: Vec<String>,
    /// What its root directory is, and what of it can be written (`mountinfo`).
    pub root: String,
}

/// One limit as the kernel holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Such as `memory`.
    pub name: String,
    /// In its unit, such as `512 MiB`.
    pub value: String,
    /// Where it was read, such as `memory.max`.
    pub source: String,
}

/// What a job has used, as the kernel counted. `None` where this kernel does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Highest memory use.
    pub memory_peak_bytes: Option<u64>,
    /// Highest number of processes and threads.
    pub pids_peak: Option<u64>,
    /// Processor time.
    pub cpu_ms: Option<u64>,
    /// Bytes in the writable layer now.
    pub disk_bytes: Option<u64>,
    /// Processes that the kernel ended for want of memory.
    pub oom_kills: u64,
    /// Forks that the limit refused.
    pub pids_refused: u64,
    /// Packets that the job tried to send beyond its loopback (`OutNoRoutes`).
    pub no_route_packets: Option<u64>,
    /// Where the counters were read.
    pub sources: Vec<String>,
}

/// What the search after a job's end found. Empty findings are the good case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residue {
    /// The places that were searched, such as `processes with the slot's ids`.
    pub searched: Vec<String>,
    /// What was there and should not have been.
    pub found: Vec<String>,
    /// What could not be searched, and why.
    pub not_searched: Vec<String>,
}

/// The end of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// What the search found.
    pub residue: Residue,
    /// The last word of the counters, when they could still be read.
    pub usage: Option<Usage>,
}

/// Why no sandbox could be had.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// This host cannot hold jobs.
    #[error("no sandbox can be started on this host: {reason}")]
    Unavailable {
        /// What is missing and what to do.
        reason: String,
    },
    /// All slots are taken, or the attempt has one already.
    #[error("attempt {attempt} already has a sandbox")]
    AlreadyPrepared {
        /// The fence as text.
        attempt: String,
    },
    /// The image is not there any more.
    #[error("image {image} cannot be used: {reason}")]
    Image {
        /// Which.
        image: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Something else went wrong while making it.
    #[error("the sandbox could not be made: {reason}")]
    Failed {
        /// What.
        reason: String,
    },
}

/// Why something in a sandbox did not work.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox has ended, by somebody else's hand or by itself.
    #[error("the sandbox is gone: {reason}")]
    Gone {
        /// What is known about it.
        reason: String,
    },
    /// There is no such program.
    #[error("program '{program}' was not found in the sandbox")]
    NoProgram {
        /// The first word of the command.
        program: String,
    },
    /// The program could not be started.
    #[error("'{program}' could not be started: {reason}")]
    Exec {
        /// The first word of the command.
        program: String,
        /// Why.
        reason: String,
    },
    /// A file operation was refused inside.
    #[error("{what} {path} in the sandbox failed: {reason}")]
    File {
        /// Such as `reading`.
        what: &'static str,
        /// Inside path.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file is larger than the caller takes.
    #[error("{path} is larger than {limit} bytes")]
    TooLarge {
        /// Inside path.
        path: String,
        /// The bound.
        limit: u64,
    },
}
