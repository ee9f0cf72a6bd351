//! Shallow history: where the client's will be cut, and what that adds to the pack.

use std::collections::VecDeque;

use gix::hash::ObjectId;

use super::negotiate::commits_of;
use super::{Fetch, UploadError, hidden};
use crate::ids::{IdMap, IdSet};
use crate::objects::{Objects, ReadError};
use crate::refs::RefSnapshot;
use crate::walk::{self, Grafts};

/// `--unshallow` asks for this depth.
const ALL_HISTORY: u32 = 0x7fff_ffff;

/// What a fetch does to the ends of the client's history.
#[derive(Default, Debug)]
pub(crate) struct Plan {
    /// Commits that become ends.
    pub(crate) shallow: Vec<ObjectId>,
    /// Commits that are ends no more.
    pub(crate) unshallow: Vec<ObjectId>,
    /// What must be sent because of that: the parents of the latter.
    pub(crate) wanted: Vec<ObjectId>,
    pub(crate) grafts: Grafts,
}

impl Plan {
    /// Where this repository's own history is cut, the client's is too.
    fn tell_own_ends(&mut self, own: &IdSet, inside: &IdSet, known: &IdSet) {
        let new = own
            .iter()
            .filter(|id| inside.contains(*id) && !known.contains(*id));
        self.shallow.extend(new);
        self.shallow.sort();
    }
}

/// What the request changes.
pub(crate) fn plan(
    objects: &Objects,
    refs: &RefSnapshot,
    fetch: &Fetch,
    hidden_prefixes: &[String],
) -> Result<Plan, UploadError> {
    let mut plan = Plan::default();
    // A client may keep ends that this repository has lost; they cut nothing here.
    let ends: IdSet = fetch
        .shallow
        .iter()
        .copied()
        .filter(|id| objects.contains_as_seen(id))
        .collect();
    plan.grafts.had.clone_from(&ends);
    plan.grafts.wanted.clone_from(&ends);
    let own = objects.ends();
    if !fetch.deepens() {
        if !own.is_empty() {
            let tips = commits_of(objects, &fetch.wants);
            let (inside, _) = by_depth(objects, &tips, u32::MAX)?;
            plan.tell_own_ends(own, &inside, &ends);
        }
        return Ok(plan);
    }
    let (inside, boundary) = extent(objects, refs, fetch, &ends, hidden_prefixes)?;
    plan.tell_own_ends(own, &inside, &ends);
    let mut buf = Vec::new();
    for end in &ends {
        if inside.contains(end) && !boundary.contains(end) && !own.contains(end) {
            plan.unshallow.push(*end);
            plan.grafts.wanted.remove(end);
            plan.wanted
                .extend(walk::links(objects, end, &mut buf)?.parents);
        }
    }
    for id in boundary {
        plan.grafts.wanted.insert(id);
        if !ends.contains(&id) {
            plan.shallow.push(id);
        }
    }
    plan.shallow.sort();
    plan.shallow.dedup();
    plan.unshallow.sort();
    Ok(plan)
}

/// The commits inside, and those of them at which history is cut.
pub(crate) type Extent = (IdSet, IdSet);

/// The commits that the client will have, and those of them whose parents it will not.
fn extent(
    objects: &Objects,
    refs: &RefSnapshot,
    fetch: &Fetch,
    ends: &IdSet,
    hidden_prefixes: &[String],
) -> Result<Extent, UploadError> {
    let tips = commits_of(objects, &fetch.wants);
    if let Some(depth) = fetch.deepen.depth {
        if depth >= ALL_HISTORY {
            return Ok(by_depth(objects, &tips, u32::MAX)?);
        }
        if fetch.deepen.relative {
            let starts: Vec<ObjectId> = ends.iter().copied().collect();
            return Ok(by_depth(objects, &starts, depth.saturating_add(1))?);
        }
        return Ok(by_depth(objects, &tips, depth)?);
    }
    let mut not = Vec::new();
    for name in &fetch.deepen.not {
        let found = ["", "refs/", "refs/tags/", "refs/heads/"]
            .iter()
            .map(|prefix| format!("{prefix}{name}"))
            .filter(|full| !hidden(full, hidden_prefixes))
            .find_map(|full| refs.get(&full))
            .ok_or_else(|| {
                UploadError::Refused(format!(
                    "deepen-not names no ref here: {}",
                    name.escape_debug()
                ))
            })?;
        not.push(found);
    }
    let not = commits_of(objects, &not);
    let since = fetch.deepen.since.unwrap_or(i64::MIN);
    let picked = walk::difference(objects, &tips, &not, &Grafts::default())?;
    let inside: IdSet = picked
        .commits
        .iter()
        .filter(|(_, l)| l.time >= since)
        .map(|(id, _)| *id)
        .collect();
    if inside.is_empty() {
        return Err(UploadError::Refused(
            "no commits selected for shallow requests".to_owned(),
        ));
    }
    let boundary = picked
        .commits
        .iter()
        .filter(|(id, l)| inside.contains(id) && l.parents.iter().any(|p| !inside.contains(p)))
        .map(|(id, _)| *id)
        .collect();
    Ok((inside, boundary))
}

/// Breadth first from `starts`, which have depth 1.
pub(crate) fn by_depth(
    objects: &Objects,
    starts: &[ObjectId],
    depth: u32,
) -> Result<Extent, ReadError> {
    let mut at: IdMap<u32> = IdMap::default();
    let mut queue = VecDeque::new();
    for id in starts {
        if at.insert(*id, 1).is_none() {
            queue.push_back(*id);
        }
    }
    let mut boundary = IdSet::default();
    let mut buf = Vec::new();
    while let Some(id) = queue.pop_front() {
        let links = walk::links(objects, &id, &mut buf)?;
        let here = at[&id];
        if here >= depth {
            if !links.parents.is_empty() {
                boundary.insert(id);
            }
            continue;
        }
        for parent in links.parents {
            at.entry(parent).or_insert_with(|| {
                queue.push_back(parent);
                here + 1
            });
        }
    }
    Ok((at.into_keys().collect(), boundary))
}
