//! A medium that cannot be trusted: a folder mounted read-only by FUSE which counts each byte that
//! it serves, changes what is read a second time, and can be pulled out at any byte.
//!
//! The kernel keeps nothing of it, so that each read arrives here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyOpen, Request, SessionACL,
};

use crate::Result;

const NOTHING: Duration = Duration::ZERO;
/// Serving is counted in blocks of this size.
const BLOCK: usize = 512;

struct File {
    name: String,
    bytes: Vec<u8>,
    /// How often each block was served.
    served: Vec<u32>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, File>,
    flips: bool,
    /// How many bytes are still served before it is pulled.
    left: Option<u64>,
    /// After how many bytes in all each read waits.
    hold_at: Option<u64>,
    held: bool,
    total: u64,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The medium and its mount.
pub struct Fickle {
    state: Arc<Shared>,
    folder: PathBuf,
    session: Option<BackgroundSession>,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fickle {
    /// Mounts the plain files of `source` at the existing folder `folder`. Needs root.
    pub fn mount(folder: &Path, source: &Path) -> Result<Self> {
        let mut state = State::default();
        let mut number = 2;
        for entry in std::fs::read_dir(source)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            let bytes = std::fs::read(entry.path())?;
            let served = vec![0; bytes.len().div_ceil(BLOCK)];
            let name = entry.file_name().to_string_lossy().into_owned();
            let file = File {
                name,
                bytes,
                served,
            };
            state.files.insert(number, file);
            number += 1;
        }
        let state = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("fickle".to_owned()), MountOption::RO];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(Mounted(Arc::clone(&state)), folder, &config)?;
        Ok(Self {
            state,
            folder: folder.to_owned(),
            session: Some(session),
        })
    }

    /// From now on each block that is read a second time is another one.
    pub fn flip_second_reads(&self) {
        lock(&self.state).flips = true;
    }

    /// Pulls the medium once so many more bytes were served: each later read fails with EIO.
    pub fn pull_after(&self, bytes: u64) {
        lock(&self.state).left = Some(bytes);
    }

    /// Plugs it in again.
    pub fn plug(&self) {
        lock(&self.state).left = None;
    }

    /// Lets each read wait once so many bytes were served in all, until [`Fickle::release`].
    pub fn hold_after(&self, bytes: u64) {
        lock(&self.state).hold_at = Some(bytes);
    }

    /// Waits until a read waits.
    pub fn wait_held(&self) {
        let state = lock(&self.state);
        let held = self.state.changed.wait_while(state, |state| !state.held);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets the reads go on.
    pub fn release(&self) {
        let mut state = lock(&self.state);
        (state.hold_at, state.held) = (None, false);
        self.state.changed.notify_all();
    }

    /// Lets the reads go on until so many more bytes were served, where each waits again.
    pub fn release_for(&self, bytes: u64) {
        let mut state = lock(&self.state);
        (state.hold_at, state.held) = (Some(state.total + bytes), false);
        self.state.changed.notify_all();
    }

    /// Bytes that were served so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        lock(&self.state).total
    }

    /// The most often that any block of a file was served whose name begins with `start`.
    #[must_use]
    pub fn most_often(&self, start: &str) -> u32 {
        let state = lock(&self.state);
        let files = state.files.values().filter(|f| f.name.starts_with(start));
        files
            .flat_map(|file| file.served.iter().copied())
            .max()
            .unwrap_or(0)
    }
}

impl Drop for Fickle {
    fn drop(&mut self) {
        // A read that is held would keep the mount, and whoever reads, forever.
        self.release();
        if self.session.take().is_some() {
            // Whoever still holds it may keep it mounted; a second unmount is refused, which is
            // as good.
            let detach = rustix::mount::UnmountFlags::DETACH;
            if rustix::mount::unmount(&self.folder, detach).is_ok() {
                eprintln!("{} was still in use", self.folder.display());
            }
        }
    }
}

struct Mounted(Arc<Shared>);

fn attributes(number: u64, size: usize) -> FileAttr {
    let folder = number == 1;
    FileAttr {
        ino: INodeNo(number),
        size: size as u64,
        blocks: (size as u64).div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if folder {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: if folder { 0o555 } else { 0o444 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl State {
    fn read(&mut self, number: u64, offset: u64, size: u32) -> std::result::Result<Vec<u8>, Errno> {
        let flips = self.flips;
        let file = self.files.get_mut(&number).ok_or(Errno::ENOENT)?;
        let begin = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(file.bytes.len());
        let end = begin.saturating_add(size as usize).min(file.bytes.len());
        let count = (end - begin) as u64;
        if let Some(left) = &mut self.left {
            if *left < count {
                *left = 0;
                return Err(Errno::EIO);
            }
            *left -= count;
        }
        self.total += count;
        let mut bytes = file.bytes[begin..end].to_vec();
        if begin < end {
            for block in begin / BLOCK..=(end - 1) / BLOCK {
                let served = &mut file.served[block];
                // A block counts once whoever reads the rest of it.
                let whole = begin <= block * BLOCK;
                if flips && *served > 0 && whole {
                    let at = (block * BLOCK).max(begin) - begin;
                    bytes[at] ^= 0xff;
                }
                *served += u32::from(whole);
            }
        }
        Ok(bytes)
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = lock(&self.0);
        let found = state.files.iter().find(|(_, f)| *f.name == *name);
        match found {
            Some((number, file)) => {
                let about = attributes(*number, file.bytes.len());
                reply.entry(&NOTHING, &about, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let state = lock(&self.0);
        let size = match state.files.get(&ino.0) {
            Some(file) => file.bytes.len(),
            None if ino.0 == 1 => 0,
            None => return reply.error(Errno::ENOENT),
        };
        reply.attr(&NOTHING, &attributes(ino.0, size));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut state = lock(&self.0);
        while state.hold_at.is_some_and(|at| state.total >= at) {
            state.held = true;
            self.0.changed.notify_all();
            let woken = self.0.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        match state.read(ino.0, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = lock(&self.0);
        let dots = [
            (1, FileType::Directory, "."),
            (1, FileType::Directory, ".."),
        ];
        let files = state
            .files
            .iter()
            .map(|(number, file)| (*number, FileType::RegularFile, file.name.as_str()));
        let all = dots.into_iter().chain(files);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (number, kind, name)) in (1u64..).zip(all).skip(from) {
            if reply.add(INodeNo(number), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
