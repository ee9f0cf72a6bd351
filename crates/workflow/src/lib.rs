//! Workflow files: bytes in, types out. No clock, no network, no database.

mod expr;

pub use expr::*;
