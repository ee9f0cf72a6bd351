//! All queries of this crate.

pub(crate) mod bundles;
pub(crate) mod generations;
pub(crate) mod given;
pub(crate) mod keeping;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod testing;

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Row, params};
use store::{Db, StoreError};
use vocab::{Digest, ImageId};

use crate::images::{ImageRow, LayerRow};
use crate::tools::Tools;

const COLUMNS: &str = "id, digest, config_digest, architecture, env, user, working_dir, \
                       size_bytes, tools, imported_ms";

fn bad(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(|e| bad(column, e))
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.try_into().unwrap_or(0))
}

fn image(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        id: ImageId(row.get(0)?),
        digest: digest(row, 1)?,
        config_digest: digest(row, 2)?,
        names: Vec::new(),
        architecture: row.get(3)?,
        env: serde_json::from_str(&row.get::<_, String>(4)?).map_err(|e| bad(4, e))?,
        user: row.get(5)?,
        working_dir: row.get(6)?,
        size_bytes: count(row, 7)?,
        tools: serde_json::from_str::<Tools>(&row.get::<_, String>(8)?).map_err(|e| bad(8, e))?,
        imported_ms: row.get(9)?,
        layers: Vec::new(),
    })
}

fn complete(db: &Db, mut image: ImageRow) -> Result<ImageRow, StoreError> {
    image.names = db
        .prepare_cached("SELECT name FROM image_name WHERE image = ?1 ORDER BY named_ms, name")?
        .query_map([image.id.get()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    image.layers = db
        .prepare_cached(
            "SELECT diff_id, blob_digest, size_bytes FROM image_layer WHERE image = ?1
             ORDER BY position",
        )?
        .query_map([image.id.get()], |row| {
            Ok(LayerRow {
                diff_id: digest(row, 0)?,
                blob: digest(row, 1)?,
                size_bytes: count(row, 2)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(image)
}

pub(crate) fn images(db: &Db) -> Result<Vec<ImageRow>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM image WHERE by_hand = 1 ORDER BY imported_ms DESC, id DESC");
    let rows = db
        .prepare_cached(&sql)?
        .query_map([], image)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter().map(|row| complete(db, row)).collect()
}

pub(crate) fn resolve(db: &Db, name_or_digest: &str) -> Result<Option<ImageRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM image WHERE digest = ?1 AND by_hand = 1
         OR id = (SELECT image FROM image_name WHERE name = ?1)"
    );
    let row = db
        .prepare_cached(&sql)?
        .query_row([name_or_digest], image)
        .optional()?;
    row.map(|row| complete(db, row)).transpose()
}

/// The image of that manifest, whoever brought it.
pub(crate) fn image_of(db: &Db, manifest: &Digest) -> Result<Option<ImageRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM image WHERE digest = ?1");
    let row = db
        .prepare_cached(&sql)?
        .query_row([manifest.to_string()], image)
        .optional()?;
    row.map(|row| complete(db, row)).transpose()
}

/// Whether the image of that manifest can be used.
pub(crate) fn has_image(db: &Db, manifest: &Digest) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached("SELECT 1 FROM image WHERE digest = ?1")?
        .exists([manifest.to_string()])?)
}

