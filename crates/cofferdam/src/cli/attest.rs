//! The command line of what is attested of jobs.

use std::path::PathBuf;

use clap::Args;
use evidence::note::NoteKey;

use super::RunRef;
use super::audit::key;

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct VerifyRun {
    /// owner/name
    #[arg(required_unless_present = "offline", conflicts_with = "offline")]
    pub(crate) repo: Option<String>,
    /// The run's number; default: the newest
    pub(crate) number: Option<i64>,
    /// Only this job (its name or number)
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// Check a folder that `run attest` wrote; needs no appliance
    #[arg(long, value_name = "DIR")]
    pub(crate) offline: Option<PathBuf>,
    /// The log's key, as the appliance's paper has it, or a file with it
    #[arg(long, value_parser = key)]
    pub(crate) key: Option<NoteKey>,
}

/// What to take away.
#[derive(Args, Debug)]
pub(crate) struct AttestRun {
    #[command(flatten)]
    pub(crate) run: RunRef,
    /// Only this job (its name or number)
    #[arg(long)]
    pub(crate) job: Option<String>,
    /// The folder to make
    #[arg(long, short)]
    pub(crate) output: PathBuf,
}
