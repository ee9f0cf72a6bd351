//! The images that this appliance holds, and which of them serves a job's labels.
//!
//! Owns tables `image`, `image_layer`, `image_name`, `job_given`, those of bundles and generations, and the
//! directories `DATA/layers/<diff id>` and `DATA/actions`. Never talks to a registry: what is not here is named as missing. Invariants: a row exists only
//! after its layers are unpacked, verified and durable; a name points at one digest.
//! Source: design/architecture.md, "On disk".

mod actions;
pub mod bundles;
mod candidate;
pub mod generation;
mod given;
mod images;
mod import;
mod inventory;
mod labels;
mod leases;
mod name;
mod sql;
mod sweep;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tools;
mod unpack;
mod wants;

pub use actions::{
    ActionError, Actions, LocalFile, MAX_DEPTH, Pinned, Resolution, Sought, Trouble, local_action,
};
pub use candidate::{Candidate, canary, candidate, epoch};
pub use generation::GenerationId;
pub use given::{GIVEN_MAX, Given, Noted, given, given_to};
pub use images::{
    ImageRow, LayerRow, default_image, images, newest_import_ms, remove, resolve, unpacked,
};
pub use import::{ImportError, Imported, Unpack, import_image};
pub use inventory::served as inventory;
pub use labels::{COMMON_LABELS, NoImage, Pending, Served, resolve_labels, served_labels};
pub use leases::{Lease, Leases};
pub use name::{ImageName, ImageNameError};
pub use sweep::{Swept, action_dir, layer_dir, sweep};
pub use tools::{Interpreter, Tools};
pub use unpack::{Unpacked, Unpacking, unpack_images};
pub use wants::Wants;

/// The tables of this crate.
pub const MIGRATIONS: store::Migrations = store::Migrations {
    owner: "supply",
    files: &[
        ("0001_images", include_str!("../migrations/0001_images.sql")),
        (
            "0002_bundles",
            include_str!("../migrations/0002_bundles.sql"),
        ),
        (
            "0003_unpacked",
            include_str!("../migrations/0003_unpacked.sql"),
        ),
        ("0004_import", include_str!("../migrations/0004_import.sql")),
        ("0005_given", include_str!("../migrations/0005_given.sql")),
    ],
};
