//! The command line of SSH keys.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum SshKey {
    /// Add a key to a user; it comes from --file or standard input
    #[command(after_help = "Example:\n  cofferdam key add dev --file ~/.ssh/id_ed25519.pub")]
    Add {
        /// Whose key
        user: String,
        /// The .pub file
        #[arg(long)]
        file: Option<PathBuf>,
        /// What it is called; default: the comment of the key
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
    },
    /// List a user's keys
    List {
        /// Whose keys
        user: String,
    },
    /// Remove a key by its number
    Remove {
        /// The number that `key list` shows
        id: i64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RepoKey {
    /// Add a deploy key; it comes from --file or standard input
    #[command(after_help = "Example:\n  cofferdam repo key add lab/tasks-app --file mirror.pub")]
    Add {
        /// owner/name
        repo: String,
        /// The .pub file
        #[arg(long)]
        file: Option<PathBuf>,
        /// What it is called; default: the comment of the key
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Let it push, too
        #[arg(long)]
        write: bool,
    },
    /// List a repo's deploy keys
    List {
        /// owner/name
        repo: String,
    },
    /// Remove a deploy key by its number
    Remove {
        /// owner/name
        repo: String,
        /// The number that `repo key list` shows
        id: i64,
    },
}
