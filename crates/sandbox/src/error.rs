//! Why something about a jail failed, one enum per operation.

use std::io;

use serde::{Deserialize, Serialize};

/// Why the launcher did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process could not be started.
    #[error("the launcher {exe} could not be started; check that the file can be executed")]
    Spawn {
        /// The binary.
        exe: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It went away.
    #[error("the launcher ended before it was ready; its standard error says why")]
    Ended(#[source] io::Error),
    /// This host cannot isolate a job.
    #[error("no job can be isolated on this host: {why}")]
    Refused {
        /// What is missing and what to do, in words.
        why: String,
    },
}

/// Why a jail was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum CreateError {
    /// All slots are in use.
    #[error("all {slots} sandbox slots are in use; wait for a job to end or raise the number")]
    NoSlot {
        /// How many there are.
        slots: u32,
    },
    /// The request cannot be met as it is.
    #[error("the sandbox request is refused: {why}")]
    Refused {
        /// What is wrong with it.
        why: String,
    },
    /// A mandatory part is missing.
    #[error("no job is started: {layer} is missing on this host ({why})")]
    Mandatory {
        /// The isolation layer.
        layer: String,
        /// The kernel's answer.
        why: String,
    },
    /// A step of making it failed.
    #[error("the sandbox could not be made: {stage} failed: {why}")]
    Stage {
        /// Which step.
        stage: String,
        /// The kernel's answer.
        why: String,
    },
    /// The launcher is gone.
    #[error("the launcher is gone; restart the appliance")]
    LauncherGone,
}

/// Why a command was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ExecError {
    /// No such program.
    #[error("program {program} was not found in the sandbox")]
    NotFound {
        /// As asked for.
        program: String,
    },
    /// It cannot be executed.
    #[error("program {program} cannot be executed in the sandbox: {why}")]
    NotExecutable {
        /// As asked for.
        program: String,
        /// The kernel's answer.
        why: String,
    },
    /// The working directory is missing.
    #[error("working directory {cwd} cannot be entered: {why}")]
    Cwd {
        /// As asked for.
        cwd: String,
        /// The kernel's answer.
        why: String,
    },
    /// A layer of the lockdown failed; nothing was run.
    #[error("the command was not started: {stage} failed: {why}")]
    Stage {
        /// Which step.
        stage: String,
        /// The kernel's answer.
        why: String,
    },
    /// The jail has ended.
    #[error("the sandbox has ended")]
    JailLost,
}

/// Why a file operation in a jail failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FileError {
    /// The kernel refused it.
    #[error("{what} {path} in the sandbox failed: {why}")]
    Failed {
        /// The operation.
        what: String,
        /// In the jail.
        path: String,
        /// The kernel's answer.
        why: String,
        /// Its number.
        errno: i32,
    },
    /// A file is larger than the caller takes.
    #[error("{path} is larger than the {max_bytes} bytes that are read")]
    TooLarge {
        /// In the jail.
        path: String,
        /// The bound.
        max_bytes: u64,
    },
    /// An archive breaks a rule.
    #[error("the archive is refused at {entry}: {why}")]
    Archive {
        /// Name of the entry.
        entry: String,
        /// Which rule.
        why: String,
    },
    /// The command for it could not be run.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl FileError {
    /// Whether the path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Failed { errno, .. } if *errno == libc::ENOENT)
    }
}

/// Why an image layer was not unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// No jail to unpack it in.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The archive or the disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// The launcher could not finish it.
    #[error("layer {name} could not be finished: {why}")]
    Finish {
        /// Directory of the layer.
        name: String,
        /// What failed.
        why: String,
    },
}

/// The jail or its launcher is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox cannot be asked any more: {why}")]
pub struct LostError {
    /// What happened.
    pub why: String,
}
