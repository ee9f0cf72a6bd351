//! `cofferdam launcher`: the launcher as a service of its own, for an appliance that has no rights.
//!
//! Runs as root in one thread; serves only the user that owns the data directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{Global, Launcher};
use crate::config::Config;
use crate::notify::Manager;

/// Where, beside its socket, the launcher leaves what it found out about this host.
pub(super) const FINDINGS: &str = "findings.json";

pub(super) fn run(global: &Global, args: &Launcher) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("the launcher makes sandboxes, which takes root; start it as root");
    }
    let data = global
        .data
        .canonicalize()
        .with_context(|| format!("cannot find the data directory {}", global.data.display()))?;
    let owner = fs::metadata(&data)
        .with_context(|| format!("cannot read {}", data.display()))?
        .uid();
    let settings = super::serve::launcher_settings(&data, &Config::load(&data)?);
    let folder = args.socket.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let findings = serde_json::to_vec(&sandbox::probe(&settings))?;
    let path = folder.join(FINDINGS);
    fs::write(&path, findings).with_context(|| format!("cannot write {}", path.display()))?;
    let ready = || Manager::of_environment().ready();
    sandbox::listen(&settings, &args.socket, owner, ready)
        .with_context(|| format!("the launcher at {} ended", args.socket.display()))?;
    Ok(ExitCode::SUCCESS)
}
