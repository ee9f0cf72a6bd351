//! Asking for an update or a way back: everything is checked, staged and written down, then the
//! guard is started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bundle::Manifest;
use store::{Applied, Glance};
use supply::Candidate;
use vocab::{Clock, Digest, unix_ms};
use web::{UpdateStage, Which};

use super::ask::{Ask, Running};
use super::elf::{self, HOST};
use super::guard::put_back;
use super::judge::{self, Refusal};
use super::keeper::{Keeper, systemctl};
use super::layout::{Link, Lock, Prefix, Release};
use super::start::{installed, spawn_guard};
use super::trial::{State, Trial};
use crate::install::{confine, place::Place, units};
use crate::program;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Jobs that run, before the switch.
    pub(crate) hold_seconds: u64,
    /// The trial.
    pub(crate) trial_seconds: u64,
}

/// Updates to the program that the active generation has; gives how that ended.
pub(crate) fn apply(prefix: &Prefix, data: &Path, times: Times) -> anyhow::Result<Trial> {
    let lock = ours(prefix)?;
    let from = installed(prefix)?;
    let glance = open(data)?;
    let applied = glance.applied()?;
    let Some(candidate) = supply::candidate(glance.db(), HOST)? else {
        bail!("no bundle that was imported brings a program for {HOST}; import one that does");
    };
    let hex = candidate.item.d.hex();
    if hex == from {
        bail!(
            "version {} runs already, as {hex}; import a bundle with a newer one",
            candidate.item.version
        );
    }
    let floor = supply::epoch(glance.db())?;
    drop(glance);
    let running = ready(data, &from)?;
    fits(data, &candidate, &applied, floor)?;
    let checked = stage(prefix, data, &candidate, &applied);
    if checked.is_err() {
        prefix.remove(&hex);
    }
    checked?;
    let to = Which {
        version: candidate.item.version,
        sha256: hex,
    };
    begin(prefix, data, lock, running, to, times)
}

/// Goes back to the version before; gives how that ended.
pub(crate) fn rollback(prefix: &Prefix, data: &Path, times: Times) -> anyhow::Result<Trial> {
    let lock = ours(prefix)?;
    let from = installed(prefix)?;
    let Some(to) = prefix.link(Link::Previous).filter(|hex| *hex != from) else {
        bail!("there is no version before this one");
    };
    let glance = open(data)?;
    let applied = glance.applied()?;
    let floor = supply::epoch(glance.db())?;
    drop(glance);
    let (version, _) = may_go_back(prefix, &to, &applied, floor)?;
    let running = ready(data, &from)?;
    let to = Which {
        version,
        sha256: to,
    };
    begin(prefix, data, lock, running, to, times)
}

/// Whether the installed version `hex` may be gone back to; its version and epoch.
pub(crate) fn may_go_back(
    prefix: &Prefix,
    hex: &str,
    applied: &[Applied],
    floor: u64,
) -> anyhow::Result<(String, u64)> {
    let epoch = prefix.release(hex).map_or(0, |release| release.epoch);
    judge::not_below(epoch, floor)?;
    elf::check(&prefix.program(hex), HOST)?;
    if super::layout::digest_of(&prefix.program(hex))? != hex {
        bail!("the installed program {hex} is damaged; import its bundle and apply that");
    }
    let said = judge::ask(prefix, hex)?;
    judge::fits_database(&said.version, &said.schema, applied)?;
    Ok((said.version, epoch))
}

/// The prefix's lock, when no update is under way.
fn ours(prefix: &Prefix) -> anyhow::Result<Lock> {
    let Some(lock) = prefix.lock(Duration::ZERO)? else {
        bail!("an update is under way; `cofferdam update status` shows it");
    };
    match Trial::load(prefix)? {
        Some(mut trial) if trial.state == State::Prepared => {
            trial.reason = "it was cut short before the switch".to_owned();
            put_back(prefix, &mut trial)?;
        }
        Some(trial) if !trial.is_over() => bail!(
            "the update to version {} was cut short; restart the appliance, which ends it",
            trial.to.version
        ),
        _ => {}
    }
    Ok(lock)
}

pub(crate) fn open(data: &Path) -> anyhow::Result<Glance> {
    Glance::at(data).with_context(|| format!("cannot read the database in {}", data.display()))
}

/// The running appliance, which must be the installed program.
fn ready(data: &Path, from: &str) -> anyhow::Result<Running> {
    let running = Ask::of(data)?.who()?;
    if running.sha256 != from {
        bail!(
            "the appliance runs version {} with digest {}, not the installed program {from}; \
             restart it from the prefix first",
            running.version,
            running.sha256
        );
    }
    Ok(running)
}

