//! File systems of a jail, as far as they are made outside of it: the writable tmpfs, the overlay
//! over idmapped layers, binds and the device directory.
//!
//! Everything is attached only for as long as it takes: a jail's mounts live in the jail alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::facts::Usage;
use crate::protocol::MountAt;
use crate::slots::Slot;
use crate::spec::{DefenceOff, JailSpec, LauncherConfig, Root};
use crate::sys;

const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;

/// What the launcher keeps of a jail's file systems.
pub(super) struct Files {
    /// The writable tmpfs.
    pub(super) upper: OwnedFd,
    /// The root mount. Both descriptors keep the device numbers from being given to others
    /// until the search after the jail's end is over.
    pub(super) root: OwnedFd,
    /// Device numbers of its file systems, `major:minor`.
    pub(super) devices: Vec<String>,
    /// What the root is made of, bottom first.
    pub(super) layers: Vec<String>,
    /// Use at the end, once it is known.
    pub(super) last_usage: Option<Usage>,
}

/// Mounts on their way into a jail; the first is its root directory.
pub(super) struct Mounts {
    pub(super) fds: Vec<OwnedFd>,
    pub(super) places: Vec<MountAt>,
}

/// Moves this process into a mount namespace of its own whose working directory is a tmpfs for
/// mounts that are being made, with the device directory `dev` that all jails share.
pub(super) fn private_mounts(config: &LauncherConfig) -> io::Result<()> {
    std::fs::create_dir_all(&config.state_dir)?;
    rustix::fs::chmod(&config.state_dir, Mode::from_raw_mode(0o711))?;
    let dir = config.state_dir.join("mnt");
    std::fs::create_dir_all(&dir)?;
    rustix::process::umask(Mode::empty());
    // SAFETY: this process has one thread and no descriptor table shared with another.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)? };
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?;
    let scratch = tmpfs(&[("size", "1m"), ("mode", "711")])?;
    attach(scratch.as_fd(), &dir)?;
    std::env::set_current_dir(&dir)?;
    for name in ["up", "root", "dev", "proc"] {
        std::fs::create_dir(name)?;
    }
    devices()
}

/// The device directory: the harmless nodes, made once; every jail gets it read-only.
fn devices() -> io::Result<()> {
    attach(
        tmpfs(&[("size", "64k"), ("mode", "755")])?.as_fd(),
        Path::new("dev"),
    )?;
    let mode = Mode::from_raw_mode(0o666);
    for (name, minor, major) in [
        ("null", 3, 1),
        ("zero", 5, 1),
        ("full", 7, 1),
        ("random", 8, 1),
        ("urandom", 9, 1),
        ("tty", 0, 5),
    ] {
        let device = rustix::fs::makedev(major, minor);
        let path = format!("dev/{name}");
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, device)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        std::os::unix::fs::symlink(target, format!("dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        std::fs::create_dir(format!("dev/{name}"))?;
        rustix::fs::chmod(format!("dev/{name}"), Mode::from_raw_mode(0o755))?;
    }
    Ok(())
}

fn tmpfs(options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let fs = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&fs, *key, *value)?;
    }
    mounted(&fs, MountAttrFlags::empty())
}

fn mounted(fs: &OwnedFd, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_create(fs)?;
    Ok(rustix::mount::fsmount(
        fs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

fn attach(mount: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, "", CWD, at, flags)?)
}

fn detach(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(at, UnmountFlags::DETACH)?)
}

fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// A host path without any symlink, which must lie below one of the configured roots.
pub(super) fn allowed(config: &LauncherConfig, path: &Path) -> io::Result<PathBuf> {
    let real = path
        .canonicalize()
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
    let roots = config
        .source_roots
        .iter()
        .filter_map(|r| r.canonicalize().ok());
    if roots.into_iter().any(|root| real.starts_with(root)) {
        Ok(real)
    } else {
        let why = format!(
            "{} is not below a directory that the launcher may show",
            path.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// A detached, idmapped copy of a host directory or file.
fn shown(path: &Path, attributes: u64, userns: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    // The path was judged without symlinks, so it must still be without them.
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let at = rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(at, "", flags)?;
    sys::mount_setattr(tree.as_fd(), attributes | NODEV, 0, userns).map_err(|e| {
        let why = match e.raw_os_error() {
            Some(libc::EINVAL) => "its file system cannot show files with other owners under this \
                                   kernel; keep the data on ext4, xfs or btrfs"
                .to_owned(),
            _ => e.to_string(),
        };
        io::Error::new(e.kind(), format!("{}: {why}", path.display()))
    })?;
    Ok(tree)
}

/// Makes everything for one jail. `userns` maps its ids; none: it has the host's.
pub(super) fn make(
    config: &LauncherConfig,
    spec: &JailSpec,
    base: u32,
    userns: Option<BorrowedFd<'_>>,
    layer: Option<&Path>,
) -> io::Result<(Mounts, Files)> {
    let upper = upper(spec, base)?;
    let made = furnish(config, spec, userns, layer);
    let undone = detach(Path::new("up"));
    let (mounts, layers) = made?;
    undone?;
    let root = mounts.fds[0].try_clone()?;
    let devices = vec![device_of(upper.as_fd())?, device_of(root.as_fd())?];
    Ok((
        mounts,
        Files {
            upper,
            root,
            devices,
            layers,
            last_usage: None,
        },
    ))
}

/// The writable tmpfs, attached at `up`: everything the jail ever writes.
fn upper(spec: &JailSpec, base: u32) -> io::Result<OwnedFd> {
    let size = spec.limits.disk_bytes.to_string();
    let inodes = (spec.limits.disk_bytes / 4096)
        .clamp(1024, 4 << 20)
        .to_string();
    let id = base.to_string();
    let mut options = vec![("uid", id.as_str()), ("gid", id.as_str()), ("mode", "755")];
    if !spec.off.disk_limit {
        options.extend([("size", size.as_str()), ("nr_inodes", inodes.as_str())]);
    }
    let mount = tmpfs(&options)?;
    attach(mount.as_fd(), Path::new("up"))?;
    let (uid, gid) = (Uid::from_raw(base), Gid::from_raw(base));
    for (name, mode) in [
        ("up/upper", 0o755),
        ("up/work", 0o755),
        ("up/tmp", 0o1777),
        ("up/shm", 0o1777),
    ] {
        rustix::fs::mkdirat(CWD, name, Mode::from_raw_mode(mode))?;
        rustix::fs::chown(name, Some(uid), Some(gid))?;
    }
    Ok(rustix::fs::open(
        "up",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

fn furnish(
    config: &LauncherConfig,
    spec: &JailSpec,
    userns: Option<BorrowedFd<'_>>,
    layer: Option<&Path>,
) -> io::Result<(Mounts, Vec<String>)> {
    let mut mounts = Mounts {
        fds: Vec::new(),
        places: Vec::new(),
    };
    let (root, layers) = match &spec.root {
        Root::Layers(layers) => (overlay(config, layers, userns)?, named(layers)),
        Root::HostUsr => (
            clone_tree(Path::new("up/upper"))?,
            vec!["host /usr".to_owned()],
        ),
    };
    sys::mount_setattr(root.as_fd(), NODEV, 0, None)?;
    mounts.push(root, "/", false);
    if spec.root == Root::HostUsr {
        for path in HOST_DIRS.iter().map(Path::new).filter(|p| p.is_dir()) {
            let real = path.canonicalize()?;
            // A host whose own file system cannot be idmapped shows it with foreign owners.
            let tree = shown(&real, RDONLY | NOSUID, userns)
                .or_else(|_| shown(&real, RDONLY | NOSUID, None))?;
            mounts.push(tree, &path.display().to_string(), false);
        }
    }
    let dev = clone_tree(Path::new("dev"))?;
    sys::mount_setattr(
        dev.as_fd(),
        RDONLY | NOSUID | libc::MOUNT_ATTR_NOEXEC,
        0,
        None,
    )?;
    mounts.push(dev, "/dev", false);
    for (from, to) in [("up/shm", "/dev/shm"), ("up/tmp", "/tmp")] {
        let tree = clone_tree(Path::new(from))?;
        sys::mount_setattr(tree.as_fd(), NOSUID | NODEV, 0, None)?;
        mounts.push(tree, to, false);
    }
    for bind in &spec.binds {
        let source = allowed(config, &bind.source)?;
        let file = !source.is_dir();
        mounts.push(shown(&source, RDONLY | NOSUID, userns)?, &bind.target, file);
    }
    if let Some(dir) = layer {
        mounts.push(shown(dir, 0, userns)?, "/layer", false);
    }
    Ok((mounts, layers))
}

/// Directories of the host that `HostUsr` shows.
const HOST_DIRS: [&str; 6] = [
    "/usr",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ca-certificates",
    "/etc/python3",
    "/etc/perl",
];

fn named(layers: &[PathBuf]) -> Vec<String> {
    layers.iter().map(|l| l.display().to_string()).collect()
}

impl Mounts {
    fn push(&mut self, fd: OwnedFd, target: &str, file: bool) {
        self.fds.push(fd);
        self.places.push(MountAt {
            target: target.to_owned(),
            file,
        });
    }
}

/// The overlay of all layers below the jail's own upper directory.
fn overlay(
    config: &LauncherConfig,
    layers: &[PathBuf],
    userns: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    if layers.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an image without layers",
        ));
    }
    // Names as short as can be: the kernel takes 255 bytes for all of them.
    let mut attached = Vec::new();
    let result = (|| {
        for (n, layer) in layers.iter().enumerate() {
            let at = PathBuf::from(format!("{n:x}"));
            if !at.is_dir() {
                std::fs::create_dir(&at)?;
            }
            let tree = shown(&allowed(config, layer)?, RDONLY, userns)?;
            attach(tree.as_fd(), &at)?;
            attached.push(at);
        }
        let lower: Vec<String> = attached
            .iter()
            .rev()
            .map(|at| at.display().to_string())
            .collect();
        let fs = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_set_string(&fs, "lowerdir", lower.join(":"))?;
        rustix::mount::fsconfig_set_string(&fs, "upperdir", "up/upper")?;
        rustix::mount::fsconfig_set_string(&fs, "workdir", "up/work")?;
        rustix::mount::fsconfig_set_flag(&fs, "volatile")?;
        mounted(&fs, MountAttrFlags::MOUNT_ATTR_NODEV)
    })();
    for at in attached {
        detach(&at)?;
    }
    result
}

fn device_of(fd: BorrowedFd<'_>) -> io::Result<String> {
    let device = rustix::fs::fstat(fd)?.st_dev;
    Ok(format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    ))
}

/// Makes the directory of a layer: empty, owned by root, new.
pub(super) fn layer_dir(config: &LauncherConfig, parent: &str, name: &str) -> io::Result<PathBuf> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
    if !plain {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a layer's name is one word",
        ));
    }
    let dir = allowed(config, Path::new(parent))?.join(name);
    std::fs::create_dir(&dir)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", dir.display())))?;
    rustix::fs::chmod(&dir, Mode::from_raw_mode(0o755))?;
    Ok(dir)
}

/// Marks directories of a layer as hiding what lies below. The names come from a jail.
pub(super) fn mark_opaque(layer: &Path, paths: &[String]) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = rustix::fs::open(layer, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    for path in paths {
        let dir = rustix::fs::openat2(&top, path.as_str(), flags, Mode::empty(), inside)?;
        sys::set_xattr(&dir, "trusted.overlay.opaque", b"y")?;
    }
    Ok(())
}

/// Bytes in use on the writable tmpfs.
pub(super) fn used_bytes(upper: &impl AsFd) -> u64 {
    rustix::fs::fstatfs(upper).map_or(0, |s| {
        let blocks = s.f_blocks.saturating_sub(s.f_bfree);
        blocks * u64::try_from(s.f_bsize).unwrap_or(0)
    })
}

/// The host ids of a slot, or the host's own.
pub(super) fn base_of(slot: &Slot, off: &DefenceOff, config: &LauncherConfig) -> u32 {
    if off.user_namespace {
        0
    } else if off.slot_ids {
        config.id_base
    } else {
        slot.base
    }
}
