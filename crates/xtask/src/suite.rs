//! Everything that must hold before a change lands, in the order of what is cheap first.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, has_program, in_ci, is_root, part, run, say};
use crate::{hosts, image, tidy, tools};

/// Runs all checks and tests, and with `with_hosts` the booted hosts before the tests. The test
/// runner's closing line is the last thing printed.
pub(crate) fn run_all(root: &Path, with_hosts: bool) -> Result<()> {
    check_rights()?;
    tools::ensure(tools::DEMO)?;
    tools::ensure(tools::TESTS)?;
    tools::ensure_nextest()?;
    part("formatting: cargo fmt --check", || {
        run(cargo(root).args(["fmt", "--all", "--check"]))
    })?;
    part("tidy: floors, headers, SQL homes, words", || {
        tidy::run(root)
    })?;
    deny(root)?;
    part("lints: cargo clippy, all targets, warnings denied", || {
        run(cargo(root)
            .args([
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--locked",
            ])
            .args(["--", "-D", "warnings"]))
    })?;
    if is_root() {
        image::ensure(root, None)?;
    }
    let hosts = if with_hosts {
        hosts::run(root, &[], None)
    } else {
        Ok(())
    };
    if let Err(error) = &hosts {
        say(&format!(
            "the booted hosts failed, the tests run nevertheless: {error:#}"
        ));
    }
    say("tests: unit, integration and end-to-end, under nextest");
    nextest(root)?;
    hosts
}

fn check_rights() -> Result<()> {
    if is_root() {
        return Ok(());
    }
    if in_ci() {
        bail!("the sandbox, image and power-cut tests need root; run this as root");
    }
    say("not root: the image is not built, and the tests that need root will fail and say so");
    Ok(())
}

fn deny(root: &Path) -> Result<()> {
    if !has_program("cargo-deny") {
        say("cargo-deny is not installed: licences, bans and sources are not checked here");
        return Ok(());
    }
    part("licences, bans, sources: cargo deny", || {
        run(cargo(root).args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
    })
}

fn nextest(root: &Path) -> Result<()> {
    let mut command: Command = cargo(root);
    command.args(["nextest", "run", "--workspace", "--locked"]);
    let status = command.status().context("cannot start cargo nextest")?;
    // Its own last line has already said what failed.
    std::process::exit(status.code().unwrap_or(1));
}
