//! Makes the images of a generation usable: their layers are unpacked, verified and written down.
//!
//! Runs after an import was committed and again at each start, until nothing is left to do. One
//! image that cannot be unpacked does not keep the others back; the reason is kept for the jobs
//! that wait for it.

use audit::{Auditor, Entry, Kind, Who};
use bundle::Item;
use bundle::manifest::Oci;
use store::{Change, Store, StoreError};
use vocab::unix_ms;

use crate::import::{self, ImportError};
use crate::{GenerationId, Unpack, generation, sql};

/// How far the unpacking of a generation has come.
#[derive(Clone, Debug)]
pub struct Unpacking<'a> {
    /// The image that is being unpacked, as `name:tag`.
    pub image: &'a str,
    /// Its number, from 1.
    pub number: usize,
    /// How many images the generation has for this machine.
    pub of: usize,
}

/// What [`unpack_images`] did.
#[derive(Clone, Debug, Default)]
pub struct Unpacked {
    /// Images that can be used now and could not before, as `name:tag`.
    pub images: Vec<String>,
    /// What was left out of their layers, in words.
    pub notices: Vec<String>,
    /// Images that cannot be used, with the reason.
    pub failed: Vec<(String, String)>,
}

/// Unpacks every image of `generation` that is not unpacked yet, from blobs that are here. Long:
/// call it on a thread that may block.
///
/// Errors: when the database or the audit log refuses; an image that is refused is in
/// [`Unpacked::failed`] instead.
#[tracing::instrument(skip_all, fields(generation = generation.0))]
pub fn unpack_images(
    store: &Store,
    auditor: &Auditor,
    who: &Who,
    unpack: &dyn Unpack,
    generation: GenerationId,
    progress: &mut dyn FnMut(&Unpacking<'_>),
) -> Result<Unpacked, ImportError> {
    let items = store.read(|db| generation::items_of(db, generation, "oci"))?;
    let images: Vec<&Oci> = items
        .iter()
        .filter_map(|item| match item {
            Item::Oci(oci) if for_this_machine(oci) => Some(oci),
            _ => None,
        })
        .collect();
    let mut done = Unpacked::default();
    for (number, oci) in (1..).zip(&images) {
        if store.read(|db| sql::has_image(db, &oci.digest))? {
            continue;
        }
        let name = format!("{}:{}", oci.name, oci.tag);
        progress(&Unpacking {
            image: &name,
            number,
            of: images.len(),
        });
        match one(store, auditor, who, unpack, oci, &name) {
            Ok(notices) => {
                done.notices.extend(notices);
                done.images.push(name);
            }
            Err(error @ (ImportError::Store(_) | ImportError::Audit(_))) => return Err(error),
            Err(error) => {
                let reason = chain(&error);
                tracing::error!(image = name, reason, "an image could not be unpacked");
                let now_ms = unix_ms(auditor.now());
                store.write(|tx| {
                    tx.announce(Change::Images);
                    sql::generations::note_unpack_failure(tx, &oci.digest, &reason, now_ms)
                })?;
                done.failed.push((name, reason));
            }
        }
    }
    Ok(done)
}

/// Whether jobs of this appliance can run in it.
pub(crate) fn for_this_machine(oci: &Oci) -> bool {
    oci.platform == "linux/amd64"
}

fn one(
    store: &Store,
    auditor: &Auditor,
    who: &Who,
    unpack: &dyn Unpack,
    oci: &Oci,
    name: &str,
) -> Result<Vec<String>, ImportError> {
    let size = |digest: &vocab::Digest| {
        let facts = std::fs::metadata(store.blobs().path(digest)).ok()?;
        Some(facts.len())
    };
    let image = bundle::image_of_manifest(oci.digest, &size, &import::reads(store))?;
    let _alone = import::alone();
    if store.read(|db| sql::has_image(db, &oci.digest))? {
        // Somebody else had begun before.
        return Ok(Vec::new());
    }
    let landed = import::land(store, unpack, &image)?;
    let row = import::row(store, &image, unix_ms(auditor.now()));
    store.write(|tx| {
        let id = sql::insert(tx, &row, false)?;
        sql::generations::clear_unpack_failure(tx, &row.digest)?;
        let entry = Entry::success(Kind::ImageAdded)
            .object("image", id.tagged(), name)
            .detail("digest", row.digest.to_string())
            .detail("layers", row.layers.len())
            .detail("size_bytes", row.size_bytes);
        auditor.append(tx, who, entry)?;
        tx.announce(Change::Images);
        Ok::<_, ImportError>(())
    })?;
    Ok(landed.notices)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Whether the image of an item can be used now; if not, why, for whoever waits.
pub(crate) fn why_not(db: &store::Db, oci: &Oci) -> Result<String, StoreError> {
    let failure = sql::generations::unpack_failure(db, &oci.digest)?;
    let (name, tag) = (&oci.name, &oci.tag);
    Ok(match failure {
        Some(reason) => format!("image {name}:{tag} could not be unpacked: {reason}"),
        None => format!("image {name}:{tag} is being unpacked"),
    })
}
