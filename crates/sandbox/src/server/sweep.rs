//! After a jail: removing what it had and searching the host for what is left.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Held, Sweep};
use crate::facts::{Residue, Usage};
use crate::procfs;
use crate::protocol::FromWarden;
use crate::slots::Slot;
use crate::spec::IDS_PER_SLOT;
use crate::sys::{self, Cloned};
use crate::wire::Channel;

/// What the search needs to know.
struct Search {
    base: u32,
    devices: Vec<String>,
    usage: Usage,
}

/// Reaps the init, lets go of everything of the jail and leaves the search to a child, which
/// answers the caller.
pub(super) fn start(held: Held) -> Result<Sweep, (Slot, io::Error)> {
    let Held {
        slot,
        warden,
        setup,
        pidfd,
        cgroup,
        files,
        ..
    } = held;
    let reaped = rustix::process::waitid(
        rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
        rustix::process::WaitIdOptions::EXITED,
    );
    if let Err(e) = reaped {
        return Err((slot, e.into()));
    }
    drop((setup, pidfd));
    let last = files.last_usage.unwrap_or_default();
    let usage = Usage {
        network_attempts: last.network_attempts,
        loopback_rx_bytes: last.loopback_rx_bytes,
        loopback_tx_bytes: last.loopback_tx_bytes,
        disk_bytes: last.disk_bytes,
        ..cgroup.usage()
    };
    let search = Search {
        base: slot.base,
        devices: files.devices.clone(),
        usage,
    };
    match sys::clone_process(0, None) {
        Ok(Cloned::Child) => {
            let left = cgroup.remove();
            let clean = report(&search, left, &warden);
            drop((files.upper, files.root));
            sys::exit_now(i32::from(!clean))
        }
        Ok(Cloned::Parent { pidfd, .. }) => Ok(Sweep { slot, pidfd }),
        Err(e) => Err((slot, e)),
    }
}

/// Whether the jail left nothing.
fn report(search: &Search, cgroups: Vec<PathBuf>, warden: &Channel) -> bool {
    let mut residue = Residue {
        cgroups: cgroups
            .into_iter()
            .map(|dir| dir.display().to_string())
            .collect(),
        usage: search.usage,
        ..Residue::default()
    };
    if let Err(e) = look(search, &mut residue) {
        residue.not_searched.push(format!("/proc: {e}"));
    }
    let clean = residue.is_clean();
    if warden
        .send(&FromWarden::Gone(Box::new(residue)), &[])
        .is_err()
    {
        // A caller that hung up does not wait for the answer; the slot is judged all the same.
        return clean;
    }
    clean
}

fn look(search: &Search, residue: &mut Residue) -> io::Result<()> {
    let own = procfs::pids()?;
    let mut namespaces: Vec<u64> = Vec::new();
    for pid in own {
        // A process that ends while it is looked at is not left over.
        let Ok(status) = procfs::status(pid) else {
            continue;
        };
        residue.processes_searched += 1;
        // One that has ended and only waits to be reaped has nothing and does nothing.
        if status.get("State").is_some_and(|s| s.starts_with('Z')) {
            continue;
        }
        let ids = ["Uid", "Gid"].into_iter().filter_map(|key| status.get(key));
        let theirs = ids
            .flat_map(|line| line.split_whitespace())
            .filter_map(|id| id.parse::<u32>().ok())
            .any(|id| id >= search.base && id - search.base < IDS_PER_SLOT);
        if theirs {
            let name = status.get("Name").cloned().unwrap_or_default();
            residue.processes.push(format!("{pid} {name}"));
        }
        let Ok(namespace) = procfs::namespace(pid, "mnt") else {
            continue;
        };
        if namespaces.contains(&namespace) {
            continue;
        }
        namespaces.push(namespace);
        residue.namespaces_searched += 1;
        let Ok(mounts) = procfs::mounts(pid) else {
            continue;
        };
        for mount in mounts.iter().filter(|m| search.devices.contains(&m.device)) {
            residue.mounts.push(format!("{pid} {}", mount.target));
        }
    }
    for dir in SHARED_DIRS {
        look_at_owners(dir, search, residue);
    }
    Ok(())
}

/// Directories of the host in which everybody may leave something.
const SHARED_DIRS: [&str; 6] = [
    "/tmp",
    "/var/tmp",
    "/dev/shm",
    "/dev/mqueue",
    "/run/lock",
    "/var/spool/cron/crontabs",
];

fn look_at_owners(dir: &str, search: &Search, residue: &mut Residue) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return,
        Err(e) => {
            residue.not_searched.push(format!("{dir}: {e}"));
            return;
        }
    };
    for entry in entries.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.uid() >= search.base && meta.uid() - search.base < IDS_PER_SLOT {
            residue.paths.push(entry.path().display().to_string());
        }
    }
}
