//! Booted hosts: whole Debian machines on their own kernels, with nothing on them, in which the
//! appliance is installed and used as its people would.
//!
//! The machines are emulated, so neither the processor's virtualisation nor a network is needed.

mod disks;
mod guest;
mod story;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use vocab::Stopwatch;

use crate::shell::{is_root, part, say};
use crate::{dist, image, tools};

/// The releases of Debian that are booted.
pub(crate) const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// Runs the story on each of `suites`.
pub(crate) fn run(root: &Path, suites: &[String], binary: Option<PathBuf>) -> Result<()> {
    if !is_root() {
        bail!("the disks of the hosts are made as root; run this as root");
    }
    let suites: Vec<&str> = match suites {
        [] => SUITES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    if let Some(odd) = suites.iter().find(|suite| !SUITES.contains(suite)) {
        bail!(
            "no host is made of Debian {odd}; there are {}",
            SUITES.join(" and ")
        );
    }
    tools::ensure(tools::DEMO)?;
    tools::ensure(tools::HOSTS)?;
    let binary = match binary {
        Some(path) => path,
        None => dist::build(root, "release")?,
    };
    let image = image::ensure(root, Some(&binary))?;
    let disks = disks::Disks::ensure(root, &suites)?;
    for suite in suites {
        let watch = Stopwatch::start();
        part(&format!("Debian {suite}, booted"), || {
            story::tell(root, &disks, suite, &binary, &image)
        })?;
        say(&format!(
            "Debian {suite}: all went as told, in {} s",
            watch.elapsed().as_secs()
        ));
    }
    Ok(())
}

/// SHA-256 of a file, as `sha256sum` prints it.
fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex::encode(Sha256::digest(bytes)))
}
