//! Evidence: what an appliance hands to those who need not trust it, and how they check it.
//!
//! Formats alone: the Merkle tree, its tiles, signed checkpoints, and the export with all that
//! proves it, and what is attested of each job. No clock, no database, no network; the side that
//! makes evidence stands in `audit` and `attest`.
//! Source: docs/audit.md; RFC 6962; C2SP tlog-tiles, tlog-checkpoint and signed-note.

pub mod archive;
pub mod attestation;
pub mod checkpoint;
pub mod dsse;
pub mod manifest;
pub mod note;
pub mod proof;
pub mod report;
pub mod sbom;
pub mod tiles;
pub mod tlog_proof;
pub mod tree;
pub mod verify;
pub mod witness;
