//! What is installed, what could be, and how the last update went.

use std::path::Path;

use serde_json::{Value, json};
use supply::Candidate;

use super::apply::{fits, may_go_back, open};
use super::ask::Ask;
use super::elf::HOST;
use super::judge;
use super::layout::{Link, Prefix};
use super::trial::Trial;

/// Everything, as `--json` shows it.
pub(crate) fn status(prefix: &Prefix, data: &Path) -> anyhow::Result<Value> {
    let glance = open(data)?;
    let applied = glance.applied()?;
    let floor = supply::epoch(glance.db())?;
    let candidate = supply::candidate(glance.db(), HOST)?;
    drop(glance);
    let current = prefix.link(Link::Current);
    let previous = prefix.link(Link::Previous);
    let running = Ask::of(data)?.who().ok();
    let shown = candidate.map(|candidate| {
        let refusal = if current.as_ref() == Some(&candidate.item.d.hex()) {
            Some("it runs already".to_owned())
        } else {
            let judged = fits(data, &candidate, &applied, floor);
            judged.err().map(|error| format!("{error:#}"))
        };
        candidate_json(&candidate, refusal)
    });
    let back = previous.as_ref().map(|hex| {
        let judged = may_go_back(prefix, hex, &applied, floor);
        let refusal = judged.err().map(|error| format!("{error:#}"));
        let mut shown = installed(prefix, hex);
        shown["refused"] = json!(refusal);
        shown
    });
    Ok(json!({
        "prefix": prefix.path(),
        "running": running.map(|r| json!({ "version": r.version, "sha256": r.sha256 })),
        "current": current.as_ref().map(|hex| installed(prefix, hex)),
        "previous": back,
        "candidate": shown,
        "epoch": floor,
        "last": Trial::load(prefix)?,
    }))
}

fn installed(prefix: &Prefix, hex: &str) -> Value {
    let noted = prefix.release(hex);
    let version = match &noted {
        Some(release) => Some(release.version.clone()),
        None => judge::ask(prefix, hex).ok().map(|said| said.version),
    };
    json!({
        "version": version,
        "sha256": hex,
        "epoch": noted.as_ref().map_or(0, |release| release.epoch),
        "bundle": noted.map(|release| release.bundle),
    })
}

fn candidate_json(candidate: &Candidate, refusal: Option<String>) -> Value {
    json!({
        "version": candidate.item.version,
        "sha256": candidate.item.d.hex(),
        "arch": candidate.item.arch,
        "epoch": candidate.epoch,
        "bundle": candidate.bundle,
        "refused": refusal,
    })
}
