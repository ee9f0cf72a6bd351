//! Control groups of jails: version 2 first, version 1 (also beside an empty version 2) else.

mod read;
mod v1;
mod v2;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::facts::{CgroupFacts, Usage};
use crate::procfs;
use crate::spec::Limits;

/// Which hierarchies this host has, and where jails go in them.
#[derive(Debug)]
pub(crate) enum Hierarchy {
    V2(v2::Tree),
    V1(v1::Trees),
}

/// The control group of one jail.
#[derive(Debug)]
pub(crate) enum Cgroup {
    V2(v2::Group),
    V1(v1::Group),
}

/// A cgroup mount of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPoint {
    pub(crate) target: PathBuf,
    /// `cgroup2`, or the controllers of a version 1 hierarchy.
    pub(crate) controllers: Option<Vec<String>>,
}

/// The cgroup mounts that this process sees.
pub(crate) fn mount_points() -> io::Result<Vec<MountPoint>> {
    let mounts = procfs::mounts("self")?;
    Ok(mounts
        .into_iter()
        .filter_map(|m| match m.kind.as_str() {
            "cgroup2" => Some(MountPoint {
                target: m.target.into(),
                controllers: None,
            }),
            "cgroup" => {
                let controllers = m.super_options.split(',').map(str::to_owned).collect();
                Some(MountPoint {
                    target: m.target.into(),
                    controllers: Some(controllers),
                })
            }
            _ => None,
        })
        .collect())
}

/// Which version can hold jails here; none: neither.
pub(crate) fn version(points: &[MountPoint]) -> Option<&'static str> {
    let v2 = |p: &MountPoint| p.controllers.is_none() && v2::usable(&p.target).unwrap_or(false);
    let has = |name: &str| {
        let named = |c: &Vec<String>| c.iter().any(|c| c == name);
        points
            .iter()
            .any(|p| p.controllers.as_ref().is_some_and(named))
    };
    if points.iter().any(v2) {
        Some("v2")
    } else if has("memory") && has("pids") {
        Some("v1")
    } else {
        None
    }
}

impl Hierarchy {
    /// Finds the hierarchies and makes the parent of all jails in them.
    pub(crate) fn prepare(parent: Option<&str>) -> io::Result<Self> {
        let points = mount_points()?;
        for point in points.iter().filter(|p| p.controllers.is_none()) {
            if v2::usable(&point.target)? {
                return Ok(Self::V2(v2::Tree::prepare(&point.target, parent)?));
            }
        }
        Ok(Self::V1(v1::Trees::prepare(&points, parent)?))
    }

    /// Removes the empty groups of launchers that were killed: those for which `free` gives a
    /// hold on their slot.
    pub(crate) fn sweep<H>(&self, free: impl Fn(u32) -> Option<H>) {
        let parents = match self {
            Self::V2(tree) => tree.parents(),
            Self::V1(trees) => trees.parents(),
        };
        for parent in parents {
            for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let base = name
                    .to_str()
                    .and_then(|n| n.strip_prefix("slot-")?.parse().ok());
                if let Some(hold) = base.and_then(&free) {
                    // One that is not empty stays; the next jail of the slot says so.
                    remove_tree(&entry.path());
                    drop(hold);
                }
            }
        }
    }

    /// A fresh group, without limits as yet.
    pub(crate) fn create(&self, name: &str) -> io::Result<Cgroup> {
        Ok(match self {
            Self::V2(tree) => Cgroup::V2(tree.create(name)?),
            Self::V1(trees) => Cgroup::V1(trees.create(name)?),
        })
    }

    /// `v2` or `v1`.
    pub(crate) fn version(&self) -> &'static str {
        match self {
            Self::V2(_) => "v2",
            Self::V1(_) => "v1",
        }
    }
}

impl Cgroup {
    /// Sets the limits.
    pub(crate) fn limit(&self, limits: &Limits) -> io::Result<()> {
        match self {
            Self::V2(group) => group.limit(limits),
            Self::V1(group) => group.limit(limits),
        }
    }

    /// The directory into which the init is cloned.
    pub(crate) fn clone_into(&self) -> Option<&OwnedFd> {
        match self {
            Self::V2(group) => Some(group.init_dir()),
            Self::V1(_) => None,
        }
    }

    /// Moves a process in, where cloning into it is not possible.
    pub(crate) fn adopt(&self, pid: i32) -> io::Result<()> {
        match self {
            Self::V2(_) => Ok(()),
            Self::V1(group) => group.adopt(pid),
        }
    }

    /// `cgroup.procs` through which init moves each command, where those have their own group.
    pub(crate) fn jobs(&self) -> io::Result<Option<File>> {
        match self {
            Self::V2(group) => group.jobs().map(Some),
            Self::V1(_) => Ok(None),
        }
    }

    /// The limits as the kernel has them.
    pub(crate) fn facts(&self) -> CgroupFacts {
        match self {
            Self::V2(group) => group.facts(),
            Self::V1(group) => group.facts(),
        }
    }

    /// What was used, as far as control groups tell.
    pub(crate) fn usage(&self) -> Usage {
        match self {
            Self::V2(group) => group.usage(),
            Self::V1(group) => group.usage(),
        }
    }

    /// Ends every process in it.
    pub(crate) fn kill(&self) -> io::Result<()> {
        match self {
            Self::V2(group) => group.kill(),
            Self::V1(group) => group.kill(),
        }
    }

    /// Removes it; gives the directories that are still there.
    pub(crate) fn remove(&self) -> Vec<PathBuf> {
        let dirs = match self {
            Self::V2(group) => group.dirs(),
            Self::V1(group) => group.dirs(),
        };
        dirs.into_iter().filter(|dir| !remove_tree(dir)).collect()
    }
}

/// Removes an empty group and the groups below it; whether it is gone.
pub(crate) fn remove_tree(dir: &Path) -> bool {
    // The kernel lets go of a group a moment after its last process: a few tries.
    for attempt in 0..20_u32 {
        if attempt > 0 {
            vocab::Clock::sleep(std::time::Duration::from_millis(u64::from(attempt)));
        }
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) && !remove_once(&entry.path()) {
                continue;
            }
        }
        if remove_once(dir) {
            return true;
        }
    }
    false
}

fn remove_once(dir: &Path) -> bool {
    match std::fs::remove_dir(dir) {
        Ok(()) => true,
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    }
}
