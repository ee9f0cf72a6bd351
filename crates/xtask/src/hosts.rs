//! Booted hosts: whole Debian machines on their own kernels, with nothing on them, in which the
//! appliance is installed and used as its people would.
//!
//! The machines are emulated, so neither the processor's virtualisation nor a network is needed.

mod disks;
mod guards;
mod guest;
mod next;
mod sticks;
mod story;
mod update;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use vocab::Stopwatch;

use crate::shell::{is_root, say, speak_as};
use crate::tools;
use sticks::Sticks;

/// The releases of Debian that are booted.
pub(crate) const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// Runs the story on each of `suites`.
pub(crate) fn run(root: &Path, suites: &[String], binary: Option<PathBuf>) -> Result<()> {
    if !is_root() {
        bail!("the disks of the hosts are made as root; run this as root");
    }
    if let Some(odd) = suites
        .iter()
        .find(|suite| !SUITES.contains(&suite.as_str()))
    {
        bail!(
            "no host is made of Debian {odd}; there are {}",
            SUITES.join(" and ")
        );
    }
    let wanted = |suite: &&str| suites.is_empty() || suites.iter().any(|s| s == suite);
    let suites: Vec<&'static str> = SUITES.into_iter().filter(wanted).collect();
    tools::ensure(tools::DEMO)?;
    tools::ensure(tools::HOSTS)?;
    let disks = disks::Disks::ensure(root, &suites)?;
    let (program, candidate) = sticks::programs(root)?;
    let program = binary.unwrap_or(program);
    let sticks = Sticks::fill(root, &program, &candidate)?;
    // Side by side: each waits for its disk and its clock half of the time.
    std::thread::scope(|scope| {
        let hosts: Vec<_> = suites
            .iter()
            .map(|suite| scope.spawn(|| host(root, &disks, suite, &sticks)))
            .collect();
        let ends: Vec<Result<()>> = hosts
            .into_iter()
            .map(|host| {
                host.join()
                    .unwrap_or_else(|_| bail!("a host's story panicked"))
            })
            .collect();
        ends.into_iter().collect()
    })
}

/// One host's story, from boot to shutdown.
fn host(root: &Path, disks: &disks::Disks, suite: &'static str, sticks: &Sticks) -> Result<()> {
    speak_as(suite);
    let watch = Stopwatch::start();
    let told =
        story::tell(root, disks, suite, sticks).with_context(|| format!("Debian {suite}, booted"));
    match &told {
        Ok(()) => say(&format!(
            "all went as told, in {} s",
            watch.elapsed().as_secs()
        )),
        Err(error) => say(&format!("{error:#}")),
    }
    told
}

/// SHA-256 of a file, as `sha256sum` prints it.
fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}
