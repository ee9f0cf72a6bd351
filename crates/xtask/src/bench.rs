//! The measurements.
use anyhow::Result;
use std::path::Path;
pub(crate) fn run(_root: &Path, _samples: usize, _only: Option<&str>) -> Result<()> {
    anyhow::bail!("not yet")
}
