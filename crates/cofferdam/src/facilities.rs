//! What pages and the API may know of the pool and of this host.

use std::sync::{Arc, OnceLock};

use std::time::Duration;

use pool::Pool;
use queue::Capacity;
use sandbox::Finding;
use serde_json::{Value, json};
use web::{Check, Facilities, Fact, ProgramFacts, Slot, SlotState};

use crate::update::Health;

/// Answers for the embedded pool, which starts after the server's state was made.
pub(crate) struct Host {
    pub(crate) pool: OnceLock<Arc<Pool>>,
    /// What the host offered when the program started.
    pub(crate) findings: Vec<Finding>,
    /// The layers that a first sandbox had in force, as the kernel told.
    pub(crate) layers: OnceLock<Vec<runner::executor::Layer>>,
    /// Why no job can run here at all.
    pub(crate) trouble: Option<String>,
    /// The runner's name, for when there is no pool.
    pub(crate) name: String,
    /// What program this is, and where it listens.
    pub(crate) program: ProgramFacts,
    /// Tries what the appliance is for.
    pub(crate) health: Health,
}

impl Facilities for Host {
    fn capacity(&self) -> Vec<Capacity> {
        match self.pool.get() {
            Some(pool) => vec![pool.snapshot().capacity],
            None => vec![Capacity {
                runner: self.name.clone(),
                labels: Vec::new(),
                pending: Vec::new(),
                slots: 0,
                paused: self.trouble.clone(),
            }],
        }
    }

    fn slots(&self) -> Vec<Slot> {
        let Some(pool) = self.pool.get() else {
            return Vec::new();
        };
        let now = pool.snapshot();
        (0..now.capacity.slots)
            .map(|place| {
                let name = format!("{}/{}", now.capacity.runner, place + 1);
                match (now.busy.get(place), &now.capacity.paused) {
                    (Some(busy), _) => Slot {
                        name,
                        state: SlotState::Busy,
                        job: Some(busy.job),
                        note: busy.name.clone(),
                    },
                    (None, Some(why)) => Slot {
                        name,
                        state: SlotState::Down,
                        job: None,
                        note: why.clone(),
                    },
                    (None, None) => Slot {
                        name,
                        state: SlotState::Idle,
                        job: None,
                        note: String::new(),
                    },
                }
            })
            .collect()
    }

    fn isolation(&self) -> Vec<Fact> {
        let layers = self.layers.get().map_or(&[][..], Vec::as_slice);
        layers
            .iter()
            .map(|layer| Fact {
                name: layer.name.clone(),
                value: format!("{} ({})", layer.detail, layer.source),
                good: Some(layer.in_force),
            })
            .collect()
    }

    fn doctor(&self) -> Value {
        json!({ "findings": self.findings, "trouble": self.trouble })
    }

    fn program(&self) -> ProgramFacts {
        self.program.clone()
    }

    fn held(&self) -> Option<String> {
        self.pool.get().and_then(|pool| pool.held())
    }

    fn hold(&self, patience: Duration, why: &str, lost: &str) -> (usize, usize) {
        let held = self.pool.get().map(|pool| pool.hold(patience, why, lost));
        held.map_or((0, 0), |held| (held.ended, held.lost))
    }

    fn let_go(&self) {
        if let Some(pool) = self.pool.get() {
            pool.let_go();
        }
    }

    fn self_test(&self) -> Vec<Check> {
        let pool = self.pool.get().map(AsRef::as_ref).ok_or_else(|| {
            let none = || "no job can run here".to_owned();
            self.trouble.clone().unwrap_or_else(none)
        });
        self.health.checks(pool)
    }
}
