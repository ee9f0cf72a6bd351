//! Queries on bundles, trust and floors.

use std::collections::BTreeMap;

use bundle::Item;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use store::{Db, StoreError};
use vocab::Digest;

use super::{bad, digest};
use crate::GenerationId;
use crate::bundles::Floor;

fn whole(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The highest security epoch and the newest signed day.
pub(crate) fn head(db: &Db) -> Result<(u64, String), StoreError> {
    Ok(
        db.query_row("SELECT epoch, day FROM supply_head", [], |row| {
            Ok((whole(row.get(0)?), row.get(1)?))
        })?,
    )
}

/// Raises the newest signed day.
pub(crate) fn raise_day(db: &Db, day: &str) -> Result<(), StoreError> {
    db.execute("UPDATE supply_head SET day = max(day, ?1)", [day])?;
    Ok(())
}

pub(crate) fn newest_root(db: &Db) -> Result<Option<(u64, String)>, StoreError> {
    Ok(db
        .query_row(
            "SELECT number, body FROM root_statement ORDER BY number DESC LIMIT 1",
            [],
            |row| Ok((whole(row.get(0)?), row.get(1)?)),
        )
        .optional()?)
}

pub(crate) fn root(db: &Db, which: u64) -> Result<Option<String>, StoreError> {
    Ok(db
        .query_row(
            "SELECT body FROM root_statement WHERE number = ?1",
            [number(which)],
            |row| row.get(0),
        )
        .optional()?)
}

pub(crate) fn insert_root(
    db: &Db,
    which: u64,
    body: &str,
    signatures: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO root_statement (number, body, signatures, accepted_ms)
         VALUES (?1, ?2, ?3, ?4)",
        params![number(which), body, signatures, now_ms],
    )?;
    Ok(())
}

