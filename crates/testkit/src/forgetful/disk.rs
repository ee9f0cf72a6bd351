//! Contents and names of one disk, each live and durable, and the switch for its power.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::SystemTime;

use fuser::{Errno, FileAttr, FileType, INodeNo};
use vocab::{Clock, Entropy};

use super::names::{Names, Number};

/// The top folder.
pub(super) const ROOT: Number = 1;

/// What happens at a cut to that which was not synced.
#[derive(Clone, Copy, Debug)]
pub enum Keep {
    /// All of it is lost.
    Nothing,
    /// The first few name changes stay, and of each file a prefix of its writes, chosen by this
    /// seed: what a disk may have written back by itself.
    Some(u64),
}

#[derive(Debug)]
enum Write {
    Bytes { at: usize, bytes: Vec<u8> },
    Size(usize),
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Bytes { at, bytes } => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Size(size) => content.resize(*size, 0),
        }
    }
}

#[derive(Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Debug)]
struct Node {
    kind: FileType,
    mode: u16,
    uid: u32,
    gid: u32,
    links: u32,
    changed: SystemTime,
    content: Content,
}

/// One disk.
#[derive(Debug)]
pub(super) struct Disk {
    clock: Clock,
    nodes: BTreeMap<Number, Node>,
    names: Names,
    next: Number,
    off: bool,
    cut_in: Option<u64>,
    changes: u64,
    syncs: u64,
    power_ups: u64,
}

/// Who makes a file, with which mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maker {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

type Answer<T> = Result<T, Errno>;

