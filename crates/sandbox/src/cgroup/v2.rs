//! Version 2: one tree. Each jail has a group with the limits and two leaves below it, `init` and
//! `job`: when memory runs out everything in `job` is killed, and init lives to tell.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::read::{keyed, kill_listed, number, put, put_if_there};
use crate::facts::{CgroupFacts, Usage};
use crate::procfs;
use crate::spec::Limits;

const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Where a delegated unit's own processes live, so that its group may have children.
const LEAF: &str = "/cofferdam-launcher";

/// The parent of all jails.
#[derive(Debug)]
pub(crate) struct Tree {
    mount: PathBuf,
    parent: PathBuf,
}

/// One jail's group.
#[derive(Debug)]
pub(crate) struct Group {
    mount: PathBuf,
    dir: PathBuf,
    init: OwnedFd,
}

/// Whether this mount has the controllers that a jail cannot do without.
pub(super) fn usable(mount: &Path) -> io::Result<bool> {
    let text = std::fs::read_to_string(mount.join("cgroup.controllers"))?;
    let has = |name: &str| text.split_whitespace().any(|c| c == name);
    Ok(has("memory") && has("pids"))
}

/// Enables for a group's children what it has itself.
fn enable(dir: &Path) -> io::Result<()> {
    let offered = std::fs::read_to_string(dir.join("cgroup.controllers"))?;
    for name in CONTROLLERS
        .iter()
        .filter(|n| offered.split_whitespace().any(|c| c == **n))
    {
        put(dir, "cgroup.subtree_control", &format!("+{name}"))?;
    }
    Ok(())
}

impl Tree {
    /// The parent: as configured; else the launcher's own group when nobody else lives there
    /// (a unit with `Delegate=yes`), whose processes move to a leaf; else `cofferdam` at the top.
    pub(super) fn prepare(mount: &Path, parent: Option<&str>) -> io::Result<Self> {
        let own = procfs::cgroup_path("self", "")?;
        let own_dir = mount.join(own.trim_start_matches('/'));
        let dir = match parent {
            Some(path) => mount.join(path.trim_start_matches('/')),
            // An earlier launcher of this unit moved everything to the leaf.
            None if own.ends_with(LEAF) => own_dir.with_file_name("jails"),
            None if own != "/" && alone(&own_dir)? => {
                let leaf = own_dir.join(LEAF.trim_start_matches('/'));
                std::fs::create_dir_all(&leaf)?;
                for pid in members(&own_dir)? {
                    put(&leaf, "cgroup.procs", &pid.to_string())?;
                }
                own_dir.join("jails")
            }
            None => mount.join("cofferdam"),
        };
        std::fs::create_dir_all(&dir)?;
        let below = dir
            .strip_prefix(mount)
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let (mut at, mut refused) = (mount.to_owned(), None);
        for part in below.components() {
            // What is above a delegated group belongs to others and is enabled already.
            refused = enable(&at).err().or(refused);
            at.push(part);
        }
        if !usable(&dir)? {
            return Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()));
        }
        enable(&dir)?;
        Ok(Self {
            mount: mount.to_owned(),
            parent: dir,
        })
    }

    pub(super) fn parents(&self) -> Vec<PathBuf> {
        vec![self.parent.clone()]
    }

    pub(super) fn create(&self, name: &str) -> io::Result<Group> {
        let dir = self.parent.join(name);
        if dir.exists() {
            super::remove_tree(&dir);
        }
        std::fs::create_dir(&dir)?;
        let leaves = [dir.join("init"), dir.join("job")];
        put(&dir, "cgroup.subtree_control", "+memory")?;
        for leaf in &leaves {
            std::fs::create_dir(leaf)?;
        }
        put(&leaves[1], "memory.oom.group", "1")?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let init = rustix::fs::open(&leaves[0], flags, Mode::empty())?;
        Ok(Group {
            mount: self.mount.clone(),
            dir,
            init,
        })
    }
}

fn members(dir: &Path) -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Whether only this process and its parent live in the group.
fn alone(dir: &Path) -> io::Result<bool> {
    let own = [std::process::id(), std::os::unix::process::parent_id()];
    Ok(dir.is_dir() && members(dir)?.iter().all(|pid| own.contains(pid)))
}

impl Group {
    pub(super) fn limit(&self, limits: &Limits) -> io::Result<()> {
        put(&self.dir, "memory.max", &limits.memory_bytes.to_string())?;
        put_if_there(&self.dir, "memory.swap.max", "0")?;
        put(&self.dir, "pids.max", &limits.pids.to_string())?;
        match limits.cpu_millis {
            Some(millis) => put(
                &self.dir,
                "cpu.max",
                &format!("{} 100000", u64::from(millis) * 100),
            ),
            None => Ok(()),
        }
    }

    pub(super) fn init_dir(&self) -> &OwnedFd {
        &self.init
    }

    pub(super) fn jobs(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .open(self.dir.join("job/cgroup.procs"))
    }

    pub(super) fn facts(&self) -> CgroupFacts {
        let below = self.dir.strip_prefix(&self.mount).unwrap_or(&self.dir);
        let quota = std::fs::read_to_string(self.dir.join("cpu.max")).unwrap_or_default();
        let mut parts = quota.split_whitespace().map(str::parse::<u64>);
        let cpu_millis = match (parts.next(), parts.next()) {
            (Some(Ok(quota)), Some(Ok(period))) if period > 0 => Some(quota * 1000 / period),
            _ => None,
        };
        CgroupFacts {
            version: "v2".to_owned(),
            path: format!("/{}", below.display()),
            memory_max_bytes: number(&self.dir, "memory.max"),
            pids_max: number(&self.dir, "pids.max"),
            cpu_millis,
            no_swap: self
                .dir
                .join("memory.swap.max")
                .exists()
                .then(|| number(&self.dir, "memory.swap.max") == Some(0)),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            memory_peak_bytes: number(&self.dir, "memory.peak"),
            cpu_ns: keyed(&self.dir, "cpu.stat", "usage_usec").unwrap_or(0) * 1000,
            pids_peak: number(&self.dir, "pids.peak"),
            forks_refused: keyed(&self.dir, "pids.events", "max").unwrap_or(0),
            oom_kills: keyed(&self.dir, "memory.events", "oom_kill").unwrap_or(0),
            ..Usage::default()
        }
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        if put_if_there(&self.dir, "cgroup.kill", "1")? {
            return Ok(());
        }
        kill_listed(&self.dir.join("job"))?;
        kill_listed(&self.dir.join("init"))
    }

    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        vec![self.dir.clone()]
    }
}
