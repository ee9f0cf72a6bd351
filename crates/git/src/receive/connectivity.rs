//! Whether a push is whole: every new ref value, all its history and all its files are here.
//!
//! The walk ends at commits that existing refs reach. An object that merely lies in the store is
//! not trusted: an earlier push may have brought it without what it needs.

use std::collections::HashMap;
use std::sync::Arc;

use gix::hash::ObjectId;
use gix::objs::Kind;
use gix_pack::Bundle;

use super::{RefCommand, Refusal, fsck};
use crate::ids::{IdMap, IdSet};
use crate::objects::{Objects, ReadError};
use crate::parse::{self, CommitLinks};
use crate::repo::Repository;
use crate::walk::{self, Grafts};

/// Directories deeper than this are refused, as stock git refuses to read them.
const MAX_TREE_DEPTH: u32 = 2048;

/// Checks the new values of `commands`, and every object of the pushed pack by the rules.
pub(crate) fn check(
    repo: &Repository,
    objects: &Objects,
    bundle: Option<Arc<Bundle>>,
    commands: &[RefCommand],
) -> Result<(), Refusal> {
    let refs = repo.refs().map_err(Refusal::Disk)?;
    let existing: IdSet = refs.all().iter().map(|r| r.target).collect();
    let mut check = Check {
        objects,
        pack: bundle.as_deref(),
        seen_in_pack: vec![
            false;
            bundle
                .as_ref()
                .map_or(0, |b| b.index.num_objects() as usize)
        ],
        seen: IdSet::default(),
        commits: Vec::new(),
        buf: Vec::new(),
        base_buf: Vec::new(),
    };
    let tips: Vec<ObjectId> = commands
        .iter()
        .filter_map(|c| c.new)
        .filter(|id| !existing.contains(id))
        .collect();
    let outside = check.pushed_history(&tips, &existing)?;
    let known = if outside.is_empty() {
        IdSet::default()
    } else {
        check.old_history(&outside, &existing)?
    };
    check.trees(&known)?;
    check.rest_of_pack()
}

struct Check<'a> {
    objects: &'a Objects,
    pack: Option<&'a Bundle>,
    seen_in_pack: Vec<bool>,
    /// Trees and blobs that were found whole, or are about to be.
    seen: IdSet,
    /// Commits whose trees must be looked at.
    commits: Vec<(ObjectId, CommitLinks)>,
    buf: Vec<u8>,
    base_buf: Vec<u8>,
}

