//! Which image a job's `runs-on` labels mean.

use std::collections::BTreeMap;

use store::{Db, StoreError};

use crate::images::{ImageRow, default_image, resolve};
use crate::sql;

/// Labels that mean the first image unless the settings say otherwise: what workflows written for
/// hosted runners ask for.
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
    #[error("no image has been imported yet; import one with `cofferdam image import FILE`")]
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
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The image for `labels`: the first of them that the settings (`mapping`) or an image's name
/// gives a meaning, else the image that was imported first.
pub fn resolve_labels(
    db: &Db,
    mapping: &BTreeMap<String, String>,
    labels: &[String],
) -> Result<ImageRow, NoImage> {
    for label in labels {
        if let Some(name) = mapping.get(label) {
            return resolve(db, name)?.ok_or_else(|| NoImage::Missing {
                label: label.clone(),
                image: name.clone(),
            });
        }
        if let Some(image) = resolve(db, label)? {
            return Ok(image);
        }
    }
    default_image(db)?.ok_or(NoImage::None)
}

/// Every label that some image here serves.
pub fn served_labels(
    db: &Db,
    mapping: &BTreeMap<String, String>,
) -> Result<Vec<String>, StoreError> {
    let mut labels: Vec<String> = COMMON_LABELS.iter().map(|l| (*l).to_owned()).collect();
    labels.extend(mapping.keys().cloned());
    labels.extend(sql::names(db)?);
    labels.sort();
    labels.dedup();
    Ok(labels)
}
