//! Generations: what is served, looked up by name inside one of them and never outside.
//!
//! A reader names the generation it works in; nothing here falls through to another. What is
//! asked for and not there is noted for the need slip.

use std::collections::BTreeMap;

use bundle::{Item, Manifest};
use serde::Serialize;
use store::{Db, StoreError, Tx};
use vocab::{Digest, JobId};

use crate::sql::generations as sql;

/// Names one generation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct GenerationId(pub i64);

/// The generation that is served now; none before the first import.
pub fn active(db: &Db) -> Result<Option<GenerationId>, StoreError> {
    sql::active(db)
}

/// The item of exactly this [`Item::key`] in `generation`.
pub fn item(db: &Db, generation: GenerationId, key: &str) -> Result<Option<Item>, StoreError> {
    sql::item(db, generation, key)
}

/// Which bundle made a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Maker {
    /// The bundle's product.
    pub product: String,
    /// Its channel.
    pub channel: String,
    /// Its number there.
    pub seq: i64,
    /// Digest of its manifest.
    pub manifest: Digest,
}

/// Which bundle made `generation`; `None` when there is no such generation.
pub fn maker(db: &Db, generation: GenerationId) -> Result<Option<Maker>, StoreError> {
    sql::maker(db, generation)
}

/// The size of a blob that `generation` needs; `None` when it needs no such blob.
pub fn blob_size(
    db: &Db,
    generation: GenerationId,
    blob: &Digest,
) -> Result<Option<u64>, StoreError> {
    sql::blob_size(db, generation, blob)
}

/// All items of one kind and name in `generation`, by key: every tag of an image, every version
/// of a tool. Letter case of the name does not matter.
pub fn items_named(
    db: &Db,
    generation: GenerationId,
    kind: &str,
    name: &str,
) -> Result<Vec<Item>, StoreError> {
    sql::items_named(db, generation, kind, name)
}

/// All items of one kind in `generation`, by key.
pub fn items_of(db: &Db, generation: GenerationId, kind: &str) -> Result<Vec<Item>, StoreError> {
    sql::items_of(db, generation, kind)
}

/// Every blob that `generation` needs, with its size.
pub fn blobs(db: &Db, generation: GenerationId) -> Result<Vec<(Digest, u64)>, StoreError> {
    crate::sql::bundles::generation_blobs(db, generation)
}

/// By key of each item of `generation`: the oldest kept generation that has the very same item.
pub fn since(
    db: &Db,
    generation: GenerationId,
) -> Result<BTreeMap<String, GenerationId>, StoreError> {
    sql::since(db, generation)
}

/// Whether some item of `generation` needs this blob: only then may it be served by digest.
pub fn has_blob(db: &Db, generation: GenerationId, blob: &Digest) -> Result<bool, StoreError> {
    sql::has_blob(db, generation, blob)
}

/// Inserts a generation with all items of `manifest` and makes it the active one. The caller has
/// verified the manifest, staged every blob, and appends the audit entry in the same `tx`.
pub fn insert(
    tx: &mut Tx<'_>,
    bundle: i64,
    manifest: &Manifest,
    sizes: &[(Digest, u64)],
    now_ms: i64,
) -> Result<GenerationId, StoreError> {
    let parent = sql::active(tx)?;
    let id = sql::insert_generation(tx, bundle, parent, manifest.security_epoch, now_ms)?;
    for item in &manifest.items {
        sql::insert_item(tx, id, item)?;
    }
    for (digest, size_bytes) in sizes {
        sql::insert_blob(tx, id, digest, *size_bytes)?;
    }
    sql::activate(tx, id)?;
    tx.announce(store::Change::Images);
    Ok(id)
}

/// Makes a retained generation the active one again.
pub fn activate(tx: &mut Tx<'_>, generation: GenerationId) -> Result<(), StoreError> {
    sql::activate(tx, generation)?;
    tx.announce(store::Change::Images);
    Ok(())
}

/// A name that was asked for and is not there.
#[derive(Clone, Debug, Serialize)]
pub struct Want {
    /// Kind, as in [`Item::kind`].
    pub kind: String,
    /// What was asked for, such as `requests` or `actions/cache@v4`.
    pub name: String,
    /// How often.
    pub asks: i64,
    /// The first job that asked, if a job did.
    pub first_job: Option<JobId>,
    /// When first, unix milliseconds UTC.
    pub first_ms: i64,
    /// When last.
    pub last_ms: i64,
}

/// Most different wants that are kept; a job cannot fill the disk with names.
pub const WANTS_MAX: i64 = 10_000;

/// Notes that `name` was asked for and not there.
pub fn want(
    tx: &Tx<'_>,
    kind: &str,
    name: &str,
    job: Option<JobId>,
    now_ms: i64,
) -> Result<(), StoreError> {
    want_times(tx, kind, name, 1, job, now_ms)
}

/// The same, asked for so many times.
pub(crate) fn want_times(
    tx: &Tx<'_>,
    kind: &str,
    name: &str,
    asks: i64,
    job: Option<JobId>,
    now_ms: i64,
) -> Result<(), StoreError> {
    sql::want(tx, kind, &shortened(name), asks, job, now_ms)
}

/// A name as it is noted: its first 200 characters, without those that steer terminals.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What is wanted, most asked first.
pub fn wants(db: &Db) -> Result<Vec<Want>, StoreError> {
    sql::wants(db)
}
