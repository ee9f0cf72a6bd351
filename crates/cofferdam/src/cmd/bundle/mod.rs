//! `cofferdam bundle`: one module for each side of the gap.

mod connected;
mod keys;
mod progress;
mod root;

use std::process::ExitCode;

use crate::cli::{Bundle, Global};

pub(super) fn run(global: &Global, verb: Bundle) -> anyhow::Result<ExitCode> {
    match verb {
        Bundle::Connected(verb) => connected::run(global, verb),
        Bundle::Keys(verb) => keys::run(verb, global.json),
        Bundle::Root(verb) => root::run(verb, global.json),
    }
}
