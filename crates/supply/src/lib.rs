//! The images that this appliance holds, and which of them serves a job's labels.
//!
//! Owns tables `image`, `image_layer`, `image_name` and the directory `DATA/layers/<diff id>`.
//! Never talks to a registry: what is not here is named as missing. Invariants: a row exists only
//! after its layers are unpacked, verified and durable; a name points at one digest.
//! Source: design/architecture.md, "On disk".

mod candidate;
pub mod generation;
mod images;
mod import;
mod labels;
mod name;
mod sql;
mod sweep;
#[cfg(test)]
mod tests;
mod tools;

pub use candidate::{Candidate, canary, candidate, epoch};
pub use generation::GenerationId;
pub use images::{ImageRow, LayerRow, default_image, images, newest_import_ms, remove, resolve};
pub use import::{ImportError, Imported, Unpack, import_image};
pub use labels::{COMMON_LABELS, NoImage, resolve_labels, served_labels};
pub use name::{ImageName, ImageNameError};
pub use sweep::{Swept, layer_dir, sweep};
pub use tools::{Interpreter, Tools};

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "supply",
    files: &[
        ("0001_images", include_str!("../migrations/0001_images.sql")),
        (
            "0002_bundles",
            include_str!("../migrations/0002_bundles.sql"),
        ),
    ],
};
