//! The command line of the audit log.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use evidence::note::NoteKey;

/// Without a verb: the newest lines.
#[derive(Args, Debug)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) verb: Option<AuditVerb>,
    #[command(flatten)]
    pub(crate) search: Search,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// Print the newest entries, and go on as they come
    Tail {
        #[command(flatten)]
        search: Search,
        /// Go on until interrupted
        #[arg(long, short)]
        follow: bool,
    },
    /// Say whether the log takes entries; exits 1 when it does not
    State,
    /// Find entries
    #[command(
        after_help = "Example:\n  cofferdam audit search --actor dev --action 'bundle.*' \
        --since 2026-10-01 --json"
    )]
    Search(Search),
    /// Delete a name or an address that the log keeps; the line and its proof stay
    #[command(
        after_help = "Examples:\n  cofferdam audit redact --seq 812 --field src.ip --reason \
        'request 14'\n  cofferdam audit redact --person dev --reason 'request 15'"
    )]
    Redact(Redact),
    /// Write a range of the log into one file that proves itself
    #[command(
        after_help = "Example:\n  cofferdam audit export --from 2026-07-01 --to 2026-09-30 \
        -o q3.cfa"
    )]
    Export(Export),
    /// Check an export, on any machine: exits 0 when all holds, 1 when not, 2 when it is unreadable
    #[command(after_help = "Example:\n  cofferdam audit verify q3.cfa --previous q2.cfa")]
    Verify(Verify),
    /// Say how much is sealed, and how much of it witnesses have seen
    Status,
    /// Make the key pair of a witness: NAME.pub to give away, NAME.key to keep
    #[command(after_help = "Example:\n  cofferdam audit witness-key auditor")]
    WitnessKey {
        /// Path without ending; its last part names the witness
        name: PathBuf,
    },
    /// Outside: sign what a have slip says of a log, if it only grew since the last time
    #[command(
        after_help = "Example:\n  cofferdam audit witness --key auditor --log log.key have.slip -o \
        have.cosig"
    )]
    Witness(Witness),
    /// Take a witness's cosignature in
    #[command(after_help = "Example:\n  cofferdam audit cosign /media/usb/have.cosig")]
    Cosign {
        /// The file that `audit witness` wrote
        file: PathBuf,
    },
    /// Verify an export and write a report on it: HTML to read, CSV to go on with
    #[command(after_help = "Example:\n  cofferdam audit report q3.cfa -o q3/")]
    Report {
        #[command(flatten)]
        verify: Verify,
        /// The folder to write into
        #[arg(long, short)]
        output: PathBuf,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Witness {
    /// The have slip of the appliance
    pub(crate) slip: PathBuf,
    /// The witness's key: the path that witness-key was given, or its .key file
    #[arg(long)]
    pub(crate) key: PathBuf,
    /// The log's key, as the appliance's paper has it, or a file with it: needed the first time
    #[arg(long, value_parser = key)]
    pub(crate) log: Option<NoteKey>,
    /// Where the witness remembers what it has signed of each log
    #[arg(long, default_value = "witness.json")]
    pub(crate) state: PathBuf,
    /// The cosignature to write
    #[arg(long, short)]
    pub(crate) output: PathBuf,
}

/// What to delete, and why.
#[derive(Args, Debug)]
pub(crate) struct Redact {
    /// What this entry keeps
    #[arg(long, required_unless_present = "person", conflicts_with = "person")]
    pub(crate) seq: Option<i64>,
    /// Of that entry only this field, as its line has it: src.ip, who.name, d.label
    #[arg(long, requires = "seq")]
    pub(crate) field: Option<String>,
    /// This name in all entries, and the addresses that it came from
    #[arg(long, value_name = "NAME")]
    pub(crate) person: Option<String>,
    /// Why; it enters the log, so it must not repeat what is deleted
    #[arg(long)]
    pub(crate) reason: String,
}

/// Which entries.
#[derive(Args, Debug, Default)]
pub(crate) struct Search {
    /// How many, the newest
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    /// What was done: a kind (git.push) or its start ('bundle.*')
    #[arg(long, visible_alias = "kind")]
    pub(crate) action: Option<String>,
    /// Who: a sign-in name, or u:17, job:4, uid:0, system
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// To what, e.g. r:5
    #[arg(long)]
    pub(crate) object: Option<String>,
    /// Not before this day (UTC) or instant
    #[arg(long, value_parser = begins)]
    pub(crate) since: Option<SystemTime>,
    /// Until the end of this day (UTC), or before this instant
    #[arg(long, value_parser = ends)]
    pub(crate) until: Option<SystemTime>,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The file to write; it must not exist
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// From this day (UTC) or instant
    #[arg(long, value_parser = begins)]
    pub(crate) from: Option<SystemTime>,
    /// To the end of this day (UTC), or up to this instant
    #[arg(long, value_parser = ends)]
    pub(crate) to: Option<SystemTime>,
    /// Show only what was done by these: other entries stay as hashes
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Show only this kind, or its start
    #[arg(long, visible_alias = "kind")]
    pub(crate) action: Option<String>,
    /// Show only what was done to this
    #[arg(long)]
    pub(crate) object: Option<String>,
    /// Open the names and addresses behind the commitments of what is shown
    #[arg(long)]
    pub(crate) with_names: bool,
    /// An earlier export that this one must be shown to continue
    #[arg(long, value_name = "FILE")]
    pub(crate) previous: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The export
    pub(crate) file: PathBuf,
    /// The log's key, as the appliance's paper has it, or a file with it
    #[arg(long, value_parser = key)]
    pub(crate) key: Option<NoteKey>,
    /// An earlier export of the same log, which this one must continue
    #[arg(long, value_name = "FILE")]
    pub(crate) previous: Option<PathBuf>,
    /// A witness who must have signed the checkpoint; repeat for several
    #[arg(long = "witness", value_parser = key, value_name = "KEY")]
    pub(crate) witnesses: Vec<NoteKey>,
}

pub(super) fn key(text: &str) -> Result<NoteKey, String> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let file = std::fs::read_to_string(text).map_err(|error| format!("{text}: {error}"))?;
    file.parse().map_err(|error| format!("{text}: {error}"))
}

fn begins(text: &str) -> Result<SystemTime, String> {
    moment(text, false)
}

fn ends(text: &str) -> Result<SystemTime, String> {
    moment(text, true)
}

fn moment(text: &str, end: bool) -> Result<SystemTime, String> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.into());
    }
    let day = || -> Result<SystemTime, jiff::Error> {
        let day: jiff::civil::Date = text.parse()?;
        let day = if end { day.tomorrow()? } else { day };
        Ok(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().into())
    };
    day().map_err(|_| {
        format!("'{text}' is no day like 2026-10-01 and no instant like 2026-10-01T09:00:00Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_midnight_and_ends_at_the_next() {
        let ms = |at: Result<SystemTime, String>| vocab::unix_ms(at.unwrap());
        assert_eq!(ms(begins("2026-10-01")), 1_790_812_800_000);
        assert_eq!(ms(ends("2026-10-01")), 1_790_899_200_000);
        assert_eq!(ms(ends("2026-10-01T00:00:01Z")), 1_790_812_801_000);
        assert!(begins("yesterday").is_err());
    }
}
