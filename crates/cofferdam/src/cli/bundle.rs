//! The verbs of `cofferdam bundle`: keys and trust, building, and the appliance's side.

mod connected;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(crate) use super::carried::Carried;
pub(crate) use connected::{Build, Connected, Fetching, Lock, MakeImage, Plan};

#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    #[command(flatten)]
    Connected(Connected),
    #[command(flatten)]
    Keys(Keys),
    /// Keep the site's own trust root: who may sign bundles, and how many
    #[command(subcommand)]
    Root(Root),
    #[command(flatten)]
    Carried(Carried),
}

/// Keys and signatures: the connected side, no appliance needed.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a minisign key pair: NAME.pub to give away, NAME.key to keep
    #[command(after_help = "Examples:\n  cofferdam bundle keygen release-a\n  \
        cofferdam bundle keygen keys/release-a --password-file password")]
    Keygen {
        /// Path without ending; its last part names the key
        name: PathBuf,
        #[command(flatten)]
        password: Password,
        /// Leave the key without a password: for tests and for keys on a token of their own
        #[arg(long, conflicts_with = "password_file")]
        no_password: bool,
    },
    /// Add a signature to a bundle that was built
    #[command(
        after_help = "Example:\n  cofferdam bundle sign /media/usb/lab-stable-000042 --key release-b"
    )]
    Sign {
        /// The bundle's folder
        medium: PathBuf,
        #[command(flatten)]
        key: Key,
    },
}

/// Where a key's password comes from.
#[derive(Args, Debug)]
pub(crate) struct Password {
    /// File whose first line is the password; else it is asked for
    #[arg(long)]
    pub(crate) password_file: Option<PathBuf>,
}

/// A secret key to sign with.
#[derive(Args, Debug)]
pub(crate) struct Key {
    /// The key: the path that keygen was given, or its .key file
    #[arg(long)]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) password: Password,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Root {
    /// Write the first statement, and sign it where a key is given
    #[command(
        after_help = "Examples:\n  cofferdam bundle root init --site lab --root root-a --release \
        release-a --key root-a\n  cofferdam bundle root init --site plant --root r1 --root r2 \
        --root r3 --release a --release b --release c\n\nWithout thresholds, most of the keys of \
        a role must sign: 1 of 1, 2 of 2, 2 of 3, 3 of 5."
    )]
    Init {
        /// Whose trust this is; the product of every bundle under it
        #[arg(long)]
        site: String,
        /// Public key that may make statements; repeat for several
        #[arg(long = "root", required = true)]
        root: Vec<PathBuf>,
        /// Public key that may sign bundles; repeat for several
        #[arg(long = "release", required = true)]
        release: Vec<PathBuf>,
        #[command(flatten)]
        thresholds: Thresholds,
        #[command(flatten)]
        folder: Folder,
        /// Sign it with this secret key at once
        #[arg(long)]
        key: Option<PathBuf>,
        #[command(flatten)]
        password: Password,
    },
    /// Sign the newest statement
    #[command(after_help = "Example:\n  cofferdam bundle root sign --key root-b")]
    Sign {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        key: Key,
    },
    /// Write the next statement: other keys, other thresholds, a channel's floor
    #[command(
        after_help = "Examples:\n  cofferdam bundle root rotate --add-release release-c --remove \
        release-a\n  cofferdam bundle root rotate --floor-reset stable=15000"
    )]
    Rotate {
        #[command(flatten)]
        folder: Folder,
        /// Public key that may sign bundles from now on; repeat for several
        #[arg(long)]
        add_release: Vec<PathBuf>,
        /// Public key that may make statements from now on; repeat for several
        #[arg(long)]
        add_root: Vec<PathBuf>,
        /// Name or id of a key that leaves its role; repeat for several
        #[arg(long)]
        remove: Vec<String>,
        #[command(flatten)]
        thresholds: Thresholds,
        /// CHANNEL=NUMBER: the floor of a channel, set once when this is accepted
        #[arg(long)]
        floor_reset: Vec<String>,
    },
    /// Write the next statement without a key, which then never counts again
    #[command(after_help = "Example:\n  cofferdam bundle root revoke release-b")]
    Revoke {
        #[command(flatten)]
        folder: Folder,
        /// Name or id of the key
        key: String,
        #[command(flatten)]
        thresholds: Thresholds,
    },
    /// Show every statement, who signed it, and what is still missing
    Show {
        #[command(flatten)]
        folder: Folder,
    },
    /// Sign that an expired bundle may be imported all the same
    #[command(
        after_help = "Example:\n  cofferdam bundle root override /media/usb/lab-stable-000042 --key \
        root-a"
    )]
    Override {
        /// The bundle's folder
        medium: PathBuf,
        #[command(flatten)]
        key: Key,
    },
}

/// The folder of the statements.
#[derive(Args, Debug)]
pub(crate) struct Folder {
    /// Folder that holds ROOT.1.json and its successors
    #[arg(long = "trust", default_value = "trust")]
    pub(crate) folder: PathBuf,
}

/// How many keys of each role must sign.
#[derive(Args, Debug)]
pub(crate) struct Thresholds {
    /// How many root keys must sign
    #[arg(long)]
    pub(crate) root_threshold: Option<usize>,
    /// How many release keys must sign
    #[arg(long)]
    pub(crate) release_threshold: Option<usize>,
}
