//! Reading objects: from the repository, and from a push that is still in quarantine.

use std::cell::RefCell;
use std::sync::Arc;

use gix::hash::{Kind as HashKind, ObjectId, oid};
use gix::objs::Kind;
use gix::odb::{Cache, Header as _, Store, store::Handle as StoreHandle};
use gix_pack::Bundle;
use gix_pack::cache::lru::MemoryCappedHashmap;

use crate::ids::IdSet;
use crate::repo::Repository;

/// The repository's objects for one thread, with its own cache.
pub(crate) type Handle = Cache<StoreHandle<Arc<Store>>>;

/// How much decoded delta data one handle keeps.
const DELTA_CACHE_BYTES: usize = 8 << 20;

/// How much of it those keep that read most of a repository: a thread that counts a whole
/// history, the check of a push.
const LARGE_CACHE_BYTES: usize = 32 << 20;

/// Why an object could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is nowhere.
    #[error("object {id} is missing")]
    Missing {
        /// Its id.
        id: ObjectId,
    },
    /// It is of another kind than the place needs.
    #[error("object {id} is a {is}, but a {wanted} is needed here")]
    WrongKind {
        /// Its id.
        id: ObjectId,
        /// What it is.
        is: Kind,
        /// What was asked for.
        wanted: Kind,
    },
    /// It is larger than the caller allows.
    #[error("object {id} has {size_bytes} bytes, more than the {limit_bytes} allowed here")]
    TooLarge {
        /// Its id.
        id: ObjectId,
        /// Its size.
        size_bytes: u64,
        /// The caller's limit.
        limit_bytes: u64,
    },
    /// It cannot be decoded.
    #[error("object {id} is damaged: {what}")]
    Damaged {
        /// Its id.
        id: ObjectId,
        /// What is wrong with it.
        what: String,
    },
    /// The object database itself failed.
    #[error("the object database failed at object {id}")]
    Database {
        /// The object that was sought.
        id: ObjectId,
        /// Why.
        #[source]
        source: gix::Error,
    },
}

/// Reads the objects of one repository, for one thread; made by [`Repository::objects`], and by
/// a push for what it has brought but not yet committed.
pub struct Objects {
    main: Handle,
    fresh: Option<Fresh>,
    hash: HashKind,
    ends: Arc<IdSet>,
}

/// The pack of a push in quarantine.
pub(crate) struct Fresh {
    pub(crate) bundle: Arc<Bundle>,
    inflate: RefCell<gix::zlib::Inflate>,
    cache: RefCell<MemoryCappedHashmap>,
}

impl Fresh {
    fn new(bundle: Arc<Bundle>) -> Self {
        Self {
            bundle,
            inflate: RefCell::default(),
            cache: RefCell::new(MemoryCappedHashmap::new(LARGE_CACHE_BYTES)),
        }
    }
}

/// Where a delta's base stands in the same pack, for whoever reads headers.
pub(crate) fn base_in(
    bundle: &Bundle,
    id: &oid,
) -> gix::error::Result<Option<gix_pack::data::decode::header::ResolvedBase>> {
    let Some(at) = bundle.index.lookup(id) else {
        return Ok(None);
    };
    let entry = bundle.pack.entry(bundle.index.pack_offset_at_index(at))?;
    Ok(Some(gix_pack::data::decode::header::ResolvedBase::InPack(
        entry,
    )))
}

/// One object, decoded into the caller's buffer.
pub(crate) struct Found<'a> {
    pub(crate) kind: Kind,
    pub(crate) data: &'a [u8],
}

impl Objects {
    pub(crate) fn new(repo: &Repository, fresh: Option<Arc<Bundle>>) -> Self {
        // Packs may be unloaded: nothing here keeps a pack's number, and pinned packs would use up
        // the store's slots for good.
        let main = Cache::from(repo.store.to_handle_arc())
            .with_pack_cache(|| Box::new(MemoryCappedHashmap::new(DELTA_CACHE_BYTES)));
        Self {
            main,
            fresh: fresh.map(Fresh::new),
            hash: repo.hash,
            ends: Arc::clone(&repo.ends),
        }
    }

    /// The same, without a quarantine, for a helping thread.
    pub(crate) fn for_another_thread(&self) -> Self {
        let mut main = self.main.clone();
        main.set_pack_cache(|| Box::new(MemoryCappedHashmap::new(LARGE_CACHE_BYTES)));
        Self {
            main,
            fresh: None,
            hash: self.hash,
            ends: Arc::clone(&self.ends),
        }
    }

    pub(crate) fn hash(&self) -> HashKind {
        self.hash
    }

    /// The commits at which the repository's own history is cut: their parents are not here.
    pub(crate) fn ends(&self) -> &IdSet {
        &self.ends
    }

