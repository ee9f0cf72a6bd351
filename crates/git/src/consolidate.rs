//! Consolidation: many small packs into one, so that lookups stay fast and few files are mapped.
//!
//! Invariant: a pack is unlinked only after the pack that also holds its objects is durable, and
//! not before the next consolidation: a reader that listed the directory just before still finds
//! what it saw, or finds the newer pack when it looks again. Nothing is pruned.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use crate::ids::IdSet;
use crate::pack::{self, PackError, PackPlan};
use crate::receive::QuarantineDir;
use crate::repo::{PACKS_AT_MOST, Repository};

/// What a consolidation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consolidated {
    /// Packs before.
    pub packs_before: usize,
    /// Packs after.
    pub packs_after: usize,
    /// Objects in the new pack.
    pub objects: usize,
}

impl Repository {
    /// How many packs there are. Above about 30, [`Repository::consolidate`] is worth its while.
    pub fn pack_count(&self) -> io::Result<usize> {
        let set = self.packs.get(&self.dir, self.hash)?;
        Ok(self.used_packs(&set)?.len())
    }

    /// How much its packs and their indexes take on the disk, in bytes.
    ///
    /// # Errors
    /// When the packs cannot be listed.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.dir.join("objects/pack"))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    pub(crate) fn superseded(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.superseded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The last resort of a push: the object database cannot hold any number of packs.
    pub(crate) fn keep_packs_few(&self) -> io::Result<()> {
        if self.pack_count()? < PACKS_AT_MOST {
            return Ok(());
        }
        self.consolidate(PACKS_AT_MOST / 4)
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Merges small packs into one when there are more than `max_packs`. Fetches and pushes go on
    /// meanwhile. Packs are taken from the smallest up until the next one holds more objects than
    /// all of them together, so that each object is rewritten only a few times in its life.
    pub fn consolidate(&self, max_packs: usize) -> Result<Consolidated, PackError> {
        let _one_at_a_time = self
            .consolidating
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.remove_superseded()?;
        let set = self.packs.get(&self.dir, self.hash)?;
        let used = self.used_packs(&set)?;
        let mut outcome = Consolidated {
            packs_before: used.len(),
            packs_after: used.len(),
            objects: 0,
        };
        if used.len() <= max_packs {
            return Ok(outcome);
        }
        // Largest first in the set.
        let mut sum = 0u64;
        let mut merged = Vec::new();
        for pack in used.iter().rev() {
            let count = u64::from(pack.bundle.index.num_objects());
            if merged.len() > 1 && count > sum {
                break;
            }
            if pack.path.with_extension("keep").exists() {
                continue;
            }
            sum += count;
            merged.push(pack);
        }
        if merged.len() < 2 {
            return Ok(outcome);
        }
        let mut seen: IdSet = IdSet::default();
        let mut ids = Vec::new();
        for pack in &merged {
            let index = &pack.bundle.index;
            for at in 0..index.num_objects() {
                let id = index.oid_at_index(at).to_owned();
                if seen.insert(id) {
                    ids.push(id);
                }
            }
        }
        outcome.objects = ids.len();
        let objects = self.objects();
        let plan = PackPlan {
            objects: &objects,
            packs: std::sync::Arc::clone(&set),
            ahead: None,
            ids,
            had: IdSet::default(),
        };
        let kept = self.write_durably(&plan)?;
        let gone = merged.iter().map(|p| p.path.clone());
        self.superseded()
            .extend(gone.filter(|p| p.file_stem() != Some(kept.as_ref())));
        outcome.packs_after = used.len() + 1 - merged.len();
        Ok(outcome)
    }

    /// Removes the packs whose objects all stand in newer ones.
    pub(crate) fn remove_superseded(&self) -> io::Result<()> {
        let gone = std::mem::take(&mut *self.superseded());
        if gone.is_empty() {
            return Ok(());
        }
        self.remove_packs(&gone)
    }

    /// Writes the pack and its index among the others; its name.
    pub(crate) fn write_durably(&self, plan: &PackPlan<'_>) -> Result<String, PackError> {
        let dir = QuarantineDir::create(self)?;
        let pack_path = dir.path().join("incoming.pack");
        let index_path = dir.path().join("incoming.idx");
        let pack_file = pack::create(&pack_path)?;
        let mut out = BufWriter::with_capacity(256 << 10, &pack_file);
        let (checksum, placed) = pack::write_pack(plan, &mut out)?;
        out.flush()?;
        drop(out);
        let index_file = pack::create(&index_path)?;
        pack::write_index(placed, checksum, self.hash, &mut &index_file)?;
        self.durability.file(&pack_file)?;
        self.durability.file(&index_file)?;
        let name = format!("pack-{checksum}");
        let target = self.dir.join("objects/pack");
        if !target.join(format!("{name}.idx")).is_file() {
            fs::rename(pack_path, target.join(format!("{name}.pack")))?;
            fs::rename(index_path, target.join(format!("{name}.idx")))?;
        }
        self.durability.dir(&target)?;
        Ok(name)
    }

    pub(crate) fn remove_packs(&self, indexes: &[PathBuf]) -> io::Result<()> {
        let dir = self.dir.join("objects/pack");
        // It would name packs that are gone.
        remove(&dir.join("multi-pack-index"))?;
        for index in indexes {
            // The index first: without it nobody looks for the pack.
            for extension in ["idx", "rev", "bitmap", "mtimes", "pack"] {
                remove(&index.with_extension(extension))?;
            }
        }
        self.durability.dir(&dir)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
