//! Makes bundles from recipes, on the connected side: resolves, locks, fetches, writes.
//!
//! Package registries are reached through their own clients as child processes. Refuses whatever
//! the lock does not name by digest. Invariant: a bundle's bytes are a function of the lock, the
//! trust root and the have slip. Source: docs/bundles.md.

mod build;
mod cache;
mod child;
mod lock;
mod plan;
pub mod recipe;
mod resolve;
mod source;
mod trust;
mod watch;

pub use build::{BuildError, BuildOptions, Built, Program, Wants, build, check_lock};
pub use cache::{Cache, CacheError};
pub use child::ChildError;
pub use lock::{Lock, LockError, LockedBlob, LockedFile, Pin};
pub use plan::{Kind, Need, Plan, PlanError, PlanOptions, plan};
pub use recipe::{Recipe, RecipeError};
pub use resolve::{Failure, LockOptions, Locked, RelockError, Update, lock};
pub use source::{Means, SourceError, debian_archive};
pub use trust::{Chain, TrustError};
pub use watch::{Silent, Watch};