    /// The handle of the repository proper, without the quarantine.
    pub(crate) fn main(&self) -> &Handle {
        &self.main
    }

    pub(crate) fn fresh(&self) -> Option<&Fresh> {
        self.fresh.as_ref()
    }

    /// Whether the object exists.
    #[must_use]
    pub fn contains(&self, id: &oid) -> bool {
        if self
            .fresh
            .as_ref()
            .is_some_and(|f| f.bundle.index.lookup(id).is_some())
        {
            return true;
        }
        gix::objs::Exists::exists(&self.main, id)
    }

    /// Looks for new packs once, so that `contains_as_seen` knows of all that are there now.
    pub(crate) fn look_for_packs(&self) {
        // Whatever is sought in vain makes the store look.
        gix::objs::Exists::exists(&self.main, self.hash.null_ref());
    }

    /// Whether the object exists, without looking for new packs when it does not: for lists of
    /// ids most of which may be unknown.
    pub(crate) fn contains_as_seen(&self, id: &oid) -> bool {
        self.main.exists_without_refresh(id)
    }

    /// An object's kind and size, without decoding it.
    pub fn header(&self, id: &oid) -> Result<(Kind, u64), ReadError> {
        if let Some((fresh, at)) = self.in_fresh(id) {
            return fresh
                .bundle
                .pack
                .entry(fresh.bundle.index.pack_offset_at_index(at))
                .and_then(|entry| {
                    fresh.bundle.pack.decode_header(
                        entry,
                        &mut fresh.inflate.borrow_mut(),
                        &|base| base_in(&fresh.bundle, base),
                    )
                })
                .map(|header| (header.kind, header.object_size))
                .map_err(|source| database(id, source));
        }
        let header = |main: &Handle| match main.try_header(id) {
            Ok(Some(header)) => Ok((header.kind(), header.size())),
            Ok(None) => Err(ReadError::Missing { id: id.to_owned() }),
            Err(source) => Err(database(id, source)),
        };
        header(&self.main).or_else(|_| header(&self.look_again()))
    }

    fn in_fresh(&self, id: &oid) -> Option<(&Fresh, u32)> {
        let fresh = self.fresh.as_ref()?;
        Some((fresh, fresh.bundle.index.lookup(id)?))
    }

    /// A handle that starts from what lies on disk now: packs may have been merged while the
    /// first one looked for an object.
    fn look_again(&self) -> Handle {
        let again = Cache::from(self.main.store().to_handle_arc());
        gix::objs::Exists::exists(&again, self.hash.null_ref());
        again
    }

    pub(crate) fn find<'a>(&self, id: &oid, buf: &'a mut Vec<u8>) -> Result<Found<'a>, ReadError> {
        if let Some((fresh, at)) = self.in_fresh(id) {
            let (data, _) = fresh
                .bundle
                .get_object_by_index(
                    at,
                    buf,
                    &mut fresh.inflate.borrow_mut(),
                    &mut *fresh.cache.borrow_mut(),
                )
                .map_err(|source| database(id, source))?;
            return Ok(Found {
                kind: data.kind,
                data: data.data,
            });
        }
        let kind = match gix::objs::Find::try_find(&self.main, id, buf) {
            Ok(Some(data)) => data.kind,
            Ok(None) | Err(_) => match gix::objs::Find::try_find(&self.look_again(), id, buf) {
                Ok(Some(data)) => data.kind,
                Ok(None) => return Err(ReadError::Missing { id: id.to_owned() }),
                Err(source) => return Err(database(id, source)),
            },
        };
        Ok(Found { kind, data: buf })
    }

    /// Like `find`, but of one kind only.
    pub(crate) fn find_kind<'a>(
        &self,
        id: &oid,
        wanted: Kind,
        buf: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], ReadError> {
        let found = self.find(id, buf)?;
        if found.kind != wanted {
            return Err(ReadError::WrongKind {
                id: id.to_owned(),
                is: found.kind,
                wanted,
            });
        }
        Ok(found.data)
    }

    /// Follows tags to what they finally name.
    pub fn peel(&self, id: ObjectId) -> Result<(ObjectId, Kind), ReadError> {
        let mut buf = Vec::new();
        let mut at = id;
        for _ in 0..64 {
            let kind = self.header(&at)?.0;
            if kind != Kind::Tag {
                return Ok((at, kind));
            }
            let data = self.find_kind(&at, Kind::Tag, &mut buf)?;
            at = crate::parse::tag_target(data, self.hash).ok_or_else(|| ReadError::Damaged {
                id: at,
                what: "the tag names no object".to_owned(),
            })?;
        }
        Err(ReadError::Damaged {
            id,
            what: "a chain of more than 64 tags".to_owned(),
        })
    }
}

fn database(id: &oid, source: gix::Error) -> ReadError {
    ReadError::Database {
        id: id.to_owned(),
        source,
    }
}
