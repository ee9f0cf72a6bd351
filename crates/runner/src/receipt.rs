//! Whose computer was that, was it fresh, what could it reach: the receipt of one job.
//!
//! Every line was read from the kernel, the order or the job's own log; none is assumed. What
//! could not be read says so.

use serde::{Deserialize, Serialize};
use vocab::{Digest, Fence};

use crate::executor::{Layer, Limit, LiveProcess, NetworkPolicy, Residue, Usage};
use crate::supply::SupplyFacts;

/// The receipt of one attempt, as stored, shown and exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Shape of this document; 1.
    pub version: u32,
    /// Whose.
    pub fence: Fence,
    /// Which runner.
    pub runner: RunnerIdentity,
    /// Which machine.
    pub machine: Machine,
    /// Kind of executor.
    pub executor: String,
    /// Every isolation layer, in force or not.
    pub layers: Vec<Layer>,
    /// What the root file system was made of.
    pub root: Root,
    /// The generation that it saw; absent when nothing was imported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub supply: Option<SupplyFacts>,
    /// The actions of that generation that it was shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub actions: Vec<ActionFacts>,
    /// Tools that stood in for others, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub served_as: Vec<String>,
    /// `inside outside count` of each line of the uid map.
    pub uid_map: Vec<[u32; 3]>,
    /// Limits as the kernel held them.
    pub limits: Vec<Limit>,
    /// Peaks and counters as the kernel held them at the end.
    pub usage: Option<Usage>,
    /// What it could reach.
    pub network: Network,
    /// Names of the secrets that the job was given.
    pub secrets: Vec<String>,
    /// When what happened.
    pub timings: Timings,
    /// Programs that steps had left running, ended with the job.
    pub background: Vec<LiveProcess>,
    /// What the search after the end found.
    pub residue: Residue,
    /// Size of the log.
    pub log: LogSize,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

/// An action that a job was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionFacts {
    /// `owner/name`.
    pub name: String,
    /// The ref, as it was asked for.
    pub git_ref: String,
    /// The commit that it was pinned to, in hex.
    pub commit: String,
}

/// A runner, as it introduces itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerIdentity {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the program file that runs.
    pub binary_sha256: String,
    /// Its labels.
    pub labels: Vec<String>,
}

/// A machine, as its kernel introduces it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Host name.
    pub host: String,
    /// Kernel release.
    pub kernel: String,
    /// Kernel boot id.
    pub boot_id: String,
}

/// What a root file system was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Name of the image, empty for the host's own `/usr`.
    pub image: String,
    /// Digest of its manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Digest>,
    /// What the root directory is, and what of it could be written, by `mountinfo`.
    pub mounts: String,
}

/// What a job could reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What was asked for.
    pub policy: NetworkPolicy,
    /// What was there.
    pub interfaces: Vec<String>,
    /// Packets that it tried to send elsewhere, by the namespace's counter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused_packets: Option<u64>,
}

/// When what happened, in unix milliseconds UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// The job was put in the queue.
    pub queued_ms: i64,
    /// This runner claimed it.
    pub claimed_ms: i64,
    /// The sandbox stood.
    pub prepared_ms: i64,
    /// The first step printed its first byte; `None` when no step printed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_output_ms: Option<i64>,
    /// The last step had ended.
    pub finished_ms: i64,
}

impl Timings {
    /// From the queue to the first byte of a step's output.
    #[must_use]
    pub fn start_latency_ms(&self) -> Option<i64> {
        self.first_output_ms.map(|first| first - self.queued_ms)
    }
}

/// The size of a log as the runner sent it; a cap may have kept less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSize {
    /// Lines.
    pub lines: u64,
    /// Bytes without line ends.
    pub bytes: u64,
}

/// One line of a receipt: what, its value, and where it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Such as `machine`.
    pub label: &'static str,
    /// As shown.
    pub value: String,
    /// Where it was read.
    pub source: String,
}

