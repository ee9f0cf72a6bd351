//! Moving refs: compare, lock, write, sync, rename, sync.
//!
//! Invariant: when [`update_refs`] says a ref is done, its new value survives a power cut. A ref
//! whose old value is not the expected one is not touched. Few refs are written as loose files;
//! many at once go into `packed-refs`, which is one file to sync.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use gix::hash::ObjectId;
use gix::objs::Kind;

use crate::objects::Objects;
use crate::refname;
use crate::refs::RefSnapshot;
use crate::repo::Repository;

/// From so many refs on, `packed-refs` is rewritten instead.
const PACK_FROM: usize = 8;

/// One ref to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// Its full name.
    pub name: String,
    /// The value it must have now; `None`: it must not exist.
    pub old: Option<ObjectId>,
    /// The value it gets; `None` deletes it.
    pub new: Option<ObjectId>,
}

/// What became of one [`RefUpdate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefOutcome {
    /// It has the new value, durably.
    Done,
    /// It was left as it was; the reason is for the user.
    Refused(String),
    /// The disk failed: the ref may or may not have moved, and may or may not keep its value
    /// over a crash. Whoever recorded an intent must settle it as after a crash.
    Failed(String),
}

/// Moves refs, each on its own or, when `atomic`, all or none.
///
/// The outcomes stand in the order of `updates`. The objects must be in the repository, durable.
pub fn update_refs(repo: &Repository, updates: &[RefUpdate], atomic: bool) -> Vec<RefOutcome> {
    let _one_writer = repo
        .ref_writer
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let refs = match repo.refs() {
        Ok(refs) => refs,
        Err(e) => {
            let why = RefOutcome::Refused(format!("the refs cannot be read: {e}"));
            return vec![why; updates.len()];
        }
    };
    let objects = repo.objects();
    let mut batch = Batch {
        repo,
        outcomes: vec![None; updates.len()],
        locks: Vec::new(),
    };
    let mut names = BTreeSet::new();
    for (nth, update) in updates.iter().enumerate() {
        let repeated = !names.insert(update.name.as_str());
        let problem = if repeated {
            Some("the push names this ref twice".to_owned())
        } else {
            check(&objects, &refs, updates, update)
        };
        batch.outcomes[nth] = problem.map(RefOutcome::Refused);
    }
    let writes = updates
        .iter()
        .enumerate()
        .filter(|(nth, u)| batch.outcomes[*nth].is_none() && u.new.is_some() && u.old != u.new)
        .count();
    if !(atomic && batch.any_refused()) && writes < PACK_FROM {
        batch.lock_loose(updates);
    }
    if atomic && batch.any_refused() {
        return batch.none_done();
    }
    batch.commit(updates);
    batch
        .outcomes
        .iter()
        .map(|o| o.clone().unwrap_or(RefOutcome::Done))
        .collect()
}

/// Why an update cannot be made, as things stand.
fn check(
    objects: &Objects,
    refs: &RefSnapshot,
    batch: &[RefUpdate],
    update: &RefUpdate,
) -> Option<String> {
    let name = update.name.as_str();
    if let Some(problem) = refname::problem(name) {
        return Some(problem.to_owned());
    }
    let now = refs.get(name);
    if now != update.old {
        return Some(match (now, update.old) {
            (Some(_), None) => "the ref already exists; fetch first".to_owned(),
            (None, Some(_)) => "the ref does not exist (any more); fetch first".to_owned(),
            _ => "the ref has moved meanwhile; fetch first".to_owned(),
        });
    }
    let Some(new) = update.new else {
        return now.is_none().then(|| "the ref does not exist".to_owned());
    };
    match objects.header(&new) {
        Ok((Kind::Commit, _)) => {}
        Ok((kind, _)) if name.starts_with("refs/heads/") => {
            return Some(format!(
                "a branch must name a commit, and {new} is a {kind}"
            ));
        }
        Ok(_) => {}
        Err(e) => return Some(format!("the new value cannot be read: {e}")),
    }
    let below = format!("{name}/");
    let mut inside = refs.prefixed(&below).map(|r| r.name.as_str());
    let others = batch
        .iter()
        .filter(|u| u.new.is_some())
        .map(|u| u.name.as_str());
    let clash = inside
        .next()
        .or_else(|| refs_above(name).find(|above| refs.get(above).is_some()))
        .or_else(|| {
            others
                .clone()
                .find(|other| other.starts_with(&below) || name.starts_with(&format!("{other}/")))
        });
    clash.map(|other| format!("'{other}' is in the way; delete it in a push of its own first"))
}

