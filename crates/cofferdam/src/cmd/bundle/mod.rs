//! Bundle verbs, one module for each side.

mod connected;
mod progress;
mod prompt;

use std::process::ExitCode;

use crate::cli::{Bundle, Global};

pub(super) fn run(global: &Global, verb: Bundle) -> anyhow::Result<ExitCode> {
    match verb {
        Bundle::Connected(verb) => connected::run(global, verb),
    }
}
