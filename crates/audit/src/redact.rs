//! Redaction: the values behind commitments are deleted, and an entry says that they were.
//!
//! Lines, leaves and the tree stay as they are. Invariant: once a redaction is committed and
//! [`store::Store::empty_wal`] has run, no byte of the database holds what was deleted.

use serde_json::Value;
use store::{Db, Tx};
use vocab::UserId;

use crate::{AppendError, Auditor, Entry, Kind, Seq, Who, sql};

/// The longest reason, in characters.
const REASON_CHARS: usize = 500;
/// Most places that one entry names.
const PLACES: usize = 4_000;

/// What is to be redacted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redaction {
    /// What one entry keeps.
    Entry {
        /// Which entry.
        seq: Seq,
        /// Only this field: `src.ip` or `src.ip_c`.
        field: Option<String>,
    },
    /// A person: the name wherever it stands; of that account the addresses it came from, those
    /// that somebody tried to sign in to it from, and what its keys are called.
    Person {
        /// The account of that name, if there is one.
        account: Option<UserId>,
        /// The name.
        name: String,
    },
}

/// What was redacted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redacted {
    /// How many values.
    pub values: usize,
    /// The entries that say so.
    pub noted: Vec<Seq>,
}

/// Why nothing was redacted.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// There is no such entry.
    #[error(
        "there is no audit entry {0}, so nothing was redacted; `cofferdam audit search` finds it"
    )]
    NoEntry(i64),
    /// There is nothing to delete.
    #[error(
        "nothing is kept for {0}, so nothing was redacted; it never was, or it was redacted before"
    )]
    Nothing(String),
    /// A redaction needs a reason.
    #[error("a redaction needs a reason of 1 to {REASON_CHARS} characters; it enters the log")]
    Reason,
    /// The reason would put into the log what is taken out.
    #[error("the reason repeats a value that is to be redacted; say it without")]
    Tells,
    /// The log did not take the entry.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<rusqlite::Error> for RedactError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Append(error.into())
    }
}

impl Auditor {
    /// Deletes salts and values, in one transaction with the entries that say which and why.
    ///
    /// The deleted bytes are overwritten in the database; its write-ahead log has them until
    /// [`store::Store::empty_wal`], to be called after the commit.
    ///
    /// Errors: nothing fits, the reason is missing or tells, or the log takes no entries; then
    /// nothing was deleted.
    pub fn redact(
        &self,
        tx: &mut Tx<'_>,
        who: &Who,
        what: &Redaction,
        reason: &str,
    ) -> Result<Redacted, RedactError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_CHARS {
            return Err(RedactError::Reason);
        }
        let found = find(tx, what)?;
        if found.is_empty() {
            return Err(RedactError::Nothing(what.in_words()));
        }
        let lower = reason.to_lowercase();
        if found.iter().any(|o| tells(&lower, &o.value)) {
            return Err(RedactError::Tells);
        }
        sql::redact(tx, &found)?;
        let mut noted = Vec::new();
        for (fields, places) in grouped(&found) {
            for places in places.chunks(PLACES) {
                let entry = entry(what, &fields, places, reason);
                noted.push(self.append(tx, who, entry)?);
            }
        }
        Ok(Redacted {
            values: found.len(),
            noted,
        })
    }
}

impl Redaction {
    /// Without the name, which an answer need not repeat.
    fn in_words(&self) -> String {
        match self {
            Self::Entry { seq, field: None } => format!("audit entry {}", seq.0),
            Self::Entry {
                seq,
                field: Some(field),
            } => format!("the field {field} of audit entry {}", seq.0),
            Self::Person { .. } => "a person of that name".to_owned(),
        }
    }
}

fn entry(what: &Redaction, fields: &[String], places: &[i64], reason: &str) -> Entry {
    let entry = Entry::success(Kind::AuditRedacted)
        .detail("fields", fields.to_vec())
        .detail("seqs", places.to_vec())
        .detail("reason", reason);
    match what {
        Redaction::Entry { seq, .. } => entry.parent(*seq),
        Redaction::Person {
            account: Some(account),
            ..
        } => entry.unnamed_object("user", account.tagged()),
        Redaction::Person { account: None, .. } => entry,
    }
}

/// Whether a reason has a value in it; what is shorter than three letters is in every text.
fn tells(reason: &str, value: &str) -> bool {
    value.chars().count() >= 3 && reason.contains(&value.to_lowercase())
}

fn find(db: &Db, what: &Redaction) -> Result<Vec<sql::OpeningRow>, RedactError> {
    match what {
        Redaction::Entry { seq, field } => {
            if sql::line(db, seq.0)?.is_none() {
                return Err(RedactError::NoEntry(seq.0));
            }
            let mut rows = sql::openings_of(db, seq.0)?;
            if let Some(field) = field {
                let full = format!("{}_c", field.strip_suffix("_c").unwrap_or(field));
                rows.retain(|row| row.field == full);
            }
            Ok(rows)
        }
        Redaction::Person { account, name } => {
            let account = account.map(UserId::tagged);
            Ok(sql::openings_about(db, account.as_deref(), name)?)
        }
    }
}

/// The places, by which fields were redacted there.
fn grouped(found: &[sql::OpeningRow]) -> Vec<(Vec<String>, Vec<i64>)> {
    let mut fields_at = std::collections::BTreeMap::<i64, Vec<String>>::new();
    for row in found {
        fields_at
            .entry(row.seq)
            .or_default()
            .push(row.field.clone());
    }
    let mut groups = std::collections::BTreeMap::<Vec<String>, Vec<i64>>::new();
    for (seq, fields) in fields_at {
        groups.entry(fields).or_default().push(seq);
    }
    groups.into_iter().collect()
}

/// The fields of an entry that have a commitment in its line and no value beside the log.
pub fn redacted(db: &Db, seq: Seq, line: &str) -> rusqlite::Result<Vec<String>> {
    let kept = sql::openings(db, seq.0)?;
    let mut fields = commitments(line);
    fields.retain(|field| !kept.iter().any(|(name, ..)| name == field));
    Ok(fields)
}

/// The fields of a line that stand in it as commitments.
fn commitments(line: &str) -> Vec<String> {
    let entry: Value = serde_json::from_str(line).unwrap_or_default();
    let mut found = Vec::new();
    for part in ["d", "src", "who"] {
        for (key, value) in entry[part].as_object().into_iter().flatten() {
            let hash = value.as_str().is_some_and(|text| text.len() == 64);
            if hash && key.ends_with("_c") {
                found.push(format!("{part}.{key}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
