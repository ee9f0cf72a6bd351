//! Which image a job's `runs-on` labels mean: inside one generation first, then among the images
//! that were imported by hand.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bundle::Item;
use bundle::manifest::Oci;
use store::{Db, StoreError};
use vocab::Digest;

use crate::images::{ImageRow, default_image, resolve};
use crate::unpack::{for_this_machine, why_not};
use crate::{GenerationId, generation, sql};

/// Labels that mean the first image unless the settings or a bundle say otherwise: what workflows
/// written for hosted runners ask for.
pub const COMMON_LABELS: [&str; 9] = [
    "ubuntu-latest",
    "ubuntu-24.04",
    "ubuntu-22.04",
    "debian-latest",
    "self-hosted",
    "linux",
    "x64",
    "cofferdam",
    "default",
];

/// Why no image serves some labels.
#[derive(Debug, thiserror::Error)]
pub enum NoImage {
    /// Nothing was imported yet.
    #[error(
        "no image has been imported yet; import a bundle that has one, or one image with `cofferdam image import FILE`"
    )]
    None,
    /// The settings name an image that is not here.
    #[error(
        "label '{label}' means image '{image}', which is not here; import it, or mend [labels] of config.toml"
    )]
    Missing {
        /// The label.
        label: String,
        /// What the settings say.
        image: String,
    },
    /// The image is here, and cannot be used yet.
    #[error("{0}")]
    Pending(String),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The labels that jobs may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Those whose image can be used now.
    pub labels: Vec<String>,
    /// Those whose image is not ready, each with the reason.
    pub pending: Vec<Pending>,
}

/// A label whose image is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The label.
    pub label: String,
    /// Why, in words.
    pub reason: String,
}

/// The image for `labels`: the first of them that the settings (`mapping`), the generation or an
/// image's name gives a meaning, else the image that was imported first by hand, else the first
/// one of the generation.
pub fn resolve_labels(
    db: &Db,
    mapping: &BTreeMap<String, String>,
    labels: &[String],
    generation: Option<GenerationId>,
) -> Result<ImageRow, NoImage> {
    match Shelf::look(db, generation)?.meaning(db, mapping, labels)? {
        Meaning::Carried(oci) => usable(db, oci),
        Meaning::ByHand(image) => Ok(*image),
    }
}

/// Every label that some image here serves, or will once it is unpacked.
///
/// Errors: `NoImage::None` when there is no image at all.
pub fn served_labels(
    db: &Db,
    mapping: &BTreeMap<String, String>,
    generation: Option<GenerationId>,
) -> Result<Served, NoImage> {
    let shelf = Shelf::look(db, generation)?;
    if shelf.images.is_empty() && default_image(db)?.is_none() {
        return Err(NoImage::None);
    }
    let mut all: Vec<String> = COMMON_LABELS.iter().map(|l| (*l).to_owned()).collect();
    all.extend(mapping.keys().cloned());
    all.extend(sql::names(db)?);
    for oci in &shelf.images {
        all.extend(oci.labels.iter().cloned());
        all.extend(names(oci));
    }
    all.sort();
    all.dedup();
    // Many labels mean one image, which is looked at once.
    let mut waits: BTreeMap<Digest, Option<String>> = BTreeMap::new();
    let mut served = Served::default();
    for label in all {
        let reason = match shelf.meaning(db, mapping, std::slice::from_ref(&label)) {
            Err(NoImage::Store(error)) => return Err(error.into()),
            Ok(Meaning::Carried(oci)) => match waits.entry(oci.digest) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => new.insert(waiting(db, oci)?).clone(),
            },
            // What the settings name and is not here fails with that reason once it is asked for.
            Ok(Meaning::ByHand(_)) | Err(_) => None,
        };
        match reason {
            Some(reason) => served.pending.push(Pending { label, reason }),
            None => served.labels.push(label),
        }
    }
    Ok(served)
}

/// What a label stands for.
enum Meaning<'a> {
    /// An image of the generation.
    Carried(&'a Oci),
    /// An image imported by hand.
    ByHand(Box<ImageRow>),
}

/// The images of one generation that can run here.
struct Shelf {
    images: Vec<Oci>,
}

impl Shelf {
    fn look(db: &Db, generation: Option<GenerationId>) -> Result<Self, StoreError> {
        let items = match generation {
            Some(generation) => generation::items_of(db, generation, "oci")?,
            None => Vec::new(),
        };
        let images = items.into_iter().filter_map(|item| match item {
            Item::Oci(oci) if for_this_machine(&oci) => Some(oci),
            _ => None,
        });
        Ok(Self {
            images: images.collect(),
        })
    }

    fn meaning(
        &self,
        db: &Db,
        mapping: &BTreeMap<String, String>,
        labels: &[String],
    ) -> Result<Meaning<'_>, NoImage> {
        let by_hand = |image| Meaning::ByHand(Box::new(image));
        for label in labels {
            if let Some(name) = mapping.get(label) {
                if let Some(oci) = self.named(name) {
                    return Ok(Meaning::Carried(oci));
                }
                return resolve(db, name)?
                    .map(by_hand)
                    .ok_or_else(|| NoImage::Missing {
                        label: label.clone(),
                        image: name.clone(),
                    });
            }
            let labelled = self
                .images
                .iter()
                .find(|oci| oci.labels.iter().any(|own| own.eq_ignore_ascii_case(label)));
            if let Some(oci) = labelled.or_else(|| self.named(label)) {
                return Ok(Meaning::Carried(oci));
            }
            if let Some(image) = resolve(db, label)? {
                return Ok(by_hand(image));
            }
        }
        if let Some(image) = default_image(db)? {
            return Ok(by_hand(image));
        }
        let first = self.images.iter().find(|oci| !oci.labels.is_empty());
        let first = first.or_else(|| self.images.first());
        first.map(Meaning::Carried).ok_or(NoImage::None)
    }

    /// The image that goes by `name`: in full, without its tag, or by the last part of its path.
    /// The fuller form wins.
    fn named(&self, name: &str) -> Option<&Oci> {
        (0..4).find_map(|form| {
            self.images
                .iter()
                .find(|oci| names(oci)[form].eq_ignore_ascii_case(name))
        })
    }
}

/// What an image goes by, the fullest form first.
fn names(oci: &Oci) -> [String; 4] {
    let last = oci.name.rsplit('/').next().unwrap_or(&oci.name);
    [
        format!("{}:{}", oci.name, oci.tag),
        oci.name.clone(),
        format!("{last}:{}", oci.tag),
        last.to_owned(),
    ]
}

/// Why an image of the generation cannot be used yet; `None` when it can.
fn waiting(db: &Db, oci: &Oci) -> Result<Option<String>, StoreError> {
    if sql::has_image(db, &oci.digest)? {
        Ok(None)
    } else {
        why_not(db, oci).map(Some)
    }
}

fn usable(db: &Db, oci: &Oci) -> Result<ImageRow, NoImage> {
    match sql::image_of(db, &oci.digest)? {
        Some(mut image) => {
            image.names = vec![format!("{}:{}", oci.name, oci.tag)];
            Ok(image)
        }
        None => Err(NoImage::Pending(why_not(db, oci)?)),
    }
}
