//! Small reads and writes of control files.

use std::io;
use std::path::Path;

/// Writes one value.
pub(super) fn put(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = dir.join(file);
    std::fs::write(&path, value).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("writing {value} to {}: {e}", path.display()),
        )
    })
}

/// Writes one value where the kernel has the file; whether it has.
pub(super) fn put_if_there(dir: &Path, file: &str, value: &str) -> io::Result<bool> {
    if !dir.join(file).exists() {
        return Ok(false);
    }
    put(dir, file, value).map(|()| true)
}

/// A file that holds one number; none when it is absent or says `max`.
pub(super) fn number(dir: &Path, file: &str) -> Option<u64> {
    std::fs::read_to_string(dir.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The number behind a word in a file of `word number` lines.
pub(super) fn keyed(dir: &Path, file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    text.lines().find_map(|line| {
        let (word, value) = line.split_once(' ')?;
        (word == key).then(|| value.trim().parse().ok())?
    })
}

/// Ends every process listed in the group.
pub(super) fn kill_listed(dir: &Path) -> io::Result<()> {
    let text = match std::fs::read_to_string(dir.join("cgroup.procs")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for pid in text
        .lines()
        .filter_map(|l| l.parse::<i32>().ok())
        .filter(|pid| *pid > 1)
    {
        crate::sys::kill(pid, libc::SIGKILL)?;
    }
    Ok(())
}
