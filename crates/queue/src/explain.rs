//! Why a job waits: computed from the database and what runners there are, nothing else.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;
use store::Db;
use vocab::{JobId, JobState, PushId, RunId};

use crate::advance::normal_label;
use crate::nearest::nearest;
use crate::{Capacity, JobRow, QueueError, group, sql};

/// Why a job is not running. `Display` says it in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitReason {
    /// Its push has not completed.
    Held {
        /// That push.
        push: Option<PushId>,
    },
    /// Other jobs of its run must end first.
    Needs {
        /// Those that have not.
        needs: Vec<Need>,
    },
    /// `max-parallel` of its matrix lets no more of its siblings run.
    MaxParallel {
        /// The limit.
        limit: u32,
        /// The siblings that count against it.
        running: Vec<String>,
    },
    /// Others of its concurrency group, or of its run's, come first.
    Concurrency {
        /// The group.
        group: String,
        /// Who is before it, in words.
        before: Vec<String>,
    },
    /// There is no runner at all.
    NoRunners,
    /// No runner has all its labels.
    NoRunnerHasLabels {
        /// The labels that no runner has; empty when no single runner has all of them.
        missing: Vec<String>,
        /// Labels that runners do have and that look like them.
        nearest: Vec<String>,
        /// What it asks for.
        wanted: Vec<String>,
    },
    /// What its labels mean is not ready on any runner.
    NotReady {
        /// What is not, in words.
        reasons: Vec<String>,
    },
    /// Every runner that fits takes no jobs now.
    Paused {
        /// The runner and why.
        runners: Vec<(String, String)>,
    },
    /// All slots that fit are taken.
    Busy {
        /// How many slots fit.
        slots: usize,
        /// What occupies them.
        by: Vec<Occupant>,
        /// Its place in the queue for them, from 1.
        position: u64,
    },
    /// A slot is free: it is about to be handed out.
    Next {
        /// Its place in the queue, from 1.
        position: u64,
    },
    /// It runs, and somebody asked it to stop.
    Stopping {
        /// Who.
        by: String,
    },
}

/// A job that another waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Its key.
    pub key: String,
    /// Where it stands.
    pub state: JobState,
}

/// A job that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Occupant {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: RunId,
    /// As shown.
    pub name: String,
    /// When it was started, or handed out.
    pub since_ms: Option<i64>,
}

/// Why `job` waits; `None` when it does not.
pub fn explain(
    db: &Db,
    job: JobId,
    capacity: &[Capacity],
) -> Result<Option<WaitReason>, QueueError> {
    let row = sql::job(db, job)?.ok_or(QueueError::NoJob(job))?;
    let room = Room::look(db, capacity)?;
    let ahead = |fits: &[&Capacity]| -> Result<u64, QueueError> {
        let Some(turn) = sql::turn_of(db, job)? else {
            return Ok(0);
        };
        let mut ahead = 0;
        for (set, labels) in sql::waiting_sets(db)? {
            if fits.iter().any(|c| serves(c, &labels)) {
                ahead += sql::ahead(db, set, turn, job)?;
            }
        }
        Ok(ahead)
    };
    room.reason(db, &row, ahead)
}

/// The queue page: what waits, in the order it will be handed out, each with its reason; what
/// cannot be claimed yet comes last.
pub fn waiting(
    db: &Db,
    limit: u32,
    capacity: &[Capacity],
) -> Result<Vec<(JobRow, WaitReason)>, QueueError> {
    let room = Room::look(db, capacity)?;
    let mut ahead_of: HashMap<Vec<String>, u64> = HashMap::new();
    let mut out = Vec::new();
    for job in sql::claimable(db, limit)? {
        let ahead = |fits: &[&Capacity]| {
            let shared = |labels: &Vec<String>| fits.iter().any(|c| serves(c, labels));
            Ok(ahead_of
                .iter()
                .filter(|(labels, _)| shared(labels))
                .map(|(_, n)| n)
                .sum())
        };
        if let Some(reason) = room.reason(db, &job, ahead)? {
            *ahead_of.entry(job.labels.clone()).or_default() += 1;
            out.push((job, reason));
        }
    }
    let rest = limit.saturating_sub(u32::try_from(out.len()).unwrap_or(u32::MAX));
    for job in sql::unclaimable(db, rest)? {
        if let Some(reason) = room.reason(db, &job, |_| Ok(0))? {
            out.push((job, reason));
        }
    }
    Ok(out)
}

