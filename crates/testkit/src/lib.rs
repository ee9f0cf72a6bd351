//! Helpers for tests only: the real binary as a child, real git, plain HTTP, a browser, a
//! docker daemon, and a file system that forgets what was never synced.

pub mod appliance;
pub mod browser;
pub mod docker;
pub mod fickle;
pub mod forgetful;
pub mod git;
pub mod http;
mod noise;
pub mod program;

pub use noise::noise;

/// What a helper gives: any failure ends the test with its words.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
