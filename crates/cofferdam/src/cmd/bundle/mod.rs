//! `cofferdam bundle`: one module for each side of the gap.

mod carried;
mod connected;
mod custody;
mod import;
mod keys;
mod progress;
mod root;
mod show;
mod verify;

pub(super) use keys::{with_ending, write_new};

use std::process::ExitCode;

use crate::cli::{Bundle, Global};

pub(super) fn run(global: &Global, verb: Bundle) -> anyhow::Result<ExitCode> {
    match verb {
        Bundle::Connected(verb) => connected::run(global, verb),
        Bundle::Keys(verb) => keys::run(verb, global.json),
        Bundle::Root(verb) => root::run(verb, global.json),
        Bundle::Carried(verb) => carried::run(global, verb),
    }
}