/// Digests of every manifest whose image is unpacked, whoever brought it.
pub(crate) fn unpacked(db: &Db) -> Result<BTreeSet<Digest>, StoreError> {
    let mut select = db.prepare_cached("SELECT digest FROM image")?;
    let texts = select
        .query_map([], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    // Each was written from a digest.
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

pub(crate) fn first_image(db: &Db) -> Result<Option<ImageRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM image WHERE by_hand = 1 ORDER BY id LIMIT 1");
    let row = db.prepare_cached(&sql)?.query_row([], image).optional()?;
    row.map(|row| complete(db, row)).transpose()
}

pub(crate) fn newest_import_ms(db: &Db) -> Result<Option<i64>, StoreError> {
    Ok(db.query_row("SELECT max(imported_ms) FROM image", [], |row| row.get(0))?)
}

pub(crate) fn names(db: &Db) -> Result<Vec<String>, StoreError> {
    let mut names = db.prepare_cached("SELECT name FROM image_name ORDER BY name")?;
    let rows = names
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

/// Inserts an image and its layers, or finds the one of the same digest. What somebody imported
/// by hand stays so.
pub(crate) fn insert(db: &Db, new: &ImageRow, by_hand: bool) -> Result<ImageId, StoreError> {
    let known: Option<i64> = db
        .query_row(
            "SELECT id FROM image WHERE digest = ?1",
            [new.digest.to_string()],
            |r| r.get(0),
        )
        .optional()?;
    if let Some(id) = known {
        if by_hand {
            db.execute("UPDATE image SET by_hand = 1 WHERE id = ?1", [id])?;
        }
        return Ok(ImageId(id));
    }
    db.execute(
        "INSERT INTO image (digest, config_digest, architecture, env, user, working_dir,
         size_bytes, tools, imported_ms, by_hand)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            new.digest.to_string(),
            new.config_digest.to_string(),
            new.architecture,
            json(&new.env),
            new.user,
            new.working_dir,
            i64::try_from(new.size_bytes).unwrap_or(i64::MAX),
            json(&new.tools),
            new.imported_ms,
            by_hand,
        ],
    )?;
    let id = ImageId(db.last_insert_rowid());
    for (position, layer) in (0i64..).zip(&new.layers) {
        db.execute(
            "INSERT INTO image_layer (image, position, diff_id, blob_digest, size_bytes)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                id.get(),
                position,
                layer.diff_id.to_string(),
                layer.blob.to_string(),
                i64::try_from(layer.size_bytes).unwrap_or(i64::MAX),
            ],
        )?;
    }
    Ok(id)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own types have only text keys")
}

pub(crate) fn set_name(db: &Db, image: ImageId, name: &str, now_ms: i64) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO image_name (name, image, named_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET image = ?2, named_ms = ?3",
        params![name, image.get(), now_ms],
    )?;
    Ok(())
}

/// Removes what somebody imported by hand. While a retained generation has the same image, only
/// its names go.
pub(crate) fn delete(db: &Db, image: ImageId) -> rusqlite::Result<()> {
    db.execute("DELETE FROM image_name WHERE image = ?1", [image.get()])?;
    db.execute("UPDATE image SET by_hand = 0 WHERE id = ?1", [image.get()])?;
    forget_unneeded(db)
}

/// Manifests of the images of retained generations.
const IN_GENERATIONS: &str = "SELECT json_extract(i.body, '$.digest') FROM item i
     JOIN generation g ON g.id = i.generation AND g.retained = 1 WHERE i.kind = 'oci'";

/// Forgets images that no generation has any more and nobody imported by hand.
pub(crate) fn forget_unneeded(db: &Db) -> rusqlite::Result<()> {
    let sql = format!("DELETE FROM image WHERE by_hand = 0 AND digest NOT IN ({IN_GENERATIONS})");
    db.execute(&sql, [])?;
    Ok(())
}

/// Every digest that something needs: `(blobs, diff ids)`.
pub(crate) fn needed(db: &Db) -> Result<(Vec<Digest>, Vec<Digest>), StoreError> {
    let mut blobs = generations::needed_blobs(db)?;
    let mut diff_ids = Vec::new();
    let mut layers = db.prepare("SELECT blob_digest, diff_id FROM image_layer")?;
    let mut rows = layers.query([])?;
    while let Some(row) = rows.next()? {
        blobs.push(digest(row, 0)?);
        diff_ids.push(digest(row, 1)?);
    }
    let mut own = db.prepare("SELECT digest, config_digest FROM image")?;
    let mut rows = own.query([])?;
    while let Some(row) = rows.next()? {
        blobs.push(digest(row, 0)?);
        blobs.push(digest(row, 1)?);
    }
    Ok((blobs, diff_ids))
}