fn serves(capacity: &Capacity, labels: &[String]) -> bool {
    labels.iter().all(|label| {
        capacity
            .labels
            .iter()
            .any(|own| normal_label(own) == *label)
    })
}

/// The runners and what they hold, looked at once.
struct Room<'a> {
    capacity: &'a [Capacity],
    held: Vec<JobRow>,
}

impl<'a> Room<'a> {
    fn look(db: &Db, capacity: &'a [Capacity]) -> Result<Self, QueueError> {
        Ok(Self {
            capacity,
            held: sql::held_by_runners(db)?,
        })
    }

    fn reason(
        &self,
        db: &Db,
        job: &JobRow,
        ahead: impl FnOnce(&[&Capacity]) -> Result<u64, QueueError>,
    ) -> Result<Option<WaitReason>, QueueError> {
        Ok(match job.state {
            JobState::Finished => None,
            JobState::Leased | JobState::Running => job
                .cancel
                .as_ref()
                .map(|c| WaitReason::Stopping { by: c.by.clone() }),
            JobState::Held => Some(WaitReason::Held {
                push: sql::run(db, job.run)?.and_then(|run| run.push),
            }),
            JobState::Blocked => Some(match in_group(db, job)? {
                Some(reason) => reason,
                None => needs(db, job)?,
            }),
            JobState::Queued => {
                if let Some(reason) = in_group(db, job)? {
                    return Ok(Some(reason));
                }
                let standing = sql::standing(db, job.id)?;
                Some(match (standing.turn, standing.max_parallel) {
                    (None, Some(limit)) => self.siblings(db, job, limit)?,
                    _ => self.slots(job, ahead)?,
                })
            }
        })
    }

    fn siblings(&self, db: &Db, job: &JobRow, limit: u32) -> Result<WaitReason, QueueError> {
        let counts = |leg: &sql::Leg| {
            leg.key == job.key
                && (leg.has_turn || matches!(leg.state, JobState::Leased | JobState::Running))
        };
        let running = sql::legs(db, job.run)?
            .into_iter()
            .filter(counts)
            .map(|l| l.name)
            .collect();
        Ok(WaitReason::MaxParallel { limit, running })
    }

    fn slots(
        &self,
        job: &JobRow,
        ahead: impl FnOnce(&[&Capacity]) -> Result<u64, QueueError>,
    ) -> Result<WaitReason, QueueError> {
        if self.capacity.is_empty() {
            return Ok(WaitReason::NoRunners);
        }
        let fits: Vec<&Capacity> = self
            .capacity
            .iter()
            .filter(|c| serves(c, &job.labels))
            .collect();
        // A runner that can take nothing at all now says why better than a label that it lacks.
        let stuck = |c: &&Capacity| c.labels.is_empty() && c.paused.is_some();
        let fits = if self.capacity.iter().all(|c| stuck(&c)) {
            self.capacity.iter().collect()
        } else {
            fits
        };
        if fits.is_empty() {
            return Ok(self.not_ready(job).unwrap_or_else(|| self.no_labels(job)));
        }
        if fits.iter().all(|c| c.paused.is_some()) {
            let runners = fits
                .iter()
                .map(|c| (c.runner.clone(), c.paused.clone().unwrap_or_default()))
                .collect();
            return Ok(WaitReason::Paused { runners });
        }
        let open: Vec<&Capacity> = fits.into_iter().filter(|c| c.paused.is_none()).collect();
        let slots = open.iter().map(|c| c.slots).sum();
        let by: Vec<Occupant> = self
            .held
            .iter()
            .filter(|held| open.iter().any(|c| Some(&c.runner) == held.runner.as_ref()))
            .map(|held| Occupant {
                job: held.id,
                run: held.run,
                name: held.name.clone(),
                since_ms: held.started_ms,
            })
            .collect();
        let position = ahead(&open)? + 1;
        Ok(if by.len() >= slots {
            WaitReason::Busy {
                slots,
                by,
                position,
            }
        } else {
            WaitReason::Next { position }
        })
    }

