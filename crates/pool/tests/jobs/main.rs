//! Whole jobs in real sandboxes over this host's `/usr`: what a workflow says is what happens.
//!
//! Needs root; elsewhere each test says so and passes, except in CI, where that is a failure.

mod actions;
mod common;
mod ends;
mod executor;
mod images;
mod receipts;
mod steps;
