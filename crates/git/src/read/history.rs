//! History as pages show it: logs, and which commit last touched each file of a directory.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use gix::hash::ObjectId;

use super::{Commit, TreeEntry};
use crate::objects::{Objects, ReadError};
use crate::walk;

/// A stretch of history, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The commits.
    pub commits: Vec<Commit>,
    /// There are more, or the walk gave up looking.
    pub more: bool,
}

/// A directory entry and the commit that last changed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastChange {
    /// The entry.
    pub entry: TreeEntry,
    /// The commit; `None` when the walk ended before it was found.
    pub commit: Option<ObjectId>,
}

/// A log that follows a path looks at so many commits, at most.
const MAX_WALK: usize = 50_000;

impl Objects {
    /// Up to `limit` commits reachable from `start`, newest first, without the first `skip`;
    /// with `path`, only those that changed what stands there.
    pub fn log(
        &self,
        start: ObjectId,
        path: Option<&str>,
        skip: usize,
        limit: usize,
    ) -> Result<Log, ReadError> {
        let path = path.map(|p| p.trim_matches('/')).filter(|p| !p.is_empty());
        let mut log = Log::default();
        let mut buf = Vec::new();
        let mut queue = BinaryHeap::new();
        let mut seen = HashSet::from([start]);
        let mut walked = 0;
        let mut met = 0;
        let first = walk::links(self, &start, &mut buf)?;
        queue.push((first.time, start));
        let mut at_path: HashMap<ObjectId, Option<ObjectId>> = HashMap::new();
        while let Some((_, id)) = queue.pop() {
            walked += 1;
            if walked > MAX_WALK {
                log.more = true;
                break;
            }
            let links = walk::links(self, &id, &mut buf)?;
            let mut follow = links.parents.clone();
            let mut shown = true;
            if let Some(path) = path {
                let here = self.known_at(id, links.tree, path, &mut at_path)?;
                let mut same = None;
                for parent in &links.parents {
                    let tree = walk::links(self, parent, &mut buf)?.tree;
                    if self.known_at(*parent, tree, path, &mut at_path)? == here {
                        same = Some(*parent);
                        break;
                    }
                }
                if let Some(parent) = same {
                    follow = vec![parent];
                }
                shown = same.is_none() && (here.is_some() || !links.parents.is_empty());
            }
            if shown {
                met += 1;
                if met > skip {
                    if log.commits.len() >= limit {
                        log.more = true;
                        break;
                    }
                    log.commits.push(self.commit(id)?);
                }
            }
            for parent in follow {
                if seen.insert(parent) {
                    queue.push((walk::links(self, &parent, &mut buf)?.time, parent));
                }
            }
        }
        Ok(log)
    }

    fn known_at(
        &self,
        commit: ObjectId,
        tree: ObjectId,
        path: &str,
        known: &mut HashMap<ObjectId, Option<ObjectId>>,
    ) -> Result<Option<ObjectId>, ReadError> {
        if let Some(at) = known.get(&commit) {
            return Ok(*at);
        }
        let at = self.entry_in(tree, path)?.map(|e| e.id);
        known.insert(commit, at);
        Ok(at)
    }

    /// The entries of the directory at `path` of `commit`, each with the commit that last changed
    /// it, looking at no more than `max_commits`. `None` where no directory is.
    pub fn last_changes(
        &self,
        commit: ObjectId,
        path: &str,
        max_commits: usize,
    ) -> Result<Option<Vec<LastChange>>, ReadError> {
        let Some(entries) = self.tree(commit, path)? else {
            return Ok(None);
        };
        let mut found: BTreeMap<String, ObjectId> = BTreeMap::new();
        let wanted: Names = entries
            .iter()
            .map(|e| (e.name.clone(), (e.id, e.kind)))
            .collect();
        let mut waiting: HashMap<ObjectId, Names> = HashMap::from([(commit, wanted)]);
        let mut buf = Vec::new();
        let mut queue = BinaryHeap::from([(walk::links(self, &commit, &mut buf)?.time, commit)]);
        let mut walked = 0;
        while let Some((_, id)) = queue.pop() {
            let Some(mut names) = waiting.remove(&id) else {
                continue;
            };
            walked += 1;
            if walked > max_commits {
                break;
            }
            for parent in walk::links(self, &id, &mut buf)?.parents {
                if names.is_empty() {
                    break;
                }
                let there = self.tree(parent, path)?.unwrap_or_default();
                let there: Names = there
                    .into_iter()
                    .map(|e| (e.name, (e.id, e.kind)))
                    .collect();
                let (same, changed): (Names, Names) = names
                    .into_iter()
                    .partition(|(name, is)| there.get(name) == Some(is));
                names = changed;
                if !same.is_empty() {
                    if !waiting.contains_key(&parent) {
                        queue.push((walk::links(self, &parent, &mut buf)?.time, parent));
                    }
                    waiting.entry(parent).or_default().extend(same);
                }
            }
            for name in names.into_keys() {
                found.entry(name).or_insert(id);
            }
        }
        let changes = entries.into_iter().map(|entry| LastChange {
            commit: found.get(&entry.name).copied(),
            entry,
        });
        Ok(Some(changes.collect()))
    }
}

type Names = BTreeMap<String, (ObjectId, super::EntryKind)>;