/// `refs/heads/a` and so on above `refs/heads/a/b`.
fn refs_above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').skip(2).map(|(at, _)| &name[..at])
}

struct Lock {
    nth: usize,
    path: PathBuf,
    file: File,
}

struct Batch<'a> {
    repo: &'a Repository,
    outcomes: Vec<Option<RefOutcome>>,
    locks: Vec<Lock>,
}

impl Batch<'_> {
    fn any_refused(&self) -> bool {
        self.outcomes.iter().any(Option::is_some)
    }

    /// An atomic push that cannot be done: what is not refused for itself is refused for that.
    fn none_done(self) -> Vec<RefOutcome> {
        for lock in &self.locks {
            remove(&lock.path);
        }
        let rest = "atomic push: another ref was refused";
        self.outcomes
            .into_iter()
            .map(|o| o.unwrap_or_else(|| RefOutcome::Refused(rest.to_owned())))
            .collect()
    }

    /// Takes the lock file of each loose ref that is to be written.
    fn lock_loose(&mut self, updates: &[RefUpdate]) {
        for (nth, update) in updates.iter().enumerate() {
            if self.outcomes[nth].is_some() || update.new.is_none() || update.old == update.new {
                continue;
            }
            match self.lock(nth, &update.name) {
                Ok(lock) => self.locks.push(lock),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    let why = format!("another process holds {}.lock", update.name);
                    self.outcomes[nth] = Some(RefOutcome::Refused(why));
                }
                Err(e) => {
                    let why = format!("the server could not write the ref: {e}");
                    self.outcomes[nth] = Some(RefOutcome::Refused(why));
                }
            }
        }
    }

    fn lock(&self, nth: usize, name: &str) -> io::Result<Lock> {
        let target = self.repo.dir.join(name);
        let parent = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
        self.repo.durability.create_dir_all(parent)?;
        if target.is_dir() {
            remove_empty_dirs(&target)?;
        }
        let path = self.repo.dir.join(format!("{name}.lock"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Lock { nth, path, file })
    }

    fn commit(&mut self, updates: &[RefUpdate]) {
        let locks = std::mem::take(&mut self.locks);
        let loose: BTreeSet<usize> = locks.iter().map(|l| l.nth).collect();
        let packed: Vec<usize> = (0..updates.len())
            .filter(|nth| {
                let update = &updates[*nth];
                self.outcomes[*nth].is_none() && !loose.contains(nth) && update.old != update.new
            })
            .collect();
        if !packed.is_empty() {
            let written = self.write_packed(updates, &packed);
            let mut cache = self
                .repo
                .refs
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            cache.reset();
            if let Err(e) = written {
                for nth in packed {
                    self.outcomes[nth] = Some(failed(&e));
                }
            }
        }
        let mut parents: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for lock in locks {
            let update = &updates[lock.nth];
            match self.write_loose(&lock, update) {
                Ok(parent) => parents.entry(parent).or_default().push(lock.nth),
                Err(e) => {
                    remove(&lock.path);
                    self.outcomes[lock.nth] = Some(failed(&e));
                }
            }
        }
        for (parent, members) in parents {
            if let Err(e) = self.repo.durability.dir(&parent) {
                for nth in members {
                    self.outcomes[nth] = Some(failed(&e));
                }
                continue;
            }
            let mut cache = self
                .repo
                .refs
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for nth in members {
                if let Some(new) = updates[nth].new {
                    cache.wrote_loose(&self.repo.dir, &updates[nth].name, new);
                }
            }
        }
    }

    fn write_loose(&self, lock: &Lock, update: &RefUpdate) -> io::Result<PathBuf> {
        let new = update.new.ok_or(io::ErrorKind::InvalidInput)?;
        (&lock.file).write_all(format!("{new}\n").as_bytes())?;
        self.repo.durability.file(&lock.file)?;
        let target = self.repo.dir.join(&update.name);
        fs::rename(&lock.path, &target)?;
        Ok(target.parent().unwrap_or(&self.repo.dir).to_owned())
    }

    /// Deletes refs, and writes many, by a new `packed-refs`; their loose files go.
    fn write_packed(&self, updates: &[RefUpdate], which: &[usize]) -> io::Result<()> {
        let dir = &self.repo.dir;
        let mut packed = {
            let mut cache = self
                .repo
                .refs
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            cache.snapshot(dir, self.repo.hash)?;
            (*cache.packed()).clone()
        };
        let before = packed.len();
        let mut written = false;
        for nth in which {
            let update = &updates[*nth];
            match update.new {
                Some(new) => {
                    packed.insert(update.name.clone(), new);
                    written = true;
                }
                None => {
                    packed.remove(&update.name);
                }
            }
        }
        if written || packed.len() != before {
            self.replace_packed(&packed)?;
        }
        let mut parents = BTreeSet::new();
        for nth in which {
            let path = dir.join(&updates[*nth].name);
            match fs::remove_file(&path) {
                Ok(()) => {
                    let parent = path.parent().unwrap_or(dir);
                    parents.insert(prune_empty(parent, dir)?);
                }
                Err(e) if is_absent(&e) => {}
                Err(e) => return Err(e),
            }
        }
        for parent in parents {
            self.repo.durability.dir(&parent)?;
        }
        Ok(())
    }

    fn replace_packed(&self, packed: &BTreeMap<String, ObjectId>) -> io::Result<()> {
        let objects = self.repo.objects();
        let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for (name, id) in packed {
            text.push_str(&format!("{id} {name}\n"));
            if let Some(peeled) = crate::upload::peeled(&objects, name, *id) {
                text.push_str(&format!("^{peeled}\n"));
            }
        }
        let dir = &self.repo.dir;
        let lock = dir.join("packed-refs.lock");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&lock)?;
        let write = || -> io::Result<()> {
            file.write_all(text.as_bytes())?;
            self.repo.durability.file(&file)?;
            fs::rename(&lock, dir.join("packed-refs"))
        };
        let mut write = write;
        write().inspect_err(|_| remove(&lock))?;
        self.repo.durability.dir(dir)
    }
}

