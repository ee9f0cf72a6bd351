//! What a compiler does not check: floors, headers, homes of SQL, words that must not appear.

mod floors;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{read, say};

/// Checks all; prints each finding as `path:line: message` and fails when there is one.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = floors::check(root)?;
    let files = project_files(root)?;
    let mut grown = Vec::new();
    for path in &files {
        let Ok(text) = std::fs::read_to_string(root.join(path)) else {
            continue; // not text, or removed and not yet committed
        };
        findings.extend(sources::check(path, &text));
        grown.extend(sources::grown(path, &text));
    }
    if !grown.is_empty() {
        grown.sort_by_key(|(lines, _)| std::cmp::Reverse(*lines));
        say(&format!(
            "{} grown big; ask what second job moved in:",
            grown.len()
        ));
        for (lines, what) in grown.iter().take(12) {
            println!("    {lines:>5} lines  {what}");
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    bail!("tidy found {} things to mend", findings.len());
}

/// Every file that is or would be in the repository.
fn project_files(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = read(Command::new("git").current_dir(root).args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    Ok(listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}
