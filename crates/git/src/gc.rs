//! Collecting what no ref reaches any more.
//!
//! Three kinds of packs come out: one of all that branches and tags reach, which clones are made
//! of; one of what other refs reach besides; and packs set aside, of objects that no ref reached
//! when they were made. `objects/info/aside-packs` says since when. A pack that was aside longer
//! than the grace is removed, and that is the only place where objects are lost.
//!
//! Invariant: nothing is removed while a push is between its check and its refs, nor after refs
//! moved since it was found out of reach.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use gix::hash::ObjectId;

use crate::ids::IdSet;
use crate::pack::{self, PackError, PackFile, PackPlan, PackSet, Selection};
use crate::repo::Repository;
use crate::upload::Roots;
use crate::walk::{self, Grafts};

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Objects that refs reach.
    pub reachable: usize,
    /// Objects that no ref reaches, newly set aside.
    pub set_aside: usize,
    /// Objects that were aside longer than the grace, removed for good.
    pub removed: usize,
    /// Packs before, those aside among them.
    pub packs_before: usize,
    /// Packs after, without those whose objects all stand in newer ones: these go with the next
    /// collection or consolidation.
    pub packs_after: usize,
}

/// The packs aside: names without extension, and since when (seconds since 1970).
type Aside = BTreeMap<String, u64>;

impl Repository {
    fn aside_note(&self) -> PathBuf {
        self.dir.join("objects/info/aside-packs")
    }

