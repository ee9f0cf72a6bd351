//! Negotiation: which of the client's commits are known here, and whether they are enough.

use std::collections::BinaryHeap;

use gix::hash::ObjectId;
use gix::objs::Kind;

use super::UploadError;
use crate::ids::{IdMap, IdSet};
use crate::objects::{Objects, ReadError};
use crate::walk;

/// The objects among `haves` that are here, in order, each once.
pub(crate) fn common(objects: &Objects, haves: &[ObjectId]) -> Vec<ObjectId> {
    let mut seen = std::collections::HashSet::new();
    objects.look_for_packs();
    haves
        .iter()
        .filter(|id| seen.insert(**id) && objects.contains_as_seen(id))
        .copied()
        .collect()
}

/// The commits that tags and commits in `ids` come to; other kinds are left out.
pub(crate) fn commits_of(objects: &Objects, ids: &[ObjectId]) -> Vec<ObjectId> {
    ids.iter()
        .filter_map(|id| match objects.peel(*id) {
            Ok((commit, Kind::Commit)) => Some(commit),
            _ => None,
        })
        .collect()
}

/// Whether every want reaches a commit that both sides have, so that a pack can be made at once.
///
/// A wrong "no" costs a round trip; a wrong "yes" would only send more than needed.
pub(crate) fn ready(
    objects: &Objects,
    wants: &[ObjectId],
    common: &[ObjectId],
) -> Result<bool, UploadError> {
    let had: IdSet = commits_of(objects, common).into_iter().collect();
    if had.is_empty() {
        return Ok(false);
    }
    let mut buf = Vec::new();
    let mut oldest = i64::MAX;
    for id in &had {
        oldest = oldest.min(walk::links(objects, id, &mut buf)?.time);
    }
    // Children of each visited commit, so that success can be handed back to the wants.
    let wanted = commits_of(objects, wants);
    let mut children: IdMap<Vec<ObjectId>> = IdMap::default();
    let mut queue = BinaryHeap::new();
    let mut seen = IdSet::default();
    for id in &wanted {
        if seen.insert(*id) {
            queue.push((i64::MAX, *id));
        }
    }
    let mut reached: IdSet = IdSet::default();
    while let Some((_, id)) = queue.pop() {
        if had.contains(&id) {
            reach(id, &children, &mut reached);
            continue;
        }
        if reached.contains(&id) {
            continue;
        }
        let links = match walk::links(objects, &id, &mut buf) {
            Ok(links) => links,
            Err(ReadError::Missing { .. }) => continue,
            Err(e) => return Err(e.into()),
        };
        if links.time < oldest {
            continue;
        }
        for parent in links.parents {
            children.entry(parent).or_default().push(id);
            if reached.contains(&parent) {
                reach(id, &children, &mut reached);
            } else if seen.insert(parent) {
                queue.push((links.time, parent));
            }
        }
    }
    Ok(wanted.iter().all(|id| reached.contains(id)))
}

fn reach(from: ObjectId, children: &IdMap<Vec<ObjectId>>, reached: &mut IdSet) {
    let mut todo = vec![from];
    while let Some(id) = todo.pop() {
        if reached.insert(id) {
            todo.extend(children.get(&id).into_iter().flatten());
        }
    }
}
