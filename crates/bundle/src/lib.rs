//! Carried formats: bytes in, types out; no clock, no database, nothing unpacked to disk here.
//!
//! Images, as an OCI image layout or a docker-archive, each as one tar stream; and signed bundles:
//! manifest, volumes, keys, root statements, the verdict on a medium, slips. Refuses whatever
//! leaves its limits or lies about a digest.
//! Source: OCI image-spec 1.1, "image layout"; docker image spec 1.2, "combined image JSON";
//! docs/bundle-format.md.

mod archive;
mod check;
mod image;
mod item;
mod layer;
pub mod manifest;
pub mod pack;
mod refusal;
pub mod root;
mod sealed;
pub mod sign;
pub mod slip;
pub mod strict;
#[cfg(test)]
mod tests;
mod verdict;
mod version;
pub mod volume;

pub use archive::{Archive, ArchiveError, Limits, Sink, Stored, read_archive};
pub use image::{Image, ImageError, Layer, image_of, image_of_manifest};
pub use layer::{Compression, LayerError, LayerReader};
pub use manifest::{Item, Manifest};
pub use refusal::Refusal;
pub use sealed::{Sealed, open_plain};
pub use verdict::{
    Appliance, Judged, SEQ_JUMP_MAX, Signer, Trust, Verified, override_comment, trusted_comment,
};
pub use version::{Version, compare_content};
