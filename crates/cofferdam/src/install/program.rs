//! The program's own place: each version under its digest, one link for the version in force.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use vocab::Digest;

use super::place::{Place, link, make_dir, remove};

/// Puts this program where it is run from; whether another version was in force.
pub(crate) fn place(place: &Place, own: &Digest) -> anyhow::Result<(bool, String)> {
    let folder = place.opt().join("versions").join(own.hex());
    let file = folder.join("cofferdam");
    make_dir(&folder)?;
    let whole = fs::read(&file).is_ok_and(|bytes| Digest::of(&bytes) == *own);
    if !whole {
        copy_self(&folder, &file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let written = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    if Digest::of(&written) != *own {
        bail!(
            "{} is not what was copied there; is the disk sound?",
            file.display()
        );
    }
    let target = Path::new("versions").join(own.hex());
    let changed = link(&place.opt().join("current"), &target)?;
    let target = Path::new("/opt/cofferdam/current/cofferdam");
    link(&place.at("/usr/local/bin/cofferdam"), target)?;
    Ok((changed, format!("{}, SHA-256 verified", file.display())))
}

fn copy_self(folder: &Path, file: &Path) -> io::Result<()> {
    let fresh = folder.join(".cofferdam-new");
    remove(&fresh)?;
    let mut from = File::open("/proc/self/exe")?;
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&fresh)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(fs::Permissions::from_mode(0o755))?;
    to.sync_all()?;
    fs::rename(&fresh, file)?;
    store::sync_dir(folder)
}
