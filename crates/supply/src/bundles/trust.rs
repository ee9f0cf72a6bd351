//! Whom this appliance believes: the fingerprint from the paper, and the statements that followed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use audit::{Auditor, Entry, Kind, Who};
use bundle::Trust;
use bundle::root::Root;
use store::{Db, Store, Tx};
use vocab::Digest;

use super::{BundleError, floors};
use crate::sql::bundles as sql;

fn path(data: &Path) -> PathBuf {
    data.join("trust").join("fingerprint")
}

/// The fingerprint that was pinned, if one was.
pub fn fingerprint(data: &Path) -> Result<Option<Digest>, BundleError> {
    let path = path(data);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(BundleError::io(&path))?,
    };
    let digest = format!("sha256:{}", text.trim()).parse();
    digest.map(Some).map_err(|e| BundleError::Io {
        path,
        source: io::Error::new(io::ErrorKind::InvalidData, e),
    })
}

/// Writes the fingerprint of root statement 1 into the data directory `data`, before anything
/// was accepted there: what an installer does.
pub fn write_fingerprint(data: &Path, fingerprint: &Digest) -> Result<(), BundleError> {
    let path = path(data);
    let text = format!("{}\n", fingerprint.hex());
    floors::replace(&path, text.as_bytes()).map_err(BundleError::io(&path))
}

/// Pins the fingerprint of root statement 1. Once that statement was accepted, only the same one
/// is taken, which changes nothing.
pub fn pin(
    store: &Store,
    auditor: &Auditor,
    who: &Who,
    digest: &Digest,
) -> Result<(), BundleError> {
    let before = fingerprint(store.dir())?;
    if before.as_ref() == Some(digest) {
        return Ok(());
    }
    store.write(|tx| {
        if let Some(first) = sql::root(tx, 1)? {
            return Err(BundleError::TrustFixed {
                pinned: Digest::of(first.as_bytes()).hex(),
            });
        }
        let entry = Entry::success(Kind::KeyRootRotated)
            .object("root", "root:1".to_owned(), "pinned")
            .detail("fingerprint", digest.hex())
            .detail("before", before.map_or_else(String::new, |d| d.hex()));
        auditor.append(tx, who, entry)?;
        write_fingerprint(store.dir(), digest)
    })
}

/// What a medium is verified against.
pub(super) fn current(db: &Db, data: &Path) -> Result<Trust, BundleError> {
    if let Some((_, body)) = sql::newest_root(db)? {
        return Ok(Trust::Root(Box::new(Root::kept(body.into_bytes())?)));
    }
    fingerprint(data)?
        .map(Trust::Pinned)
        .ok_or(BundleError::NoTrust)
}

/// A root statement that was accepted here.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it says.
    pub root: Root,
    /// When it was accepted, unix milliseconds UTC.
    pub accepted_ms: i64,
}

/// Every root statement that was accepted, oldest first; the last is in force.
pub fn statements(db: &Db) -> Result<Vec<Kept>, BundleError> {
    sql::roots(db)?
        .into_iter()
        .map(|(body, accepted_ms)| {
            Ok(Kept {
                root: Root::kept(body.into_bytes())?,
                accepted_ms,
            })
        })
        .collect()
}

/// Keeps the statements that a medium brought, and says what they change.
pub(super) fn accept(
    tx: &mut Tx<'_>,
    auditor: &Auditor,
    who: &Who,
    new: &[(Root, bundle::root::SealedRoot)],
    now_ms: i64,
) -> Result<(), BundleError> {
    for (root, sealed) in new {
        let statement = root.statement();
        let before = sql::newest_root(tx)?
            .map(|(_, body)| Root::kept(body.into_bytes()))
            .transpose()?;
        let body = String::from_utf8_lossy(root.bytes()).into_owned();
        let signatures =
            serde_json::to_string(&sealed.signatures).expect("our own types have only text keys");
        sql::insert_root(tx, root.number(), &body, &signatures, now_ms)?;
        let name = format!("statement {}", root.number());
        let object = |entry: Entry| entry.object("root", format!("root:{}", root.number()), &name);
        let entry = Entry::success(Kind::KeyRootRotated)
            .detail("fingerprint", root.fingerprint().hex())
            .detail("root_threshold", statement.root.threshold)
            .detail("release_threshold", statement.release.threshold);
        auditor.append(tx, who, object(entry))?;
        for key in &statement.release.keys {
            let known = before.as_ref().map(|b| &b.statement().release);
            if known.is_none_or(|role| role.find(&key.id).is_none()) {
                let entry = Entry::success(Kind::KeyReleaseAdded)
                    .detail("key", key.id.as_str())
                    .detail("name", key.name.as_str());
                auditor.append(tx, who, object(entry))?;
            }
        }
        for key in &statement.revoked {
            let known = before.as_ref().map(|b| &b.statement().revoked);
            if known.is_none_or(|list| !list.contains(key)) {
                let entry = Entry::success(Kind::KeyReleaseRevoked).detail("key", key.as_str());
                auditor.append(tx, who, object(entry))?;
            }
        }
        for (channel, seq) in &statement.floor_reset {
            sql::set_floor(tx, &statement.site, channel, *seq)?;
        }
    }
    Ok(())
}

/// The floors once `new` statements have been accepted over `floors`.
pub(super) fn floors_after(floors: &mut floors::Floors, new: &[(Root, bundle::root::SealedRoot)]) {
    for (root, _) in new {
        floors.root = floors.root.max(root.number());
        for (channel, seq) in &root.statement().floor_reset {
            let floor = floors::Floor {
                seq: *seq,
                manifest: None,
            };
            floors.set(&root.statement().site, channel, floor);
        }
    }
}
