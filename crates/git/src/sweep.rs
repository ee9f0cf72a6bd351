//! Removing what a process that died left in a repository: locks, quarantines, temporary files.
//!
//! Only for a caller that holds the data directory's lock: nobody else may be writing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::receive::QUARANTINE_PREFIX;

/// Removes every leftover in the bare repository at `dir`; the paths removed.
///
/// A stale lock would make every later push to its ref fail. Packs without an index, which no
/// reader sees, go too.
pub fn sweep(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for name in [
        "HEAD.lock",
        "packed-refs.lock",
        "config.lock",
        "packed-refs.new",
    ] {
        remove_file(dir.join(name), &mut removed)?;
    }
    sweep_locks(&dir.join("refs"), &mut removed)?;
    for entry in list(&dir.join("objects"))? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(QUARANTINE_PREFIX) || name.starts_with("tmp_") {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
            removed.push(entry.path());
        }
    }
    for entry in list(&dir.join("objects/pack"))? {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let temporary = name.starts_with("tmp_") || name.ends_with(".lock");
        let orphan = name.ends_with(".pack") && !path.with_extension("idx").exists();
        if temporary || orphan {
            remove_file(path, &mut removed)?;
        }
    }
    Ok(removed)
}

fn sweep_locks(dir: &Path, removed: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in list(dir)? {
        if entry.file_type()?.is_dir() {
            sweep_locks(&entry.path(), removed)?;
        } else if entry.file_name().to_string_lossy().ends_with(".lock") {
            remove_file(entry.path(), removed)?;
        }
    }
    Ok(())
}

fn list(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn remove_file(path: PathBuf, removed: &mut Vec<PathBuf>) -> io::Result<()> {
    match fs::remove_file(&path) {
        Ok(()) => {
            removed.push(path);
            Ok(())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_go_and_data_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for sub in [
            "refs/heads/a",
            "objects/pack",
            "objects/tmp_objdir-incoming-1-0",
        ] {
            fs::create_dir_all(at.join(sub)).unwrap();
        }
        let junk = [
            "refs/heads/a/x.lock",
            "packed-refs.lock",
            "objects/tmp_objdir-incoming-1-0/incoming.pack",
            "objects/pack/tmp_pack_x",
            "objects/pack/pack-2.pack",
        ];
        let data = [
            "refs/heads/a/x",
            "packed-refs",
            "objects/pack/pack-1.pack",
            "objects/pack/pack-1.idx",
        ];
        for path in junk.iter().chain(&data) {
            fs::write(at.join(path), "").unwrap();
        }
        assert_eq!(sweep(at).unwrap().len(), 5);
        assert!(junk.iter().all(|p| !at.join(p).exists()));
        assert!(data.iter().all(|p| at.join(p).exists()));
        assert!(sweep(at).unwrap().is_empty());
    }
}
