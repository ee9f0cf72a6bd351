//! The lock that makes one process the only writer of a data directory.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Held for as long as the process may write; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Why a data directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "data directory {} is in use by process {holder}; stop that process, or talk to it \
         through its control socket", dir.display()
    )]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The process id it wrote into the lock file.
        holder: String,
    },
    /// The lock file could not be opened.
    #[error("cannot lock data directory {}; it must exist and be writable by this user", dir.display())]
    Io {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl DataLock {
    /// Takes the lock of `dir` or says who has it; never waits.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            dir: dir.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("lock"))
            .map_err(io)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(io)?;
            return Err(LockError::Held {
                dir: dir.to_owned(),
                holder: holder.trim().to_owned(),
            });
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it_and_a_stale_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataLock::take(dir.path()).unwrap();
        let told = DataLock::take(dir.path()).unwrap_err().to_string();
        assert!(told.contains(&std::process::id().to_string()), "{told}");
        drop(held);
        assert!(dir.path().join("lock").exists());
        DataLock::take(dir.path()).unwrap();
    }
}
