//! How far the newest update came: `PREFIX/update.json`, written and synced before each step.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use store::Schema;
use web::{UpdateEvent, UpdateStage, Which};

use super::keeper::Keeper;
use super::layout::{Prefix, write_durably};

const FILE: &str = "update.json";

/// Starts of the new program that may fail.
pub(crate) const STRIKES: u32 = 3;

/// How far an update came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Checked and asked for; the old program runs.
    Prepared,
    /// `current` is about to name the new program, or does, and it is on trial.
    Switched,
    /// The trial failed; the old program is being put back.
    RollingBack,
    /// The new program passed.
    Healthy,
    /// The old program runs again.
    RolledBack,
}

/// One update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Trial {
    /// Names it in the audit log.
    pub(crate) update: String,
    pub(crate) state: State,
    /// What ran before.
    pub(crate) from: Which,
    /// What is tried.
    pub(crate) to: Which,
    /// What the program before knows of each crate's migrations.
    pub(crate) from_schema: Schema,
    /// What `previous` named before, to be put back with the rest.
    pub(crate) previous: Option<String>,
    /// Failed starts so far.
    pub(crate) strikes: u32,
    /// How long the trial lasts.
    pub(crate) trial_seconds: u64,
    /// How long jobs may go on before the switch.
    pub(crate) hold_seconds: u64,
    /// Unix milliseconds UTC.
    pub(crate) started_ms: i64,
    /// When the trial is over, once it has begun.
    pub(crate) deadline_ms: Option<i64>,
    /// Why it was rolled back.
    pub(crate) reason: String,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// Where the program before listened; none where the system chose the port.
    pub(crate) address: Option<String>,
    /// Memory that it held then.
    pub(crate) memory_bytes: u64,
    /// Who starts and stops the appliance.
    pub(crate) keeper: Keeper,
    /// Whether the audit log has its end.
    pub(crate) told: bool,
}

impl Trial {
    /// The newest update; none before the first.
    pub(crate) fn load(prefix: &Prefix) -> anyhow::Result<Option<Self>> {
        let path = prefix.file(FILE);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        serde_json::from_slice(&text).map(Some).with_context(|| {
            format!(
                "{} cannot be understood; remove it when `current` is as you want it",
                path.display()
            )
        })
    }

    pub(crate) fn save(&self, prefix: &Prefix) -> anyhow::Result<()> {
        write_durably(prefix.path(), FILE, self)
    }

    /// Whether nothing more is to be done for it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Healthy | State::RolledBack)
    }

    /// What the audit log is told of it.
    pub(crate) fn event(&self, stage: UpdateStage) -> UpdateEvent {
        UpdateEvent {
            update: self.update.clone(),
            stage,
            from: self.from.clone(),
            to: self.to.clone(),
            reason: self.reason.clone(),
        }
    }

    /// What the audit log is told of its end; none while it goes on.
    pub(crate) fn end(&self) -> Option<UpdateEvent> {
        match self.state {
            State::Healthy => Some(self.event(UpdateStage::Healthy)),
            State::RolledBack => Some(self.event(UpdateStage::RolledBack)),
            _ => None,
        }
    }
}
