//! The verbs of `cofferdam bundle` on the appliance: bundles in, slips out.

use std::path::PathBuf;

use clap::Subcommand;

/// Bundles on the appliance.
#[derive(Debug, Subcommand)]
pub(crate) enum Carried {
    /// Say who signed a bundle and whether it may come in; exits 1 when not
    #[command(
        after_help = "Examples:\n  cofferdam bundle verify /media/usb\n  cofferdam bundle verify \
        --deep /media/usb/lab-stable-000042\n  cofferdam bundle verify --root-fingerprint \
        3b1f…c9 --deep .   # no appliance needed"
    )]
    Verify {
        /// The bundle's folder, or a folder that holds one
        medium: PathBuf,
        /// Read and compare every byte of every volume, too
        #[arg(long)]
        deep: bool,
        /// Trust the root statement of this fingerprint, with no appliance
        #[arg(long)]
        root_fingerprint: Option<String>,
    },
    /// Show what a bundle adds, moves and retires, and which workflows that touches
    #[command(after_help = "Example:\n  cofferdam bundle diff /media/usb")]
    Diff {
        /// The bundle's folder, or a folder that holds one
        medium: PathBuf,
    },
    /// Take a bundle in and serve it; goes on where an earlier try broke off
    #[command(
        after_help = "Examples:\n  cofferdam bundle import /media/usb\n  cofferdam bundle import \
        /media/usb --quorum-override   # it expired, and root keys vouch for it\n  cofferdam \
        bundle import            # follow the import that runs\n  cofferdam bundle import --cancel"
    )]
    Import {
        /// The bundle's folder, or a folder that holds one; without it, follow what runs
        medium: Option<PathBuf>,
        /// Accept an expired bundle that enough root keys have signed an override for
        #[arg(long, requires = "medium")]
        quorum_override: bool,
        /// Cancel the import that runs; what was read is kept
        #[arg(long, conflicts_with = "medium")]
        cancel: bool,
    },
    /// Go back to what was served before the last import
    #[command(
        after_help = "Examples:\n  cofferdam bundle undo --dry-run   # only say what would change\n  \
        cofferdam bundle undo"
    )]
    Undo {
        /// Only say what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// List what was imported, newest first
    History,
    /// Show who built a bundle, who brought it and let it in, and what used it
    #[command(after_help = "Example:\n  cofferdam bundle custody 42")]
    Custody {
        /// Its number
        seq: u64,
        /// Its channel, where several have that number
        #[arg(long)]
        channel: Option<String>,
    },
    /// Remove what no kept generation, image, job or unfinished import needs
    #[command(
        after_help = "Examples:\n  cofferdam bundle gc --dry-run\n  cofferdam bundle gc --abandon   \
        # give up imports that did not end"
    )]
    Gc {
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
        /// Give up imports that did not end, and free what they hold
        #[arg(long)]
        abandon: bool,
    },
    /// Read every blob again and compare it with its digest; exits 1 when one is bad
    #[command(after_help = "A bad blob is set aside, and `bundle need` asks for it.")]
    Scrub {
        /// Cancel the scrub that runs; the next goes on there
        #[arg(long)]
        cancel: bool,
    },
    /// Write the slip of what is here, for a bundle that carries only the rest
    #[command(
        after_help = "Examples:\n  cofferdam bundle have -o /media/usb/have.slip\n  \
        cofferdam bundle have --show-key > slip.pub   # check the slips with it"
    )]
    Have {
        /// The file to write
        #[arg(short, long, required_unless_present = "show_key")]
        output: Option<PathBuf>,
        /// Print the public key that this appliance signs its slips with
        #[arg(long)]
        show_key: bool,
    },
    /// Write the slip of what jobs asked for in vain and what is damaged
    #[command(after_help = "Example:\n  cofferdam bundle need -o /media/usb/need.slip")]
    Need {
        /// The file to write
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Show whom this appliance believes, or pin the root's fingerprint from the paper
    #[command(
        after_help = "Examples:\n  cofferdam bundle trust\n  cofferdam bundle trust 3b1f…c9   # \
        64 hex digits, spaces do not matter"
    )]
    Trust {
        /// The fingerprint of root statement 1
        fingerprint: Vec<String>,
    },
}
