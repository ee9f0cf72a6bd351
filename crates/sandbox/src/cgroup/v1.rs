//! Version 1: one tree per controller; a jail has a group in each that matters.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::MountPoint;
use super::read::{keyed, kill_listed, number, put, put_if_there};
use crate::facts::{CgroupFacts, Usage};
use crate::procfs;
use crate::spec::Limits;

/// A limit this high is how version 1 says that there is none.
const UNLIMITED: u64 = 1 << 60;

/// The parents of all jails, by controller; controllers mounted together share one.
#[derive(Debug)]
pub(crate) struct Trees {
    parents: BTreeMap<String, PathBuf>,
    path: String,
}

/// One jail's groups, by controller.
#[derive(Debug)]
pub(crate) struct Group {
    dirs: BTreeMap<String, PathBuf>,
    path: String,
}

impl Trees {
    pub(super) fn prepare(points: &[MountPoint], parent: Option<&str>) -> io::Result<Self> {
        let mut parents = BTreeMap::new();
        let mut shown = String::new();
        for name in ["memory", "pids", "cpu", "cpuacct"] {
            let at = points.iter().find(|p| {
                p.controllers
                    .as_ref()
                    .is_some_and(|c| c.iter().any(|c| c == name))
            });
            let Some(point) = at else {
                if name == "memory" || name == "pids" {
                    let why = format!("no cgroup controller {name} is mounted");
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
                continue;
            };
            let path = match parent {
                Some(path) => path.trim_start_matches('/').to_owned(),
                None => {
                    let own = procfs::cgroup_path("self", name)?;
                    let own = own.trim_matches('/');
                    if own.is_empty() {
                        "cofferdam".to_owned()
                    } else {
                        format!("{own}/cofferdam")
                    }
                }
            };
            let dir = point.target.join(&path);
            std::fs::create_dir_all(&dir)?;
            if name == "memory" {
                shown = format!("/{path}");
            }
            parents.insert(name.to_owned(), dir);
        }
        Ok(Self {
            parents,
            path: shown,
        })
    }

    pub(super) fn parents(&self) -> Vec<PathBuf> {
        self.parents.values().cloned().collect()
    }

    pub(super) fn create(&self, name: &str) -> io::Result<Group> {
        let mut dirs = BTreeMap::new();
        for (controller, parent) in &self.parents {
            let dir = parent.join(name);
            match std::fs::create_dir(&dir) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    // Left by a launcher that was killed, or the same tree by its other name.
                    let same = dirs.values().any(|d: &PathBuf| same_dir(d, &dir));
                    if !same {
                        super::remove_tree(&dir);
                        std::fs::create_dir(&dir)?;
                    }
                }
                other => other?,
            }
            dirs.insert(controller.clone(), dir);
        }
        Ok(Group {
            dirs,
            path: format!("{}/{name}", self.path),
        })
    }
}

fn same_dir(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

impl Group {
    fn dir(&self, controller: &str) -> &Path {
        self.dirs
            .get(controller)
            .map_or(Path::new("/nonexistent"), PathBuf::as_path)
    }

    pub(super) fn limit(&self, limits: &Limits) -> io::Result<()> {
        let memory = self.dir("memory");
        let bytes = limits.memory_bytes.to_string();
        put(memory, "memory.limit_in_bytes", &bytes)?;
        put_if_there(memory, "memory.memsw.limit_in_bytes", &bytes)?;
        put_if_there(memory, "memory.swappiness", "0")?;
        put(self.dir("pids"), "pids.max", &limits.pids.to_string())?;
        if let (Some(millis), Some(cpu)) = (limits.cpu_millis, self.dirs.get("cpu")) {
            put(cpu, "cpu.cfs_period_us", "100000")?;
            put(
                cpu,
                "cpu.cfs_quota_us",
                &(u64::from(millis) * 100).to_string(),
            )?;
        }
        Ok(())
    }

    pub(super) fn adopt(&self, pid: i32) -> io::Result<()> {
        let mut done: Vec<&Path> = Vec::new();
        for dir in self.dirs.values() {
            if !done.iter().any(|d| same_dir(d, dir)) {
                put(dir, "cgroup.procs", &pid.to_string())?;
                done.push(dir);
            }
        }
        Ok(())
    }

    pub(super) fn facts(&self) -> CgroupFacts {
        let memory = self.dir("memory");
        let quota = std::fs::read_to_string(self.dir("cpu").join("cpu.cfs_quota_us"))
            .ok()
            .and_then(|t| t.trim().parse::<i64>().ok());
        let period = number(self.dir("cpu"), "cpu.cfs_period_us")
            .unwrap_or(100_000)
            .max(1);
        let limit = |file| number(memory, file).filter(|n| *n < UNLIMITED);
        let memory_max_bytes = limit("memory.limit_in_bytes");
        CgroupFacts {
            version: "v1".to_owned(),
            path: self.path.clone(),
            memory_max_bytes,
            pids_max: number(self.dir("pids"), "pids.max"),
            cpu_millis: quota
                .and_then(|q| u64::try_from(q).ok())
                .map(|q| q * 1000 / period),
            no_swap: memory
                .join("memory.memsw.limit_in_bytes")
                .exists()
                .then(|| {
                    memory_max_bytes.is_some()
                        && limit("memory.memsw.limit_in_bytes") == memory_max_bytes
                }),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let memory = self.dir("memory");
        Usage {
            memory_peak_bytes: number(memory, "memory.max_usage_in_bytes"),
            cpu_ns: number(self.dir("cpuacct"), "cpuacct.usage").unwrap_or(0),
            pids_peak: number(self.dir("pids"), "pids.peak"),
            forks_refused: keyed(self.dir("pids"), "pids.events", "max").unwrap_or(0),
            oom_kills: keyed(memory, "memory.oom_control", "oom_kill").unwrap_or(0),
            ..Usage::default()
        }
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        kill_listed(self.dir("pids"))
    }

    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.dirs.values().cloned().collect()
    }
}
