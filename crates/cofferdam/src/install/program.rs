//! The program's own place: each version under its digest, with what is known of it beside it, and
//! one link for the version in force.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use vocab::Digest;

use super::gate::Cleared;
use super::place::{Place, link, make_dir, remove};
use crate::update::{Prefix, Release, Trial, describe};

/// How long an update that is about to end may take to do so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Puts this program where it is run from; whether another version was in force. Refuses while
/// an update is under way.
pub(crate) fn place(
    place: &Place,
    own: &Digest,
    bundle: Option<&Cleared>,
) -> anyhow::Result<(bool, String)> {
    make_dir(&place.opt())?;
    let prefix = Prefix::new(&place.opt());
    let lock = prefix.lock(PATIENCE)?;
    let open = Trial::load(&prefix)?.is_some_and(|trial| !trial.is_over());
    if lock.is_none() || open {
        bail!(
            "an update is under way; wait until `cofferdam update status` tells its end, or \
             restart the appliance, which ends it; then install again"
        );
    }
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
    note(&prefix, own, bundle)?;
    let target = Path::new("versions").join(own.hex());
    let changed = link(&place.opt().join("current"), &target)?;
    let target = Path::new("/opt/cofferdam/current/cofferdam");
    link(&place.at("/usr/local/bin/cofferdam"), target)?;
    Ok((changed, format!("{}, SHA-256 verified", file.display())))
}

/// Writes `release.json` beside the program, so that an update knows what it may go back to. What
/// a bundle that brought this very program says of it is never replaced by less.
fn note(prefix: &Prefix, own: &Digest, bundle: Option<&Cleared>) -> anyhow::Result<()> {
    let said = describe();
    let known = prefix.release(&own.hex()).unwrap_or_default();
    let (epoch, bundle) = match bundle.filter(|bundle| bundle.holds_program) {
        Some(bundle) => {
            let manifest = &bundle.verified.manifest;
            let name = format!("{} {} {}", manifest.product, manifest.channel, manifest.seq);
            (manifest.security_epoch.max(known.epoch), name)
        }
        None => (known.epoch, known.bundle),
    };
    let release = Release {
        version: said.version,
        arch: said.arch,
        schema: said.schema,
        epoch,
        bundle,
    };
    prefix.set_release(&own.hex(), &release)
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
