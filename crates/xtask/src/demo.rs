//! The demonstration: from nothing to a green, a red and again a green run.
use anyhow::Result;
use std::path::{Path, PathBuf};
pub(crate) fn run(_root: &Path, _exit: bool, _binary: Option<PathBuf>) -> Result<()> {
    anyhow::bail!("not yet")
}
