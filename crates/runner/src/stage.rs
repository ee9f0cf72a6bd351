//! Files for the sandbox, gathered and sent as one archive: one round trip a step.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::SystemTime;

use rustix::fs::{MemfdFlags, SeekFrom};

/// An archive that is being gathered; names are relative to the folder it is unpacked in.
pub(crate) struct Stage {
    tar: tar::Builder<Vec<u8>>,
    mtime: u64,
    empty: bool,
}

impl Stage {
    pub(crate) fn new(now: SystemTime) -> Self {
        let mtime = u64::try_from(vocab::unix_ms(now) / 1000).unwrap_or(0);
        Self {
            tar: tar::Builder::new(Vec::new()),
            mtime,
            empty: true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }

    pub(crate) fn folder(&mut self, name: &str, mode: u32) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Directory, 0, mode);
        self.tar.append_data(&mut header, name, io::empty())
    }

    pub(crate) fn file(&mut self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let size = u64::try_from(bytes.len()).map_err(io::Error::other)?;
        let mut header = self.header(tar::EntryType::Regular, size, mode);
        self.tar.append_data(&mut header, name, bytes)
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Symlink, 0, 0o777);
        self.tar.append_link(&mut header, name, target)
    }

    fn header(&mut self, kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
        self.empty = false;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(self.mtime);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    /// The archive as a file in memory, at its start.
    pub(crate) fn seal(self) -> io::Result<OwnedFd> {
        let bytes = self.tar.into_inner()?;
        let fd = rustix::fs::memfd_create("stage", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(&bytes)?;
        rustix::fs::seek(&file, SeekFrom::Start(0))?;
        Ok(file.into())
    }
}
