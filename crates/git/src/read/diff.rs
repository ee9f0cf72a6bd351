//! Which paths differ between two commits.

use std::collections::BTreeMap;

use gix::hash::ObjectId;
use gix::objs::Kind;

use crate::objects::{Objects, ReadError};
use crate::parse;

/// The files that differ, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedPaths {
    /// Files added, removed or changed (in contents or kind), with slashes.
    pub paths: Vec<String>,
    /// There are more than were asked for.
    pub truncated: bool,
}

type Entries = BTreeMap<Vec<u8>, (u32, ObjectId)>;

impl Objects {
    /// The files that differ between `old` and `new`, at most `limit`; all files of `new` where
    /// there is no `old`. Each may be a commit, tag or tree.
    pub fn changed_paths(
        &self,
        old: Option<ObjectId>,
        new: ObjectId,
        limit: usize,
    ) -> Result<ChangedPaths, ReadError> {
        let old = old.map(|id| self.root_tree(id)).transpose()?;
        let new = self.root_tree(new)?;
        let mut found = ChangedPaths::default();
        let mut todo = vec![(String::new(), old, Some(new))];
        while let Some((prefix, old, new)) = todo.pop() {
            if old == new {
                continue;
            }
            let before = self.raw_entries(old)?;
            let mut after = self.raw_entries(new)?;
            let mut pairs: Vec<_> = before
                .into_iter()
                .map(|(name, was)| {
                    let is = after.remove(&name);
                    (name, Some(was), is)
                })
                .collect();
            pairs.extend(after.into_iter().map(|(name, is)| (name, None, Some(is))));
            for (name, was, is) in pairs {
                if was == is {
                    continue;
                }
                let path = format!("{prefix}{}", String::from_utf8_lossy(&name));
                let (was_tree, was_file) = split(was);
                let (is_tree, is_file) = split(is);
                if was_file != is_file {
                    if found.paths.len() >= limit {
                        found.truncated = true;
                        found.paths.sort();
                        return Ok(found);
                    }
                    found.paths.push(path.clone());
                }
                if was_tree != is_tree {
                    todo.push((format!("{path}/"), was_tree, is_tree));
                }
            }
        }
        found.paths.sort();
        Ok(found)
    }

    fn raw_entries(&self, tree: Option<ObjectId>) -> Result<Entries, ReadError> {
        let Some(tree) = tree else {
            return Ok(Entries::new());
        };
        let mut buf = Vec::new();
        let data = self.find_kind(&tree, Kind::Tree, &mut buf)?;
        parse::tree_entries(data, self.hash())
            .map(|entry| {
                let entry = entry.map_err(|what| ReadError::Damaged {
                    id: tree,
                    what: what.to_owned(),
                })?;
                Ok((entry.name.to_vec(), (entry.mode, entry.id.to_owned())))
            })
            .collect()
    }
}

/// An entry as a directory and as anything else.
fn split(entry: Option<(u32, ObjectId)>) -> (Option<ObjectId>, Option<(u32, ObjectId)>) {
    match entry {
        Some((mode, id)) if mode & 0o170_000 == 0o040_000 => (Some(id), None),
        other => (None, other),
    }
}
