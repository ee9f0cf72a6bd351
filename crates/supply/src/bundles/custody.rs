//! The chain of custody of one bundle: who built it, who brought it, who let it in, what used it.
//!
//! What was signed comes from the manifest, all else from the audit log: each step is the exact
//! line of an entry with its place. An export adds the proof that the line is there, so that the
//! record can be checked on its own. Source: docs/audit.md, "Custody".

mod check;

use std::collections::BTreeMap;
use std::time::SystemTime;

use audit::{Filter, Line};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Db, Store, StoreError};
use vocab::Digest;

use super::history::Row;
use crate::sql::bundles as sql;

pub use check::{Checked, check};

/// Names the record and its version.
pub(super) const FORMAT: &str = "cofferdam-custody/1";
/// Most entries about a bundle that are looked through.
const ENTRIES_MAX: u32 = 1_000;
/// Most jobs that are listed; all of them are counted.
const JOBS_MAX: u32 = 200;

/// What one step of the chain is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The root statement was believed.
    Trusted,
    /// Somebody handed it in, and its signatures held.
    Verified,
    /// It was handed in again and went on.
    Resumed,
    /// It was handed in and refused.
    Refused,
    /// All of it was read in.
    Staged,
    /// A second person let it in.
    Approved,
    /// It became what is served; what changed by it was accepted.
    Committed,
    /// What is served went back to it.
    Restored,
    /// What is served went back from it.
    Undone,
    /// An older import was given up for it.
    Overtook,
    /// A job saw what it brought.
    Used,
    /// A slip was issued while it was served.
    Slip,
}

impl What {
    /// The kind of the entry that tells of it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Trusted => "key.root_rotated",
            Self::Verified => "bundle.verified",
            Self::Resumed => "bundle.resumed",
            Self::Refused => "bundle.rejected",
            Self::Staged => "bundle.staged",
            Self::Approved => "bundle.approved",
            Self::Committed => "bundle.committed",
            Self::Restored | Self::Undone => "bundle.undone",
            Self::Overtook => "bundle.aborted",
            Self::Used => "job.assigned",
            Self::Slip => "slip.exported",
        }
    }

    /// Whether the entry's object is the bundle.
    fn is_about_it(self) -> bool {
        !matches!(self, Self::Trusted | Self::Undone | Self::Used | Self::Slip)
    }

    /// What an entry about the bundle is.
    fn of(kind: &str) -> Option<Self> {
        [
            Self::Verified,
            Self::Resumed,
            Self::Refused,
            Self::Staged,
            Self::Approved,
            Self::Committed,
            Self::Restored,
            Self::Overtook,
        ]
        .into_iter()
        .find(|what| what.kind() == kind)
    }
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it is.
    pub what: What,
    /// The entry's place in the log.
    pub seq: i64,
    /// When, as the entry has it.
    pub t: String,
    /// Who, tagged: `u:17`, `uid:0`.
    pub who: String,
    /// The exact line of the entry.
    pub line: String,
    /// The hashes from the line to the root of the export's checkpoint, in hex; empty elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<String>,
}

/// The record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custody {
    /// [`FORMAT`].
    pub format: String,
    /// Product.
    pub product: String,
    /// Channel.
    pub channel: String,
    /// Number in the channel.
    pub seq: u64,
    /// Version of the content.
    pub content: String,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of the lock that it was built from; none once the manifest was collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Digest>,
    /// Who signed.
    pub signers: Vec<bundle::Signer>,
    /// What they signed beside the manifest.
    pub comment: String,
    /// Day on which it was locked.
    pub created: String,
    /// Last day on which it may be imported.
    pub not_after: String,
    /// SHA-256 of root statement 1, as it stands on paper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_fingerprint: Option<String>,
    /// How far it came.
    pub state: String,
    /// Generations that were made of it.
    pub generations: Vec<i64>,
    /// How often a job was given what it brought; the newest 200 are among the steps.
    pub jobs: u64,
    /// What was done with it, in order.
    pub steps: Vec<Step>,
}

/// Bundles of that number, the one that was seen last first.
pub fn numbered(db: &Db, seq: u64) -> Result<Vec<Row>, StoreError> {
    sql::bundles_numbered(db, seq)
}

/// Bundles that the log tells of in this time, or that jobs used in it: oldest first.
pub fn in_time(
    db: &Db,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    for row in sql::all_bundles(db)? {
        let (_, generations, _) = steps(db, &row)?;
        let used = generations.iter().map(|id| of_kind(What::Used, Some(*id)));
        for filter in std::iter::once(about(&row)).chain(used) {
            let filter = Filter {
                since,
                until,
                ..filter
            };
            if audit::count(db, &filter)? > 0 {
                found.push(row);
                break;
            }
        }
    }
    Ok(found)
}

