//! Facts and use of a jail, read from the kernel by the launcher, which may read everything.

use std::collections::BTreeMap;
use std::io;

use super::{Held, root};
use crate::caps;
use crate::facts::{Facts, LandlockFacts, Mount, Namespace, Usage};
use crate::procfs;

const KINDS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// The namespaces of this process, to be asked before it leaves one.
pub(super) fn host_namespaces() -> io::Result<Vec<(&'static str, u64)>> {
    KINDS
        .into_iter()
        .map(|kind| Ok((kind, procfs::namespace("self", kind)?)))
        .collect()
}

/// Facts of the process that has `pid` in the jail's pid namespace, a child of its init.
pub(super) fn facts(jail: &Held, host: &[(&str, u64)], pid: u32) -> io::Result<Facts> {
    let host_pid = find(jail, pid)?;
    let status = procfs::status(host_pid)?;
    let field = |name: &str| status.get(name).cloned().unwrap_or_default();
    let mounts = procfs::mounts(host_pid)?;
    let masked = mounts
        .iter()
        .filter(|m| m.target.starts_with("/proc/"))
        .map(|m| m.target.clone())
        .collect();
    let effective = u64::from_str_radix(&field("CapEff"), 16).unwrap_or(u64::MAX);
    Ok(Facts {
        slot: jail.slot.number,
        kernel: procfs::text("sys/kernel", "osrelease")?.trim().to_owned(),
        host: procfs::text("sys/kernel", "hostname")?.trim().to_owned(),
        uid_map: procfs::id_map(host_pid, "uid_map")?,
        gid_map: procfs::id_map(host_pid, "gid_map")?,
        namespaces: namespaces(host, host_pid)?,
        seccomp_mode: field("Seccomp").parse().unwrap_or(0),
        no_new_privs: field("NoNewPrivs") == "1",
        capabilities: caps::names(effective),
        landlock: LandlockFacts {
            abi: 0,
            enforced: false,
            ports: false,
        },
        cgroup: jail.cgroup.facts(),
        limits: jail.spec.limits,
        rlimits: rlimits(host_pid)?,
        layers: jail.files.layers.clone(),
        mounts: mounts
            .into_iter()
            .map(|m| Mount {
                target: m.target,
                kind: m.kind,
                read_only: m.options.split(',').any(|o| o == "ro"),
            })
            .collect(),
        masked,
        interfaces: procfs::interfaces(host_pid)?
            .into_iter()
            .map(|(name, _, _)| name)
            .collect(),
    })
}

/// The host's id of a process that the jail calls `pid`.
fn find(jail: &Held, pid: u32) -> io::Result<u32> {
    let children = procfs::text(format!("{0}/task/{0}", jail.pid), "children")?;
    for child in children
        .split_whitespace()
        .filter_map(|c| c.parse::<u32>().ok())
    {
        let status = procfs::status(child)?;
        let inner = status
            .get("NSpid")
            .and_then(|ids| ids.split_whitespace().last());
        if inner.and_then(|id| id.parse::<u32>().ok()) == Some(pid) {
            return Ok(child);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("process {pid} of the jail is gone"),
    ))
}

fn namespaces(host: &[(&str, u64)], pid: u32) -> io::Result<Vec<Namespace>> {
    host.iter()
        .map(|(kind, host_inode)| {
            let inode = procfs::namespace(pid, kind)?;
            Ok(Namespace {
                kind: (*kind).to_owned(),
                inode,
                host_inode: *host_inode,
            })
        })
        .collect()
}

fn rlimits(pid: u32) -> io::Result<BTreeMap<String, u64>> {
    let text = procfs::text(pid, "limits")?;
    let read = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Ok(["Max file size", "Max open files", "Max core file size"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), read(name)?)))
        .collect())
}

/// What the jail has used: its control group, its network namespace, its tmpfs.
pub(super) fn usage(jail: &Held) -> Usage {
    let mut usage = jail.cgroup.usage();
    let last = jail.files.last_usage.unwrap_or_default();
    usage.network_attempts = procfs::no_routes(jail.pid).unwrap_or(last.network_attempts);
    let interfaces = procfs::interfaces(jail.pid).unwrap_or_default();
    let lo = interfaces.iter().find(|(name, _, _)| name == "lo");
    usage.loopback_rx_bytes = lo.map_or(last.loopback_rx_bytes, |(_, rx, _)| *rx);
    usage.loopback_tx_bytes = lo.map_or(last.loopback_tx_bytes, |(_, _, tx)| *tx);
    usage.disk_bytes = root::used_bytes(&jail.files.upper);
    usage
}
