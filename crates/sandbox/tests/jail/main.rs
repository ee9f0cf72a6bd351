//! The sandbox proved from outside: each layer with a control run in which it is off.
//!
//! Needs root; elsewhere each test says so and passes, except in CI, where that is a failure.

mod basics;
mod common;
mod host;
mod keys;
mod layers;
mod limits;
mod proofs;
mod receipt;
mod teardown;
