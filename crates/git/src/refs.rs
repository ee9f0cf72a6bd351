//! Reading refs: loose files over `packed-refs`, and `HEAD`.
//!
//! A snapshot is cached and checked against the directories' change times, so that a repository
//! with thousands of refs costs a request a few `stat` calls. Names that are not UTF-8 are not
//! served.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use gix::hash::{Kind, ObjectId};

use crate::refname;

/// One ref and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Its full name, as in `refs/heads/main`.
    pub name: String,
    /// The object it names.
    pub target: ObjectId,
}

impl Ref {
    /// The short name of a branch, `None` for other refs.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }

    /// The short name of a tag, `None` for other refs.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.name.strip_prefix("refs/tags/")
    }
}

/// All refs of a repository at one moment, sorted by name.
#[derive(Debug, Default)]
pub struct RefSnapshot {
    refs: Vec<Ref>,
}

impl RefSnapshot {
    /// The refs, sorted by name.
    #[must_use]
    pub fn all(&self) -> &[Ref] {
        &self.refs
    }

    /// What the ref with this full name points at.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<ObjectId> {
        let at = self
            .refs
            .binary_search_by(|r| r.name.as_str().cmp(name))
            .ok()?;
        Some(self.refs[at].target)
    }

    /// The refs whose full names start with `prefix`.
    pub fn prefixed<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Ref> {
        let start = self.refs.partition_point(|r| r.name.as_str() < prefix);
        self.refs[start..]
            .iter()
            .take_while(move |r| r.name.starts_with(prefix))
    }
}

/// What `HEAD` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// It names a branch (full name), which need not exist.
    Branch(String),
    /// It names a commit.
    Detached(ObjectId),
}

impl Head {
    pub(crate) fn read(dir: &Path, hash: Kind) -> io::Result<Self> {
        let text = fs::read_to_string(dir.join("HEAD"))?;
        let text = text.trim_end();
        if let Some(name) = text.strip_prefix("ref:") {
            return Ok(Self::Branch(name.trim().to_owned()));
        }
        parse_id(text.as_bytes(), hash)
            .map(Self::Detached)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "HEAD is damaged"))
    }

    /// The full name of the branch, unless detached.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch(name) => Some(name),
            Self::Detached(_) => None,
        }
    }

    /// The commit it comes to, if any.
    #[must_use]
    pub fn target(&self, refs: &RefSnapshot) -> Option<ObjectId> {
        match self {
            Self::Branch(name) => refs.get(name),
            Self::Detached(id) => Some(*id),
        }
    }
}

pub(crate) fn parse_id(text: &[u8], hash: Kind) -> Option<ObjectId> {
    if text.len() != hash.len_in_hex() {
        return None;
    }
    ObjectId::from_hex(text).ok()
}

/// When a file or directory last changed, as far as `stat` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    mtime_s: i64,
    mtime_ns: i64,
    ino: u64,
    size: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Self {
                mtime_s: meta.mtime(),
                mtime_ns: meta.mtime_nsec(),
                ino: meta.ino(),
                size: if meta.is_dir() { 0 } else { meta.size() },
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// One directory under `refs`, as last read.
#[derive(Debug)]
struct LooseDir {
    stamp: Stamp,
    values: BTreeMap<String, Loose>,
    subdirs: Vec<String>,
}

#[derive(Clone, Debug)]
enum Loose {
    Id(ObjectId),
    Symref(String),
}

/// What was last read from disk.
#[derive(Debug, Default)]
pub(crate) struct RefCache {
    packed_stamp: Option<Stamp>,
    packed: Arc<BTreeMap<String, ObjectId>>,
    dirs: HashMap<String, LooseDir>,
    merged: Option<Arc<RefSnapshot>>,
}

impl RefCache {
    /// The refs as they stand now.
    pub(crate) fn snapshot(&mut self, dir: &Path, hash: Kind) -> io::Result<Arc<RefSnapshot>> {
        // Loose files first: a concurrent `git pack-refs` moves values from loose to packed.
        let mut changed = self.refresh_dir(dir, "refs", hash)?;
        let packed_stamp = Stamp::of(&dir.join("packed-refs"))?;
        if packed_stamp != self.packed_stamp {
            self.packed = Arc::new(read_packed(dir, hash)?);
            self.packed_stamp = packed_stamp;
            changed = true;
        }
        if let (false, Some(merged)) = (changed, &self.merged) {
            return Ok(Arc::clone(merged));
        }
        let merged = Arc::new(self.merge());
        self.merged = Some(Arc::clone(&merged));
        Ok(merged)
    }

    /// The contents of `packed-refs` as of the last snapshot.
    pub(crate) fn packed(&self) -> Arc<BTreeMap<String, ObjectId>> {
        Arc::clone(&self.packed)
    }

    /// Takes over one loose value just written, so that its directory is not read again.
    pub(crate) fn wrote_loose(&mut self, dir: &Path, name: &str, target: ObjectId) {
        let Some((parent, leaf)) = name.rsplit_once('/') else {
            return;
        };
        let stamp = Stamp::of(&dir.join(parent)).ok().flatten();
        if let (Some(known), Some(stamp)) = (self.dirs.get_mut(parent), stamp) {
            known.values.insert(leaf.to_owned(), Loose::Id(target));
            known.stamp = stamp;
            self.merged = None;
        } else {
            self.reset();
        }
    }

    /// Forgets what was read. Change times are too coarse to tell two changes of one moment
    /// apart, so this program's own are told here.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    fn refresh_dir(&mut self, dir: &Path, rel: &str, hash: Kind) -> io::Result<bool> {
        let path = dir.join(rel);
        let Some(stamp) = Stamp::of(&path)? else {
            return Ok(self.forget(rel));
        };
        let known = self.dirs.get(rel).is_some_and(|d| d.stamp == stamp);
        if !known {
            let old = self.dirs.remove(rel);
            let read = read_dir(&path, stamp, hash)?;
            for gone in old.iter().flat_map(|d| &d.subdirs) {
                if !read.subdirs.contains(gone) {
                    self.forget(&format!("{rel}/{gone}"));
                }
            }
            self.dirs.insert(rel.to_owned(), read);
        }
        let mut changed = !known;
        for sub in self.dirs[rel].subdirs.clone() {
            changed |= self.refresh_dir(dir, &format!("{rel}/{sub}"), hash)?;
        }
        Ok(changed)
    }

    fn forget(&mut self, rel: &str) -> bool {
        let Some(gone) = self.dirs.remove(rel) else {
            return false;
        };
        for sub in gone.subdirs {
            self.forget(&format!("{rel}/{sub}"));
        }
        true
    }

    fn merge(&self) -> RefSnapshot {
        let mut all: BTreeMap<String, ObjectId> = (*self.packed).clone();
        let mut symrefs = Vec::new();
        for (rel, dir) in &self.dirs {
            for (leaf, value) in &dir.values {
                let name = format!("{rel}/{leaf}");
                match value {
                    Loose::Id(id) => {
                        all.insert(name, *id);
                    }
                    Loose::Symref(to) => {
                        all.remove(&name);
                        symrefs.push((name, to));
                    }
                }
            }
        }
        for (name, to) in symrefs {
            if let Some(id) = all.get(to).copied() {
                all.insert(name, id);
            }
        }
        RefSnapshot {
            refs: all
                .into_iter()
                .map(|(name, target)| Ref { name, target })
                .collect(),
        }
    }
}

