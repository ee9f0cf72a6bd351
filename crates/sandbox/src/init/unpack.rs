//! Unpacking archives inside a jail: a checkout below a directory, or an image layer.
//!
//! Refuses absolute names and `..`; a layer is unpacked with its directory as the root directory,
//! so that no link leads out of it.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid};
use tar::{Archive, Entry, EntryType};

use crate::error::FileError;
use crate::facts::{LayerFacts, LayerLimits};
use crate::protocol::Answer;

/// Most notes about what was left out.
const NOTES: usize = 100;

/// Unpacks below `dest` as the present user, without the first `strip` parts of each name.
pub(super) fn tree(dest: &str, archive: File, strip: u32) -> Result<Answer, FileError> {
    let failed = super::builtin::failed("unpacking to", dest);
    std::fs::create_dir_all(dest).map_err(failed)?;
    let limits = LayerLimits {
        size_bytes: u64::MAX,
        entries: u64::MAX,
    };
    let mut unpacker = Unpacker::new(PathBuf::from(dest), false, limits);
    unpacker.strip = usize::try_from(strip).unwrap_or(usize::MAX);
    unpacker.run(archive)
}

/// Unpacks a layer into `dest`, which becomes the root directory of this process.
pub(super) fn layer(dest: &str, archive: File, limits: LayerLimits) -> Result<Answer, FileError> {
    let failed = super::builtin::failed("unpacking to", dest);
    rustix::process::chroot(dest).map_err(|e| failed(e.into()))?;
    std::env::set_current_dir("/").map_err(failed)?;
    Unpacker::new(PathBuf::from("/"), true, limits).run(archive)
}

struct Unpacker {
    top: PathBuf,
    /// Whether owners are kept and whiteouts understood.
    is_layer: bool,
    /// Leading parts of names that are dropped; what has no more of them is left out.
    strip: usize,
    limits: LayerLimits,
    facts: LayerFacts,
    opaque: BTreeSet<String>,
    /// Modes and times of directories, set once nothing more is put into them.
    dirs: Vec<(PathBuf, Mode, u64)>,
}

type Step = Result<(), (String, io::Error)>;

impl Unpacker {
    fn new(top: PathBuf, is_layer: bool, limits: LayerLimits) -> Self {
        let (facts, opaque) = (LayerFacts::default(), BTreeSet::new());
        Self {
            top,
            is_layer,
            strip: 0,
            limits,
            facts,
            opaque,
            dirs: Vec::new(),
        }
    }

