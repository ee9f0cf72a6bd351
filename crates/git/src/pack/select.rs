//! Which objects a pack must hold so that its reader, who has some history, gets the rest.
//!
//! A whole history is counted by several threads, each tree once. A part of one is found by
//! comparing each new commit's tree with those of its parents, so that a small fetch of a large
//! tree reads only the directories that changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use gix::hash::ObjectId;
use gix::hashtable::sync::ObjectIdMap;
use gix::objs::Kind;

use super::turn::Turn;
use crate::ids::{IdMap, IdSet};
use crate::objects::{Objects, ReadError};
use crate::parse;
use crate::walk::{self, Difference};

/// So many commits a thread takes at a time.
const CHUNK: usize = 32;

/// What a partial clone leaves out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filter {
    /// Blobs of at least so many bytes; 0 leaves out all.
    BlobLimit(u64),
    /// Trees and blobs at this depth below the commit's root tree, and deeper.
    TreeDepth(u64),
}

/// What is asked of [`select`].
pub(crate) struct Selection<'a> {
    /// The commits to send, and those known to the reader.
    pub(crate) commits: &'a Difference,
    /// Tags, trees and blobs to send by themselves; trees bring their contents.
    pub(crate) others: &'a [ObjectId],
    /// Commits that the reader has whose trees resemble what is sent.
    pub(crate) edges: &'a [ObjectId],
    pub(crate) filter: Option<Filter>,
    pub(crate) threads: usize,
}

/// What [`select`] found.
#[derive(Default, Debug)]
pub(crate) struct Selected {
    /// The objects to send, each once.
    pub(crate) ids: Vec<ObjectId>,
    /// Objects that the reader has and that resemble what is sent, as far as they were met.
    pub(crate) had: IdSet,
}

/// The objects to send.
pub(crate) fn select(objects: &Objects, what: &Selection<'_>) -> Result<Selected, ReadError> {
    let whole = what.commits.known.is_empty() && what.edges.is_empty() && what.filter.is_none();
    if whole && objects.fresh().is_none() {
        return select_whole(objects, what);
    }
    let mut walk = TreeWalk {
        objects,
        seen: IdSet::default(),
        depths: IdMap::default(),
        out: Selected::default(),
        filter: what.filter,
    };
    let trees: IdMap<ObjectId> = what
        .commits
        .commits
        .iter()
        .map(|(id, links)| (*id, links.tree))
        .collect();
    let mut known_trees: IdMap<ObjectId> = IdMap::default();
    let mut buf = Vec::new();
    let mut edges = Vec::new();
    for edge in what.edges.iter().take(4) {
        if let Ok(links) = walk::links(objects, edge, &mut buf) {
            edges.push((links.tree, true));
        }
    }
    for (id, links) in &what.commits.commits {
        walk.out.ids.push(*id);
        let mut bases = Vec::new();
        for parent in &links.parents {
            if let Some(tree) = trees.get(parent) {
                bases.push((*tree, false));
            } else if let Some(tree) = known_trees.get(parent) {
                bases.push((*tree, true));
            } else if what.commits.known.contains(parent) {
                let tree = walk::links(objects, parent, &mut buf)?.tree;
                known_trees.insert(*parent, tree);
                bases.push((tree, true));
            }
        }
        if bases.is_empty() {
            bases.clone_from(&edges);
        }
        walk.tree(links.tree, bases)?;
    }
    for id in what.others {
        walk.other(*id)?;
    }
    Ok(walk.out)
}

