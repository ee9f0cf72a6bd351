//! The Cofferdam program as a library, so that another build of it can be made: flags, config,
//! wiring. [`run`] is its table of contents.

mod attesting;
mod cli;
mod client;
mod cmd;
mod config;
mod facilities;
mod housekeeping;
mod identity;
mod install;
mod intake;
mod local;
mod notify;
mod output;
mod privileges;
mod program;
mod scrubbing;
mod sealing;
mod site;
mod sse;
mod sshd;
mod supplying;
mod tls;
mod update;
mod upkeep;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use program::Program;

/// Does what the command line of this process says, as the build `program`.
pub fn run(program: Program) -> ExitCode {
    // A launcher or a sandbox's init is this same program started anew; it never returns here.
    sandbox::dispatch_reexec();
    program::set(program);
    let matches = cli::Cli::command().version(program.version).get_matches();
    let cli = cli::Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let json = cli.global.json;
    match cmd::run(cli) {
        Ok(code) => code,
        Err(error) => {
            if json {
                eprintln!("{}", serde_json::json!({ "error": format!("{error:#}") }));
            } else {
                eprintln!("cofferdam: {error:#}");
            }
            ExitCode::from(2)
        }
    }
}
