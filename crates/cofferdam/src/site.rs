//! One data directory, opened: database, audit log, job logs, keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use access::Keys;
use anyhow::{Context, bail};
use audit::{Auditor, Origin};
use queue::logs::Logs;
use store::{Schema, Store, StoreOptions};
use vocab::{Clock, Entropy};

use crate::config::{Config, TEMPLATE};
use crate::program;

/// What an open data directory consists of.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) name: String,
    pub(crate) store: Arc<Store>,
    pub(crate) auditor: Auditor,
    pub(crate) logs: Logs,
    pub(crate) keys: Arc<Keys>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

/// Makes the directory and what must be in it before it can be opened; keeps what is there.
pub(crate) fn prepare(data: &Path, name: Option<&str>) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data)
        .with_context(|| format!("cannot make {}", data.display()))?;
    for dir in ["repos", "layers", "logs"] {
        let path = data.join(dir);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => format!("appliance-{}", Entropy::system().hex(2)),
    };
    write_new(&data.join("name"), &format!("{name}\n"))?;
    write_new(&data.join("config.toml"), TEMPLATE)?;
    store::sync_dir(data).with_context(|| format!("cannot sync {}", data.display()))
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path);
    let mut file = match opened {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        opened => opened.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

impl Site {
    /// Opens `data`, which `cofferdam init` made.
    pub(crate) fn open(data: &Path, options: StoreOptions) -> anyhow::Result<Self> {
        Self::open_after(data, options, None)
    }

    /// The same for a program on trial, which leaves the database usable to one that knows
    /// `before`.
    pub(crate) fn open_after(
        data: &Path,
        options: StoreOptions,
        before: Option<&Schema>,
    ) -> anyhow::Result<Self> {
        if !data.join("name").exists() {
            bail!(
                "{} is no data directory; make one with `cofferdam init --data {}`",
                data.display(),
                data.display()
            );
        }
        let config = Config::load(data)?;
        let read = |file: &str| {
            let path = data.join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let name = read("name")?.trim().to_owned();
        let migrations = program::this().migrations;
        let store = Arc::new(Store::open_after(data, migrations, options, before)?);
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let origin = Origin {
            host: name.clone(),
            boot: boot.trim().to_owned(),
        };
        let auditor = Auditor::new(clock.clone(), entropy.clone(), origin);
        let logs = Logs::open(&data.join("logs"))
            .with_context(|| format!("cannot use {}", data.join("logs").display()))?
            .with_cap(config.runner.log_mib << 20);
        let keys = Arc::new(Keys::open_or_create(&data.join("keys"), &entropy)?);
        Ok(Self {
            config,
            name,
            store,
            auditor,
            logs,
            keys,
            clock,
            entropy,
        })
    }
}
