//! The slips that are carried out: what this appliance has, and what it lacks, signed by its key.
//!
//! Digests, counters and names under the slip's rules, nothing else: what breaks them is left out.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use audit::{Entry, Kind, Who};
use bundle::Item;
use bundle::sign::{self, PublicKey, SecretKey};
use bundle::slip::{self, Have, LogState, Need, SLIP_MAX_BYTES, Slip, Wanted};
use evidence::witness::Growing;
use serde::Serialize;
use store::sync_dir;
use vocab::Digest;

use super::intake::Intake;
use super::{BundleError, gate};
use crate::generation;
use crate::sql::{bundles as sql, keeping};

/// The appliance's own key, which signs its slips. It stands in `DATA/keys`.
#[derive(Debug)]
pub struct SlipKey {
    secret: SecretKey,
    public: PublicKey,
}

/// A slip that was written.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The whole file.
    pub text: String,
    /// Digest of its document: what a delta names as its base.
    pub sha256: Digest,
    /// How many blobs, or wanted names, it lists.
    pub entries: usize,
}

impl SlipKey {
    /// Opens the key in the folder `keys`, or makes it.
    pub fn open_or_create(keys: &Path) -> Result<Self, BundleError> {
        let path = keys.join("slip.key");
        let broken = |e: &dyn std::fmt::Display| BundleError::Key {
            path: path.clone(),
            reason: e.to_string(),
        };
        let text = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (public, secret) = sign::generate(None).map_err(|e| broken(&e))?;
                write(&keys.join("slip.pub"), &public.to_file(), 0o644)
                    .and_then(|()| write(&path, &secret, 0o600))
                    .and_then(|()| sync_dir(keys))
                    .map_err(BundleError::io(&path))?;
                secret
            }
            text => text.map_err(BundleError::io(&path))?,
        };
        let secret = SecretKey::open(&text, None).map_err(|e| broken(&e))?;
        let public = secret.public().map_err(|e| broken(&e))?;
        Ok(Self { secret, public })
    }

    /// The half that the connected side checks slips with.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// How many entries a checkpoint is about.
fn size(note: &str) -> Option<u64> {
    note.lines().nth(1)?.parse().ok()
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

impl Intake {
    /// What this appliance has, for a delta; with the state of its audit log, for a witness.
    pub fn have(&self, who: &Who, log: Option<Growing>) -> Result<Written, BundleError> {
        let log_size = log.as_ref().and_then(|log| size(&log.note));
        let (active, items, root) = self.store.read(|db| {
            let items = match generation::active(db)? {
                Some(active) => sql::items(db, active)?,
                None => Vec::new(),
            };
            let root = sql::newest_root(db)?.map_or(0, |(number, _)| number);
            Ok::<_, store::StoreError>((sql::active_bundle(db)?, items, root))
        })?;
        let mut pins: Vec<(String, String)> = items.iter().flat_map(Item::pins).collect();
        pins.sort();
        let blobs = self.store.blobs();
        let here = blobs.list().map_err(BundleError::io(blobs.dir()))?;
        let mut here: Vec<String> = here.iter().map(Digest::hex).collect();
        here.sort();
        let mut have = Have {
            cofferdam_have: 1,
            appliance: self.about.name.clone(),
            version: self.about.version.to_string(),
            arch: self.about.arch.clone(),
            day: gate::day(self.auditor.now()),
            product: active.as_ref().map_or(String::new(), |b| b.product.clone()),
            channel: active.as_ref().map_or(String::new(), |b| b.channel.clone()),
            seq: active.as_ref().map_or(0, |b| b.seq),
            root,
            free_bytes: self.free_bytes()?,
            manifest: active.map(|b| b.manifest),
            pins,
            keys: items.iter().map(Item::key).collect(),
            log: log.map(|log| LogState {
                note: log.note,
                growth: log.growth.into_iter().map(|g| (g.from, g.hashes)).collect(),
            }),
            blobs: here,
        };
        let entries = have.blobs.len();
        let about = (entries, log_size);
        self.write_slip(&mut have, who, about, |have| {
            // What is left out is only carried again.
            let kept = have.blobs.len() / 2;
            have.blobs.truncate(kept);
            kept > 0
        })
    }

    /// What this appliance lacks: names that jobs asked for, blobs that are damaged.
    pub fn need(&self, who: &Who) -> Result<Written, BundleError> {
        let (wants, damaged, seq) = self.store.read(|db| {
            let seq = sql::active_bundle(db)?.map_or(0, |b| b.seq);
            Ok::<_, store::StoreError>((generation::wants(db)?, keeping::damaged(db)?, seq))
        })?;
        let wants: Vec<Wanted> = wants
            .into_iter()
            .map(|want| Wanted {
                kind: want.kind,
                name: want.name,
                asks: u64::try_from(want.asks).unwrap_or(0),
            })
            .filter(Wanted::is_fine)
            .collect();
        let repair = !damaged.is_empty();
        let mut need = Need {
            cofferdam_need: 1,
            appliance: self.about.name.clone(),
            day: gate::day(self.auditor.now()),
            seq,
            wants,
            damaged: damaged.into_iter().collect(),
        };
        let entries = need.wants.len() + need.damaged.len();
        if repair {
            let count = need.damaged.len();
            self.store.write(|tx| {
                let entry = Entry::success(Kind::BundleRepairRequested).detail("blobs", count);
                self.auditor.append(tx, who, entry)?;
                Ok::<_, BundleError>(())
            })?;
        }
        self.write_slip(&mut need, who, (entries, None), |need| {
            let kept = need.wants.len() / 2;
            need.wants.truncate(kept);
            kept > 0
        })
    }

    /// Signs a slip, shortening it until it fits, and tells of it.
    fn write_slip<S: Slip>(
        &self,
        slip: &mut S,
        who: &Who,
        (entries, log_size): (usize, Option<u64>),
        shorten: impl Fn(&mut S) -> bool,
    ) -> Result<Written, BundleError> {
        let text = loop {
            let text = slip::seal(slip, &self.key.secret).map_err(|e| BundleError::Key {
                path: self.store.dir().join("keys/slip.key"),
                reason: e.to_string(),
            })?;
            if text.len() as u64 <= SLIP_MAX_BYTES {
                break text;
            }
            if !shorten(slip) {
                let limit_bytes = SLIP_MAX_BYTES;
                return Err(BundleError::SlipTooLarge { limit_bytes });
            }
        };
        // It must be readable by its own rules before anybody carries it.
        let (_, sha256) = slip::open::<S>(text.as_bytes(), Some(&self.key.public))?;
        self.store.write(|tx| {
            let mut entry = Entry::success(Kind::SlipExported)
                .object("slip", format!("slip:{}", sha256.hex()), S::WHAT)
                .detail("entries", entries)
                .detail("size_bytes", text.len());
            if let Some(size) = log_size {
                entry = entry.detail("log_size", size);
            }
            self.auditor.append(tx, who, entry)?;
            Ok::<_, BundleError>(())
        })?;
        Ok(Written {
            text,
            sha256,
            entries,
        })
    }

    /// The key that its slips are signed with.
    #[must_use]
    pub fn slip_key(&self) -> &PublicKey {
        self.key.public()
    }
}
