//! Packs that hold a whole history and nothing else, and may so be sent as they stand.
//!
//! A pack is closed when every object that one of its objects names is in it, too. Its tips are
//! the objects that no other of its objects names; so it holds what is reachable from its tips,
//! all of it and no more. Whoever wants all of the tips may have the whole pack: nothing has to be
//! counted, and no entry has to be sought. Finding the tips reads every commit, tag and tree of
//! the pack; that is done in the background, and kept in `objects/info/closed-pack`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gix::hash::{Kind as HashKind, ObjectId, oid};
use gix::objs::Kind;
use gix_pack::cache::lru::MemoryCappedHashmap;

use super::set::{PackFile, PackSet};
use crate::ids::IdSet;
use crate::objects::{Objects, ReadError, base_in};
use crate::parse;
use crate::refs::{Stamp, parse_id};
use crate::repo::Repository;
use crate::walk::{self, Difference};

/// A pack with fewer objects is not looked at: what it would save is not worth a file.
pub(crate) const FEWEST: u32 = 1000;

/// A pack that is smaller by more than this factor than the largest is not looked at.
const ENOUGH: u32 = 4;

/// A pack with more tips is not kept in mind.
const MOST_TIPS: usize = 100_000;

/// How much decoded delta data the look at a pack keeps.
const CACHE_BYTES: usize = 32 << 20;

/// A closed pack.
pub(crate) struct ClosedPack {
    pub(crate) file: Arc<PackFile>,
    tips: IdSet,
}

impl ClosedPack {
    pub(crate) fn contains(&self, id: &oid) -> bool {
        self.file.bundle.index.lookup(id).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.file.bundle.index.num_objects() as usize
    }

    /// Where an object of the pack begins in it.
    pub(crate) fn offset(&self, id: &oid) -> Option<u64> {
        let index = &self.file.bundle.index;
        Some(index.pack_offset_at_index(index.lookup(id)?))
    }

    /// The commits that these need beyond the pack, and those of it that they stand on; `None`
    /// where these commits and other objects do not need all of it, so that it must not be sent
    /// whole.
    pub(crate) fn beyond(
        &self,
        objects: &Objects,
        commits: &[ObjectId],
        others: &[ObjectId],
    ) -> Result<Option<Difference>, ReadError> {
        let others: IdSet = others.iter().copied().collect();
        let mut found = Difference::default();
        let mut seen = IdSet::default();
        let mut todo = commits.to_vec();
        let mut buf = Vec::new();
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.contains(&id) {
                found.known.insert(id);
                continue;
            }
            let links = walk::links(objects, &id, &mut buf)?;
            todo.extend(&links.parents);
            found.commits.push((id, links));
        }
        found
            .commits
            .sort_by_key(|(id, links)| (std::cmp::Reverse(links.time), *id));
        let known = &found.known;
        let all = self
            .tips
            .iter()
            .all(|tip| others.contains(tip) || known.contains(tip));
        Ok(all.then_some(found))
    }
}

/// What is known of one pack, as of one state of the file.
type Noted = (Stamp, Option<Arc<ClosedPack>>);

/// The closed pack that was last sought.
#[derive(Default)]
pub(crate) struct ClosedPackCache(Mutex<Option<Noted>>);

impl ClosedPackCache {
    /// The closed pack, where one is known and still there.
    fn get(
        &self,
        note: &Path,
        set: &PackSet,
        hash: HashKind,
    ) -> io::Result<Option<Arc<ClosedPack>>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stamp) = Stamp::of(note)? else {
            *cached = None;
            return Ok(None);
        };
        let is_there = |path: &Path| set.packs.iter().find(|p| p.path == path).cloned();
        if let Some((known, closed)) = &*cached
            && *known == stamp
        {
            let closed = closed.as_ref().filter(|c| is_there(&c.file.path).is_some());
            return Ok(closed.cloned());
        }
        let closed = read_note(&fs::read_to_string(note)?, hash).and_then(|(name, tips)| {
            let file = set.packs.iter().find(|p| named(&p.path, &name))?;
            Some(Arc::new(ClosedPack {
                file: Arc::clone(file),
                tips: tips?,
            }))
        });
        *cached = Some((stamp, closed.clone()));
        Ok(closed)
    }
}

impl Repository {
    fn closed_note(&self) -> PathBuf {
        self.dir.join("objects/info/closed-pack")
    }

    /// The pack that may be sent whole to whoever wants its tips.
    pub(crate) fn closed_pack(&self) -> io::Result<Option<Arc<ClosedPack>>> {
        let set = self.packs.get(&self.dir, self.hash)?;
        self.closed.get(&self.closed_note(), &set, self.hash)
    }

