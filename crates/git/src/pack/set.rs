//! The packs of a repository as files: where each object stands, and its bytes as they are.
//!
//! The object database answers "what is this object"; whoever copies entries from pack to pack
//! asks here instead. Opened on first use, kept until the directory changes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gix::hash::{Kind, ObjectId};
use gix_pack::Bundle;
use gix_pack::data::{self, entry::Header};

use crate::ids::IdMap;
use crate::refs::Stamp;

/// One pack.
pub(crate) struct PackFile {
    pub(crate) path: PathBuf,
    pub(crate) bundle: Bundle,
    /// Every object's place and its position in the index, sorted by place.
    places: OnceLock<Vec<(u64, u32)>>,
}

/// Where one copy of an object stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pack: u32,
    position: u32,
    offset: u64,
}

/// An entry as it stands in its pack.
pub(crate) struct RawEntry<'a> {
    pub(crate) header: RawHeader,
    /// The size of the object, or of the delta.
    pub(crate) size: u64,
    pub(crate) deflated: &'a [u8],
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RawHeader {
    Whole(Header),
    DeltaOn(ObjectId),
}

impl PackFile {
    /// Every object's place and its position in the index, sorted by place.
    pub(crate) fn places(&self) -> &[(u64, u32)] {
        self.places.get_or_init(|| {
            let index = &self.bundle.index;
            let mut places: Vec<(u64, u32)> = (0..index.num_objects())
                .map(|at| (index.pack_offset_at_index(at), at))
                .collect();
            places.sort_unstable();
            places
        })
    }

    /// The entry at `place`; `None` where its bytes are not what was once written.
    fn entry(&self, place: Place, hash: Kind) -> Option<RawEntry<'_>> {
        let places = self.places();
        let nth = places.binary_search_by_key(&place.offset, |p| p.0).ok()?;
        let end = places
            .get(nth + 1)
            .map_or(self.bundle.pack.pack_end() as u64, |p| p.0);
        let bytes = self.bundle.pack.entry_slice(place.offset..end)?;
        if let Some(expected) = self.bundle.index.crc32_at_index(place.position) {
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            if crc.sum() != expected {
                return None;
            }
        }
        let entry = data::Entry::from_bytes(bytes, 0, hash).ok()?;
        let header = match entry.header {
            Header::RefDelta { base_id } => RawHeader::DeltaOn(base_id),
            Header::OfsDelta { base_distance } => {
                let base = place.offset.checked_sub(base_distance)?;
                let nth = places.binary_search_by_key(&base, |p| p.0).ok()?;
                RawHeader::DeltaOn(self.bundle.index.oid_at_index(places[nth].1).to_owned())
            }
            whole => RawHeader::Whole(whole),
        };
        Some(RawEntry {
            header,
            size: entry.decompressed_size,
            deflated: bytes.get(entry.header_size()..)?,
        })
    }
}

/// All packs of a repository at one moment.
pub(crate) struct PackSet {
    hash: Kind,
    /// Largest first.
    pub(crate) packs: Vec<Arc<PackFile>>,
    /// The objects of all packs but the first.
    others: OnceLock<IdMap<Vec<Place>>>,
}

impl PackSet {
    /// Opens what `before` does not have open already.
    fn open(dir: &Path, hash: Kind, before: Option<&PackSet>) -> io::Result<Self> {
        let known: HashMap<&OsStr, &Arc<PackFile>> = before
            .iter()
            .flat_map(|set| &set.packs)
            .filter_map(|pack| Some((pack.path.file_name()?, pack)))
            .collect();
        let mut packs = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "idx") {
                continue;
            }
            if let Some(pack) = path.file_name().and_then(|name| known.get(name)) {
                packs.push(Arc::clone(pack));
                continue;
            }
            match Bundle::at(&path, hash) {
                Ok(bundle) => packs.push(Arc::new(PackFile {
                    path,
                    bundle,
                    places: OnceLock::new(),
                })),
                // Removed since the directory was listed, or unreadable: the database says so.
                Err(e) => tracing::warn!(path = %path.display(), error = %e, "a pack is left out"),
            }
        }
        packs.sort_by_key(|p| std::cmp::Reverse(p.bundle.index.num_objects()));
        Ok(Self {
            hash,
            packs,
            others: OnceLock::new(),
        })
    }

    fn others(&self) -> &IdMap<Vec<Place>> {
        self.others.get_or_init(|| {
            let mut others: IdMap<Vec<Place>> = IdMap::default();
            for (pack, nth) in self.packs.iter().zip(0u32..).skip(1) {
                let index = &pack.bundle.index;
                for position in 0..index.num_objects() {
                    let id = index.oid_at_index(position).to_owned();
                    others.entry(id).or_default().push(Place {
                        pack: nth,
                        position,
                        offset: index.pack_offset_at_index(position),
                    });
                }
            }
            others
        })
    }

    /// All copies of an object. With `many` objects to ask for, the packs' objects are gathered
    /// first; otherwise each pack is asked.
    pub(crate) fn places(&self, id: &ObjectId, many: bool) -> impl Iterator<Item = Place> {
        let asked = if many { 1 } else { self.packs.len() };
        let gathered = if many { self.others().get(id) } else { None };
        let id = *id;
        let places = self
            .packs
            .iter()
            .zip(0u32..)
            .take(asked)
            .filter_map(move |(pack, nth)| {
                let index = &pack.bundle.index;
                let position = index.lookup(id)?;
                Some(Place {
                    pack: nth,
                    position,
                    offset: index.pack_offset_at_index(position),
                })
            });
        places.chain(gathered.into_iter().flatten().copied())
    }

    /// The entry at a place.
    pub(crate) fn entry(&self, place: Place) -> Option<RawEntry<'_>> {
        self.packs.get(place.pack as usize)?.entry(place, self.hash)
    }
}

/// The pack set that was last opened.
#[derive(Default)]
pub(crate) struct PackSetCache(Mutex<Option<(Stamp, Arc<PackSet>)>>);

impl PackSetCache {
    /// The packs as they stand now.
    pub(crate) fn get(&self, repo_dir: &Path, hash: Kind) -> io::Result<Arc<PackSet>> {
        let dir = repo_dir.join("objects/pack");
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&dir)?.ok_or(io::ErrorKind::NotFound)?;
        if let Some((known, set)) = &*cached
            && *known == stamp
        {
            return Ok(Arc::clone(set));
        }
        let before = cached.as_ref().map(|(_, set)| set.as_ref());
        let set = Arc::new(PackSet::open(&dir, hash, before)?);
        *cached = Some((stamp, Arc::clone(&set)));
        Ok(set)
    }
}
