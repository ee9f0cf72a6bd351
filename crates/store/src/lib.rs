//! SQLite with one writer, and content-addressed blobs beside it.
//!
//! Owns `DATA/cofferdam.db`, `DATA/blobs/` and `DATA/lock`. Other crates bring their own tables
//! (as [`Migrations`]) and their own queries. Invariants: one process holds a data directory at
//! a time; a transaction that was committed is on the disk (`synchronous=FULL`); after a failed
//! commit or fsync nothing more is written until a restart has looked at the disk afresh.
//! Source: design/architecture.md, "Invariants" and "On disk".

mod blobs;
mod changes;
mod database;
mod group;
mod lock;
mod migrate;
mod sql;
mod staging;

pub use blobs::{BlobError, Blobs, blob_path, put_private, sync_dir};
pub use changes::Change;
pub use database::{Glance, Store, StoreError, StoreOptions, Tx};
pub use lock::{DataLock, LockError};
pub use migrate::{Applied, MigrateError, Migrations, Schema};
/// What query functions take: a plain connection, which both a [`Tx`] and a reader lend.
pub use rusqlite::Connection as Db;
pub use staging::{Batch, Part, Unsettled};
