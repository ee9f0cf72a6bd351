//! Images as rows: finding, listing, removing.

use std::collections::BTreeSet;

use audit::{AppendError, Auditor, Entry, Kind, Who};
use serde::Serialize;
use store::{Change, Db, StoreError, Tx};
use vocab::{Digest, ImageId};

use crate::tools::Tools;
use crate::{ImageName, sql};

/// One image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageRow {
    /// Its id.
    pub id: ImageId,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Digest of its configuration.
    pub config_digest: Digest,
    /// Its names, oldest first; usually one.
    pub names: Vec<String>,
    /// Processor architecture.
    pub architecture: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Configured user, empty for root.
    pub user: String,
    /// Configured working directory, empty for `/`.
    pub working_dir: String,
    /// Its layers as they came.
    pub size_bytes: u64,
    /// What was found in it.
    pub tools: Tools,
    /// Unix milliseconds, UTC.
    pub imported_ms: i64,
    /// Lowest first.
    pub layers: Vec<LayerRow>,
}

impl ImageRow {
    /// The name to show: its first, else its digest.
    #[must_use]
    pub fn shown_name(&self) -> String {
        self.names
            .first()
            .cloned()
            .unwrap_or_else(|| self.digest.to_string())
    }
}

/// One layer of an image.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LayerRow {
    /// Digest of its tar, and the name of its directory.
    pub diff_id: Digest,
    /// The blob as it came.
    pub blob: Digest,
    /// That blob's size.
    pub size_bytes: u64,
}

/// All images, newest import first.
pub fn images(db: &Db) -> Result<Vec<ImageRow>, StoreError> {
    sql::images(db)
}

/// Digests of the manifests of all images that jobs can run in, whether a person or a bundle
/// brought them.
pub fn unpacked(db: &Db) -> Result<BTreeSet<Digest>, StoreError> {
    sql::unpacked(db)
}

/// The image of that name or digest.
pub fn resolve(db: &Db, name_or_digest: &str) -> Result<Option<ImageRow>, StoreError> {
    sql::resolve(db, name_or_digest)
}

/// The image that was imported first: what labels mean unless the settings say otherwise.
pub fn default_image(db: &Db) -> Result<Option<ImageRow>, StoreError> {
    sql::first_image(db)
}

/// When the newest import was, unix milliseconds UTC: the age of the supply.
pub fn newest_import_ms(db: &Db) -> Result<Option<i64>, StoreError> {
    sql::newest_import_ms(db)
}

/// Removes an image by name or digest. Its files go with the next [`crate::sweep`]; jobs that run
/// in it keep them until then.
pub fn remove(
    tx: &mut Tx<'_>,
    auditor: &Auditor,
    who: &Who,
    name_or_digest: &str,
) -> Result<Option<ImageRow>, AppendError> {
    let Some(image) = sql::resolve(tx, name_or_digest).map_err(database)? else {
        return Ok(None);
    };
    sql::delete(tx, image.id)?;
    let entry = Entry::success(Kind::ImageRemoved)
        .object("image", image.id.tagged(), image.shown_name())
        .detail("digest", image.digest.to_string());
    auditor.append(tx, who, entry)?;
    tx.announce(Change::Images);
    Ok(Some(image))
}

fn database(error: StoreError) -> AppendError {
    match error {
        StoreError::Sqlite(e) => AppendError::Database(e),
        other => AppendError::Database(rusqlite::Error::ToSqlConversionFailure(Box::new(other))),
    }
}

/// Names an image; the name moves when another image had it.
pub(crate) fn name(
    tx: &Tx<'_>,
    image: ImageId,
    name: &ImageName,
    now_ms: i64,
) -> Result<(), StoreError> {
    sql::set_name(tx, image, name.as_str(), now_ms)
}
