//! The kernel's word on a jail, in the terms of a receipt.

use runner::executor::{Layer, Limit, Residue, Usage};
use runner::receipt::size;

/// Every layer of the design's table, in force or not, by what the kernel said.
pub(super) fn layers(facts: &sandbox::Facts) -> Vec<Layer> {
    let in_force = facts.layers_in_force();
    let layer = |name: &str, detail: String, source: &str| Layer {
        name: name.to_owned(),
        in_force: in_force.contains(&name),
        detail,
        source: source.to_owned(),
    };
    let mut out = Vec::new();
    let kinds = [
        ("user namespace", "user"),
        ("mount namespace", "mnt"),
        ("pid namespace", "pid"),
        ("network namespace", "net"),
        ("ipc namespace", "ipc"),
        ("uts namespace", "uts"),
        ("cgroup namespace", "cgroup"),
    ];
    for (name, kind) in kinds {
        let detail = match facts.namespaces.iter().find(|n| n.kind == kind) {
            Some(n) => format!("{} beside the host's {}", n.inode, n.host_inode),
            None => "none".to_owned(),
        };
        out.push(layer(name, detail, &format!("/proc/PID/ns/{kind}")));
    }
    let status = "/proc/PID/status";
    out.push(layer(
        "seccomp",
        format!("mode {}", facts.seccomp_mode),
        status,
    ));
    let caps = match facts.capabilities.len() {
        0 => "none left".to_owned(),
        _ => facts.capabilities.join(" "),
    };
    out.push(layer("dropped capabilities", caps, status));
    out.push(layer(
        "no_new_privs",
        u8::from(facts.no_new_privs).to_string(),
        status,
    ));
    let landlock = match facts.landlock.abi {
        0 => "this kernel has none".to_owned(),
        abi => format!("ABI {abi}"),
    };
    out.push(layer("landlock", landlock, "landlock_create_ruleset"));
    let cgroup = format!("cgroup {} {}", facts.cgroup.version, facts.cgroup.path);
    let memory = facts
        .cgroup
        .memory_max_bytes
        .map_or_else(|| "unlimited".to_owned(), size);
    out.push(layer("memory limit", memory, &cgroup));
    out.push(layer("pids limit", or_none(facts.cgroup.pids_max), &cgroup));
    out
}

/// Limits as read back from the control group and the process, never as asked for.
pub(super) fn limits(facts: &sandbox::Facts) -> Vec<Limit> {
    let cgroup = format!("cgroup {} {}", facts.cgroup.version, facts.cgroup.path);
    let limit = |name: &str, value: Option<String>, source: &str| Limit {
        name: name.to_owned(),
        value: value.unwrap_or_else(|| "unlimited".to_owned()),
        source: source.to_owned(),
    };
    let processor = |millis: u64| format!("{}.{:03} processors", millis / 1000, millis % 1000);
    let mut out = vec![
        limit("memory", facts.cgroup.memory_max_bytes.map(size), &cgroup),
        limit(
            "processes",
            facts.cgroup.pids_max.map(|n| n.to_string()),
            &cgroup,
        ),
        limit(
            "processor time",
            facts.cgroup.cpu_millis.map(processor),
            &cgroup,
        ),
    ];
    for (name, value) in &facts.rlimits {
        let name = name.to_lowercase();
        let shown = if name.ends_with("size") {
            size(*value)
        } else {
            value.to_string()
        };
        out.push(limit(&name, Some(shown), "/proc/PID/limits"));
    }
    out
}

/// The root directory as `mountinfo` shows it, and what else can be written.
pub(super) fn root(facts: &sandbox::Facts) -> String {
    let root = facts.mounts.iter().find(|m| m.target == "/");
    let kind = root.map_or("unknown", |m| m.kind.as_str());
    let writable: Vec<String> = facts
        .mounts
        .iter()
        .filter(|m| !m.read_only && !m.target.starts_with("/proc"))
        .map(|m| format!("{} ({})", m.target, m.kind))
        .collect();
    format!(
        "{kind} over {}; writable: {}",
        match facts.layers.len() {
            1 => "one layer".to_owned(),
            count => format!("{count} layers"),
        },
        writable.join(", ")
    )
}

pub(super) fn usage(u: &sandbox::Usage) -> Usage {
    Usage {
        memory_peak_bytes: u.memory_peak_bytes,
        pids_peak: u.pids_peak,
        cpu_ms: Some(u.cpu_ns / 1_000_000),
        disk_bytes: Some(u.disk_bytes),
        oom_kills: u.oom_kills,
        pids_refused: u.forks_refused,
        no_route_packets: Some(u.network_attempts),
        sources: vec![
            "cgroup counters".to_owned(),
            "/proc/PID/net/snmp".to_owned(),
        ],
    }
}

pub(super) fn residue(found: &sandbox::Residue) -> Residue {
    let kinds = [
        ("process", &found.processes),
        ("control group", &found.cgroups),
        ("mount", &found.mounts),
        ("path", &found.paths),
    ];
    let all = kinds
        .iter()
        .flat_map(|(kind, items)| items.iter().map(move |i| format!("{kind} {i}")));
    Residue {
        searched: vec![
            format!("{} processes for the slot's ids", found.processes_searched),
            format!("{} mount namespaces", found.namespaces_searched),
            "control groups".to_owned(),
            "the slot's paths".to_owned(),
        ],
        found: all.collect(),
        not_searched: found.not_searched.clone(),
    }
}

fn or_none(value: Option<u64>) -> String {
    value.map_or_else(|| "unlimited".to_owned(), |v| v.to_string())
}
