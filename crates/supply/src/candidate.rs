//! The appliance's own next version, as the active generation has it.

use bundle::Item;
use bundle::manifest::SelfUpdate;
use store::{Db, StoreError};
use vocab::Digest;

use crate::GenerationId;
use crate::sql::generations as sql;

/// The program that a bundle brought for this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The generation that has it.
    pub generation: GenerationId,
    /// The item.
    pub item: SelfUpdate,
    /// The bundle in words: `lab stable 42`.
    pub bundle: String,
    /// Digest of that bundle's manifest.
    pub manifest: Option<Digest>,
    /// Its security epoch.
    pub epoch: u64,
}

/// The program for `arch` (`amd64`) in the active generation, if there is one.
pub fn candidate(db: &Db, arch: &str) -> Result<Option<Candidate>, StoreError> {
    let Some(generation) = sql::active(db)? else {
        return Ok(None);
    };
    let key = format!("selfupdate:{arch}");
    let Some(Item::Selfupdate(item)) = sql::item(db, generation, &key)? else {
        return Ok(None);
    };
    let (bundle, manifest, epoch) = sql::origin(db, generation)?;
    Ok(Some(Candidate {
        generation,
        item,
        bundle,
        manifest: manifest.parse().ok(),
        epoch,
    }))
}

/// The security epoch below which nothing goes.
pub fn epoch(db: &Db) -> Result<u64, StoreError> {
    sql::epoch(db)
}

/// The smallest blob of the active generation, if there is one: to see that it can be read.
pub fn canary(db: &Db) -> Result<Option<Digest>, StoreError> {
    match sql::active(db)? {
        Some(generation) => sql::smallest_blob(db, generation),
        None => Ok(None),
    }
}
