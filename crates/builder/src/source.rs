//! Sources: how each kind of entry is resolved into pins and fetched into the cache.
//!
//! Resolving asks the world what a name stands for today; fetching takes exactly what was pinned
//! and refuses anything else. Both leave blobs in the cache, under their digests.

mod action;
mod debian;
mod oci;
mod own;
mod plain;
mod pypi;
mod registry;
mod tool;
mod wheel;

use std::io;
use std::path::{Path, PathBuf};

use bundle::Item;
use jiff::civil::Date;
use vocab::Digest;

use crate::cache::{Cache, CacheError, Kept};
use crate::child::ChildError;
use crate::lock::{LockedBlob, Pin};
use crate::recipe::Want;
use crate::watch::Watch;

/// What sources may use.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Where everything fetched is kept.
    pub cache: &'a Cache,
    /// The folder that paths in the recipe start from.
    pub folder: &'a Path,
    /// The program that `[self]` stands for when it names none.
    pub program: &'a Path,
    /// Nothing may be asked of any network.
    pub offline: bool,
    /// Who is told how far it is.
    pub watch: &'a dyn Watch,
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Another program failed.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The cache failed, or something had another digest.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file of this host.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An image.
    #[error("{} is no image that can be carried: {reason}", path.display())]
    Image {
        /// The archive.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What came is not what can be used.
    #[error("{0}")]
    Refused(String),
    /// Not in the cache, and the network may not be asked.
    #[error("{0} is not in the cache, and --offline forbids to fetch it")]
    Offline(String),
}

impl SourceError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Finds out what `want` stands for today, and fetches it.
pub(crate) fn resolve(want: &Want, day: Date, means: &Means<'_>) -> Result<Pin, SourceError> {
    if means.offline && !want.is_local() {
        return Err(SourceError::Offline(format!(
            "what {} stands for",
            want.label()
        )));
    }
    let mut pin = match want {
        Want::Oci(w) => match (&w.debian, &w.file) {
            (Some(debian), _) => debian::resolve(w, debian, day, means)?,
            (None, Some(file)) => oci::from_file(w, file, means)?,
            (None, None) => registry::resolve(w, means)?,
        },
        Want::Pypi(w) => pypi::resolve(w, means)?,
        Want::Action(w) => action::resolve(w, means)?,
        Want::Toolcache(w) => tool::resolve(w, means)?,
        Want::File(w) => plain::resolve(w, Item::File, means)?,
        Want::Doc(w) => plain::resolve(w, Item::Doc, means)?,
        Want::Own(w) => own::resolve(w, means)?,
    };
    pin.entry = want.label();
    pin.want = want.digest().to_string();
    pin.locked = day.to_string();
    pin.blobs.sort();
    pin.blobs.dedup();
    Ok(pin)
}

/// Fetches what `pin` names and the cache lacks.
pub(crate) fn fetch(want: &Want, pin: &Pin, means: &Means<'_>) -> Result<(), SourceError> {
    let missing = |blob: &&LockedBlob| !means.cache.has(&blob.d, blob.n);
    if !pin.blobs.iter().any(|blob| missing(&blob)) {
        return Ok(());
    }
    if means.offline && !want.is_local() {
        return Err(SourceError::Offline(format!("a part of {}", pin.entry)));
    }
    match want {
        Want::Oci(w) => match (&w.debian, &w.file) {
            (Some(debian), _) => debian::fetch(debian, pin, means)?,
            (None, Some(file)) => drop(oci::from_file(w, file, means)?),
            (None, None) => registry::fetch(w, pin, means)?,
        },
        Want::Pypi(w) => pypi::fetch(w, pin, means)?,
        Want::Action(w) => action::fetch(w, pin, means)?,
        Want::Toolcache(w) if w.file.is_some() => drop(tool::resolve(w, means)?),
        Want::Toolcache(w) => tool::fetch(w, pin, means)?,
        Want::File(w) => drop(plain::resolve(w, Item::File, means)?),
        Want::Doc(w) => drop(plain::resolve(w, Item::Doc, means)?),
        Want::Own(w) => drop(own::resolve(w, means)?),
    }
    match pin.blobs.iter().find(missing) {
        None => Ok(()),
        Some(blob) => Err(SourceError::Refused(format!(
            "{} gives other content than was locked ({} is missing); lock it again with --update",
            pin.entry, blob.d
        ))),
    }
}

pub use debian::debian_archive;
pub(crate) use pypi::normal;

fn blob(kept: Kept, media_type: &str) -> LockedBlob {
    LockedBlob {
        d: kept.digest,
        n: kept.size_bytes,
        m: media_type.to_owned(),
    }
}

/// `sha256:` and 64 hex digits, out of the digits alone.
fn digest(hex: &str) -> Result<Digest, SourceError> {
    format!("sha256:{hex}")
        .parse()
        .map_err(|e: vocab::DigestError| SourceError::Refused(e.to_string()))
}
