//! A difference between two generations as rows: what goes first, then what moves, then what is
//! new, each with the workflows of ours that use it.

use std::collections::BTreeMap;

use supply::bundles::{Changed, Diff, Touched};

use super::bundle_about::{kind, state};
use crate::view::bundles::{ChangeRow, Changes, Touches, UseLine, Value};
use crate::view::{Row, State};
use crate::words;

/// Most rows that are shown; the counts above them are of all.
const SHOWN: usize = 400;

/// Most files of a package that are named in one row.
const NAMED: usize = 3;

/// The rows of a difference. `against` says with what it was compared.
pub(super) fn changes(diff: &Diff, against: String) -> Changes {
    let touched = by_key(&diff.touched);
    let ours = |key: &str, how: &str| touched.get(key).map(|by| touches(by, how));
    let itself = |kind: &str| kind == "selfupdate";
    let mut rows = Vec::new();
    for gone in &diff.retired {
        rows.push(ChangeRow {
            from: Some(value(&gone.value)),
            touches: ours(&gone.key, "goes"),
            ..row(gone, state("retired", "bad"))
        });
    }
    for moved in diff.moved.iter().filter(|m| !itself(m.kind)) {
        rows.push(ChangeRow {
            state: state("moved", "run"),
            kind: kind(moved.kind),
            name: item_name(&moved.key),
            origin: String::new(),
            from: Some(value(&moved.from)),
            to: Some(value(&moved.to)),
            note: "",
            touches: ours(&moved.key, "moves"),
        });
    }
    if let Some(program) = &diff.program {
        let before = diff.moved.iter().find(|m| itself(m.kind));
        rows.push(ChangeRow {
            name: String::new(),
            from: before.map(|m| program_version(&m.from)),
            to: Some(program_version(&program.value)),
            note: "carried, not put to use by the import",
            ..row(program, state("update", "wait"))
        });
    }
    for new in diff.added.iter().filter(|a| !itself(a.kind)) {
        rows.push(ChangeRow {
            to: Some(value(&new.value)),
            touches: ours(&new.key, "comes"),
            ..row(new, state("new", "ok"))
        });
    }
    // What breaks something of ours comes first.
    rows.sort_by_key(|row| !row.touches.as_ref().is_some_and(|t| t.breaks));
    let more = rows.len().saturating_sub(SHOWN);
    rows.truncate(SHOWN);
    let count = |name: &str, n: usize| Row::new(name, n.to_string());
    Changes {
        against,
        counts: vec![
            count("new", diff.added.iter().filter(|a| !itself(a.kind)).count()),
            count(
                "moved",
                diff.moved.iter().filter(|m| !itself(m.kind)).count(),
            ),
            count("retired", diff.retired.len()),
            count("unchanged", diff.unchanged),
        ],
        rows,
        more,
    }
}

fn row(changed: &Changed, state: State) -> ChangeRow {
    ChangeRow {
        state,
        kind: kind(changed.kind),
        name: item_name(&changed.key),
        origin: words::plain(&changed.origin),
        from: None,
        to: None,
        note: "",
        touches: None,
    }
}

/// The key without its kind, which stands beside it.
pub(super) fn item_name(key: &str) -> String {
    words::plain(key.split_once(':').map_or(key, |(_, name)| name))
}

fn value(text: &str) -> Value {
    let parts: Vec<&str> = text.split(", ").collect();
    let short = if parts.len() > NAMED {
        format!("{} and {} more", words::short(parts[0]), parts.len() - 1)
    } else {
        words::short(text)
    };
    Value {
        short,
        full: words::plain(text),
    }
}

fn program_version(text: &str) -> Value {
    Value {
        short: words::plain(text.split(' ').next().unwrap_or_default()),
        full: words::plain(text),
    }
}

fn by_key(touched: &[Touched]) -> BTreeMap<&str, Vec<&Touched>> {
    let mut found: BTreeMap<&str, Vec<&Touched>> = BTreeMap::new();
    for one in touched {
        found.entry(&one.key).or_default().push(one);
    }
    found
}

fn touches(by: &[&Touched], how: &str) -> Touches {
    let workflows: Vec<UseLine> = by.iter().map(|one| use_line(&one.by)).collect();
    let count = words::count(workflows.len() as u64, "workflow");
    let breaks = how == "goes";
    let title = match (breaks, how, workflows.len()) {
        (true, _, 1) => format!("{count} of ours uses it"),
        (true, ..) => format!("{count} of ours use it"),
        (_, "comes", 1) => format!("{count} asks for it"),
        (_, "comes", _) => format!("{count} ask for it"),
        _ => count,
    };
    Touches {
        title,
        breaks,
        workflows,
    }
}

/// One use as a link to the repo that it is in.
pub(super) fn use_line(by: &supply::bundles::WorkflowUse) -> UseLine {
    UseLine {
        repo: by.repo.clone(),
        href: format!("/{}", crate::href::path(&by.repo)),
        path: words::plain(&by.path),
        name: words::plain(&by.name),
    }
}
