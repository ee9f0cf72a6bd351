//! The chain of custody on a terminal: one line a step.

use serde_json::Value;

use super::show::{names, plain};
use crate::output::{self, line, text};

pub(super) fn show(told: &Value) {
    line(&format!(
        "{} {} {}, content {}: {}",
        text(told, "product"),
        text(told, "channel"),
        told["seq"],
        plain(&text(told, "content")),
        text(told, "state")
    ));
    line(&format!("  built by   {}", names(&told["signers"])));
    line(&format!(
        "  from lock  {} of {}",
        text(told, "lock"),
        text(told, "created")
    ));
    line(&format!("  manifest   {}", text(told, "manifest")));
    line(&format!("  until      {}", text(told, "not_after")));
    line(&format!("  given to   {} jobs", told["jobs"]));
    let steps = told["steps"].as_array().map_or(&[][..], Vec::as_slice);
    let rows: Vec<Vec<String>> = steps.iter().map(row).collect();
    output::table(&["entry", "when, UTC", "what", "by", "details"], &rows);
}

fn row(step: &Value) -> Vec<String> {
    let entry: Value = serde_json::from_str(&text(step, "line")).unwrap_or_default();
    let at = text(step, "t");
    vec![
        step["seq"].to_string(),
        at.get(..19).unwrap_or(&at).replace('T', " "),
        text(step, "what"),
        text(step, "who"),
        plain(&details(&entry)),
    ]
}

/// The details of an entry that people ask for.
fn details(entry: &Value) -> String {
    const SHOWN: [&str; 14] = [
        "generation",
        "from",
        "to",
        "added",
        "moved",
        "retired",
        "brought_by",
        "medium",
        "volumes",
        "size_bytes",
        "fs",
        "fs_uuid",
        "serial",
        "fingerprint",
    ];
    let mut words: Vec<String> = Vec::new();
    words.extend(entry["why"].as_str().map(str::to_owned));
    words.extend(entry["link"]["job"].as_str().map(str::to_owned));
    for key in SHOWN {
        match &entry["d"][key] {
            Value::Null => {}
            Value::String(value) => words.push(format!("{key} {value}")),
            other => words.push(format!("{key} {other}")),
        }
    }
    words.join(", ")
}