fn failed(e: &io::Error) -> RefOutcome {
    RefOutcome::Failed(format!("the server's disk failed: {e}"))
}

fn is_absent(e: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(e.kind(), NotFound | NotADirectory | IsADirectory)
}

/// Removes a file that is not wanted any more; a leftover is swept at the next start.
fn remove(path: &Path) {
    if let Err(e) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), error = %e, "a lock file could not be removed");
    }
}

/// Removes a directory tree that holds no file.
fn remove_empty_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        remove_empty_dirs(&entry?.path())?;
    }
    fs::remove_dir(dir)
}

/// Removes `dir` and its parents while they are empty, down to `refs/<kind>`; the first
/// directory that stays.
fn prune_empty(dir: &Path, root: &Path) -> io::Result<PathBuf> {
    let mut at = dir.to_owned();
    while at
        .strip_prefix(root)
        .is_ok_and(|rel| rel.components().count() > 2)
    {
        match fs::remove_dir(&at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => break,
            Err(e) => return Err(e),
        }
        if !at.pop() {
            break;
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_above_a_ref_are_found() {
        let above: Vec<_> = refs_above("refs/heads/a/b/c").collect();
        assert_eq!(above, ["refs/heads/a", "refs/heads/a/b"]);
        assert_eq!(refs_above("refs/heads/a").count(), 0);
    }
}
