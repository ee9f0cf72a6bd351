//! What a bundle changes: what comes, what moves, what goes, and which workflows that touches.

use std::collections::{BTreeMap, BTreeSet};

use bundle::{Item, Verified};
use serde::Serialize;
use store::{Db, StoreError};

use crate::generation;
use crate::sql::bundles as sql;

/// Something that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Kind of item.
    pub kind: &'static str,
    /// Its key, or its pin.
    pub key: String,
    /// Version or digest.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// Something that stands for something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Kind of item.
    pub kind: &'static str,
    /// Its pin.
    pub key: String,
    /// What it stood for.
    pub from: String,
    /// What it stands for now.
    pub to: String,
}

/// One thing that a workflow uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct WorkflowUse {
    /// `owner/name` of the repo.
    pub repo: String,
    /// Path of the workflow's file.
    pub path: String,
    /// `action`, `label` or `tool`.
    pub kind: &'static str,
    /// `actions/checkout@v4`, `ubuntu-latest`, `Python:3.12`.
    pub name: String,
}

/// A workflow that uses something which changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// Which, and what it uses.
    #[serde(flatten)]
    pub by: WorkflowUse,
    /// The key that changes.
    pub key: String,
    /// `comes`, `moves` or `goes`.
    pub how: &'static str,
}

/// What changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What comes.
    pub added: Vec<Changed>,
    /// What moves.
    pub moved: Vec<Move>,
    /// What goes.
    pub retired: Vec<Changed>,
    /// Items that stay as they are.
    pub unchanged: usize,
    /// The program's next version with its digest, when one comes; the runner is in it.
    pub program: Option<Changed>,
    /// Workflows of ours that use what changes.
    pub touched: Vec<Touched>,
}

/// What changes when `verified` takes the place of the active generation. `uses` is what the
/// workflows of our repos use.
pub fn diff(db: &Db, verified: &Verified, uses: &[WorkflowUse]) -> Result<Diff, StoreError> {
    let before = match generation::active(db)? {
        Some(active) => sql::items(db, active)?,
        None => Vec::new(),
    };
    let after = &verified.manifest.items;
    let mut diff = between(&before, after);
    diff.touched = touched(&diff, &before, after, uses);
    Ok(diff)
}

/// What changes from `before` to `after`.
pub(super) fn between(before: &[Item], after: &[Item]) -> Diff {
    let by_key = |items: &[Item]| -> BTreeMap<String, Item> {
        items.iter().map(|i| (i.key(), i.clone())).collect()
    };
    let (old, new) = (by_key(before), by_key(after));
    let mut diff = Diff::default();
    for (key, item) in &new {
        match old.get(key) {
            Some(same) if same == item => diff.unchanged += 1,
            Some(other) => pins(other, item, &mut diff),
            None => diff.added.push(whole(item)),
        }
        if let Item::Selfupdate(_) = item
            && old.get(key) != Some(item)
        {
            diff.program = Some(whole(item));
        }
    }
    diff.retired = old
        .iter()
        .filter(|(key, _)| !new.contains_key(*key))
        .map(|(_, item)| whole(item))
        .collect();
    diff
}

pub(super) fn whole(item: &Item) -> Changed {
    let value = match item {
        Item::Oci(i) => i.digest.to_string(),
        Item::Action(i) => {
            let names: Vec<&str> = i
                .refs
                .keys()
                .map(|name| name.strip_prefix("refs/tags/").unwrap_or(name))
                .collect();
            names.join(", ")
        }
        Item::Pypi(i) => {
            let names: Vec<&str> = i.files.iter().map(|f| f.filename.as_str()).collect();
            names.join(", ")
        }
        Item::Toolcache(i) => i.d.to_string(),
        Item::File(i) | Item::Doc(i) => i.d.to_string(),
        Item::Selfupdate(i) => format!("{} {}", i.version, i.d),
    };
    Changed {
        kind: item.kind(),
        key: item.key(),
        value,
        origin: item.source().uri.clone(),
    }
}

/// What changes inside one item, pin by pin.
fn pins(before: &Item, after: &Item, diff: &mut Diff) {
    let old: BTreeMap<String, String> = before.pins().into_iter().collect();
    let new: BTreeMap<String, String> = after.pins().into_iter().collect();
    let kind = after.kind();
    let origin = &after.source().uri;
    let changed = |key: &String, value: &String| Changed {
        kind,
        key: key.clone(),
        value: value.clone(),
        origin: origin.clone(),
    };
    for (key, to) in &new {
        match old.get(key) {
            Some(from) if from == to => {}
            Some(from) => diff.moved.push(Move {
                kind,
                key: key.clone(),
                from: from.clone(),
                to: to.clone(),
            }),
            None => diff.added.push(changed(key, to)),
        }
    }
    for (key, from) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
        diff.retired.push(changed(key, from));
    }
    if old == new && old.is_empty() {
        diff.moved.push(Move {
            kind,
            key: after.key(),
            from: whole(before).value,
            to: whole(after).value,
        });
    }
}

fn touched(diff: &Diff, before: &[Item], after: &[Item], uses: &[WorkflowUse]) -> Vec<Touched> {
    let labels = |items: &[Item]| -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for item in items {
            if let Item::Oci(oci) = item {
                for label in &oci.labels {
                    found.entry(label.to_lowercase()).or_insert(item.key());
                }
            }
        }
        found
    };
    let (old_labels, new_labels) = (labels(before), labels(after));
    let mut changes: BTreeMap<&str, &'static str> = BTreeMap::new();
    changes.extend(diff.retired.iter().map(|c| (c.key.as_str(), "goes")));
    changes.extend(diff.added.iter().map(|c| (c.key.as_str(), "comes")));
    changes.extend(diff.moved.iter().map(|m| (m.key.as_str(), "moves")));
    let mut found = Vec::new();
    let distinct: BTreeSet<&WorkflowUse> = uses.iter().collect();
    for by in distinct {
        let keys: Vec<&str> = match by.kind {
            "action" => {
                let name = by.name.split('@').next().unwrap_or_default();
                let wanted = [format!("action:{}", by.name), format!("action:{name}")];
                changes
                    .keys()
                    .copied()
                    .filter(|key| wanted.iter().any(|w| w.eq_ignore_ascii_case(key)))
                    .collect()
            }
            "label" => {
                let label = by.name.to_lowercase();
                let served = [old_labels.get(&label), new_labels.get(&label)];
                let mut keys: Vec<&str> =
                    served.into_iter().flatten().map(String::as_str).collect();
                keys.dedup();
                keys.retain(|key| changes.contains_key(key));
                keys
            }
            _ => {
                let wanted = format!("toolcache:{}", by.name).to_lowercase();
                changes
                    .keys()
                    .copied()
                    .filter(|key| {
                        let rest = key.to_lowercase();
                        rest.strip_prefix(&wanted)
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '.']))
                    })
                    .collect()
            }
        };
        for key in keys {
            found.push(Touched {
                by: by.clone(),
                key: key.to_owned(),
                how: changes[key],
            });
        }
    }
    found
}
