//! The verbs of the connected side: lock, build, plan. None of them needs an appliance.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Password;

/// What is done where there is a network; none of it needs an appliance.
#[derive(Debug, Subcommand)]
pub(crate) enum Connected {
    /// Find out what a recipe's names stand for, and write its lock beside it
    #[command(
        after_help = "Examples:\n  cofferdam bundle lock bundles/demo.toml\n  \
        cofferdam bundle lock bundles/demo.toml --update lab/debian-python\n\n\
        A source that cannot be reached is told with its line in the recipe; the rest of the \
        lock is written, and the code is 1."
    )]
    Lock(Lock),
    /// Build a bundle: fetch what the lock names, write the folder to carry, sign it
    #[command(
        after_help = "Examples:\n  cofferdam bundle build bundles/demo.toml -o /media/usb \
        --key release-a\n  \
        cofferdam bundle build bundles/demo.toml -o /media/usb --have have.slip --need need.slip\n  \
        cofferdam bundle build bundles/demo.toml -o /tmp/again --locked --offline"
    )]
    Build(Build),
    /// Read workflows and print the recipe lines that the next bundle must have
    #[command(
        after_help = "Example:\n  cofferdam bundle plan ../tasks-app ../firmware \
        --recipe bundles/demo.toml"
    )]
    Plan(Plan),
    /// Make one image of a recipe as an OCI archive, to try it before it is carried
    #[command(
        after_help = "Example:\n  cofferdam bundle image bundles/demo.toml lab/debian-python \
        -o debian.oci.tar && cofferdam image import debian.oci.tar"
    )]
    Image(MakeImage),
    /// Say what this program is, for the bundle that carries it
    #[command(hide = true)]
    About,
}

#[derive(Args, Debug)]
pub(crate) struct Lock {
    /// The recipe
    pub(crate) recipe: PathBuf,
    /// Resolve anew: everything, or only the entry of this name; repeat for several
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(crate) update: Vec<String>,
    #[command(flatten)]
    pub(crate) fetching: Fetching,
}

#[derive(Args, Debug)]
pub(crate) struct Build {
    /// The recipe
    pub(crate) recipe: PathBuf,
    /// Folder (such as a mounted stick) in which the bundle gets a folder of its own
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Secret key to sign with: the path that keygen was given; repeat for several
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) password: Password,
    /// Folder that holds ROOT.1.json; default: `trust` of the recipe's [sign], else ./trust
    #[arg(long, value_name = "DIR")]
    pub(crate) trust: Option<PathBuf>,
    /// Leave out what this appliance has (from `cofferdam bundle have`)
    #[arg(long, value_name = "SLIP")]
    pub(crate) have: Option<PathBuf>,
    /// Say what of this is in, and carry again what is damaged (from `cofferdam bundle need`)
    #[arg(long, value_name = "SLIP")]
    pub(crate) need: Option<PathBuf>,
    /// Public key of the appliance that the slips must be signed by
    #[arg(long, value_name = "FILE")]
    pub(crate) appliance_key: Option<PathBuf>,
    /// The bundle's number; default: the lock's
    #[arg(long)]
    pub(crate) seq: Option<u64>,
    /// Refuse to change the lock
    #[arg(long)]
    pub(crate) locked: bool,
    #[command(flatten)]
    pub(crate) fetching: Fetching,
}

#[derive(Args, Debug)]
pub(crate) struct Fetching {
    /// Folder for what is fetched; default: $XDG_CACHE_HOME/cofferdam
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Use the cache alone
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Plan {
    /// Working trees, bare repos, or folders of these
    #[arg(required = true)]
    pub(crate) repos: Vec<PathBuf>,
    /// Leave out what this recipe has already
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) fetching: Fetching,
}

#[derive(Args, Debug)]
pub(crate) struct MakeImage {
    /// The recipe
    pub(crate) recipe: PathBuf,
    /// The image's name there; it is one that is built from Debian packages
    pub(crate) name: String,
    /// The archive to write
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The day that its files get, YYYY-MM-DD; default: today
    #[arg(long)]
    pub(crate) day: Option<String>,
    #[command(flatten)]
    pub(crate) fetching: Fetching,
}
