//! Real git clients, and hostile ones, against the crate behind a small HTTP server.

mod ahead;
mod bundle_file;
mod carried;
mod clients;
mod collected;
mod hostile;
mod large;
mod many;
mod reading;
mod support;
mod trees;