    fn run(mut self, archive: File) -> Result<Answer, FileError> {
        let refused = |entry: &str, why: String| FileError::Archive {
            entry: entry.to_owned(),
            why,
        };
        let mut archive = Archive::new(io::BufReader::with_capacity(256 << 10, archive));
        let entries = archive
            .entries()
            .map_err(|e| refused("its start", e.to_string()))?;
        let mut last = "its start".to_owned();
        for entry in entries {
            let mut entry =
                entry.map_err(|e| refused(&format!("what follows {last}"), reason(&e)))?;
            last = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            self.count(&entry).map_err(|why| refused(&last, why))?;
            self.one(&mut entry)
                .map_err(|(what, e)| match e.raw_os_error() {
                    None => refused(&last, format!("{what}: {}", reason(&e))),
                    Some(errno) => FileError::Failed {
                        what,
                        path: last.clone(),
                        why: e.to_string(),
                        errno,
                    },
                })?;
        }
        for (path, mode, mtime) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let done = set_mode(&path, mode).and_then(|()| set_time(&path, mtime));
            done.map_err(super::builtin::failed(
                "finishing",
                &path.display().to_string(),
            ))?;
        }
        self.facts.opaque = u64::try_from(self.opaque.len()).unwrap_or(u64::MAX);
        Ok(Answer::Unpacked {
            facts: self.facts,
            opaque: self.opaque.into_iter().collect(),
        })
    }

    fn count(&mut self, entry: &Entry<'_, impl Read>) -> Result<(), String> {
        self.facts.entries += 1;
        self.facts.size_bytes = self.facts.size_bytes.saturating_add(entry.size());
        if self.facts.entries > self.limits.entries {
            return Err(format!("more than {} entries", self.limits.entries));
        }
        if self.facts.size_bytes > self.limits.size_bytes {
            return Err(format!(
                "more than {} bytes of content",
                self.limits.size_bytes
            ));
        }
        Ok(())
    }

    fn one(&mut self, entry: &mut Entry<'_, impl Read>) -> Step {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let at = |what: &str| {
            let what = what.to_owned();
            move |e: io::Error| (what, e)
        };
        let whole = relative(&entry.path_bytes()).map_err(at("its name"))?;
        let Some(inside) = stripped(&whole, self.strip) else {
            return Ok(());
        };
        let path = self.top.join(&inside);
        if self.is_layer && self.whiteout(&inside, &path).map_err(at("a whiteout"))? {
            return Ok(());
        }
        let mode = entry.header().mode().map_err(at("its mode"))? & 0o7777;
        let mtime = entry.header().mtime().map_err(at("its time"))?;
        if kind.is_dir() {
            self.dir(&path).map_err(at("making"))?;
            self.own(entry, &path).map_err(at("its owner"))?;
            self.dirs.push((path, Mode::from_raw_mode(mode), mtime));
            return Ok(());
        }
        if matches!(kind, EntryType::Char | EntryType::Block) {
            self.note(format!("{}: a device node", inside.display()));
            return Ok(());
        }
        if inside.as_os_str().is_empty() {
            return Err((
                "its name".to_owned(),
                io::Error::other("it names the top directory"),
            ));
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(at("its directory"))?;
        }
        clear(&path).map_err(at("replacing"))?;
        match kind {
            EntryType::Symlink => {
                let target = link_target(entry).map_err(at("its target"))?;
                std::os::unix::fs::symlink(target, &path).map_err(at("making"))?;
                self.own(entry, &path).map_err(at("its owner"))?;
                return set_time(&path, mtime).map_err(at("its time"));
            }
            EntryType::Link => {
                let target = link_target(entry).map_err(at("its target"))?;
                let target = relative(target.as_os_str().as_bytes()).map_err(at("its target"))?;
                let target = stripped(&target, self.strip).unwrap_or_default();
                return std::fs::hard_link(self.top.join(target), &path).map_err(at("linking"));
            }
            EntryType::Fifo => {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .map_err(|e| at("making")(e.into()))?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                content(entry, &path).map_err(at("writing"))?;
            }
            other => {
                self.note(format!(
                    "{}: an entry of kind {:?}",
                    inside.display(),
                    other
                ));
                return Ok(());
            }
        }
        self.own(entry, &path).map_err(at("its owner"))?;
        set_mode(&path, Mode::from_raw_mode(mode)).map_err(at("its mode"))?;
        set_time(&path, mtime).map_err(at("its time"))
    }

    fn note(&mut self, what: String) {
        if self.facts.skipped.len() < NOTES {
            self.facts.skipped.push(what);
        }
    }

    /// A directory where there may be one; anything else in its place goes.
    fn dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => return Ok(()),
            Ok(_) => std::fs::remove_file(path)?,
            Err(_) => {}
        }
        std::fs::create_dir_all(path)
    }

    /// Understands `.wh.NAME` (hides NAME of lower layers) and `.wh..wh..opq` (hides all that
    /// lower layers have in this directory); whether the entry was one.
    fn whiteout(&mut self, inside: &Path, path: &Path) -> io::Result<bool> {
        let name = inside
            .file_name()
            .map(OsStrExt::as_bytes)
            .unwrap_or_default();
        let Some(hidden) = name.strip_prefix(b".wh.") else {
            return Ok(false);
        };
        let (Some(parent), Some(dir)) = (path.parent(), inside.parent()) else {
            return Ok(false);
        };
        if name == b".wh..wh..opq" {
            self.dir(parent)?;
            let dir = dir
                .to_str()
                .ok_or_else(|| io::Error::other("a name that is not UTF-8"))?;
            self.opaque.insert(if dir.is_empty() {
                ".".to_owned()
            } else {
                dir.to_owned()
            });
            return Ok(true);
        }
        if hidden.starts_with(b".wh.") {
            return Ok(true);
        }
        if hidden.is_empty() || hidden == b"." || hidden == b".." {
            return Err(io::Error::other("it hides no name"));
        }
        std::fs::create_dir_all(parent)?;
        let target = parent.join(std::ffi::OsStr::from_bytes(hidden));
        if std::fs::symlink_metadata(&target).is_err() {
            // The overlay's own sign; the kernel lets everybody make a device 0:0.
            let device = rustix::fs::makedev(0, 0);
            rustix::fs::mknodat(
                CWD,
                &target,
                FileType::CharacterDevice,
                Mode::empty(),
                device,
            )?;
        }
        self.facts.whiteouts += 1;
        Ok(true)
    }

    fn own(&self, entry: &Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        if !self.is_layer {
            return Ok(());
        }
        let id = |n: io::Result<u64>| {
            let n = n?;
            u32::try_from(n)
                .ok()
                .filter(|n| *n < 65_535)
                .ok_or_else(|| io::Error::other(format!("id {n} is beyond what a sandbox has")))
        };
        let uid = Uid::from_raw(id(entry.header().uid())?);
        let gid = Gid::from_raw(id(entry.header().gid())?);
        Ok(rustix::fs::chownat(
            CWD,
            path,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// The reason behind an error of the archive reader, which wraps causes.
fn reason(e: &io::Error) -> String {
    let mut text = e.to_string();
    let mut cause = std::error::Error::source(e);
    while let Some(e) = cause {
        text = format!("{text}: {e}");
        cause = e.source();
    }
    text
}

/// A name as a path below the top.
fn relative(name: &[u8]) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in Path::new(std::ffi::OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(io::Error::other("it climbs out by `..`")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(io::Error::other("it is an absolute name"));
            }
        }
    }
    Ok(out)
}

/// The name without its first `strip` parts; `None` when nothing is left of it by that.
fn stripped(name: &Path, strip: usize) -> Option<PathBuf> {
    let rest: PathBuf = name.components().skip(strip).collect();
    (strip == 0 || !rest.as_os_str().is_empty()).then_some(rest)
}

fn link_target(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    let bytes = entry
        .link_name_bytes()
        .ok_or_else(|| io::Error::other("it has none"))?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&bytes)))
}

/// Removes what stands in the place of a file.
fn clear(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
    }
}

fn content(entry: &mut Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let size = entry.size();
    if io::copy(entry, &mut file)? != size {
        return Err(io::Error::other("the archive ends within it"));
    }
    Ok(())
}

fn set_mode(path: &Path, mode: Mode) -> io::Result<()> {
    Ok(rustix::fs::chmod(path, mode)?)
}

fn set_time(path: &Path, mtime: u64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: i64::try_from(mtime).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_top() {
        assert_eq!(relative(b"./a//b").unwrap(), Path::new("a/b"));
        assert!(relative(b"/etc/passwd").is_err());
        assert!(relative(b"a/../../b").is_err());
    }

    #[test]
    fn leading_parts_are_dropped_after_the_name_was_judged() {
        let of = |name: &str, strip| stripped(Path::new(name), strip);
        assert_eq!(
            of("python/bin/python3", 1).unwrap(),
            Path::new("bin/python3")
        );
        assert_eq!(of("python", 1), None);
        assert_eq!(of("", 0).unwrap(), Path::new(""));
    }
}
