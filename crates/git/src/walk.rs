//! Walking commits: what is reachable from these and not from those.
//!
//! Two colours spread over one queue ordered by time; the walk ends when nothing of the first
//! colour is left in it. Clock skew can make it walk further than needed, never too short for
//! the uses made of it.

use std::collections::BinaryHeap;

use gix::hash::ObjectId;
use gix::objs::Kind;

use crate::ids::{IdMap, IdSet};
use crate::objects::{Objects, ReadError};
use crate::parse::{self, CommitLinks};

/// Reads the links of one commit; none to parents that the repository lacks by its own account.
pub(crate) fn links(
    objects: &Objects,
    id: &ObjectId,
    buf: &mut Vec<u8>,
) -> Result<CommitLinks, ReadError> {
    let data = objects.find_kind(id, Kind::Commit, buf)?;
    let links = parse::commit_links(data, objects.hash()).ok_or_else(|| ReadError::Damaged {
        id: *id,
        what: "it does not begin like a commit".to_owned(),
    })?;
    Ok(cut(objects, id, links))
}

/// The links without parents where the repository's history is cut.
pub(crate) fn cut(objects: &Objects, id: &ObjectId, mut links: CommitLinks) -> CommitLinks {
    if objects.ends().contains(id) {
        links.parents.clear();
    }
    links
}

/// Where history is taken to end, although the commits name parents.
#[derive(Default, Clone, Debug)]
pub(crate) struct Grafts {
    /// For the commits that are wanted.
    pub(crate) wanted: IdSet,
    /// For the commits that the other side has.
    pub(crate) had: IdSet,
}

/// What a walk found.
#[derive(Default, Debug)]
pub(crate) struct Difference {
    /// Commits of the first side alone, newest first, with their links.
    pub(crate) commits: Vec<(ObjectId, CommitLinks)>,
    /// Commits known to be on the other side, as far as the walk came.
    pub(crate) known: IdSet,
}

/// So many commits more are walked once nothing is left to find, to leave out what is had.
const SLOP: usize = 64;

const WANTED: u8 = 1;
const HAD: u8 = 2;

struct Mark {
    colour: u8,
    /// The colours it has handed on to its parents.
    spread: u8,
    links: Option<CommitLinks>,
}

struct Walk<'a> {
    objects: &'a Objects,
    marks: IdMap<Mark>,
    queue: BinaryHeap<(i64, ObjectId)>,
    /// Queue entries whose commit is wanted and not known to be had.
    open: usize,
    buf: Vec<u8>,
}

impl Walk<'_> {
    fn paint(&mut self, id: ObjectId, colour: u8, must_exist: bool) -> Result<(), ReadError> {
        if let Some(mark) = self.marks.get_mut(&id) {
            let before = mark.colour;
            mark.colour |= colour;
            if mark.colour == before {
                return Ok(());
            }
            // In the queue as wanted and now had: no longer open.
            let waits = before & !mark.spread != 0;
            if waits && before == WANTED {
                self.open -= 1;
            }
            if !waits {
                let time = mark.links.as_ref().map_or(0, |l| l.time);
                self.queue.push((time, id));
            }
            return Ok(());
        }
        let links = match links(self.objects, &id, &mut self.buf) {
            Ok(links) => links,
            // The other side may name what this side has lost; that tells nothing.
            Err(ReadError::Missing { .. }) if !must_exist => return Ok(()),
            Err(e) => return Err(e),
        };
        self.queue.push((links.time, id));
        self.marks.insert(
            id,
            Mark {
                colour,
                spread: 0,
                links: Some(links),
            },
        );
        if colour == WANTED {
            self.open += 1;
        }
        Ok(())
    }
}

/// The commits reachable from `wanted` and not from `had`. Every id must be a commit's; those of
/// `had` may be missing.
pub(crate) fn difference(
    objects: &Objects,
    wanted: &[ObjectId],
    had: &[ObjectId],
    grafts: &Grafts,
) -> Result<Difference, ReadError> {
    let mut walk = Walk {
        objects,
        marks: IdMap::default(),
        queue: BinaryHeap::new(),
        open: 0,
        buf: Vec::new(),
    };
    for id in had {
        walk.paint(*id, HAD, false)?;
    }
    for id in wanted {
        walk.paint(*id, WANTED, true)?;
    }
    let mut order = Vec::new();
    let mut oldest = i64::MAX;
    let mut slop = SLOP;
    while let Some((time, id)) = walk.queue.pop() {
        if walk.open == 0 {
            // What the other side has may still be about to reach what was found: commits of one
            // second come in any order.
            if slop == 0 || time < oldest {
                break;
            }
            slop -= 1;
        }
        let mark = walk.marks.get_mut(&id).expect("what is queued is marked");
        let fresh = mark.colour & !mark.spread;
        let colour = mark.colour;
        mark.spread = colour;
        if fresh == 0 {
            continue;
        }
        let parents = mark
            .links
            .as_ref()
            .map(|l| l.parents.clone())
            .unwrap_or_default();
        if colour == WANTED {
            walk.open -= 1;
            oldest = oldest.min(time);
            order.push(id);
        }
        let spread = if colour & HAD != 0 { HAD } else { WANTED };
        let grafted = match spread {
            HAD => grafts.had.contains(&id),
            _ => grafts.wanted.contains(&id),
        };
        if grafted {
            continue;
        }
        for parent in parents {
            walk.paint(parent, spread, spread == WANTED)?;
        }
    }
    let mut found = Difference::default();
    for id in order {
        let mark = walk.marks.get_mut(&id).expect("what was walked is marked");
        if mark.colour & HAD == 0
            && let Some(links) = mark.links.take()
        {
            found.commits.push((id, links));
        }
    }
    found.known = walk
        .marks
        .into_iter()
        .filter(|(_, mark)| mark.colour & HAD != 0)
        .map(|(id, _)| id)
        .collect();
    Ok(found)
}

/// How far a child's clock may be behind its ancestor's, in seconds.
const SKEW: i64 = 30 * 86_400;

/// Whether `old` is reachable from `new` (or is it).
///
/// Commits older than `old` by more than `SKEW` are not followed: a history whose clocks differ
/// by more can get a wrong "no".
pub(crate) fn is_ancestor(
    objects: &Objects,
    old: ObjectId,
    new: ObjectId,
) -> Result<bool, ReadError> {
    let mut buf = Vec::new();
    let end = links(objects, &old, &mut buf)?.time.saturating_sub(SKEW);
    let mut queue = BinaryHeap::from([(i64::MAX, new)]);
    let mut seen = IdSet::default();
    seen.insert(new);
    while let Some((_, id)) = queue.pop() {
        if id == old {
            return Ok(true);
        }
        let links = links(objects, &id, &mut buf)?;
        if links.time < end {
            continue;
        }
        for parent in links.parents {
            if seen.insert(parent) {
                // The child's time stands for the parent's, which is not read yet.
                queue.push((links.time, parent));
            }
        }
    }
    Ok(false)
}
