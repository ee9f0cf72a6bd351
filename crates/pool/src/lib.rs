//! Turns queued jobs into running ones, on every executor.
//!
//! The dispatcher claims what fits a free slot; a thread for each job runs it by the `runner` and
//! writes down what it does. [`Embedded`] holds jobs in this host's own sandbox. Invariants: never
//! more jobs than slots; every claimed job ends with an outcome and a reason.
//! Source: design/architecture.md, "One push".

mod appliance;
mod carried;
mod config;
mod dispatcher;
mod embedded;
mod hold;
mod job;
mod provider;
mod recorder;
mod selftest;
mod source;
mod supplied;
mod unpack;

pub use appliance::{Appliance, Named, OpenRepo, secrets_named};
pub use config::PoolConfig;
pub use dispatcher::{Busy, Parts, Pool, Snapshot};
pub use embedded::{Embedded, SERVICE_PORT};
pub use hold::AfterHold;
pub use provider::{Held, JobEndpoint, JobSeat, Provider};
pub use selftest::SelfTest;
pub use source::RepoSource;
pub use unpack::LayerUnpacker;
