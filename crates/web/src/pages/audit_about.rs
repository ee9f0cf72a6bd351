//! Words that the pages of the audit log share: moments, outcomes, who, what, links to it.

use std::time::SystemTime;

use access::Principal;
use audit::{Line, Went};
use serde_json::Value;
use store::Db;
use vocab::{JobId, RepoId, RunId};

use super::bundle_about::{self as bundle_about, state};
use super::pool::Known;
use crate::fault::Fault;
use crate::view::audit::{Asked, Chosen};
use crate::view::{Link, State};
use crate::{href, push, words};

/// The pages of the log, one beside the other.
pub(super) fn tabs(here: &str) -> Vec<Link> {
    [
        ("Log", "/audit"),
        ("Export", "/audit/export"),
        ("Controls", "/audit/controls"),
    ]
    .into_iter()
    .map(|(name, href)| Link::new(name, href).here(name == here))
    .collect()
}

/// A day like `2026-10-01`, whose end is meant where `end` says so, or an instant of RFC 3339.
pub(super) fn moment(text: &str, end: bool) -> Result<Option<SystemTime>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Some(at.into()));
    }
    let day = || -> Result<SystemTime, jiff::Error> {
        let day: jiff::civil::Date = text.parse()?;
        let day = if end { day.tomorrow()? } else { day };
        Ok(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().into())
    };
    day().map(Some).map_err(|_| {
        format!("'{text}' is no day like 2026-10-01 and no instant like 2026-10-01T09:00:00Z")
    })
}

/// What a text field holds, unless it is empty.
pub(super) fn some(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

const OUTCOMES: [(&str, &str, Option<Went>); 5] = [
    ("", "any outcome", None),
    ("amiss", "refused or failed", Some(Went::Amiss)),
    ("denied", "refused", Some(Went::As(audit::Out::Denied))),
    ("failure", "failed", Some(Went::As(audit::Out::Failure))),
    ("success", "done", Some(Went::As(audit::Out::Success))),
];

const SEVERITIES: [(&str, &str, Option<u8>); 3] = [
    ("", "any weight", None),
    ("3", "sensitive and above", Some(3)),
    ("4", "alarming", Some(4)),
];

pub(super) fn went(asked: &str) -> Option<Went> {
    OUTCOMES
        .iter()
        .find(|(value, ..)| *value == asked)
        .and_then(|(.., went)| *went)
}

pub(super) fn severity(asked: &str) -> Option<u8> {
    SEVERITIES
        .iter()
        .find(|(value, ..)| *value == asked)
        .and_then(|(.., severity)| *severity)
}

/// The form, with what was chosen in its lists.
pub(super) fn choices(asked: Asked, outcome: &str, severity: &str) -> Asked {
    let mut families: Vec<String> = Vec::new();
    for kind in audit::Kind::ALL {
        if let Some((family, _)) = kind.as_str().split_once('.') {
            let family = format!("{family}.*");
            if !families.contains(&family) {
                families.push(family);
            }
        }
    }
    Asked {
        outcomes: OUTCOMES
            .into_iter()
            .map(|(value, name, _)| Chosen {
                value,
                name,
                chosen: value == outcome,
            })
            .collect(),
        severities: SEVERITIES
            .into_iter()
            .map(|(value, name, _)| Chosen {
                value,
                name,
                chosen: value == severity,
            })
            .collect(),
        families,
        ..asked
    }
}

/// How it went.
pub(super) fn outcome(entry: &Value) -> State {
    match entry["out"].as_str() {
        Some("success") => state("done", "ok"),
        Some("denied") => state("refused", "stop"),
        Some("failure") => state("failed", "bad"),
        _ => state("unknown", "off"),
    }
}

/// What is more than a change, as a word.
pub(super) fn grave(entry: &Value) -> Option<State> {
    match entry["sev"].as_u64() {
        Some(4) => Some(state("alarming", "wait")),
        Some(5) => Some(state("critical", "bad")),
        _ => None,
    }
}

/// `git.push_rejected` as `git: push rejected`.
pub(super) fn in_words(kind: &str) -> String {
    let text = kind.replacen('.', ": ", 1).replace(['_', '.'], " ");
    words::plain(&text)
}

/// The instant of an entry in milliseconds.
pub(super) fn at_ms(entry: &Value) -> i64 {
    entry["t"]
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .map_or(0, |at| at.as_millisecond())
}

pub(super) fn who(db: &Db, line: &Line, entry: &Value) -> Result<String, Fault> {
    bundle_about::who(db, line, entry)
}

/// What leads to the things that entries name, as far as the reader may see them.
pub(super) struct Things<'a> {
    db: &'a Db,
    reader: &'a Principal,
    known: Known,
}

impl<'a> Things<'a> {
    pub(super) fn new(db: &'a Db, reader: &'a Principal) -> Self {
        Self {
            db,
            reader,
            known: Known::default(),
        }
    }

    /// The page of what a tagged id names; none where there is none.
    pub(super) fn href(&mut self, id: &str) -> Result<Option<String>, Fault> {
        let Some((kind, rest)) = id.split_once(':') else {
            return Ok(None);
        };
        if kind == "bundle" {
            return self.bundle(rest);
        }
        let Ok(number) = rest.parse::<i64>() else {
            return Ok(None);
        };
        Ok(match kind {
            "r" => self
                .known
                .repo(self.db, self.reader, RepoId(number))?
                .map(|repo| format!("/{}", repo.path)),
            "run" => self.run(RunId(number))?,
            "job" => self
                .known
                .job(self.db, self.reader, JobId(number))?
                .map(|link| link.href),
            "u" => Some(about(id)),
            _ => None,
        })
    }

    fn run(&mut self, id: RunId) -> Result<Option<String>, Fault> {
        let Some(run) = queue::run(self.db, id)? else {
            return Ok(None);
        };
        let repo = self.known.repo(self.db, self.reader, run.repo)?;
        Ok(repo.map(|repo| push::run_path(&repo, run.number.get())))
    }

    fn bundle(&self, manifest: &str) -> Result<Option<String>, Fault> {
        let made = supply::bundles::history(self.db)?;
        let rows = made.into_iter().map(|entry| entry.bundle);
        let found = rows
            .chain(supply::bundles::unfinished(self.db)?)
            .find(|row| row.manifest.hex() == manifest);
        Ok(found.map(|row| bundle_about::href(&row)))
    }
}

/// The search for all entries of an actor.
pub(super) fn about(actor: &str) -> String {
    format!("/audit?actor={}", href::value(actor))
}

/// The search for all entries about an object.
pub(super) fn about_object(object: &str) -> String {
    format!("/audit?object={}", href::value(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_with_itself_and_nonsense_is_told() {
        let ms = |text, end| vocab::unix_ms(moment(text, end).unwrap().unwrap());
        assert_eq!(ms("2026-10-02", false), ms("2026-10-01", true));
        assert_eq!(ms("2026-10-01T00:00:00Z", true), ms("2026-10-01", false));
        assert_eq!(moment(" ", true), Ok(None));
        assert!(moment("soon", false).unwrap_err().contains("2026-10-01"));
    }

    #[test]
    fn kinds_are_read_as_words() {
        assert_eq!(in_words("git.push_rejected"), "git: push rejected");
        assert_eq!(in_words("boot"), "boot");
    }
}
