//! Whether everything is there and is what it was: each pack's bytes, each object, each ref.

use std::io;
use std::sync::atomic::AtomicBool;

use gix_pack::cache::lru::MemoryCappedHashmap;
use gix_pack::index::traverse::Algorithm;
use gix_pack::index::verify::{Mode, integrity};

use crate::repo::Repository;

/// How much decoded delta data each checking thread keeps.
const CACHE_BYTES: usize = 32 << 20;

/// What a check read, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Packs read.
    pub packs: usize,
    /// Objects in them, copies counted.
    pub objects: u64,
    /// Refs followed.
    pub refs: usize,
    /// What is wrong, in words; empty when all is well.
    pub problems: Vec<String>,
}

impl Repository {
    /// Reads every byte of every pack, hashes every object anew, and follows every ref to the last
    /// file. About a minute for a gigabyte of packs. Changes nothing.
    ///
    /// # Errors
    /// When packs or refs cannot even be listed.
    pub fn check(&self) -> io::Result<Checked> {
        let set = self.packs.get(&self.dir, self.hash)?;
        let mut found = Checked::default();
        let stop = AtomicBool::new(false);
        for pack in &set.packs {
            found.packs += 1;
            found.objects += u64::from(pack.bundle.index.num_objects());
            let options = integrity::Options {
                verify_mode: Mode::HashCrc32,
                traversal: Algorithm::Lookup,
                thread_limit: Some(2),
                make_pack_lookup_cache: || MemoryCappedHashmap::new(CACHE_BYTES),
            };
            let checked = pack
                .bundle
                .verify_integrity(&mut gix::progress::Discard, &stop, options);
            if let Err(error) = checked {
                let path = pack.path.with_extension("pack");
                found
                    .problems
                    .push(format!("{}: {}", path.display(), error.probable_cause()));
            }
        }
        let refs = self.refs()?;
        let objects = self.objects();
        for r in refs.all() {
            found.refs += 1;
            if let Err(error) = objects.peel(r.target) {
                found.problems.push(format!("{}: {error}", r.name));
            }
        }
        // A history whose beginning is elsewhere cannot be followed to it, nor need it be.
        if found.problems.is_empty() {
            let tips: Vec<_> = refs.all().iter().map(|r| r.target).collect();
            match self.reachable(&tips) {
                Ok(ids) => {
                    let lost = ids.iter().filter(|id| !objects.contains(id));
                    found
                        .problems
                        .extend(lost.map(|id| format!("object {id} is missing")));
                }
                Err(error) => found.problems.push(error.to_string()),
            }
        }
        Ok(found)
    }
}
