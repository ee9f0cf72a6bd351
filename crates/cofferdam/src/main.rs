//! The Cofferdam binary: flags, config, wiring. `main` is its table of contents.

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
mod site;
mod sse;
mod supplying;
mod tls;
mod upkeep;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A launcher or a sandbox's init is this same program started anew; it never returns here.
    sandbox::dispatch_reexec();
    let cli = cli::Cli::parse();
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
