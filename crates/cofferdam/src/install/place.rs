//! Where an installation lives: every path of it, below one root, and files written whole.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The host's root directory, or another one for an installation that is only looked at.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    root: PathBuf,
}

impl Place {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// `path`, which begins with a slash, below the root.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// As [`Place::at`], for a path that a person gave.
    pub(crate) fn of(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether this is the running host itself.
    pub(crate) fn is_host(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Whether systemd runs the host.
    pub(crate) fn has_systemd(&self) -> bool {
        self.is_host() && Path::new("/run/systemd/system").is_dir()
    }

    /// `/opt/cofferdam`.
    pub(crate) fn opt(&self) -> PathBuf {
        self.at("/opt/cofferdam")
    }

    /// The program of the version in force.
    pub(crate) fn program(&self) -> PathBuf {
        self.opt().join("current/cofferdam")
    }

    /// What this installation was told: see [`super::record::Record`].
    pub(crate) fn record(&self) -> PathBuf {
        self.opt().join("install.json")
    }
}

/// Makes a directory of root's that everybody may enter, and those above it.
pub(crate) fn make_dir(path: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a file whole: beside, synced, renamed. Whether it was another before. Owner, mode and
/// SELinux label of a former file are kept; a new one is root's, with `mode`.
pub(crate) fn put(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_dir(folder)?;
    let fresh = fresh_name(path);
    let write = || -> std::io::Result<()> {
        remove(&fresh)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&fresh)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if let Ok(old) = fs::metadata(path) {
            chown(&fresh, Some(old.uid()), Some(old.gid()))?;
            file.set_permissions(old.permissions())?;
            keep_label(path, &fresh)?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    store::sync_dir(folder).with_context(|| format!("cannot sync {}", folder.display()))?;
    Ok(true)
}

/// Points a symbolic link at `target`, in one step. Refuses to replace what is no link.
pub(crate) fn link(path: &Path, target: &Path) -> anyhow::Result<bool> {
    match fs::read_link(path) {
        Ok(now) if now == target => return Ok(false),
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(_) => bail!(
            "{} is there and is no link of this appliance; move it away, then install again",
            path.display()
        ),
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_dir(folder)?;
    let fresh = fresh_name(path);
    let swap = || -> std::io::Result<()> {
        remove(&fresh)?;
        std::os::unix::fs::symlink(target, &fresh)?;
        fs::rename(&fresh, path)
    };
    swap().with_context(|| format!("cannot make the link {}", path.display()))?;
    store::sync_dir(folder).with_context(|| format!("cannot sync {}", folder.display()))?;
    Ok(true)
}

/// Removes a file or link; whether it was there.
pub(crate) fn remove(path: &Path) -> std::io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A name beside `path` that an earlier, killed attempt may have used as well.
fn fresh_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.cofferdam-new"))
}

/// Under SELinux the programs that read `/etc/shadow` and its like go by the file's label.
fn keep_label(from: &Path, to: &Path) -> std::io::Result<()> {
    const LABEL: &str = "security.selinux";
    let mut label = [0_u8; 512];
    match rustix::fs::getxattr(from, LABEL, &mut label) {
        Ok(length) => {
            let flags = rustix::fs::XattrFlags::empty();
            Ok(rustix::fs::setxattr(to, LABEL, &label[..length], flags)?)
        }
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
