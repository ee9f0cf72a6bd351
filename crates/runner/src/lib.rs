//! Runs one job over an executor; never sees the store.
//!
//! One call to [`run`] is one attempt on one operating-system thread: a sandbox is prepared, the
//! steps run in it, it is destroyed and searched, and a report with its receipt comes back. In
//! reading order: `order` (what comes in), `job` (from preparation to receipt), `steps`, `scope`
//! (what they see), `around` (what actions run before and after them), `script`, `handover`,
//! `process` (one program), `output` and `mask` (what it prints), `actions` (built-in ones,
//! carried ones, those of the workspace), `report` and `receipt` (what goes out).
//!
//! Refuses: actions that were not carried in, containers, other shells than those of the dialect. Invariant:
//! nothing reaches the observer that is not masked.

pub mod executor;
pub mod receipt;

mod account;
mod actions;
mod around;
mod cancel;
mod commands;
mod encodings;
mod environment;
mod files;
mod handover;
mod hashfiles;
mod job;
mod lines;
mod log;
mod mask;
mod observer;
mod order;
mod output;
mod process;
mod pyversion;
mod report;
mod scope;
mod script;
mod source;
mod stage;
mod steps;
mod supply;
#[cfg(test)]
mod testing;

pub use actions::is_built_in;
pub use cancel::Cancel;
pub use job::run;
pub use observer::{Annotation, Level, LineKind, Observer};
pub use order::{Grace, JobOrder, Secret};
pub use report::{JobReport, StepReport};
pub use source::{CheckedOut, CheckoutRequest, Source, SourceError};
pub use supply::{CarriedAction, Supply, SupplyFacts, ToolFacts, ToolPacking};
