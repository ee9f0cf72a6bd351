//! Runs one job over an executor; never sees the store.
//!
//! One call to `run` is one attempt on one operating-system thread: a sandbox is prepared,
//! the steps run in it, it is destroyed and searched, and a report with its receipt comes back.

pub mod executor;
pub mod receipt;

mod cancel;
mod commands;
mod encodings;
mod files;
mod lines;
mod mask;
mod observer;
mod order;
mod pyversion;
mod report;
mod source;

pub use cancel::Cancel;
pub use observer::{Annotation, Level, LineKind, Observer};
pub use order::{Grace, JobOrder, Secret};
pub use report::{JobReport, StepReport};
pub use source::{CheckedOut, CheckoutRequest, Source, SourceError};
