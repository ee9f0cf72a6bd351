//! Everything that is served now, with where it came from and who uses it.

use bundle::Item;
use serde::Serialize;
use store::{Db, StoreError};

use super::diff::{WorkflowUse, whole};
use crate::generation;
use crate::sql::bundles as sql;

/// One thing that is served.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// Kind of item.
    pub kind: &'static str,
    /// Its key.
    pub key: String,
    /// Version, digest or file names.
    pub value: String,
    /// Where it came from.
    pub origin: String,
    /// What it was checked against there.
    pub checked: String,
    /// Blobs that it needs.
    pub blobs: usize,
    /// Workflows that use it.
    pub used_by: Vec<WorkflowUse>,
}

/// Everything that the active generation serves, by key. `uses` is what the workflows use.
pub fn catalogue(db: &Db, uses: &[WorkflowUse]) -> Result<Vec<Listed>, StoreError> {
    let Some(active) = generation::active(db)? else {
        return Ok(Vec::new());
    };
    let listed = sql::items(db, active)?.into_iter().map(|item| {
        let about = whole(&item);
        let used_by = uses.iter().filter(|by| is_used(&item, by));
        Listed {
            kind: about.kind,
            key: about.key,
            value: about.value,
            origin: about.origin,
            checked: item.source().checked.clone(),
            blobs: item.blobs().len(),
            used_by: used_by.cloned().collect(),
        }
    });
    Ok(listed.collect())
}

fn is_used(item: &Item, by: &WorkflowUse) -> bool {
    match (item, by.kind) {
        (Item::Action(action), "action") => {
            let name = by.name.split('@').next().unwrap_or_default();
            action.name.eq_ignore_ascii_case(name)
        }
        (Item::Oci(oci), "label") => oci.labels.iter().any(|l| l.eq_ignore_ascii_case(&by.name)),
        (Item::Toolcache(tool), "tool") => {
            let (name, version) = by.name.split_once(':').unwrap_or((&by.name, ""));
            let rest = tool.version.strip_prefix(version);
            tool.name.eq_ignore_ascii_case(name)
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        _ => false,
    }
}
