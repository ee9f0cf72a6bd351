//! The start of an appliance that may be on trial.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use audit::Who;
use store::Schema;

use super::layout::{Link, Prefix};
use super::trial::{State, Trial};
use crate::site::Site;

/// Where a program on trial says why it could not start.
const WHY: &str = "update.why";

/// A program on trial: what it owes to the one before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OnTrial {
    /// What the program before it knows.
    pub(crate) before: Schema,
}

/// Looks whether an update was cut short: has a guard carry it on, and says whether this program
/// is on trial. Must be called while this process may still write to the prefix. Nothing that is
/// wrong in there keeps an appliance from serving.
pub(crate) fn at_start() -> Option<OnTrial> {
    let (prefix, own) = Prefix::of_self()?;
    let trial = match Trial::load(&prefix) {
        Ok(trial) => trial.filter(|trial| !trial.is_over())?,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "how the last update went is not known");
            return None;
        }
    };
    // systemd has a unit of its own for the guard.
    if std::env::var_os("INVOCATION_ID").is_none()
        && let Err(error) = guard_again(&prefix, &trial)
    {
        tracing::error!(error = %format!("{error:#}"), "nobody carries the update on");
    }
    let on_trial = trial.state == State::Switched && own == trial.to.sha256;
    on_trial.then_some(OnTrial {
        before: trial.from_schema,
    })
}

/// Starts a guard unless one is at work.
fn guard_again(prefix: &Prefix, trial: &Trial) -> anyhow::Result<()> {
    if prefix.lock(Duration::ZERO)?.is_some() {
        spawn_guard(prefix, &trial.from.sha256, Some(std::process::id()))?;
    }
    Ok(())
}

/// Starts a guard that outlives this process, as the version `hex`.
pub(crate) fn spawn_guard(
    prefix: &Prefix,
    hex: &str,
    waiting: Option<u32>,
) -> anyhow::Result<std::process::Child> {
    let path = prefix.file("update.log");
    let log =
        std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new(prefix.program(hex));
    command.args(["update", "guard", "--prefix"]);
    command.arg(prefix.path());
    if let Some(pid) = waiting {
        command.args(["--pid", &pid.to_string()]);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start the guard of the update")
}

/// Leaves word in the data directory, on trial, why this program could not start.
pub(crate) fn say_why(data: &Path, error: &anyhow::Error) {
    let Some((prefix, own)) = Prefix::of_self() else {
        return;
    };
    let on_trial = Trial::load(&prefix)
        .ok()
        .flatten()
        .is_some_and(|trial| trial.state == State::Switched && trial.to.sha256 == own);
    if on_trial && let Err(error) = std::fs::write(data.join(WHY), format!("{error:#}")) {
        tracing::debug!(%error, "no word is left");
    }
}

/// What a program on trial left, as the end of a sentence; taken away by reading.
pub(crate) fn why(data: &Path) -> String {
    let path = data.join(WHY);
    let said = std::fs::read_to_string(&path).unwrap_or_default();
    if std::fs::remove_file(&path).is_err() || said.is_empty() {
        return String::new();
    }
    let said: String = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect();
    format!(" ({said})")
}

/// Notes the end of the newest update in the audit log, if a guard could not.
pub(crate) fn tell_the_end(site: &Site) -> anyhow::Result<()> {
    let Some((prefix, _)) = Prefix::of_self() else {
        return Ok(());
    };
    let Some(end) = Trial::load(&prefix)?
        .filter(|t| !t.told)
        .and_then(|t| t.end())
    else {
        return Ok(());
    };
    site.store
        .write(|tx| end.note(tx, &site.auditor, &Who::system()))
        .context("cannot note the end of the last update")?;
    Ok(())
}

/// The prefix's installed program, in hex; an error says that there is none.
pub(super) fn installed(prefix: &Prefix) -> anyhow::Result<String> {
    prefix.link(Link::Current).with_context(|| {
        format!(
            "{} names no installed program; install cofferdam first, or give --prefix",
            prefix.file("current").display()
        )
    })
}