    fn aside(&self) -> io::Result<Aside> {
        let text = match fs::read_to_string(self.aside_note()) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Aside::new()),
            Err(e) => return Err(e),
        };
        // A line that cannot be read sets nothing aside: its pack counts as any other.
        let line = |line: &str| {
            let (name, since) = line.split_once(' ')?;
            Some((name.to_owned(), since.parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    fn write_aside(&self, aside: &Aside) -> io::Result<()> {
        let text: String = aside
            .iter()
            .map(|(name, since)| format!("{name} {since}\n"))
            .collect();
        let note = self.aside_note();
        let new = note.with_extension("new");
        self.durability.write(&new, text.as_bytes())?;
        fs::rename(&new, &note)?;
        self.durability.dir(&self.dir.join("objects/info"))
    }

    /// The packs in use, largest first: not those aside, nor those whose objects are all in a
    /// newer one.
    pub(crate) fn used_packs(&self, set: &PackSet) -> io::Result<Vec<Arc<PackFile>>> {
        let aside = self.aside()?;
        let gone = self.superseded().clone();
        let used = |pack: &&Arc<PackFile>| {
            !gone.contains(&pack.path) && !aside.contains_key(&*name_of(pack))
        };
        Ok(set.packs.iter().filter(used).cloned().collect())
    }

    /// Sorts all objects by whether refs reach them, and removes those that none has reached for
    /// longer than `grace`. Fetches and pushes go on meanwhile. A few seconds for a million
    /// objects; what is sorted already is not written again.
    ///
    /// # Errors
    /// When an object that a ref reaches is missing or damaged, or the disk fails; then nothing
    /// was removed.
    pub fn gc(&self, grace: Duration, now: SystemTime) -> Result<Collected, PackError> {
        let _one_at_a_time = self
            .consolidating
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.remove_superseded()?;
        let set = self.packs.get(&self.dir, self.hash)?;
        let mut aside = self.aside()?;
        aside.retain(|name, _| set.packs.iter().any(|p| *name_of(p) == *name.as_str()));
        let refs = self.refs()?;
        let mut done = Collected {
            packs_before: set.packs.len(),
            ..Collected::default()
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for r in refs.all() {
            let side = if pack::is_public(&r.name) {
                &mut ours
            } else {
                &mut theirs
            };
            side.push(r.target);
        }
        let named = self.reachable(&ours)?;
        let mut other = self.reachable(&theirs)?;
        let mut reached: IdSet = named.iter().copied().collect();
        other.retain(|id| reached.insert(*id));
        done.reachable = reached.len();

        let used = self.used_packs(&set)?;
        let mut lost_seen = IdSet::default();
        let mut lost = Vec::new();
        for pack in &used {
            let index = &pack.bundle.index;
            for at in 0..index.num_objects() {
                let id = index.oid_at_index(at).to_owned();
                if !reached.contains(&id) && lost_seen.insert(id) {
                    lost.push(id);
                }
            }
        }
        let since = seconds(now);
        let mut kept = Vec::new();
        let sorted = [&named, &other].into_iter().filter(|ids| !ids.is_empty());
        for ids in sorted {
            kept.push(self.one_pack(&set, &used, ids)?);
        }
        if !lost.is_empty() {
            done.set_aside = lost.len();
            let name = self.one_pack(&set, &used, &lost)?;
            aside.insert(name.clone(), since);
            kept.push(name);
        }
        // From here on the objects that were lost stand aside, durably.
        self.write_aside(&aside)?;
        let stays = |pack: &&Arc<PackFile>| {
            kept.iter().any(|name| *name_of(pack) == *name.as_str())
                || pack.path.with_extension("keep").exists()
        };
        let gone: Vec<PathBuf> = used
            .iter()
            .filter(|pack| !stays(pack))
            .map(|pack| pack.path.clone())
            .collect();
        self.superseded().extend(gone);
        done.removed = self.remove_aside(&set, &refs, &mut aside, since, grace)?;
        let set = self.packs.get(&self.dir, self.hash)?;
        done.packs_after = set.packs.len() - self.superseded().len();
        Ok(done)
    }

    /// Whether a pack was aside for longer than the grace.
    pub(crate) fn something_is_over(&self, grace: Duration, now: SystemTime) -> io::Result<bool> {
        let aside = self.aside()?;
        Ok(aside
            .values()
            .any(|since| is_over(*since, grace, seconds(now))))
    }

    /// Whether a collection has something to do: something was aside for longer than the grace, or
    /// clones would become faster, as the packs in use are large beside the one that is sent whole,
    /// or that one holds what branches and tags do not reach.
    ///
    /// # Errors
    /// When packs or refs cannot be read.
    pub fn gc_is_due(&self, grace: Duration, now: SystemTime) -> io::Result<bool> {
        if self.something_is_over(grace, now)? {
            return Ok(true);
        }
        let set = self.packs.get(&self.dir, self.hash)?;
        let used = self.used_packs(&set)?;
        let objects = |pack: &Arc<PackFile>| u64::from(pack.bundle.index.num_objects());
        let all: u64 = used.iter().map(objects).sum();
        if all < u64::from(pack::FEWEST) || !self.ends.is_empty() {
            return Ok(false);
        }
        let Some(pack) = self.closed_pack()? else {
            return Ok(true);
        };
        let refs = self.refs()?;
        let tips: Vec<ObjectId> = refs
            .all()
            .iter()
            .filter(|r| pack::is_public(&r.name))
            .map(|r| r.target)
            .collect();
        let handle = self.objects();
        let beyond = Roots::of(&handle, &tips)
            .and_then(|roots| pack.beyond(&handle, &roots.commits, &roots.others))
            .map_err(io::Error::other)?;
        let new: u64 = used
            .iter()
            .filter(|p| p.path != pack.file.path)
            .map(objects)
            .sum();
        Ok(beyond.is_none() || new > objects(&pack.file) / 2)
    }

    /// Everything that these reach, each once.
    pub(crate) fn reachable(&self, tips: &[ObjectId]) -> Result<Vec<ObjectId>, PackError> {
        let objects = self.objects();
        let roots = Roots::of(&objects, tips)?;
        let commits = walk::difference(&objects, &roots.commits, &[], &Grafts::default())?;
        let selection = Selection {
            commits: &commits,
            others: &roots.others,
            edges: &[],
            filter: None,
            threads: 2,
        };
        let mut ids = pack::select(&objects, &selection)?.ids;
        let mut seen = IdSet::default();
        ids.retain(|id| seen.insert(*id));
        Ok(ids)
    }

    /// Writes these objects as one pack, unless one of the packs is just that; its name.
    fn one_pack(
        &self,
        set: &Arc<PackSet>,
        used: &[Arc<PackFile>],
        ids: &[ObjectId],
    ) -> Result<String, PackError> {
        let is_it = |pack: &&Arc<PackFile>| {
            let index = &pack.bundle.index;
            index.num_objects() as usize == ids.len()
                && ids.iter().all(|id| index.lookup(id).is_some())
        };
        if let Some(pack) = used.iter().find(is_it) {
            return Ok(name_of(pack).into_owned());
        }
        let objects = self.objects();
        self.write_durably(&PackPlan {
            objects: &objects,
            packs: Arc::clone(set),
            ahead: None,
            ids: ids.to_vec(),
            had: IdSet::default(),
        })
    }

    /// Removes the packs that were aside for longer than the grace; how many objects went.
    fn remove_aside(
        &self,
        set: &PackSet,
        refs: &crate::refs::RefSnapshot,
        aside: &mut Aside,
        now: u64,
        grace: Duration,
    ) -> Result<usize, PackError> {
        let over: Vec<&Arc<PackFile>> = set
            .packs
            .iter()
            .filter(|pack| {
                aside
                    .get(&*name_of(pack))
                    .is_some_and(|since| is_over(*since, grace, now))
            })
            .collect();
        if over.is_empty() {
            return Ok(0);
        }
        // No push may begin its check while this is held, and none may be past it.
        let pushes = self.pushes.lock().unwrap_or_else(PoisonError::into_inner);
        if *pushes > 0 || self.refs()?.all() != refs.all() {
            tracing::debug!("pushes are on their way; what is out of reach stays for now");
            return Ok(0);
        }
        let mut removed = 0;
        let mut gone = Vec::new();
        for pack in over {
            removed += pack.bundle.index.num_objects() as usize;
            aside.remove(&*name_of(pack));
            gone.push(pack.path.clone());
        }
        self.remove_packs(&gone)?;
        drop(pushes);
        self.write_aside(aside)?;
        Ok(removed)
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn is_over(since: u64, grace: Duration, now: u64) -> bool {
    since.saturating_add(grace.as_secs()) < now
}

fn name_of(pack: &PackFile) -> std::borrow::Cow<'_, str> {
    pack.path
        .file_stem()
        .unwrap_or(OsStr::new(""))
        .to_string_lossy()
}

/// A push between its check and the end of its refs: as long as it lives, nothing is removed.
pub(crate) struct InFlight(Arc<Repository>);

impl InFlight {
    pub(crate) fn begin(repo: &Arc<Repository>) -> Self {
        *repo.pushes.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(Arc::clone(repo))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.0.pushes.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}