    /// Looks at the larger packs, unless that was done before, so that clones are fast: whether one
    /// may be sent as it stands. Reads every commit, tag and tree of them; some seconds for a million
    /// objects. Fetches and pushes go on meanwhile.
    ///
    /// # Errors
    /// When the pack or what is noted of it cannot be read or written; nothing is lost by that.
    pub fn prepare_clones(&self) -> io::Result<bool> {
        // Its history ends where commits name parents that are elsewhere.
        if !self.ends.is_empty() {
            return Ok(false);
        }
        let set = self.packs.get(&self.dir, self.hash)?;
        let used = self.used_packs(&set)?;
        let Some(largest) = used.first() else {
            return Ok(false);
        };
        let most = largest.bundle.index.num_objects();
        if most < FEWEST {
            return Ok(false);
        }
        let note = self.closed_note();
        let before = match fs::read_to_string(&note) {
            Ok(text) => read_note(&text, self.hash),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        // As large as the one that is known, or the largest, known to be open.
        if let Some((name, tips)) = before
            && let Some(known) = used.iter().find(|pack| named(&pack.path, &name))
            && known.bundle.index.num_objects() >= most / ENOUGH
            && (tips.is_some() || Arc::ptr_eq(known, largest))
        {
            return Ok(tips.is_some());
        }
        let large = |pack: &&Arc<PackFile>| pack.bundle.index.num_objects() >= most / ENOUGH;
        let (mut pack, mut tips) = (largest, None);
        for one in used.iter().filter(large) {
            tips = tips_of(one, self.hash).map_err(io::Error::other)?;
            if tips.is_some() {
                pack = one;
                break;
            }
        }
        let stem = pack.path.file_stem().unwrap_or_default();
        let mut text = format!("{}\n", stem.to_string_lossy());
        match &tips {
            Some(tips) => tips
                .iter()
                .for_each(|tip| text.push_str(&format!("{tip}\n"))),
            None => text.push_str("open\n"),
        }
        let new = note.with_extension("new");
        self.durability.write(&new, text.as_bytes())?;
        fs::rename(&new, &note)?;
        Ok(tips.is_some())
    }
}

/// Whether a clone gets the ref.
pub(crate) fn is_public(name: &str) -> bool {
    name.starts_with("refs/heads/") || name.starts_with("refs/tags/")
}

fn named(path: &Path, name: &str) -> bool {
    path.file_stem().is_some_and(|stem| stem == name)
}

/// A pack's name and its tips; none for a pack that is not closed.
fn read_note(text: &str, hash: HashKind) -> Option<(String, Option<IdSet>)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let name = lines.next()?.to_owned();
    let rest: Vec<&str> = lines.collect();
    if rest == ["open"] {
        return Some((name, None));
    }
    let tips: Option<IdSet> = rest.iter().map(|l| parse_id(l.as_bytes(), hash)).collect();
    Some((name, Some(tips?)))
}

/// The objects of a pack that no other of them names; none where the pack is not closed.
fn tips_of(pack: &PackFile, hash: HashKind) -> Result<Option<Vec<ObjectId>>, ReadError> {
    let (index, data) = (&pack.bundle.index, &pack.bundle.pack);
    let mut named = vec![false; index.num_objects() as usize];
    let mut cache = MemoryCappedHashmap::new(CACHE_BYTES);
    let mut inflate = gix::zlib::Inflate::default();
    let mut buf = Vec::new();
    for (offset, position) in pack.places() {
        let id = index.oid_at_index(*position);
        let failed = |source| ReadError::Database {
            id: id.to_owned(),
            source,
        };
        let kind = data
            .entry(*offset)
            .and_then(|entry| {
                data.decode_header(entry, &mut inflate, &|base| base_in(&pack.bundle, base))
            })
            .map_err(failed)?
            .kind;
        if kind == Kind::Blob {
            continue;
        }
        pack.bundle
            .get_object_by_index(*position, &mut buf, &mut inflate, &mut cache)
            .map_err(failed)?;
        let mut closed = true;
        let mut name = |id: &oid| match index.lookup(id) {
            Some(at) => named[at as usize] = true,
            None => closed = false,
        };
        let damaged = |what: &str| ReadError::Damaged {
            id: id.to_owned(),
            what: what.to_owned(),
        };
        match kind {
            Kind::Commit => {
                let links = parse::commit_links(&buf, hash)
                    .ok_or_else(|| damaged("it does not begin like a commit"))?;
                name(&links.tree);
                links.parents.iter().for_each(|id| name(id));
            }
            Kind::Tag => {
                let target = parse::tag_target(&buf, hash)
                    .ok_or_else(|| damaged("the tag names no object"))?;
                name(&target);
            }
            Kind::Tree => {
                for entry in parse::tree_entries(&buf, hash) {
                    let entry = entry.map_err(damaged)?;
                    if !entry.is_commit() {
                        name(entry.id);
                    }
                }
            }
            Kind::Blob => {}
        }
        if !closed {
            return Ok(None);
        }
    }
    let tips: Vec<ObjectId> = named
        .iter()
        .zip(0u32..)
        .filter(|(named, _)| !**named)
        .map(|(_, at)| index.oid_at_index(at).to_owned())
        .collect();
    Ok((tips.len() <= MOST_TIPS).then_some(tips))
}
