//! Runs one job over an executor; never sees the store.
//!
//! One call to [`run`] is one attempt on one operating-system thread: a sandbox is prepared, the
//! steps run in it, it is destroyed and searched, and a report with its receipt comes back. In
//! reading order: `order` (what comes in), `job` (from preparation to receipt), `steps`, `script`,
//! `handover`, `process` (one program), `output` and `mask` (what it prints), `actions` (built-in ones), `report` and
//! `receipt` (what goes out).
//!
//! Refuses: actions that are not built in, other shells than those of the dialect. Invariant:
//! nothing reaches the observer that is not masked.

pub mod executor;
pub mod receipt;

mod account;
mod actions;
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
pub use supply::{Supply, SupplyFacts, ToolFacts, ToolPacking};
