//! `cofferdam bundle`: one module for each side of the gap.

mod keys;
mod root;

use std::process::ExitCode;

use crate::cli::{Bundle, Global};

pub(super) fn run(global: &Global, verb: Bundle) -> anyhow::Result<ExitCode> {
    match verb {
        Bundle::Keys(verb) => keys::run(verb, global.json),
        Bundle::Root(verb) => root::run(verb, global.json),
    }
}
