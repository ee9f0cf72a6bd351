//! Words that the pages of bundles share: names, states, signers, who did it.

use std::collections::HashMap;

use audit::{Filter, Line};
use serde_json::Value;
use store::Db;
use supply::bundles::{BundleError, Entry, Row as BundleRow};

use crate::fault::Fault;
use crate::respond::sentence;
use crate::view::bundles::{GenerationLine, Refused};
use crate::view::{Row, State};
use crate::words;

/// Most entries of the audit log that are looked through for who did something.
const LOOKED_THROUGH: u32 = 500;

/// `lab stable 43`
pub(super) fn name(bundle: &BundleRow) -> String {
    format!("{} {} {}", bundle.product, bundle.channel, bundle.seq)
}

pub(super) fn href(bundle: &BundleRow) -> String {
    format!("/bundles/{}", bundle.id)
}

/// What it is called where its readers are people.
pub(super) fn kind(kind: &str) -> &'static str {
    match kind {
        "oci" => "image",
        "action" => "action",
        "pypi" => "Python package",
        "toolcache" => "toolchain",
        "file" => "file",
        "doc" => "document",
        "selfupdate" => "Cofferdam itself",
        "label" => "label",
        _ => "other",
    }
}

pub(super) const fn state(word: &'static str, tone: &'static str) -> State {
    State { word, tone }
}

/// How far an import came.
pub(super) fn import_state(word: &str) -> State {
    match word {
        "committed" => state("imported", "ok"),
        "ready" => state("read, not yet active", "wait"),
        "aborted" => state("given up", "stop"),
        _ => state("unfinished", "wait"),
    }
}

/// Whether a bundle may still be imported, by its last day.
pub(super) fn expiry(bundle: &BundleRow, now: std::time::SystemTime) -> (State, String) {
    match words::days_since(&bundle.not_after, now) {
        Some(past) if past > 0 => (
            state("out of date", "bad"),
            format!(
                "{}, {} ago",
                bundle.not_after,
                words::count(past.unsigned_abs().into(), "day")
            ),
        ),
        Some(ahead) => {
            let left = words::count(ahead.unsigned_abs().into(), "day");
            let soon = ahead > -30;
            (
                if soon {
                    state("expires soon", "wait")
                } else {
                    state("in date", "ok")
                },
                format!("{}, in {left}", bundle.not_after),
            )
        }
        None => (state("no last day", "off"), bundle.not_after.clone()),
    }
}

/// One row for each that signed: name and key.
pub(super) fn signers(bundle: &BundleRow) -> Vec<Row> {
    signed_by(&bundle.signed.signers, &bundle.signed.override_by)
}

pub(super) fn signed_by(signers: &[bundle::Signer], overriding: &[bundle::Signer]) -> Vec<Row> {
    let row = |signer: &bundle::Signer, note: &str| Row {
        class: "yes",
        ..Row::new(
            words::plain(&signer.name),
            format!("{}{note}", signer.key.as_str()),
        )
    };
    let by = signers.iter().map(|s| row(s, ""));
    let over = overriding.iter().map(|s| row(s, ", overrides the expiry"));
    by.chain(over).collect()
}

/// `release-a, release-b`
pub(super) fn signer_names(bundle: &BundleRow) -> String {
    let names: Vec<String> = bundle
        .signed
        .signers
        .iter()
        .map(|signer| words::plain(&signer.name))
        .collect();
    names.join(", ")
}

/// Why it was refused, as a page says it; a failure of the server itself stays one.
pub(super) fn refused(error: BundleError) -> Result<Refused, Fault> {
    let fault = Fault::from(error);
    if fault.status.is_server_error() && fault.cause.is_some() {
        return Err(fault);
    }
    Ok(told(&fault))
}

pub(super) fn told(fault: &Fault) -> Refused {
    Refused {
        code: fault.code.unwrap_or("E_REFUSED").to_owned(),
        text: words::plain(&sentence(&fault.error)),
        todo: fault
            .what_to_do
            .as_deref()
            .map(|todo| words::plain(&sentence(todo))),
    }
}

/// Why an import that has ended failed, from its code and its words.
pub(super) fn told_of(code: &str, error: &str) -> Refused {
    let (text, todo) = match error.split_once("; ") {
        Some((text, todo)) => (text, Some(todo)),
        None => (error, None),
    };
    Refused {
        code: code.to_owned(),
        text: words::plain(&sentence(text)),
        todo: todo.map(|todo| words::plain(&sentence(todo))),
    }
}

/// Who is named in an entry of the audit log.
pub(super) fn who(db: &Db, line: &Line, entry: &Value) -> Result<String, Fault> {
    let opened = audit::openings(db, line.seq).map_err(Fault::internal)?;
    let name = opened
        .into_iter()
        .find(|(field, _)| field == "who.name_c")
        .map(|(_, value)| value);
    let name = name.unwrap_or_else(|| {
        let id = entry["who"]["id"].as_str().unwrap_or_default();
        match id.strip_prefix("uid:") {
            Some(uid) => format!("user {uid} of this machine"),
            None if entry["who"]["name_c"].is_string() => format!("redacted ({id})"),
            None => id.to_owned(),
        }
    });
    Ok(words::plain(&name))
}

/// By generation: who made it.
pub(super) fn makers(db: &Db) -> Result<HashMap<i64, String>, Fault> {
    let filter = Filter {
        kind: Some("bundle.committed".to_owned()),
        ..Filter::default()
    };
    let lines = audit::list(db, &filter, LOOKED_THROUGH).map_err(Fault::internal)?;
    let mut found = HashMap::new();
    for line in &lines {
        let entry: Value = serde_json::from_str(&line.text).unwrap_or_default();
        if let Some(generation) = entry["d"]["generation"].as_i64() {
            found.insert(generation, who(db, line, &entry)?);
        }
    }
    Ok(found)
}

pub(super) fn generation_line(
    entry: &Entry,
    makers: &HashMap<i64, String>,
    now: std::time::SystemTime,
) -> GenerationLine {
    let bundle = &entry.bundle;
    GenerationLine {
        generation: entry.generation,
        name: name(bundle),
        href: href(bundle),
        content: words::plain(&bundle.content),
        state: match (entry.active, entry.retained) {
            (true, _) => state("active", "ok"),
            (false, true) => state("kept", "off"),
            (false, false) => state("collected", "stop"),
        },
        signers: signer_names(bundle),
        size: words::size(bundle.size_bytes),
        items: if entry.items > 0 {
            words::count(entry.items, "item")
        } else {
            String::new()
        },
        at: words::when(entry.made_ms, now),
        who: makers
            .get(&entry.generation)
            .cloned()
            .unwrap_or_else(|| "not in the log".to_owned()),
    }
}