/// Every root statement: body, when it was accepted.
pub(crate) fn roots(db: &Db) -> Result<Vec<(String, i64)>, StoreError> {
    let mut found = db.prepare("SELECT body, accepted_ms FROM root_statement ORDER BY number")?;
    let rows = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A root statement: its number, its body, file name and text of each signature.
pub(crate) type RootFiles = (u64, String, Vec<(String, String)>);

/// Root statements up to a number.
pub(crate) fn root_chain(db: &Db, upto: u64) -> Result<Vec<RootFiles>, StoreError> {
    let mut found = db.prepare(
        "SELECT number, body, signatures FROM root_statement WHERE number <= ?1 ORDER BY number",
    )?;
    let rows = found.query_map([number(upto)], |row| {
        let signatures: String = row.get(2)?;
        let signatures = serde_json::from_str(&signatures).map_err(|e| bad(2, e))?;
        Ok((whole(row.get(0)?), row.get(1)?, signatures))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The floor of each `product/channel`, with the bundle that set it.
pub(crate) fn floors(db: &Db) -> Result<BTreeMap<String, Floor>, StoreError> {
    let mut found = db.prepare(
        "SELECT f.product || '/' || f.channel, f.seq, b.manifest FROM channel_floor f
         LEFT JOIN bundle b ON b.product = f.product AND b.channel = f.channel
         AND b.seq = f.seq AND b.committed_ms IS NOT NULL",
    )?;
    let rows = found.query_map([], |row| {
        let manifest: Option<String> = row.get(2)?;
        let manifest = manifest
            .map(|text| text.parse().map_err(|e| bad(2, e)))
            .transpose()?;
        let seq = whole(row.get(1)?);
        Ok((row.get(0)?, Floor { seq, manifest }))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn set_floor(db: &Db, product: &str, channel: &str, seq: u64) -> Result<(), StoreError> {
    db.execute(
        "INSERT INTO channel_floor (product, channel, seq) VALUES (?1, ?2, ?3)
         ON CONFLICT (product, channel) DO UPDATE SET seq = ?3",
        params![product, channel, number(seq)],
    )?;
    Ok(())
}

/// All items of a generation, by key.
pub(crate) fn items(db: &Db, generation: GenerationId) -> Result<Vec<Item>, StoreError> {
    let mut found =
        db.prepare_cached("SELECT body FROM item WHERE generation = ?1 ORDER BY key")?;
    let rows = found.query_map([generation.0], |row| {
        super::generations::parsed(&row.get::<_, String>(0)?)
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Every blob of a generation with its size.
pub(crate) fn generation_blobs(
    db: &Db,
    generation: GenerationId,
) -> Result<Vec<(Digest, u64)>, StoreError> {
    let mut found =
        db.prepare_cached("SELECT digest, size_bytes FROM generation_blob WHERE generation = ?1")?;
    let rows = found.query_map([generation.0], |row| {
        Ok((digest(row, 0)?, super::count(row, 1)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A bundle as it is written down here.
#[derive(Clone, Debug, Serialize)]
pub struct BundleRow {
    /// Its row.
    #[serde(skip)]
    pub id: i64,
    /// Product.
    pub product: String,
    /// Channel.
    pub channel: String,
    /// Number in the channel.
    pub seq: u64,
    /// Version of the content.
    pub content: String,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Who signed, and how.
    pub signed: Signed,
    /// Root statement in force.
    pub root: u64,
    /// Day on which it was locked.
    pub created: String,
    /// Last day on which it might be imported.
    pub not_after: String,
    /// Bytes of its volumes.
    pub size_bytes: u64,
    /// How many of them were lacking here.
    pub missing_bytes: u64,
    /// How far it came: `verified`, `staging`, `ready`, `committed` or `aborted`.
    pub state: String,
    /// When it was seen first, unix milliseconds UTC.
    pub seen_ms: i64,
    /// When it was committed last.
    pub committed_ms: Option<i64>,
    /// Who read it in, once it is ready: `u:17`, `uid:0`.
    pub staged_by: String,
}

/// Who signed a bundle: what is shown, and what proves it.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Signed {
    /// Who, by the root statement.
    pub signers: Vec<bundle::Signer>,
    /// What they signed beside the manifest.
    pub comment: String,
    /// Root keys that overrode the expiry.
    pub override_by: Vec<bundle::Signer>,
    /// File name and text of each signature, as they came.
    pub signatures: Vec<(String, String)>,
}

const COLUMNS: &str = "b.id, b.product, b.channel, b.seq, b.content, b.manifest, b.signers, \
                       b.root, b.created, b.not_after, b.size_bytes, b.missing_bytes, b.state, \
                       b.seen_ms, b.committed_ms, b.staged_by";

pub(crate) fn bundle_row(row: &Row<'_>) -> rusqlite::Result<BundleRow> {
    let signers: String = row.get(6)?;
    Ok(BundleRow {
        id: row.get(0)?,
        product: row.get(1)?,
        channel: row.get(2)?,
        seq: whole(row.get(3)?),
        content: row.get(4)?,
        manifest: digest(row, 5)?,
        signed: serde_json::from_str(&signers).map_err(|e| bad(6, e))?,
        root: whole(row.get(7)?),
        created: row.get(8)?,
        not_after: row.get(9)?,
        size_bytes: whole(row.get(10)?),
        missing_bytes: whole(row.get(11)?),
        state: row.get(12)?,
        seen_ms: row.get(13)?,
        committed_ms: row.get(14)?,
        staged_by: row.get(15)?,
    })
}

/// The bundle whose generation is active.
pub(crate) fn active_bundle(db: &Db) -> Result<Option<BundleRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM bundle b JOIN generation g ON g.bundle = b.id
         JOIN supply_head h ON h.generation = g.id"
    );
    Ok(db
        .prepare_cached(&sql)?
        .query_row([], bundle_row)
        .optional()?)
}

pub(crate) fn bundle_of(db: &Db, manifest: &Digest) -> Result<Option<BundleRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bundle b WHERE b.manifest = ?1");
    Ok(db
        .prepare_cached(&sql)?
        .query_row([manifest.to_string()], bundle_row)
        .optional()?)
}

/// The bundle of that row.
pub(crate) fn bundle_row_of(db: &Db, id: i64) -> Result<Option<BundleRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bundle b WHERE b.id = ?1");
    Ok(db
        .prepare_cached(&sql)?
        .query_row([id], bundle_row)
        .optional()?)
}

/// Bundles of that number, the one that was seen last first.
pub(crate) fn bundles_numbered(db: &Db, seq: u64) -> Result<Vec<BundleRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bundle b WHERE b.seq = ?1 ORDER BY b.id DESC");
    let mut found = db.prepare(&sql)?;
    let rows = found.query_map([number(seq)], bundle_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Every bundle that was verified here, in the order in which they were seen.
pub(crate) fn all_bundles(db: &Db) -> Result<Vec<BundleRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM bundle b ORDER BY b.id");
    let mut found = db.prepare(&sql)?;
    let rows = found.query_map([], bundle_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Bundles whose import began and did not end, newest first.
pub(crate) fn unfinished(db: &Db) -> Result<Vec<BundleRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM bundle b WHERE b.state IN ('verified', 'staging', 'ready')
         ORDER BY b.id DESC"
    );
    let mut found = db.prepare_cached(&sql)?;
    let rows = found.query_map([], bundle_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) struct NewBundle<'a> {
    pub(crate) manifest: &'a bundle::Manifest,
    pub(crate) digest: &'a Digest,
    pub(crate) signed: &'a Signed,
    pub(crate) root: u64,
    pub(crate) missing_bytes: u64,
    pub(crate) now_ms: i64,
}

/// Writes a bundle down as being staged; a row of the same manifest is taken up again.
pub(crate) fn begin(db: &Db, new: &NewBundle<'_>) -> Result<i64, StoreError> {
    let signers = serde_json::to_string(new.signed).expect("our own types have only text keys");
    let size: u64 = new.manifest.volumes.iter().map(|v| v.size).sum();
    let manifest = new.manifest;
    db.execute(
        "INSERT INTO bundle (product, channel, seq, content, manifest, signers, root, created,
         not_after, size_bytes, missing_bytes, state, seen_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 'staging', ?12)
         ON CONFLICT (manifest) DO UPDATE SET state = 'staging', signers = ?6, root = ?7",
        params![
            manifest.product,
            manifest.channel,
            number(manifest.seq),
            manifest.content,
            new.digest.to_string(),
            signers,
            number(new.root),
            manifest.created,
            manifest.not_after,
            number(size),
            number(new.missing_bytes),
            new.now_ms,
        ],
    )?;
    Ok(db.query_row(
        "SELECT id FROM bundle WHERE manifest = ?1",
        [new.digest.to_string()],
        |row| row.get(0),
    )?)
}

/// Everything of the bundle is here; `by` brought it so far.
pub(crate) fn ready(db: &Db, bundle: i64, by: &str) -> Result<(), StoreError> {
    db.execute(
        "UPDATE bundle SET state = 'ready', staged_by = ?2 WHERE id = ?1",
        params![bundle, by],
    )?;
    Ok(())
}

/// Adds to what was written for a bundle, and how long that took.
pub(crate) fn add_staged(db: &Db, bundle: i64, bytes: u64, ms: u64) -> Result<(), StoreError> {
    db.execute(
        "UPDATE bundle SET staged_bytes = staged_bytes + ?2, staged_ms = staged_ms + ?3
         WHERE id = ?1",
        params![bundle, number(bytes), number(ms)],
    )?;
    Ok(())
}

/// Bytes a second that the last few imports of some size were written with.
pub(crate) fn rate(db: &Db) -> Result<Option<u64>, StoreError> {
    let (bytes, ms): (i64, i64) = db.query_row(
        "SELECT coalesce(sum(staged_bytes), 0), coalesce(sum(staged_ms), 0) FROM
         (SELECT staged_bytes, staged_ms FROM bundle WHERE staged_bytes > 16000000
          ORDER BY id DESC LIMIT 5)",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok((ms > 0).then(|| whole(bytes) * 1000 / whole(ms)))
}

pub(crate) fn commit(db: &Db, bundle: i64, now_ms: i64) -> Result<(), StoreError> {
    db.execute(
        "UPDATE bundle SET state = 'committed', committed_ms = ?2 WHERE id = ?1",
        params![bundle, now_ms],
    )?;
    Ok(())
}

/// Gives up imports of a channel that a committed one has overtaken; their numbers.
pub(crate) fn give_up_older(
    db: &Db,
    product: &str,
    channel: &str,
    seq: u64,
) -> Result<Vec<u64>, StoreError> {
    let mut gone = db.prepare(
        "UPDATE bundle SET state = 'aborted' WHERE product = ?1 AND channel = ?2 AND seq <= ?3
         AND state IN ('verified', 'staging', 'ready') RETURNING seq",
    )?;
    let rows = gone.query_map(params![product, channel, number(seq)], |row| {
        Ok(whole(row.get(0)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One generation with its bundle.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationRow {
    /// Its number.
    pub generation: i64,
    /// What undo goes back to from it.
    pub parent: Option<i64>,
    /// Whether it is served now.
    pub active: bool,
    /// Whether its blobs are kept.
    pub retained: bool,
    /// Security epoch.
    pub epoch: u64,
    /// When it was made, unix milliseconds UTC.
    pub made_ms: i64,
    /// How many items it has, as long as it is kept.
    pub items: u64,
    /// The bundle that made it.
    pub bundle: BundleRow,
}

/// Every generation, newest first.
pub(crate) fn generations(db: &Db) -> Result<Vec<GenerationRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, g.id, g.parent, g.id = coalesce(h.generation, 0), g.retained, g.epoch,
         g.made_ms, (SELECT count(*) FROM item i WHERE i.generation = g.id)
         FROM generation g JOIN bundle b ON b.id = g.bundle JOIN supply_head h
         ORDER BY g.id DESC"
    );
    let mut found = db.prepare_cached(&sql)?;
    let rows = found.query_map([], |row| {
        Ok(GenerationRow {
            bundle: bundle_row(row)?,
            generation: row.get(16)?,
            parent: row.get(17)?,
            active: row.get(18)?,
            retained: row.get(19)?,
            epoch: whole(row.get(20)?),
            made_ms: row.get(21)?,
            items: whole(row.get(22)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