impl Disk {
    pub(super) fn empty() -> Self {
        let clock = Clock::system();
        let maker = Maker {
            uid: 0,
            gid: 0,
            mode: 0o755,
        };
        let root = node(FileType::Directory, maker, clock.now());
        Self {
            clock,
            nodes: BTreeMap::from([(ROOT, root)]),
            names: Names::with_root(ROOT),
            next: ROOT + 1,
            off: false,
            cut_in: None,
            changes: 0,
            syncs: 0,
            power_ups: 0,
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.off
    }

    /// How often the power came back.
    pub(super) fn power_ups(&self) -> u64 {
        self.power_ups
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        (self.changes, self.syncs)
    }

    pub(super) fn cut_after(&mut self, changes: u64) {
        self.cut_in = Some(changes);
    }

    pub(super) fn power_off(&mut self) {
        self.off = true;
    }

    pub(super) fn settle(&mut self) {
        for node in self.nodes.values_mut() {
            for write in node.content.unsynced.drain(..) {
                write.apply(&mut node.content.durable);
            }
        }
        self.names.settle();
    }

    pub(super) fn power_up(&mut self, keep: Keep) {
        let chance = match keep {
            Keep::Nothing => None,
            Keep::Some(seed) => Some(Entropy::scripted(seed)),
        };
        let some_of = |count: usize| {
            let Some(chance) = &chance else { return 0 };
            usize::from(u16::from_le_bytes(chance.bytes())) % (count + 1)
        };
        for node in self.nodes.values_mut() {
            let kept = some_of(node.content.unsynced.len());
            for write in node.content.unsynced.drain(..).take(kept) {
                write.apply(&mut node.content.durable);
            }
            node.content.live.clone_from(&node.content.durable);
        }
        let kept = some_of(self.names.unsynced());
        let reached = self.names.forget(ROOT, kept);
        self.nodes.retain(|number, _| reached.contains(number));
        self.off = false;
        self.cut_in = None;
        self.power_ups += 1;
    }

    /// Fails when the power is off.
    fn powered(&self) -> Answer<()> {
        if self.off { Err(Errno::EIO) } else { Ok(()) }
    }

    /// Counts one change; the one after the last allowed finds the power off.
    fn count_change(&mut self) -> Answer<()> {
        self.powered()?;
        if let Some(left) = &mut self.cut_in {
            if *left == 0 {
                self.off = true;
                return Err(Errno::EIO);
            }
            *left -= 1;
        }
        self.changes += 1;
        Ok(())
    }

    fn node(&self, number: Number) -> Answer<&Node> {
        self.powered()?;
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    fn node_mut(&mut self, number: Number) -> Answer<&mut Node> {
        self.powered()?;
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn attributes(&self, number: Number) -> Answer<FileAttr> {
        let node = self.node(number)?;
        let size = node.content.live.len() as u64;
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: node.changed,
            mtime: node.changed,
            ctime: node.changed,
            crtime: node.changed,
            kind: node.kind,
            perm: node.mode,
            nlink: node.links,
            uid: node.uid,
            gid: node.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    pub(super) fn lookup(&self, folder: Number, name: &OsStr) -> Answer<FileAttr> {
        self.powered()?;
        self.attributes(self.names.get(folder, name).ok_or(Errno::ENOENT)?)
    }

    pub(super) fn list(
        &self,
        folder: Number,
    ) -> Answer<Vec<(Number, FileType, std::ffi::OsString)>> {
        self.powered()?;
        let names = self.names.list(folder).ok_or(Errno::ENOTDIR)?;
        let kind = |number| {
            self.nodes
                .get(&number)
                .map_or(FileType::RegularFile, |n| n.kind)
        };
        Ok(names
            .into_iter()
            .map(|(name, number)| (number, kind(number), name))
            .collect())
    }

    pub(super) fn make(
        &mut self,
        folder: Number,
        name: &OsStr,
        kind: FileType,
        maker: Maker,
    ) -> Answer<FileAttr> {
        self.count_change()?;
        if self.names.get(folder, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let number = self.next;
        self.next += 1;
        self.nodes
            .insert(number, node(kind, maker, self.clock.now()));
        if kind == FileType::Directory {
            self.names.add_folder(number);
        }
        self.names.set(folder, name, Some(number));
        self.attributes(number)
    }

    /// Sets the target of a symbolic link, durable with its name as on real disks.
    pub(super) fn set_target(&mut self, number: Number, target: &[u8]) -> Answer<FileAttr> {
        let content = &mut self.node_mut(number)?.content;
        content.live = target.to_vec();
        content.durable = target.to_vec();
        self.attributes(number)
    }

    pub(super) fn link(
        &mut self,
        number: Number,
        folder: Number,
        name: &OsStr,
    ) -> Answer<FileAttr> {
        self.count_change()?;
        if self.names.get(folder, name).is_some() {
            return Err(Errno::EEXIST);
        }
        self.node_mut(number)?.links += 1;
        self.names.set(folder, name, Some(number));
        self.attributes(number)
    }

    pub(super) fn remove(&mut self, folder: Number, name: &OsStr, is_folder: bool) -> Answer<()> {
        self.count_change()?;
        let number = self.names.get(folder, name).ok_or(Errno::ENOENT)?;
        if is_folder && !self.names.is_empty(number) {
            return Err(Errno::ENOTEMPTY);
        }
        let node = self.node_mut(number)?;
        node.links = node.links.saturating_sub(1);
        self.names.set(folder, name, None);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (Number, &OsStr), to: (Number, &OsStr)) -> Answer<()> {
        self.count_change()?;
        let number = self.names.get(from.0, from.1).ok_or(Errno::ENOENT)?;
        if let Some(old) = self.names.get(to.0, to.1) {
            if self.node(old)?.kind == FileType::Directory && !self.names.is_empty(old) {
                return Err(Errno::ENOTEMPTY);
            }
            let node = self.node_mut(old)?;
            node.links = node.links.saturating_sub(1);
        }
        self.names.rename(from, to, number);
        Ok(())
    }

    pub(super) fn exists(&self, folder: Number, name: &OsStr) -> bool {
        self.names.get(folder, name).is_some()
    }

    pub(super) fn read(&self, number: Number, at: u64, size: u32) -> Answer<&[u8]> {
        let live = &self.node(number)?.content.live;
        let start = usize::try_from(at)
            .map_err(|_| Errno::EINVAL)?
            .min(live.len());
        let end = start
            .saturating_add(usize::try_from(size).unwrap_or(0))
            .min(live.len());
        Ok(&live[start..end])
    }

    pub(super) fn write(&mut self, number: Number, at: u64, bytes: &[u8]) -> Answer<()> {
        self.count_change()?;
        let at = usize::try_from(at).map_err(|_| Errno::EINVAL)?;
        self.record(
            number,
            Write::Bytes {
                at,
                bytes: bytes.to_vec(),
            },
        )
    }

    pub(super) fn resize(&mut self, number: Number, size: u64) -> Answer<()> {
        self.count_change()?;
        let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
        self.record(number, Write::Size(size))
    }

    fn record(&mut self, number: Number, write: Write) -> Answer<()> {
        let now = self.clock.now();
        let node = self.node_mut(number)?;
        write.apply(&mut node.content.live);
        node.content.unsynced.push(write);
        node.changed = now;
        Ok(())
    }

    pub(super) fn set_owner(
        &mut self,
        number: Number,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Answer<()> {
        let node = self.node_mut(number)?;
        if let Some(mode) = mode {
            node.mode = permissions(mode);
        }
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        Ok(())
    }

    pub(super) fn sync_content(&mut self, number: Number) -> Answer<()> {
        self.count_change()?;
        self.syncs += 1;
        let content = &mut self.node_mut(number)?.content;
        for write in content.unsynced.drain(..) {
            write.apply(&mut content.durable);
        }
        Ok(())
    }

    pub(super) fn sync_names(&mut self, folder: Number) -> Answer<()> {
        self.count_change()?;
        self.syncs += 1;
        self.names.sync(folder);
        Ok(())
    }
}

fn node(kind: FileType, maker: Maker, now: SystemTime) -> Node {
    Node {
        kind,
        mode: permissions(maker.mode),
        uid: maker.uid,
        gid: maker.gid,
        links: if kind == FileType::Directory { 2 } else { 1 },
        changed: now,
        content: Content::default(),
    }
}

fn permissions(mode: u32) -> u16 {
    u16::try_from(mode & 0o7777).expect("twelve bits fit sixteen")
}

#[cfg(test)]
mod tests;