fn read_dir(path: &Path, stamp: Stamp, hash: Kind) -> io::Result<LooseDir> {
    let mut values = BTreeMap::new();
    let mut subdirs = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(leaf) = entry.file_name().into_string() else {
            continue;
        };
        // Locks, and what else cannot be part of a ref's name, are nobody's ref.
        if refname::problem(&format!("refs/x/{leaf}")).is_some() {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            subdirs.push(leaf);
        } else if kind.is_file() {
            match fs::read(entry.path()) {
                Ok(text) => {
                    if let Some(value) = parse_loose(&text, hash) {
                        values.insert(leaf, value);
                    } else {
                        tracing::warn!(path = %entry.path().display(), "a ref file is damaged");
                    }
                }
                // Deleted since the directory was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(LooseDir {
        stamp,
        values,
        subdirs,
    })
}

fn parse_loose(text: &[u8], hash: Kind) -> Option<Loose> {
    let text = text.trim_ascii_end();
    if let Some(to) = text.strip_prefix(b"ref:") {
        let to = std::str::from_utf8(to.trim_ascii()).ok()?;
        return Some(Loose::Symref(to.to_owned()));
    }
    parse_id(text, hash).map(Loose::Id)
}

fn read_packed(dir: &Path, hash: Kind) -> io::Result<BTreeMap<String, ObjectId>> {
    let text = match fs::read(dir.join("packed-refs")) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(e),
    };
    let mut refs = BTreeMap::new();
    for line in text.split(|b| *b == b'\n') {
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"^") {
            continue;
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "packed-refs is damaged");
        let space = line.iter().position(|b| *b == b' ').ok_or_else(damaged)?;
        let id = parse_id(&line[..space], hash).ok_or_else(damaged)?;
        if let Ok(name) = std::str::from_utf8(&line[space + 1..]) {
            refs.insert(name.to_owned(), id);
        }
    }
    Ok(refs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> ObjectId {
        ObjectId::from_hex(digit.to_string().repeat(40).as_bytes()).unwrap()
    }

    #[test]
    fn loose_refs_hide_packed_ones_and_locks_are_no_refs() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        fs::create_dir_all(at.join("refs/heads/deep")).unwrap();
        fs::write(
            at.join("packed-refs"),
            format!(
                "# pack-refs with: peeled\n{} refs/heads/a\n{} refs/tags/t\n^{}\n",
                id('1'),
                id('2'),
                id('3')
            ),
        )
        .unwrap();
        fs::write(at.join("refs/heads/a"), format!("{}\n", id('4'))).unwrap();
        fs::write(at.join("refs/heads/a.lock"), "").unwrap();
        fs::write(at.join("refs/heads/deep/b"), format!("{}\n", id('5'))).unwrap();
        let mut cache = RefCache::default();
        let refs = cache.snapshot(at, Kind::Sha1).unwrap();
        let names: Vec<_> = refs.all().iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["refs/heads/a", "refs/heads/deep/b", "refs/tags/t"]);
        assert_eq!(refs.get("refs/heads/a"), Some(id('4')));
        assert!(Arc::ptr_eq(&refs, &cache.snapshot(at, Kind::Sha1).unwrap()));
        fs::remove_dir_all(at.join("refs/heads/deep")).unwrap();
        fs::remove_file(at.join("refs/heads/a")).unwrap();
        let refs = cache.snapshot(at, Kind::Sha1).unwrap();
        assert_eq!(refs.all().len(), 2);
        assert_eq!(refs.get("refs/heads/a"), Some(id('1')));
    }
}
