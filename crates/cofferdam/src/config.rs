//! The appliance's settings: one struct per concern, unknown keys refused, defaults that work.
//!
//! Read from `DATA/config.toml`. Source: docs/configuration.md.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use evidence::note::NoteKey;
use pool::PoolConfig;
use runner::Grace;
use runner::executor::Limits;
use runner::receipt::RunnerIdentity;
use serde::{Deserialize, Serialize};

/// All of `config.toml`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) web: Web,
    pub(crate) ssh: Ssh,
    pub(crate) runner: Runner,
    pub(crate) bundles: Bundles,
    pub(crate) audit: Audit,
    /// Which image serves a `runs-on` label; `default` is the image imported first.
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) toolcache: Toolcache,
}

/// How people and tools reach the appliance.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Web {
    /// Address and port to listen on; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Whether it speaks TLS, with the certificate in `DATA/keys/tls`. By default it does when
    /// there is one; without one it listens on loopback only.
    pub(crate) tls: Option<bool>,
    /// What pages and clone addresses begin with; by default the address that was bound.
    pub(crate) public_url: Option<String>,
    /// How long a browser session lasts, in hours.
    pub(crate) session_hours: u64,
    /// The largest push that is accepted, in MiB.
    pub(crate) push_max_mib: u64,
    /// The largest single object in a push, inflated, in MiB.
    pub(crate) object_max_mib: u64,
    /// Whether anybody may pull images and packages, without an account.
    pub(crate) open_supply: bool,
}

/// Git over SSH.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ssh {
    /// Address and port to listen on; none serves no SSH. Port 0 takes a free one.
    pub(crate) listen: Option<SocketAddr>,
    /// Name and port in clone addresses; by default the name of `web.public_url` and the port
    /// that was bound.
    pub(crate) public_address: Option<String>,
}

/// How `setup-*` actions find their tools.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Toolcache {
    /// Which version may stand in for another: `"python 3.12" = "3.13"`.
    pub(crate) aliases: BTreeMap<String, String>,
}

/// What a job may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Runner {
    /// Jobs at a time; 0 takes the number of processors.
    pub(crate) slots: usize,
    /// First of the host ids that jobs run under; by default 1879048192.
    pub(crate) first_id: Option<u32>,
    /// Sandboxes kept ready.
    pub(crate) warm: usize,
    /// Memory of one job, its files in the sandbox included, in MiB.
    pub(crate) memory_mib: u64,
    /// What a job may write to its root file system, in MiB.
    pub(crate) disk_mib: u64,
    /// Processes and threads of one job.
    pub(crate) pids: u64,
    /// Longest run time of a job that sets none, in minutes.
    pub(crate) timeout_minutes: u64,
    /// What a job may log, in MiB; the rest is dropped with a notice.
    pub(crate) log_mib: u64,
}

/// Where bundles come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bundles {
    /// Folders below which the web pages and the API may read media; the command line on the
    /// appliance may name any place.
    pub(crate) media: Vec<PathBuf>,
    /// Whether an import takes two persons: the second one runs the same import again.
    pub(crate) two_persons: bool,
    /// Every how many days each blob is read again; 0 for never.
    pub(crate) scrub_days: u32,
}

/// Who watches the audit log, and what is kept for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// Keys of witnesses outside, whose cosignatures are taken.
    pub(crate) witnesses: Vec<String>,
    /// Room on the data directory's disk below which changes are refused, in MiB; 0 for none.
    pub(crate) reserve_mib: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            witnesses: Vec::new(),
            reserve_mib: 512,
        }
    }
}

impl Audit {
    /// The keys that are keys; the others are reported as problems.
    pub(crate) fn keys(&self) -> Vec<NoteKey> {
        self.witnesses
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect()
    }
}

impl Default for Bundles {
    fn default() -> Self {
        Self {
            media: ["/media", "/mnt", "/run/media"].map(PathBuf::from).to_vec(),
            two_persons: false,
            scrub_days: 30,
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8470)),
            tls: None,
            public_url: None,
            session_hours: 12,
            push_max_mib: 2048,
            object_max_mib: 128,
            open_supply: false,
        }
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            slots: 0,
            first_id: None,
            warm: 2,
            memory_mib: 2048,
            disk_mib: 1536,
            pids: 1024,
            timeout_minutes: 360,
            log_mib: 64,
        }
    }
}