impl Receipt {
    /// The receipt as labelled lines, in the order in which people ask.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.whose(&mut lines);
        self.fresh(&mut lines);
        self.reach(&mut lines);
        self.cost(&mut lines);
        for what in &self.unread {
            push(&mut lines, "not known", what.clone(), "an error");
        }
        lines
    }

    /// The receipt as text, one line each.
    #[must_use]
    pub fn render_text(&self) -> Vec<String> {
        let lines = self.lines();
        let width = lines.iter().map(|l| l.label.len()).max().unwrap_or(0);
        lines
            .iter()
            .map(|l| format!("{:width$}  {}  [{}]", l.label, l.value, l.source))
            .collect()
    }

    fn whose(&self, lines: &mut Vec<Line>) {
        let r = &self.runner;
        let runner = format!("{} {} (sha256 {})", r.name, r.version, r.binary_sha256);
        push(lines, "runner", runner, "the running program");
        let m = &self.machine;
        let machine = format!("{}, kernel {}, boot {}", m.host, m.kernel, m.boot_id);
        push(lines, "machine", machine, "uname, boot_id");
        push(lines, "executor", self.executor.clone(), "runner");
        let map: Vec<String> = self
            .uid_map
            .iter()
            .map(|[inside, outside, count]| {
                format!("{inside} inside is {outside} on the host, {count} ids")
            })
            .collect();
        push(lines, "user ids", or_none(&map, "; "), "uid_map");
    }

    fn fresh(&self, lines: &mut Vec<Line>) {
        let root = match &self.root.digest {
            Some(digest) => format!("image {} {digest}", self.root.image),
            None => "the host's own /usr, read-only".to_owned(),
        };
        push(
            lines,
            "root",
            format!("{root}; {}", self.root.mounts),
            "order, mountinfo",
        );
        if let Some(supply) = &self.supply {
            push(lines, "supply", supply.to_string(), "order");
        }
        for action in &self.actions {
            let from = self.supply.as_ref().map(|s| {
                let (product, channel, seq) = (&s.product, &s.channel, s.seq);
                format!(", of bundle {product} {channel} {seq}")
            });
            let value = format!(
                "{}@{} at commit {}{}",
                action.name,
                action.git_ref,
                action.commit,
                from.unwrap_or_default()
            );
            push(lines, "action", value, "git objects of the generation");
        }
        for served in &self.served_as {
            push(lines, "stood in", served.clone(), "settings of the site");
        }
        let residue = &self.residue;
        let found = if !residue.found.is_empty() {
            format!("LEFT BEHIND: {}", residue.found.join("; "))
        } else if residue.searched.is_empty() {
            "NOT SEARCHED".to_owned()
        } else {
            format!(
                "nothing left behind; searched {}",
                residue.searched.join(", ")
            )
        };
        push(lines, "residue", found, "search after the end");
        if !residue.not_searched.is_empty() {
            let value = residue.not_searched.join("; ");
            push(lines, "not searched", value, "search after the end");
        }
        let left: Vec<String> = self
            .background
            .iter()
            .map(|p| format!("{} ({})", p.command, p.pid))
            .collect();
        push(
            lines,
            "left running",
            or_none(&left, ", "),
            "/proc of the job",
        );
    }

    fn reach(&self, lines: &mut Vec<Line>) {
        let policy = match self.network.policy {
            NetworkPolicy::Loopback => "its own loopback only",
        };
        let network = format!(
            "{policy}; interfaces: {}",
            or_none(&self.network.interfaces, ", ")
        );
        push(
            lines,
            "network",
            network,
            "order, interfaces of the namespace",
        );
        let tried = match self.network.refused_packets {
            Some(0) => "none".to_owned(),
            Some(count) => format!("{count} packets had nowhere to go"),
            None => "this kernel does not count them".to_owned(),
        };
        push(
            lines,
            "tried to reach",
            tried,
            "OutNoRoutes of the namespace",
        );
        push(lines, "secrets", or_none(&self.secrets, ", "), "order");
        for layer in &self.layers {
            let state = if layer.in_force {
                "in force"
            } else {
                "NOT IN FORCE"
            };
            let mut value = format!("{}: {state}", layer.name);
            if !layer.detail.is_empty() {
                value.push_str(&format!(" ({})", layer.detail));
            }
            push(lines, "isolation", value, &layer.source);
        }
    }

    fn cost(&self, lines: &mut Vec<Line>) {
        for limit in &self.limits {
            push(
                lines,
                "limit",
                format!("{} {}", limit.name, limit.value),
                &limit.source,
            );
        }
        if let Some(usage) = &self.usage {
            let source = or_none(&usage.sources, ", ");
            push(lines, "used", used(usage), &source);
            if usage.oom_kills > 0 {
                let value = format!("{} ended for want of memory", processes(usage.oom_kills));
                push(lines, "out of memory", value, &source);
            }
            if usage.pids_refused > 0 {
                let forks = match usage.pids_refused {
                    1 => "1 fork".to_owned(),
                    forks => format!("{forks} forks"),
                };
                let value = format!("{forks} refused at the limit");
                push(lines, "processes", value, &source);
            }
        }
        let t = &self.timings;
        let start = match t.start_latency_ms() {
            Some(ms) => format!("{ms} ms from the queue to the first output"),
            None => "no step printed anything".to_owned(),
        };
        let took = format!("{start}; {} ms in all", t.finished_ms - t.queued_ms);
        push(lines, "time", took, "clock of the runner");
        let log = format!("{} lines, {} bytes", self.log.lines, self.log.bytes);
        push(lines, "log", log, "runner");
    }
}

fn processes(count: u64) -> String {
    match count {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    }
}

fn used(usage: &Usage) -> String {
    let mut parts = Vec::new();
    if let Some(bytes) = usage.memory_peak_bytes {
        parts.push(format!("memory up to {}", size(bytes)));
    }
    if let Some(pids) = usage.pids_peak {
        parts.push(format!("up to {}", processes(pids)));
    }
    if let Some(ms) = usage.cpu_ms {
        parts.push(format!("{ms} ms of processor"));
    }
    if let Some(bytes) = usage.disk_bytes {
        parts.push(format!("{} written", size(bytes)));
    }
    or_none(&parts, ", ")
}

/// A size as people read it: 1536 is `1.5 KiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match tenths % 10 {
        0 => format!("{} {}", tenths / 10, UNITS[unit]),
        rest => format!("{}.{rest} {}", tenths / 10, UNITS[unit]),
    }
}

fn push(lines: &mut Vec<Line>, label: &'static str, value: String, source: &str) {
    lines.push(Line {
        label,
        value,
        source: source.to_owned(),
    });
}

fn or_none(items: &[String], between: &str) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(between)
    }
}