impl Check<'_> {
    /// Marks an object of the pushed pack; whether it is one.
    fn in_pack(&mut self, id: &ObjectId) -> bool {
        let Some(at) = self.pack.and_then(|p| p.index.lookup(id)) else {
            return false;
        };
        self.seen_in_pack[at as usize] = true;
        true
    }

    /// Walks tags and commits of the pack; the commits outside it that they stand on.
    fn pushed_history(
        &mut self,
        tips: &[ObjectId],
        existing: &IdSet,
    ) -> Result<Vec<ObjectId>, Refusal> {
        let hash = self.objects.hash();
        let mut outside = Vec::new();
        let mut todo: Vec<ObjectId> = tips.to_vec();
        let mut visited: IdSet = IdSet::default();
        while let Some(id) = todo.pop() {
            if !visited.insert(id) {
                continue;
            }
            let pushed = self.in_pack(&id);
            if !pushed && existing.contains(&id) {
                outside.push(id);
                continue;
            }
            let found = self
                .objects
                .find(&id, &mut self.buf)
                .map_err(Refusal::Incomplete)?;
            if pushed {
                fsck::check(found.kind, found.data, hash)
                    .map_err(|rule| Refusal::BadObject { id, rule })?;
            }
            match found.kind {
                Kind::Commit if pushed => {
                    let links =
                        parse::commit_links(found.data, hash).ok_or(Refusal::BadObject {
                            id,
                            rule: "it does not begin like a commit",
                        })?;
                    let links = walk::cut(self.objects, &id, links);
                    todo.extend(&links.parents);
                    self.commits.push((id, links));
                }
                Kind::Commit => outside.push(id),
                Kind::Tag => todo.extend(parse::tag_target(found.data, hash)),
                Kind::Tree => self.tree(id, Vec::new())?,
                Kind::Blob => {}
            }
        }
        Ok(outside)
    }

    /// Of the commits outside the pack, those that refs reach are known whole; the others are
    /// to be looked at like pushed ones.
    fn old_history(&mut self, outside: &[ObjectId], existing: &IdSet) -> Result<IdSet, Refusal> {
        let mut known: IdSet = outside
            .iter()
            .filter(|id| existing.contains(*id))
            .copied()
            .collect();
        let doubtful: Vec<ObjectId> = outside
            .iter()
            .filter(|id| !existing.contains(*id))
            .copied()
            .collect();
        if doubtful.is_empty() {
            return Ok(known);
        }
        let had: Vec<ObjectId> = existing
            .iter()
            .filter_map(|id| match self.objects.peel(*id) {
                Ok((commit, Kind::Commit)) => Some(commit),
                _ => None,
            })
            .collect();
        let found = walk::difference(self.objects, &doubtful, &had, &Grafts::default())
            .map_err(Refusal::Incomplete)?;
        known.extend(found.known);
        self.commits.extend(found.commits);
        Ok(known)
    }

    /// Looks at the trees of all commits that need it. Where history is known, only what differs
    /// from the parents' trees is looked at.
    fn trees(&mut self, known: &IdSet) -> Result<(), Refusal> {
        let commits = std::mem::take(&mut self.commits);
        let trees: IdMap<ObjectId> = commits
            .iter()
            .map(|(id, links)| (*id, links.tree))
            .collect();
        let mut known_trees: IdMap<ObjectId> = IdMap::default();
        // Oldest first, so that what a commit took over from its parents has been seen.
        for (_, links) in commits.iter().rev() {
            let mut bases = Vec::new();
            if !known.is_empty() {
                for parent in &links.parents {
                    if let Some(tree) = trees.get(parent).or_else(|| known_trees.get(parent)) {
                        bases.push(*tree);
                    } else if known.contains(parent) {
                        let tree = walk::links(self.objects, parent, &mut self.buf)
                            .map_err(Refusal::Incomplete)?
                            .tree;
                        known_trees.insert(*parent, tree);
                        bases.push(tree);
                    }
                }
            }
            self.tree(links.tree, bases)?;
        }
        Ok(())
    }

    /// Looks at one tree, without what stands at the same place in one of `bases`: those are
    /// whole, or looked at in this same check.
    fn tree(&mut self, root: ObjectId, bases: Vec<ObjectId>) -> Result<(), Refusal> {
        let hash = self.objects.hash();
        let mut todo = vec![(root, bases, 0u32)];
        while let Some((tree, bases, depth)) = todo.pop() {
            if bases.contains(&tree) || !self.seen.insert(tree) {
                continue;
            }
            if depth > MAX_TREE_DEPTH {
                return Err(Refusal::BadObject {
                    id: tree,
                    rule: "directories are nested too deep",
                });
            }
            let there = self.entries_of(&bases)?;
            let pushed = self.in_pack(&tree);
            let mut buf = std::mem::take(&mut self.buf);
            let data = self
                .objects
                .find_kind(&tree, Kind::Tree, &mut buf)
                .map_err(Refusal::Incomplete)?;
            if pushed {
                fsck::check(Kind::Tree, data, hash)
                    .map_err(|rule| Refusal::BadObject { id: tree, rule })?;
            }
            for entry in parse::tree_entries(data, hash) {
                let entry = entry.map_err(|rule| Refusal::BadObject { id: tree, rule })?;
                if entry.is_commit() {
                    continue;
                }
                let id = entry.id.to_owned();
                let counterparts = there.get(entry.name).map_or(&[][..], Vec::as_slice);
                if counterparts.contains(&id) {
                    continue;
                }
                if entry.is_tree() {
                    todo.push((id, self.only_trees(counterparts), depth + 1));
                } else {
                    self.blob(id)?;
                }
            }
            self.buf = buf;
        }
        Ok(())
    }

    fn only_trees(&self, ids: &[ObjectId]) -> Vec<ObjectId> {
        let is_tree = |id: &&ObjectId| matches!(self.objects.header(id), Ok((Kind::Tree, _)));
        ids.iter().filter(is_tree).copied().collect()
    }

    fn entries_of(
        &mut self,
        trees: &[ObjectId],
    ) -> Result<HashMap<Vec<u8>, Vec<ObjectId>>, Refusal> {
        let mut there: HashMap<Vec<u8>, Vec<ObjectId>> = HashMap::new();
        for tree in trees {
            let data = self
                .objects
                .find_kind(tree, Kind::Tree, &mut self.base_buf)
                .map_err(Refusal::Incomplete)?;
            for entry in parse::tree_entries(data, self.objects.hash()).flatten() {
                there
                    .entry(entry.name.to_vec())
                    .or_default()
                    .push(entry.id.to_owned());
            }
        }
        Ok(there)
    }

    fn blob(&mut self, id: ObjectId) -> Result<(), Refusal> {
        if !self.seen.insert(id) {
            return Ok(());
        }
        self.in_pack(&id);
        let (kind, _) = self.objects.header(&id).map_err(Refusal::Incomplete)?;
        if kind != Kind::Blob {
            return Err(Refusal::Incomplete(ReadError::WrongKind {
                id,
                is: kind,
                wanted: Kind::Blob,
            }));
        }
        Ok(())
    }

    /// What the pack holds beside the history of its tips keeps the rules, too.
    fn rest_of_pack(&mut self) -> Result<(), Refusal> {
        let Some(pack) = self.pack else {
            return Ok(());
        };
        for at in 0..pack.index.num_objects() {
            if self.seen_in_pack[at as usize] {
                continue;
            }
            let id = pack.index.oid_at_index(at).to_owned();
            let (kind, _) = self.objects.header(&id).map_err(Refusal::Incomplete)?;
            if kind == Kind::Blob {
                continue;
            }
            let data = self
                .objects
                .find_kind(&id, kind, &mut self.buf)
                .map_err(Refusal::Incomplete)?;
            fsck::check(kind, data, self.objects.hash())
                .map_err(|rule| Refusal::BadObject { id, rule })?;
        }
        Ok(())
    }
}
