//! Tasks of the project itself: checks, tests, builds, the demonstration, the measurements.

mod bench;
mod demo;
mod dist;
mod hosts;
mod image;
mod mirror;
mod mutations;
mod shell;
mod suite;
mod tidy;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the project itself")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, tidy, and every test with the end-to-end stories.
    Test {
        /// Before the tests, boot bare Debian machines and use the appliance on them.
        #[arg(long)]
        hosts: bool,
    },
    /// Check floors, headers, SQL homes and forbidden words; list what has grown big.
    Tidy,
    /// Build the static binary at target/dist/cofferdam.
    Dist,
    /// Build the Debian image that the tests and the demonstration use.
    Image,
    /// From nothing to a green, a red and again a green run.
    Demo {
        /// Stop at the end, and succeed only when everything went as told.
        #[arg(long)]
        exit: bool,
        /// Use this binary instead of building one.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Boot bare Debian machines, install on them from a stick, and use the appliance for real.
    Hosts {
        /// Only this release; repeat for several.
        #[arg(long = "suite", value_name = "NAME")]
        suites: Vec<String>,
        /// Install this binary instead of building one.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Change a signed bundle at random many times over and try to import each; none may be taken.
    Mutations {
        /// How many.
        #[arg(long, default_value_t = 100_000)]
        count: u64,
        /// What they are drawn from; the same gives the same ones.
        #[arg(long, default_value_t = 20_261_126)]
        seed: u64,
    },
    /// Measure against C git and other container runtimes; one table and JSON.
    Bench {
        /// Samples for each row; fewer for the slow ones.
        #[arg(long, default_value_t = 40)]
        samples: usize,
        /// Only the rows whose name contains this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Measure this binary instead of building one.
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let root = shell::workspace_root()?;
    match Arguments::parse().task {
        Task::Test { hosts } => suite::run_all(&root, hosts),
        Task::Tidy => tidy::run(&root),
        Task::Dist => dist::run_task(&root),
        Task::Image => image::ensure(&root, None).map(drop),
        Task::Demo { exit, binary } => demo::run(&root, exit, binary),
        Task::Hosts { suites, binary } => hosts::run(&root, &suites, binary),
        Task::Mutations { count, seed } => mutations::run_task(&root, count, seed),
        Task::Bench {
            samples,
            only,
            binary,
        } => bench::run(&root, samples, only.as_deref(), binary),
    }
}
