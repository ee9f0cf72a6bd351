//! Generations put in by hand, for tests of what serves them: no bundle, no signature.

mod stick;

pub use stick::{Load, Stick};

use std::sync::Arc;

use audit::Auditor;
use bundle::{Item, Manifest};
use store::{Store, StoreError};
use vocab::Digest;

use crate::bundles::{About, Intake};
use crate::{GenerationId, generation, sql};

/// An intake of an appliance that runs no jobs and unpacks nothing.
///
/// # Panics
/// When the disk refuses.
#[must_use]
pub fn intake(store: &Arc<Store>, auditor: &Auditor) -> Arc<Intake> {
    let about = About {
        name: "test".to_owned(),
        version: bundle::Version(0, 1, 0),
        arch: "amd64".to_owned(),
        built: "2026-11-01".to_owned(),
        two_persons: false,
    };
    let (after, pins) = (Box::new(|_: &_, _, _: &_| {}), Box::new(Vec::new));
    let made = Intake::new(store.clone(), auditor.clone(), about, after, pins);
    Arc::new(made.expect("a test's disk takes a key"))
}

/// A generation in the making.
#[derive(Default)]
pub struct Draft {
    items: Vec<Item>,
    sizes: Vec<(Digest, u64)>,
}

impl Draft {
    /// Keeps `bytes` as a blob of the generation.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn blob(&mut self, store: &Store, bytes: &[u8]) -> Digest {
        let (digest, size) = store
            .blobs()
            .put(bytes, None, u64::MAX)
            .expect("a test's disk takes a blob");
        self.sizes.push((digest, size));
        digest
    }

    /// Adds an item whose blobs were kept before.
    pub fn item(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Makes it the active generation, as bundle `seq` of channel `test`.
    ///
    /// Errors: when the database refuses.
    pub fn activate(self, store: &Store, seq: u64) -> Result<GenerationId, StoreError> {
        let manifest = manifest(seq, self.items);
        store.write(|tx| {
            let bundle = sql::testing::bundle(tx, seq)?;
            generation::insert(tx, bundle, &manifest, &self.sizes, 0)
        })
    }
}

fn manifest(seq: u64, mut items: Vec<Item>) -> Manifest {
    items.sort_by_key(Item::key);
    Manifest {
        cofferdam_bundle: 1,
        product: "lab".to_owned(),
        channel: "test".to_owned(),
        seq,
        content: "1".to_owned(),
        arch: vec!["amd64".to_owned()],
        created: "2026-01-01".to_owned(),
        not_after: "2027-01-01".to_owned(),
        security_epoch: 0,
        min_appliance: "0.1.0".to_owned(),
        rollback_of: None,
        audience: Vec::new(),
        root: 1,
        base: None,
        volumes: Vec::new(),
        sums_sha256: Digest::of(b"sums"),
        blobs: Vec::new(),
        items,
        removes: Vec::new(),
        replaces: std::collections::BTreeMap::new(),
        closure: bundle::manifest::Closure { blobs: 0, bytes: 0 },
        lock_sha256: Digest::of(b"lock"),
        notes: None,
    }
}