/// Everything reachable from the commits: each tree is read once, by whichever thread meets it
/// first.
fn select_whole(objects: &Objects, what: &Selection<'_>) -> Result<Selected, ReadError> {
    let commits = &what.commits.commits;
    let threads = if commits.len() < 256 {
        1
    } else {
        what.threads.max(1)
    };
    let seen = ObjectIdMap::default();
    let cursor = AtomicUsize::new(0);
    let walk = |objects: &Objects| -> Result<Vec<ObjectId>, ReadError> {
        let mut out = Vec::new();
        let mut buf = Vec::new();
        loop {
            let start = cursor.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(chunk) = commits.get(start..(start + CHUNK).min(commits.len())) else {
                return Ok(out);
            };
            for (_, links) in chunk {
                whole_tree(objects, links.tree, &seen, &mut out, &mut buf)?;
            }
            if chunk.is_empty() {
                return Ok(out);
            }
        }
    };
    let mut parts = Vec::new();
    if threads == 1 {
        parts.push(walk(objects)?);
    } else {
        let _turn = Turn::wait();
        let handles: Vec<Objects> = (0..threads).map(|_| objects.for_another_thread()).collect();
        let walk = &walk;
        let done: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = handles
                .into_iter()
                .map(|own| scope.spawn(move || walk(&own)))
                .collect();
            running
                .into_iter()
                .map(|t| {
                    t.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        for part in done {
            parts.push(part?);
        }
    }
    let mut selected = Selected::default();
    selected.ids.extend(commits.iter().map(|(id, _)| *id));
    selected.ids.extend(parts.into_iter().flatten());
    let mut buf = Vec::new();
    for id in what.others {
        match objects.header(id)?.0 {
            Kind::Tree => whole_tree(objects, *id, &seen, &mut selected.ids, &mut buf)?,
            _ if seen.insert(*id, ()).is_none() => selected.ids.push(*id),
            _ => {}
        }
    }
    Ok(selected)
}

fn whole_tree(
    objects: &Objects,
    root: ObjectId,
    seen: &ObjectIdMap<()>,
    out: &mut Vec<ObjectId>,
    buf: &mut Vec<u8>,
) -> Result<(), ReadError> {
    if seen.insert(root, ()).is_some() {
        return Ok(());
    }
    let mut todo = vec![root];
    while let Some(tree) = todo.pop() {
        out.push(tree);
        let data = objects.find_kind(&tree, Kind::Tree, buf)?;
        for entry in parse::tree_entries(data, objects.hash()) {
            let entry = entry.map_err(|what| damaged(tree, what))?;
            if entry.is_commit() || seen.insert(entry.id.to_owned(), ()).is_some() {
                continue;
            }
            if entry.is_tree() {
                todo.push(entry.id.to_owned());
            } else {
                out.push(entry.id.to_owned());
            }
        }
    }
    Ok(())
}

/// A tree to compare with, and whether the reader has it (or gets it in this same pack).
type Base = (ObjectId, bool);

struct TreeWalk<'a> {
    objects: &'a Objects,
    seen: IdSet,
    /// With a tree filter: the least depth at which a tree was walked.
    depths: IdMap<u64>,
    out: Selected,
    filter: Option<Filter>,
}

impl TreeWalk<'_> {
    /// Adds a tree and what it holds, without what stands at the same place in one of `bases`.
    fn tree(&mut self, root: ObjectId, bases: Vec<Base>) -> Result<(), ReadError> {
        let hash = self.objects.hash();
        let mut todo = vec![(root, bases, 0u64)];
        let mut buf = Vec::new();
        let mut base_buf = Vec::new();
        while let Some((tree, bases, depth)) = todo.pop() {
            if bases.iter().any(|b| b.0 == tree) || !self.enter(tree, depth) {
                continue;
            }
            let mut there: HashMap<Vec<u8>, Vec<Base>> = HashMap::new();
            for (base, had) in &bases {
                if *had {
                    self.out.had.insert(*base);
                }
                let data = self.objects.find_kind(base, Kind::Tree, &mut base_buf)?;
                for entry in parse::tree_entries(data, hash) {
                    let entry = entry.map_err(|what| damaged(*base, what))?;
                    let id = entry.id.to_owned();
                    if *had && !entry.is_commit() {
                        self.out.had.insert(id);
                    }
                    there
                        .entry(entry.name.to_vec())
                        .or_default()
                        .push((id, *had));
                }
            }
            let data = self.objects.find_kind(&tree, Kind::Tree, &mut buf)?;
            for entry in parse::tree_entries(data, hash) {
                let entry = entry.map_err(|what| damaged(tree, what))?;
                if entry.is_commit() {
                    continue;
                }
                let id = entry.id.to_owned();
                let counterparts = there.remove(entry.name).unwrap_or_default();
                if counterparts.iter().any(|c| c.0 == id) {
                    continue;
                }
                if entry.is_tree() {
                    let bases = counterparts
                        .into_iter()
                        .filter(|c| matches!(self.objects.header(&c.0), Ok((Kind::Tree, _))))
                        .collect();
                    todo.push((id, bases, depth + 1));
                } else {
                    self.blob(id, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// Notes a tree; whether it must be walked.
    fn enter(&mut self, tree: ObjectId, depth: u64) -> bool {
        if let Some(Filter::TreeDepth(limit)) = self.filter {
            if depth >= limit {
                return false;
            }
            // A tree met again nearer to a root shows more than it did before.
            let deeper = self.depths.get(&tree).is_some_and(|at| *at <= depth);
            if deeper {
                return false;
            }
            self.depths.insert(tree, depth);
            if self.seen.insert(tree) {
                self.out.ids.push(tree);
            }
            return true;
        }
        if self.seen.insert(tree) {
            self.out.ids.push(tree);
            return true;
        }
        false
    }

    fn blob(&mut self, id: ObjectId, depth: u64) -> Result<(), ReadError> {
        if self.seen.contains(&id) {
            return Ok(());
        }
        let left_out = match self.filter {
            Some(Filter::BlobLimit(0)) => true,
            Some(Filter::BlobLimit(limit)) => self.objects.header(&id)?.1 >= limit,
            Some(Filter::TreeDepth(limit)) => depth >= limit,
            None => false,
        };
        if !left_out {
            self.seen.insert(id);
            self.out.ids.push(id);
        }
        Ok(())
    }

    /// An object that was asked for by its id: no filter applies to itself.
    fn other(&mut self, id: ObjectId) -> Result<(), ReadError> {
        let kind = self.objects.header(&id)?.0;
        match kind {
            Kind::Tree if self.filter.is_none() => self.tree(id, Vec::new())?,
            _ => {
                if self.seen.insert(id) {
                    self.out.ids.push(id);
                }
            }
        }
        Ok(())
    }
}

fn damaged(id: ObjectId, what: &str) -> ReadError {
    ReadError::Damaged {
        id,
        what: what.to_owned(),
    }
}
