//! Where the shared suites lie.

use std::path::{Path, PathBuf};

/// The folder of the suites with `part` in it, or `None` where it is absent and may be.
pub(crate) fn folder(part: &str) -> Option<PathBuf> {
    let path = std::env::var_os("COFFERDAM_SUITES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"),
        PathBuf::from,
    );
    if path.join(part).is_dir() {
        return Some(path.join(part));
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "no suites at {}; set COFFERDAM_SUITES", path.display());
    eprintln!("skipped: no suites at {}", path.display());
    None
}