    /// Why a job must wait for a runner that will have all its labels.
    fn not_ready(&self, job: &JobRow) -> Option<WaitReason> {
        let reason = |c: &Capacity, label: &String| {
            let found = c.pending.iter().find(|(l, _)| normal_label(l) == *label);
            found.map(|(_, reason)| reason.clone())
        };
        let has = |c: &Capacity, label: &String| c.labels.iter().any(|l| normal_label(l) == *label);
        let runner = self.capacity.iter().find(|c| {
            job.labels
                .iter()
                .all(|label| has(c, label) || reason(c, label).is_some())
        })?;
        let mut reasons: Vec<String> = job
            .labels
            .iter()
            .filter_map(|label| reason(runner, label))
            .collect();
        reasons.dedup();
        Some(WaitReason::NotReady { reasons })
    }

    fn no_labels(&self, job: &JobRow) -> WaitReason {
        let offered: Vec<String> = self
            .capacity
            .iter()
            .flat_map(|c| &c.labels)
            .map(|l| normal_label(l))
            .collect();
        let missing: Vec<String> = job
            .labels
            .iter()
            .filter(|l| !offered.contains(l))
            .cloned()
            .collect();
        WaitReason::NoRunnerHasLabels {
            nearest: nearest(&missing, &offered),
            missing,
            wanted: job.labels.clone(),
        }
    }
}

fn in_group(db: &Db, job: &JobRow) -> Result<Option<WaitReason>, QueueError> {
    let waits = group::why_waits(db, job.run, job.id)?;
    Ok(waits.map(|waits| WaitReason::Concurrency {
        group: waits.group,
        before: waits.before,
    }))
}

fn needs(db: &Db, job: &JobRow) -> Result<WaitReason, QueueError> {
    let legs = sql::legs(db, job.run)?;
    let mut needs = Vec::new();
    for key in &job.needs {
        let open = legs
            .iter()
            .filter(|leg| leg.key == *key && leg.outcome.is_none());
        // The furthest of its legs says most.
        let furthest = open.map(|leg| leg.state).max_by_key(|state| match state {
            JobState::Running => 4,
            JobState::Leased => 3,
            JobState::Queued => 2,
            JobState::Held => 1,
            _ => 0,
        });
        if let Some(state) = furthest {
            needs.push(Need {
                key: key.clone(),
                state,
            });
        }
    }
    Ok(WaitReason::Needs { needs })
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { push: Some(push) } => {
                write!(f, "waits until push {push} has been completed")
            }
            Self::Held { push: None } => f.write_str("waits until its run is released"),
            Self::Needs { needs } => {
                let words: Vec<String> = needs
                    .iter()
                    .map(|n| format!("'{}' ({})", n.key, n.state))
                    .collect();
                write!(f, "needs {}", words.join(", "))
            }
            Self::MaxParallel { limit, running } => write!(
                f,
                "max-parallel lets {limit} of its matrix run at a time: {}",
                running.join(", ")
            ),
            Self::Concurrency { group, before } => write!(
                f,
                "waits in concurrency group '{group}' for {}",
                before.join(", ")
            ),
            Self::NoRunners => f.write_str("there is no runner; start one, or check the pool"),
            Self::NoRunnerHasLabels {
                missing,
                nearest,
                wanted,
            } => {
                match missing.as_slice() {
                    [] => {
                        let wanted = wanted.join(", ");
                        write!(f, "no single runner has all of the labels {wanted}")?;
                    }
                    [one] => write!(f, "no runner has the label '{one}'")?,
                    more => write!(f, "no runner has the labels {}", more.join(", "))?,
                }
                if nearest.is_empty() {
                    return Ok(());
                }
                write!(f, "; there is: {}", nearest.join(", "))
            }
            Self::NotReady { reasons } => f.write_str(&reasons.join("; ")),
            Self::Paused { runners } => {
                let words: Vec<String> = runners
                    .iter()
                    .map(|(name, why)| format!("{name}: {why}"))
                    .collect();
                write!(f, "all runners that fit are paused ({})", words.join("; "))
            }
            Self::Busy {
                slots,
                by,
                position,
            } => {
                let names: Vec<String> = by
                    .iter()
                    .map(|o| format!("'{}' of run {}", o.name, o.run))
                    .collect();
                write!(
                    f,
                    "number {position} in the queue: all {slots} slots are busy with {}",
                    names.join(", ")
                )
            }
            Self::Next { position } => {
                write!(
                    f,
                    "number {position} in the queue: a slot is free and about to take it"
                )
            }
            Self::Stopping { by } => write!(f, "is being stopped: {by} cancelled it"),
        }
    }
}