/// Entries whose object is the bundle.
fn about(row: &Row) -> Filter {
    Filter {
        object: Some(format!("bundle:{}", row.manifest.hex())),
        ..Filter::default()
    }
}

fn of_kind(what: What, generation: Option<i64>) -> Filter {
    Filter {
        kind: Some(what.kind().to_owned()),
        generation,
        ..Filter::default()
    }
}

/// The chain of custody of the bundle in `row`, as the log tells it now.
pub fn custody(db: &Db, store: &Store, row: &Row) -> Result<Custody, StoreError> {
    let manifest = super::kept_manifest(store, &row.manifest);
    let (steps, generations, jobs) = steps(db, row)?;
    let first = sql::root(db, 1)?;
    Ok(Custody {
        format: FORMAT.to_owned(),
        product: row.product.clone(),
        channel: row.channel.clone(),
        seq: row.seq,
        content: row.content.clone(),
        manifest: row.manifest,
        lock: manifest.map(|m| m.lock_sha256),
        signers: row.signed.signers.clone(),
        comment: row.signed.comment.clone(),
        created: row.created.clone(),
        not_after: row.not_after.clone(),
        root_fingerprint: first.map(|body| Digest::of(body.as_bytes()).hex()),
        state: row.state.clone(),
        generations,
        jobs,
        steps: steps.into_values().collect(),
    })
}

/// The files that a medium brought and that prove it, by name: none once they were collected.
pub fn files(db: &Db, store: &Store, row: &Row) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let Ok(manifest) = super::gc::manifest_bytes(store, &row.manifest) else {
        return Ok(Vec::new());
    };
    let mut files = vec![("MANIFEST.json".to_owned(), manifest)];
    // As the medium named them, which may be no name that an archive takes.
    let fine = |name: &str| -> String {
        name.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '_'
                }
            })
            .take(80)
            .collect()
    };
    let text = |(name, text): (String, String)| (fine(&name), text.into_bytes());
    files.extend(row.signed.signatures.iter().cloned().map(text));
    for (number, body, signatures) in sql::root_chain(db, row.root)? {
        files.push((format!("ROOT.{number}.json"), body.into_bytes()));
        files.extend(signatures.into_iter().map(text));
    }
    Ok(files)
}

type Steps = (BTreeMap<i64, Step>, Vec<i64>, u64);

fn steps(db: &Db, row: &Row) -> Result<Steps, StoreError> {
    let mut steps = BTreeMap::new();
    let list = |filter: &Filter, most| audit::list(db, filter, most).map_err(StoreError::from);
    let mut generations = Vec::new();
    for line in list(&about(row), ENTRIES_MAX)? {
        let entry = read(&line);
        let kind = entry["act"].as_str().unwrap_or_default();
        if let Some(what) = What::of(kind) {
            if what == What::Committed {
                generations.extend(entry["d"]["generation"].as_i64());
            }
            add(&mut steps, what, &line, &entry);
        }
    }
    generations.sort_unstable();
    for line in list(&of_kind(What::Undone, None), ENTRIES_MAX)? {
        let entry = read(&line);
        let from = entry["d"]["from"].as_i64();
        if from.is_some_and(|from| generations.contains(&from)) {
            add(&mut steps, What::Undone, &line, &entry);
        }
    }
    let root = Filter {
        object: Some("root:1".to_owned()),
        ..of_kind(What::Trusted, None)
    };
    if let Some(line) = list(&root, ENTRIES_MAX)?.last() {
        add(&mut steps, What::Trusted, line, &read(line));
    }
    let mut jobs = 0;
    for generation in &generations {
        let used = of_kind(What::Used, Some(*generation));
        jobs += audit::count(db, &used)?;
        for line in list(&used, JOBS_MAX)? {
            add(&mut steps, What::Used, &line, &read(&line));
        }
        for line in list(&of_kind(What::Slip, Some(*generation)), ENTRIES_MAX)? {
            add(&mut steps, What::Slip, &line, &read(&line));
        }
    }
    Ok((steps, generations, jobs))
}

fn read(line: &Line) -> Value {
    serde_json::from_str(&line.text).unwrap_or_default()
}

fn add(steps: &mut BTreeMap<i64, Step>, what: What, line: &Line, entry: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let step = Step {
        what,
        seq: line.seq.0,
        t: text(&entry["t"]),
        who: text(&entry["who"]["id"]),
        line: line.text.clone(),
        proof: Vec::new(),
    };
    steps.insert(step.seq, step);
}
