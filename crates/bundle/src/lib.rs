//! Carried formats: bytes in, types out; no clock, no database, nothing unpacked to disk here.
//!
//! Today: images, as an OCI image layout or a docker-archive, each as one tar stream. Signed
//! bundles will stand beside them. Refuses whatever leaves its limits or lies about a digest.
//! Source: OCI image-spec 1.1, "image layout"; docker image spec 1.2, "combined image JSON".

mod archive;
mod image;
mod layer;
pub mod manifest;
pub mod strict;

pub use archive::{Archive, ArchiveError, Limits, Sink, Stored, read_archive};
pub use image::{Image, ImageError, Layer, image_of, image_of_manifest};
pub use layer::{Compression, LayerError, LayerReader};
pub use manifest::{Item, Manifest};