/// What can be told before the program is staged.
pub(crate) fn fits(
    data: &Path,
    candidate: &Candidate,
    applied: &[Applied],
    floor: u64,
) -> anyhow::Result<()> {
    let item = &candidate.item;
    if item.arch != HOST {
        return Err(Refusal::Arch {
            label: item.arch.clone(),
            got: item.arch.clone(),
            this: HOST.to_owned(),
        }
        .into());
    }
    judge::not_below(candidate.epoch, floor)?;
    let manifest = manifest_of(data, candidate)?;
    judge::new_enough(program::this().version, &manifest.min_appliance)?;
    let schema = item
        .schema
        .iter()
        .map(|(owner, number)| (owner.clone(), i64::from(*number)))
        .collect();
    judge::fits_database(&item.version, &schema, applied)?;
    if !blob(data, &item.d).is_file() {
        return Err(Refusal::Missing {
            what: format!("the program {}", item.d),
        }
        .into());
    }
    Ok(())
}

fn manifest_of(data: &Path, candidate: &Candidate) -> anyhow::Result<Manifest> {
    let missing = || Refusal::Missing {
        what: format!("the manifest of bundle {}", candidate.bundle),
    };
    let digest = candidate.manifest.ok_or_else(missing)?;
    let text = std::fs::read(blob(data, &digest)).map_err(|_| missing())?;
    if Digest::of(&text) != digest {
        return Err(Refusal::Damaged {
            expected: digest.hex(),
            got: Digest::of(&text).hex(),
        }
        .into());
    }
    serde_json::from_slice(&text).context("the manifest of the bundle cannot be read")
}

fn blob(data: &Path, digest: &Digest) -> PathBuf {
    store::blob_path(data, digest)
}

/// Puts the program beside the one that runs, and hears what it says of itself.
fn stage(
    prefix: &Prefix,
    data: &Path,
    candidate: &Candidate,
    applied: &[Applied],
) -> anyhow::Result<()> {
    let Candidate { item, .. } = candidate;
    let hex = item.d.hex();
    elf::check(&blob(data, &item.d), &item.arch)?;
    prefix.stage(&blob(data, &item.d), &item.d)?;
    let told = tell_guards(prefix, &hex)?;
    let said = match judge::ask(prefix, &hex) {
        Err(error) if !told.is_empty() => return Err(error.context(told)),
        asked => asked?,
    };
    judge::keeps_its_promise(&said, &item.version, &item.schema)?;
    judge::leaves_a_way_back(program::this(), &said, applied)?;
    prefix.set_release(
        &hex,
        &Release {
            version: said.version,
            arch: said.arch,
            schema: said.schema,
            epoch: candidate.epoch,
            bundle: candidate.bundle.clone(),
        },
    )
}

/// Tells the host's guards of a program, which they may not let run otherwise; what they said.
fn tell_guards(prefix: &Prefix, hex: &str) -> anyhow::Result<String> {
    let host = Place::new(Path::new("/"));
    if prefix.path() != host.opt() {
        return Ok(String::new());
    }
    Ok(confine::tell(&host, &prefix.program(hex), hex)?.join("; "))
}

/// Writes the update down, starts the guard, and waits for its end.
fn begin(
    prefix: &Prefix,
    data: &Path,
    lock: Lock,
    running: Running,
    to: Which,
    times: Times,
) -> anyhow::Result<Trial> {
    let data = data
        .canonicalize()
        .with_context(|| format!("cannot find {}", data.display()))?;
    let started_ms = unix_ms(Clock::system().now());
    let keeper = Keeper::of(running.pid)?;
    let trial = Trial {
        update: format!("update-{started_ms}-{}", &to.sha256[..12]),
        state: State::Prepared,
        from: Which {
            version: running.version,
            sha256: running.sha256,
        },
        to,
        from_schema: program::this().schema(),
        previous: prefix.link(Link::Previous),
        strikes: 0,
        trial_seconds: times.trial_seconds,
        hold_seconds: times.hold_seconds,
        started_ms,
        deadline_ms: None,
        reason: String::new(),
        data: data.clone(),
        address: None,
        memory_bytes: 0,
        keeper: keeper.clone(),
        told: false,
    };
    Ask::of(&data)?
        .note(&trial.event(UpdateStage::Staged))
        .context("the appliance does not note the update, so nothing was changed")?;
    trial.save(prefix)?;
    prefix.point(Link::Previous, Some(&trial.from.sha256))?;
    let ended = match keeper {
        Keeper::Unit(_) => {
            drop(lock);
            systemctl(&["start", units::GUARD]).map(drop)
        }
        Keeper::Process { .. } => {
            let mut guard = spawn_guard(prefix, &trial.from.sha256, None)?;
            drop(lock);
            match guard.wait() {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(anyhow::anyhow!("the guard ended with {status}")),
                Err(error) => Err(error.into()),
            }
        }
    };
    ended.with_context(|| {
        format!(
            "the update was not carried to its end; {} tells more",
            prefix.file("update.log").display()
        )
    })?;
    Trial::load(prefix)?.context("the update left no word of its end")
}
