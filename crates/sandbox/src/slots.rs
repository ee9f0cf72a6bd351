//! Slots: ranges of host ids, each held by one live jail on the whole host.
//!
//! A lock file per slot keeps two launchers of one host apart. Refuses ranges that some account
//! of the host has.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::spec::IDS_PER_SLOT;

/// The slots of one launcher.
#[derive(Debug)]
pub(crate) struct Slots {
    dir: PathBuf,
    base: u32,
    count: u32,
    /// Slots where something was left: never used again by this launcher.
    spoiled: Vec<u32>,
}

/// A slot in use; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    /// Host id of the jail's root.
    pub(crate) base: u32,
    _lock: File,
}

impl Slot {
    /// How many ids the jail's namespace has; the last one of the slot is init's alone, and the
    /// namespace does not have it.
    pub(crate) const MAPPED: u32 = IDS_PER_SLOT - 1;

    /// Host id of the init.
    pub(crate) fn warden(&self) -> u32 {
        self.base + Self::MAPPED
    }
}

impl Slots {
    pub(crate) fn new(state_dir: &Path, base: u32, count: u32) -> io::Result<Self> {
        let dir = state_dir.join("slots");
        std::fs::create_dir_all(&dir)?;
        Ok(Self {
            dir,
            base,
            count,
            spoiled: Vec::new(),
        })
    }

    /// Whether no live launcher holds the slot that begins at `base`; it stays held until the
    /// value is dropped.
    pub(crate) fn free(&self, base: u32) -> Option<File> {
        let path = self.dir.join(base.to_string());
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .ok()?;
        lock.try_lock().ok()?;
        Some(lock)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The first slot that no live launcher holds; none when all are held.
    pub(crate) fn take(&self) -> io::Result<Option<Slot>> {
        for number in (0..self.count).filter(|n| !self.spoiled.contains(n)) {
            let base = self.base + number * IDS_PER_SLOT;
            let path = self.dir.join(base.to_string());
            let lock = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(Some(Slot {
                        number,
                        base,
                        _lock: lock,
                    }));
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Ok(None)
    }

    pub(crate) fn spoil(&mut self, number: u32) {
        self.spoiled.push(number);
    }
}

/// Refuses ids that the host's accounts use: `passwd`, `group` and the ranges handed out in
/// `subuid` and `subgid` to others than `cofferdam`.
pub fn check_host(etc: &Path, base: u32, count: u32) -> Result<(), String> {
    let end = u64::from(base) + u64::from(count) * u64::from(IDS_PER_SLOT);
    if base < IDS_PER_SLOT || end > u64::from(u32::MAX) || count == 0 {
        return Err(format!(
            "{count} slots from id {base} are not a valid range of ids"
        ));
    }
    let read = |file: &str| std::fs::read_to_string(etc.join(file)).unwrap_or_default();
    let taken = |first: u64, length: u64| first < end && first + length > u64::from(base);
    for file in ["passwd", "group"] {
        for line in read(file).lines() {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            if let Some(id) = fields.nth(1).and_then(|id| id.parse::<u64>().ok())
                && taken(id, 1)
            {
                return Err(format!(
                    "id {id} of {name} in /etc/{file} lies in the sandbox's ids"
                ));
            }
        }
    }
    for file in ["subuid", "subgid"] {
        for line in read(file).lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, first, length] = fields[..]
                && name != "cofferdam"
                && let (Ok(first), Ok(length)) = (first.parse::<u64>(), length.parse::<u64>())
                && taken(first, length)
            {
                return Err(format!(
                    "the ids {first} to {} of {name} in /etc/{file} overlap the sandbox's; that \
                     user could signal jobs: give the sandbox another first id",
                    first + length - 1
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_a_host_user_has_is_refused() {
        let etc = tempfile::tempdir().unwrap();
        std::fs::write(etc.path().join("subuid"), "alice:100000:65536\n").unwrap();
        std::fs::write(etc.path().join("passwd"), "big:x:200000:0::/:/bin/sh\n").unwrap();
        let why = check_host(etc.path(), 131_072, 1).unwrap_err();
        assert!(why.contains("alice"), "{why}");
        let why = check_host(etc.path(), 196_608, 1).unwrap_err();
        assert!(why.contains("big"), "{why}");
        assert!(check_host(etc.path(), 0x7000_0000, 64).is_ok());
        assert!(check_host(etc.path(), 0, 1).is_err());
    }

    #[test]
    fn two_launchers_never_hold_one_slot() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (
            Slots::new(dir.path(), 0x7000_0000, 2).unwrap(),
            Slots::new(dir.path(), 0x7000_0000, 2).unwrap(),
        );
        let first = a.take().unwrap().unwrap();
        let second = b.take().unwrap().unwrap();
        assert_ne!(first.base, second.base);
        assert!(a.take().unwrap().is_none());
        drop(second);
        assert_eq!(a.take().unwrap().unwrap().number, 1);
    }
}
