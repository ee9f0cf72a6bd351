//! Queries on generations, items and wants.

use std::collections::BTreeMap;

use bundle::Item;
use rusqlite::{OptionalExtension, params};
use store::{Db, StoreError};
use vocab::{Digest, JobId};

use crate::generation::{GenerationId, Maker, WANTS_MAX, Want};

pub(crate) fn parsed(text: &str) -> rusqlite::Result<Item> {
    serde_json::from_str(text).map_err(|e| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e))
    })
}

pub(crate) fn active(db: &Db) -> Result<Option<GenerationId>, StoreError> {
    let id: Option<i64> =
        db.query_row("SELECT generation FROM supply_head", [], |row| row.get(0))?;
    Ok(id.map(GenerationId))
}

pub(crate) fn item(
    db: &Db,
    generation: GenerationId,
    key: &str,
) -> Result<Option<Item>, StoreError> {
    let body: Option<String> = db
        .prepare_cached("SELECT body FROM item WHERE generation = ?1 AND key = ?2")?
        .query_row(params![generation.0, key], |row| row.get(0))
        .optional()?;
    Ok(body.map(|text| parsed(&text)).transpose()?)
}

fn items(db: &Db, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Item>, StoreError> {
    let mut found = db.prepare_cached(sql)?;
    let rows = found.query_map(values, |row| parsed(&row.get::<_, String>(0)?))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn items_named(
    db: &Db,
    generation: GenerationId,
    kind: &str,
    name: &str,
) -> Result<Vec<Item>, StoreError> {
    items(
        db,
        "SELECT body FROM item WHERE generation = ?1 AND kind = ?2 AND name = ?3 ORDER BY key",
        params![generation.0, kind, name],
    )
}

pub(crate) fn items_of(
    db: &Db,
    generation: GenerationId,
    kind: &str,
) -> Result<Vec<Item>, StoreError> {
    items(
        db,
        "SELECT body FROM item WHERE generation = ?1 AND kind = ?2 ORDER BY key",
        params![generation.0, kind],
    )
}

/// By key: the oldest kept generation that has the same item.
pub(crate) fn since(
    db: &Db,
    generation: GenerationId,
) -> Result<BTreeMap<String, GenerationId>, StoreError> {
    let mut found = db.prepare_cached(
        "SELECT i.key, min(o.generation) FROM item i
         CROSS JOIN generation g CROSS JOIN item o
         ON o.generation = g.id AND o.key = i.key AND o.body = i.body
         WHERE i.generation = ?1 GROUP BY i.key",
    )?;
    let rows = found.query_map([generation.0], |row| {
        Ok((row.get(0)?, GenerationId(row.get(1)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn has_blob(
    db: &Db,
    generation: GenerationId,
    blob: &Digest,
) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached("SELECT 1 FROM generation_blob WHERE generation = ?1 AND digest = ?2")?
        .exists(params![generation.0, blob.to_string()])?)
}

pub(crate) fn insert_generation(
    db: &Db,
    bundle: i64,
    parent: Option<GenerationId>,
    epoch: u64,
    now_ms: i64,
) -> Result<GenerationId, StoreError> {
    db.execute(
        "INSERT INTO generation (bundle, parent, epoch, made_ms) VALUES (?1, ?2, ?3, ?4)",
        params![
            bundle,
            parent.map(|p| p.0),
            i64::try_from(epoch).unwrap_or(i64::MAX),
            now_ms
        ],
    )?;
    Ok(GenerationId(db.last_insert_rowid()))
}

pub(crate) fn insert_item(
    db: &Db,
    generation: GenerationId,
    item: &Item,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(item).expect("our own types have only text keys");
    let name = match item {
        Item::Oci(i) => &i.name,
        Item::Action(i) => &i.name,
        Item::Pypi(i) => &i.name,
        Item::Toolcache(i) => &i.name,
        Item::File(i) | Item::Doc(i) => &i.name,
        Item::Selfupdate(i) => &i.arch,
    };
    db.prepare_cached(
        "INSERT INTO item (generation, key, kind, name, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![generation.0, item.key(), item.kind(), name, body])?;
    Ok(())
}

pub(crate) fn insert_blob(
    db: &Db,
    generation: GenerationId,
    digest: &Digest,
    size_bytes: u64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO generation_blob (generation, digest, size_bytes)
         VALUES (?1, ?2, ?3)",
    )?
    .execute(params![
        generation.0,
        digest.to_string(),
        i64::try_from(size_bytes).unwrap_or(i64::MAX)
    ])?;
    Ok(())
}

pub(crate) fn activate(db: &Db, generation: GenerationId) -> Result<(), StoreError> {
    db.execute(
        "UPDATE supply_head SET generation = ?1,
         epoch = max(epoch, (SELECT epoch FROM generation WHERE id = ?1))",
        [generation.0],
    )?;
    Ok(())
}

/// The bundle of a generation in words, the digest of its manifest, and the generation's epoch.
pub(crate) fn origin(
    db: &Db,
    generation: GenerationId,
) -> Result<(String, String, u64), StoreError> {
    Ok(db.query_row(
        "SELECT b.product || ' ' || b.channel || ' ' || b.seq, b.manifest, g.epoch
         FROM generation g JOIN bundle b ON b.id = g.bundle WHERE g.id = ?1",
        [generation.0],
        |row| {
            let epoch: i64 = row.get(2)?;
            Ok((row.get(0)?, row.get(1)?, u64::try_from(epoch).unwrap_or(0)))
        },
    )?)
}

pub(crate) fn epoch(db: &Db) -> Result<u64, StoreError> {
    let epoch: i64 = db.query_row("SELECT epoch FROM supply_head", [], |row| row.get(0))?;
    Ok(u64::try_from(epoch).unwrap_or(0))
}

pub(crate) fn smallest_blob(
    db: &Db,
    generation: GenerationId,
) -> Result<Option<Digest>, StoreError> {
    let text: Option<String> = db
        .query_row(
            "SELECT digest FROM generation_blob WHERE generation = ?1
             ORDER BY size_bytes, digest LIMIT 1",
            [generation.0],
            |row| row.get(0),
        )
        .optional()?;
    Ok(text.and_then(|text| text.parse().ok()))
}

pub(crate) fn want(
    db: &Db,
    kind: &str,
    name: &str,
    asks: i64,
    job: Option<JobId>,
    now_ms: i64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO want (kind, name, asks, first_job, first_ms, last_ms)
         SELECT ?1, ?2, ?6, ?3, ?4, ?4
         WHERE (SELECT count(*) FROM want) < ?5
            OR EXISTS (SELECT 1 FROM want WHERE kind = ?1 AND name = ?2)
         ON CONFLICT (kind, name) DO UPDATE SET asks = asks + ?6, last_ms = ?4",
        params![kind, name, job.map(JobId::get), now_ms, WANTS_MAX, asks],
    )?;
    Ok(())
}

pub(crate) fn maker(db: &Db, generation: GenerationId) -> Result<Option<Maker>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT b.product, b.channel, b.seq, b.manifest FROM generation g
             JOIN bundle b ON b.id = g.bundle WHERE g.id = ?1",
        )?
        .query_row([generation.0], |row| {
            Ok(Maker {
                product: row.get(0)?,
                channel: row.get(1)?,
                seq: row.get(2)?,
                manifest: super::digest(row, 3)?,
            })
        })
        .optional()?;
    Ok(found)
}

pub(crate) fn blob_size(
    db: &Db,
    generation: GenerationId,
    blob: &Digest,
) -> Result<Option<u64>, StoreError> {
    let size = db
        .prepare_cached(
            "SELECT size_bytes FROM generation_blob WHERE generation = ?1 AND digest = ?2",
        )?
        .query_row(params![generation.0, blob.to_string()], |row| {
            super::count(row, 0)
        })
        .optional()?;
    Ok(size)
}

/// Every blob that a retained generation needs.
pub(crate) fn needed_blobs(db: &Db) -> Result<Vec<Digest>, StoreError> {
    let mut found = db.prepare(
        "SELECT DISTINCT digest FROM generation_blob b
         JOIN generation g ON g.id = b.generation AND g.retained = 1",
    )?;
    let rows = found.query_map([], |row| super::digest(row, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The items of one kind of every retained generation.
pub(crate) fn retained_items(db: &Db, kind: &str) -> Result<Vec<Item>, StoreError> {
    items(
        db,
        "SELECT DISTINCT body FROM item i
         JOIN generation g ON g.id = i.generation AND g.retained = 1 WHERE i.kind = ?1",
        [kind],
    )
}

pub(crate) fn note_unpack_failure(
    db: &Db,
    image: &Digest,
    reason: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO unpack_failure (digest, reason, failed_ms) VALUES (?1, ?2, ?3)
         ON CONFLICT (digest) DO UPDATE SET reason = ?2, failed_ms = ?3",
        params![image.to_string(), reason, now_ms],
    )?;
    Ok(())
}

pub(crate) fn clear_unpack_failure(db: &Db, image: &Digest) -> Result<(), StoreError> {
    db.execute(
        "DELETE FROM unpack_failure WHERE digest = ?1",
        [image.to_string()],
    )?;
    Ok(())
}

pub(crate) fn unpack_failure(db: &Db, image: &Digest) -> Result<Option<String>, StoreError> {
    Ok(db
        .prepare_cached("SELECT reason FROM unpack_failure WHERE digest = ?1")?
        .query_row([image.to_string()], |row| row.get(0))
        .optional()?)
}

pub(crate) fn wants(db: &Db) -> Result<Vec<Want>, StoreError> {
    let mut found = db.prepare_cached(
        "SELECT kind, name, asks, first_job, first_ms, last_ms FROM want
         ORDER BY asks DESC, kind, name",
    )?;
    let rows = found.query_map([], |row| {
        Ok(Want {
            kind: row.get(0)?,
            name: row.get(1)?,
            asks: row.get(2)?,
            first_job: row.get::<_, Option<i64>>(3)?.map(JobId),
            first_ms: row.get(4)?,
            last_ms: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
