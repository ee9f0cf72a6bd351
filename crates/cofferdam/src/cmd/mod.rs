//! One module for each group of verbs.

pub(crate) mod admin;
mod attest;
mod audit;
mod bundle;
mod checks;
mod image;
mod init;
mod keys;
mod launcher;
mod repo_files;
mod runs;
mod sbom;
mod serve;
mod tls;
mod try_run;
mod update;
mod workflow;

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, Verb};
use crate::client::Client;

/// How many jobs an appliance of the usual settings may ever run at a time on this host.
pub(crate) fn usual_slots() -> u32 {
    serve::launcher_settings(std::path::Path::new("/"), &crate::config::Config::default()).slots
}

/// Does what the command line says; the code is the process's own.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { global, verb } = cli;
    match verb {
        Verb::Install(args) => crate::install::run(&global, &args),
        Verb::Uninstall(args) => crate::install::uninstall(&global, &args),
        Verb::Init { name } => init::run(&global, name.as_deref()),
        Verb::Serve(args) => serve::run(&global, &args),
        Verb::Try(args) => try_run::run(&global, &args),
        Verb::Workflow(verb) => workflow::run(&global, verb),
        Verb::Launcher(args) => launcher::run(&global, &args),
        Verb::Tls(verb) => tls::run(&global, verb),
        Verb::Bundle(verb) => bundle::run(&global, verb),
        Verb::Doctor => checks::doctor(&global),
        Verb::Inspect => checks::inspect(&global),
        Verb::Fsck => checks::fsck(&global),
        Verb::Sbom { output, program } => sbom::run(&global, output.as_deref(), program),
        Verb::Update(verb) => update::run(&global, verb),
        Verb::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "cofferdam",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
        Verb::User(verb) => client(admin::user(
            &Client::from_flags(&global)?,
            verb,
            global.json,
        )),
        Verb::Token(verb) => client(admin::token(
            &Client::from_flags(&global)?,
            verb,
            global.json,
        )),
        Verb::Key(verb) => client(keys::of_user(
            &Client::from_flags(&global)?,
            verb,
            global.json,
        )),
        Verb::Repo(verb) => client(admin::repo(
            &Client::from_flags(&global)?,
            verb,
            global.json,
        )),
        Verb::Secret(verb) => client(admin::secret(
            &Client::from_flags(&global)?,
            verb,
            global.json,
        )),
        Verb::Queue => client(admin::queue(&Client::from_flags(&global)?, global.json)),
        Verb::Audit(args) => audit::run(&global, args),
        Verb::Image(verb) => client(image::run(&Client::from_flags(&global)?, verb, global.json)),
        Verb::Run(verb) => client(runs::run(&Client::from_flags(&global)?, verb, global.json)),
    }
}

/// Asks the appliance that the flags name, and waits for its answer.
fn ask<T>(
    global: &crate::cli::Global,
    work: impl AsyncFnOnce(&Client) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let client = Client::from_flags(global)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work(&client))
}

/// Runs one client verb to its end.
fn client(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}
