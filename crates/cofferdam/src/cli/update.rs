//! The command line of updates: verbs and how long their steps may take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// How long the steps of an update may take.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Seconds that running jobs may go on before the switch; what is left then ends as lost
    #[arg(long, default_value_t = 600)]
    pub(crate) hold: u64,
    /// Seconds that the new program is on trial
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=600))]
    pub(crate) trial: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    /// Show what is installed, what was imported, and how the last update went
    Status {
        #[arg(
            long,
            hide = true,
            env = "COFFERDAM_PREFIX",
            default_value = "/opt/cofferdam"
        )]
        prefix: PathBuf,
    },
    /// Switch to the imported program; it goes back by itself unless the new one is healthy
    #[command(after_help = "Example:\n  cofferdam update apply --hold 60")]
    Apply {
        #[arg(
            long,
            hide = true,
            env = "COFFERDAM_PREFIX",
            default_value = "/opt/cofferdam"
        )]
        prefix: PathBuf,
        #[command(flatten)]
        timing: Timing,
    },
    /// Switch back to the program before this one
    Rollback {
        #[arg(
            long,
            hide = true,
            env = "COFFERDAM_PREFIX",
            default_value = "/opt/cofferdam"
        )]
        prefix: PathBuf,
        #[command(flatten)]
        timing: Timing,
    },
    /// Watch an update to its end
    #[command(hide = true)]
    Guard {
        #[arg(long, env = "COFFERDAM_PREFIX", default_value = "/opt/cofferdam")]
        prefix: PathBuf,
        /// The process that waits to be watched
        #[arg(long)]
        pid: Option<u32>,
    },
    /// Count a start on trial, or take the update back
    #[command(hide = true)]
    Settle {
        #[arg(long, env = "COFFERDAM_PREFIX", default_value = "/opt/cofferdam")]
        prefix: PathBuf,
    },
    /// Say what this program is
    #[command(hide = true)]
    Describe,
}
