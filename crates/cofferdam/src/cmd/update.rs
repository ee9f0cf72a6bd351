//! Update verbs: status, apply, rollback; and those that only the program itself calls.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::Value;

use crate::cli::{Global, Timing, Update};
use crate::output;
use crate::update::{self, Prefix, State, Times, Trial};

pub(super) fn run(global: &Global, verb: Update) -> anyhow::Result<ExitCode> {
    let json = global.json;
    match verb {
        Update::Status { prefix } => {
            let status = update::status(&Prefix::new(&prefix), &global.data)?;
            if json {
                output::json(&status);
            } else {
                show(&status);
            }
        }
        Update::Apply { prefix, timing } => {
            root_only()?;
            let ended = update::apply(&Prefix::new(&prefix), &global.data, times(timing))?;
            return told(&ended, json);
        }
        Update::Rollback { prefix, timing } => {
            root_only()?;
            let ended = update::rollback(&Prefix::new(&prefix), &global.data, times(timing))?;
            return told(&ended, json);
        }
        Update::Guard { prefix, pid } => {
            super::serve::init_tracing();
            update::guard(&Prefix::new(&prefix), pid)?;
        }
        Update::Settle { prefix } => update::settle(&Prefix::new(&prefix))?,
        Update::Describe => output::json(&serde_json::to_value(update::describe())?),
    }
    Ok(ExitCode::SUCCESS)
}

fn root_only() -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("an update changes the installed program; run this as root");
}

fn times(timing: Timing) -> Times {
    Times {
        hold_seconds: timing.hold,
        trial_seconds: timing.trial,
    }
}

/// Says how an update ended.
fn told(trial: &Trial, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(&serde_json::to_value(trial)?);
    }
    let (from, to) = (&trial.from.version, &trial.to.version);
    match trial.state {
        State::Healthy => {
            if !json {
                output::line(&format!("version {to} runs, {}", trial.to.sha256));
                output::line("`cofferdam update rollback` goes back");
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            if !json {
                eprintln!("cofferdam: version {to} did not pass: {}", trial.reason);
                eprintln!("cofferdam: version {from} runs again, nothing is lost");
            }
            Ok(ExitCode::from(1))
        }
    }
}

fn show(status: &Value) {
    let version = |what: &Value| {
        if what.is_null() {
            return "none".to_owned();
        }
        let version = output::text(what, "version");
        let digest = output::text(what, "sha256");
        format!("{version}, {digest}")
    };
    let refused = |what: &Value| match what["refused"].as_str() {
        Some(words) => format!("; refused: {words}"),
        None => String::new(),
    };
    let prefix = output::text(status, "prefix");
    output::line(&format!(
        "installed   {} in {prefix}",
        version(&status["current"])
    ));
    if !status["running"].is_null() && status["running"]["sha256"] != status["current"]["sha256"] {
        output::line(&format!("runs        {}", version(&status["running"])));
    }
    let previous = &status["previous"];
    output::line(&format!(
        "before it   {}{}",
        version(previous),
        refused(previous)
    ));
    let candidate = &status["candidate"];
    let origin = match candidate["bundle"].as_str() {
        Some(bundle) => format!(", from bundle {bundle}"),
        None => String::new(),
    };
    let line = format!(
        "imported    {}{origin}{}",
        version(candidate),
        refused(candidate)
    );
    output::line(&line);
    let last = &status["last"];
    if !last.is_null() {
        let state = output::text(last, "state").replace('_', " ");
        let reason = last["reason"].as_str().filter(|reason| !reason.is_empty());
        let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let to = output::text(&last["to"], "version");
        output::line(&format!("last        to {to}: {state}{reason}"));
    }
    if !candidate.is_null() && candidate["refused"].is_null() {
        output::line("`cofferdam update apply` would switch to it");
    }
}