impl Runner {
    /// Jobs at a time, never 0.
    pub(crate) fn slots(&self) -> usize {
        match self.slots {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// What `init` writes: every key with its default, as comments.
pub(crate) const TEMPLATE: &str = "\
# Settings of this appliance. Every key may be left out; what is shown is the default.

[web]
# listen = \"127.0.0.1:8470\"      # address and port; port 0 takes a free one
# tls = true                     # default: whether `cofferdam tls init` was done
# public_url = \"http://…\"        # what clone addresses begin with; default: the bound address
# session_hours = 12
# push_max_mib = 2048
# object_max_mib = 128
# open_supply = false            # true: images and packages can be pulled without an account

[ssh]
# listen = \"127.0.0.1:2222\"      # address and port for git over SSH; without it there is none
# public_address = \"forge.lab:2222\"   # what SSH clone addresses have; default: as public_url

[runner]
# slots = 0                      # jobs at a time; 0: one per processor
# first_id = 1879048192          # first of the 65536 host ids for each slot
# warm = 2                       # sandboxes kept ready
# memory_mib = 2048              # of one job
# disk_mib = 1536                # what a job may write
# pids = 1024
# timeout_minutes = 360
# log_mib = 64

[bundles]
# media = [\"/media\", \"/mnt\", \"/run/media\"]   # where pages may read bundles from
# two_persons = false            # an import takes two: the second runs the same import again
# scrub_days = 30                # every so many days each blob is read again; 0: never

[audit]
# witnesses = [\"auditor+1a2b3c4d+…\"]         # keys whose cosignatures are taken; default: none
# reserve_mib = 512              # with less room on the disk changes are refused; 0: never

# Which image serves a `runs-on` label. Without a line here, every common label
# (ubuntu-latest, self-hosted, linux, x64, …) means the image that was imported first.
[labels]
# \"ubuntu-latest\" = \"debian-python\"

# Which version of a tool may stand in for one that no bundle has brought; a job that gets the
# other one says so in its log and its receipt.
[toolcache.aliases]
# \"python 3.12\" = \"3.13\"
";

impl Config {
    /// Reads `DATA/config.toml`; a missing file means all defaults.
    pub(crate) fn load(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("config.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let config: Self = toml::from_str(&text)
            .with_context(|| format!("cannot use {}; mend it, then try again", path.display()))?;
        let problems = config.problems();
        if !problems.is_empty() {
            bail!("cannot use {}: {}", path.display(), problems.join("; "));
        }
        Ok(config)
    }

    /// The pool's settings.
    pub(crate) fn pool(&self, identity: RunnerIdentity, server_url: &str) -> PoolConfig {
        let runner = &self.runner;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        PoolConfig {
            identity,
            slots: runner.slots(),
            limits: Limits {
                memory_bytes: runner.memory_mib << 20,
                cpu_millis: u32::try_from(processors * 1000).unwrap_or(u32::MAX),
                pids: u32::try_from(runner.pids).unwrap_or(u32::MAX),
                disk_bytes: runner.disk_mib << 20,
                timeout: Duration::from_secs(runner.timeout_minutes * 60),
            },
            grace: Grace::default(),
            server_url: server_url.to_owned(),
            lease: PoolConfig::LEASE,
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut at_least = |key: &str, value: u64, floor: u64| {
            if value < floor {
                found.push(format!("{key} is {value}, it must be at least {floor}"));
            }
        };
        at_least("runner.memory_mib", self.runner.memory_mib, 32);
        at_least("runner.disk_mib", self.runner.disk_mib, 16);
        at_least("runner.pids", self.runner.pids, 16);
        at_least("runner.timeout_minutes", self.runner.timeout_minutes, 1);
        at_least("runner.log_mib", self.runner.log_mib, 1);
        at_least("web.session_hours", self.web.session_hours, 1);
        at_least("web.push_max_mib", self.web.push_max_mib, 1);
        at_least("web.object_max_mib", self.web.object_max_mib, 1);
        for folder in self.bundles.media.iter().filter(|f| !f.is_absolute()) {
            found.push(format!(
                "bundles.media has '{}', it must be an absolute path",
                folder.display()
            ));
        }
        for text in &self.audit.witnesses {
            if let Err(error) = text.parse::<NoteKey>() {
                found.push(format!("audit.witnesses: {error}"));
            }
        }
        for (from, to) in &self.toolcache.aliases {
            let named = from
                .split_once(' ')
                .is_some_and(|(tool, version)| !tool.is_empty() && !version.trim().is_empty());
            if !named || to.trim().is_empty() {
                found.push(format!(
                    "toolcache.aliases has '{from}' = '{to}', it must be like \"python 3.12\" = \"3.13\""
                ));
            }
        }
        if let Some(url) = &self.web.public_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            found.push(format!(
                "web.public_url is '{url}', it must begin with http:// or https://"
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_the_default_and_unknown_keys_are_refused() {
        let from_template: Config = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(
            format!("{from_template:?}"),
            format!("{:?}", Config::default())
        );
        assert!(toml::from_str::<Config>("[runner]\nslotz = 1").is_err());
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text = "[runner]\nmemory_mib = 1\npids = 2\n[web]\npublic_url = 'lab'";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.problems().len(), 3);
    }
}
