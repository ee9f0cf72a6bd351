//! The loop that hands waiting jobs to free slots, keeps their leases and passes on the wish to
//! cancel.
//!
//! One thread waits for events (a commit that touched the queue, a job that ended, the beat of the
//! leases); one thread more runs each job. Invariant: never more jobs than slots.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use audit::Auditor;
use queue::logs::Logs;
use queue::{Capacity, Claimed, Fenced, Offer};
use runner::Cancel;
use runner::executor::Executor;
use store::{Change, Store};
use supply::Served;
use vocab::{Clock, Fence, JobId, RunId, Stopwatch};

use crate::{Held, JobEndpoint, PoolConfig, Provider, job};

/// What the pool is made of.
#[derive(Clone)]
pub struct Parts {
    /// Settings.
    pub config: PoolConfig,
    /// The database.
    pub store: Arc<Store>,
    /// The audit log.
    pub auditor: Auditor,
    /// Where job logs go.
    pub logs: Arc<Logs>,
    /// What holds jobs.
    pub executor: Arc<dyn Executor>,
    /// What jobs get from outside.
    pub provider: Arc<dyn Provider>,
    /// What serves their loopbacks; none: connections to it are refused.
    pub endpoint: Option<Arc<dyn JobEndpoint>>,
    /// The clock.
    pub clock: Clock,
}

/// Runs jobs from the queue until it is drained.
pub struct Pool {
    pub(crate) shared: Arc<Shared>,
    dispatcher: Mutex<Option<JoinHandle<()>>>,
}

pub(crate) struct Shared {
    pub(crate) parts: Parts,
    state: Mutex<State>,
    pub(crate) wake: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    /// Something changed that may make a job claimable.
    pub(crate) look: bool,
    draining: bool,
    /// Why no job is claimed for now.
    pub(crate) held: Option<String>,
    /// What becomes of jobs that are asked to stop with these words: they end as lost.
    pub(crate) lost: Option<String>,
    cancels: Vec<JobId>,
    pub(crate) running: HashMap<JobId, Running>,
}

pub(crate) struct Running {
    fence: Fence,
    run: RunId,
    name: String,
    since: SystemTime,
    pub(crate) cancel: Cancel,
}

/// One slot's work, for the page of runners.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Busy {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: RunId,
    /// Its name.
    pub name: String,
    /// Unix milliseconds, UTC.
    pub since_ms: i64,
}

/// The pool as it stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Snapshot {
    /// What it can take.
    pub capacity: Capacity,
    /// What it does now.
    pub busy: Vec<Busy>,
    /// How it introduces itself.
    pub identity: runner::receipt::RunnerIdentity,
    /// The kind of executor.
    pub executor: String,
}

impl Pool {
    /// Starts the dispatcher. Jobs of an earlier process must have been recovered before.
    ///
    /// Errors: when no thread can be started.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            parts,
            state: Mutex::new(State {
                look: true,
                ..State::default()
            }),
            wake: Condvar::new(),
        });
        let ear = Arc::downgrade(&shared);
        shared.parts.store.on_change(move |changes| {
            if let Some(shared) = ear.upgrade() {
                shared.hear(changes);
            }
        });
        let worker = shared.clone();
        let dispatcher = std::thread::Builder::new()
            .name("dispatcher".into())
            .spawn(move || worker.dispatch())?;
        Ok(Self {
            shared,
            dispatcher: Mutex::new(Some(dispatcher)),
        })
    }

    /// What it can take and what it does, for pages and for the reasons of waiting jobs.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let Shared { parts, .. } = &*self.shared;
        let served = parts
            .provider
            .hold()
            .and_then(|held| parts.provider.labels(&held));
        let (served, trouble) = match served {
            Ok(served) => (served, None),
            Err(reason) => (Served::default(), Some(reason)),
        };
        let pending = served.pending.into_iter().map(|p| (p.label, p.reason));
        let state = self.shared.state();
        let mut busy: Vec<Busy> = state
            .running
            .iter()
            .map(|(job, r)| Busy {
                job: *job,
                run: r.run,
                name: r.name.clone(),
                since_ms: vocab::unix_ms(r.since),
            })
            .collect();
        busy.sort_by_key(|b| b.since_ms);
        Snapshot {
            capacity: Capacity {
                runner: parts.config.identity.name.clone(),
                labels: served.labels,
                pending: pending.collect(),
                slots: parts.config.slots,
                paused: if state.draining {
                    Some("the appliance is shutting down".to_owned())
                } else {
                    state.held.clone().or(trouble)
                },
            },
            busy,
            identity: parts.config.identity.clone(),
            executor: parts.executor.kind().to_owned(),
        }
    }

    /// Takes no further job, gives running ones `patience` to end, then asks them to stop, and
    /// returns when the last has ended.
    pub fn drain(&self, patience: Duration) {
        let watch = Stopwatch::start();
        let mut state = self.shared.state();
        state.draining = true;
        self.shared.wake.notify_all();
        while !state.running.is_empty() && watch.elapsed() < patience {
            state = self
                .shared
                .wait(state, patience.saturating_sub(watch.elapsed()));
        }
        for running in state.running.values() {
            running
                .cancel
                .request("the appliance was shut down while it ran");
        }
        drop(state);
        let dispatcher = self
            .dispatcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(handle) = dispatcher
            && handle.join().is_err()
        {
            tracing::error!("the dispatcher ended by a panic");
        }
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        most: Duration,
    ) -> MutexGuard<'a, State> {
        self.wake
            .wait_timeout(state, most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Called on a committing thread: notes what to do, does nothing.
    fn hear(&self, changes: &[Change]) {
        let mut state = self.state();
        for change in changes {
            match change {
                Change::Queue | Change::Images => state.look = true,
                Change::CancelAsked(job) => state.cancels.push(*job),
                Change::Run(_) | Change::Job(_) | Change::Repo(_) => {}
            }
        }
        if state.look || !state.cancels.is_empty() {
            self.wake.notify_all();
        }
    }

    fn dispatch(self: Arc<Self>) {
        let mut beat = Stopwatch::start();
        loop {
            let mut state = self.state();
            if state.draining && state.running.is_empty() {
                return;
            }
            let cancels = std::mem::take(&mut state.cancels);
            let may = !state.draining && state.held.is_none();
            let free = may && state.running.len() < self.parts.config.slots;
            let look = free && std::mem::take(&mut state.look);
            if !look && cancels.is_empty() && beat.elapsed() < PoolConfig::BEAT {
                drop(self.wait(state, PoolConfig::BEAT.saturating_sub(beat.elapsed())));
                continue;
            }
            drop(state);
            self.pass_on(&cancels);
            if beat.elapsed() >= PoolConfig::BEAT {
                beat = Stopwatch::start();
                self.renew_and_expire();
                // A claim that failed for want of disk space is tried again, as its message says.
                self.state().look = true;
            }
            if look {
                self.take_one();
            }
        }
    }

    /// Claims the next job that fits and starts its thread.
    fn take_one(self: &Arc<Self>) {
        let Parts {
            config,
            store,
            auditor,
            clock,
            ..
        } = &self.parts;
        // Held before the claim, so that the job sees just what the claim was made for.
        let provider = &self.parts.provider;
        let offered = provider.hold().and_then(|held| {
            let served = provider.labels(&held)?;
            Ok((held, served))
        });
        let Ok((held, served)) = offered else {
            // The snapshot says why; an import will wake this loop.
            return;
        };
        let offer = Offer {
            runner: config.identity.name.clone(),
            labels: served.labels,
            lease: config.lease,
        };
        let claimed = store.write(|tx| queue::claim(tx, clock.now(), auditor, &offer));
        match claimed {
            Ok(Some(claimed)) => {
                // There may be more where this came from.
                self.state().look = true;
                self.spawn(claimed, held);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = %chain(&error), "no job could be claimed; trying again at the next beat");
            }
        }
    }

    fn spawn(self: &Arc<Self>, claimed: Claimed, held: Held) {
        let (fence, run, name) = (claimed.fence, claimed.run.id, claimed.job.name.clone());
        let cancel = match Cancel::new() {
            Ok(cancel) => cancel,
            Err(error) => {
                tracing::error!(job = %fence.job, %error, "no descriptor left; the lease will end");
                return;
            }
        };
        let since = self.parts.clock.now();
        let running = Running {
            fence,
            run,
            name,
            since,
            cancel: cancel.clone(),
        };
        self.state().running.insert(fence.job, running);
        let shared = self.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("job-{}", fence.job))
            .spawn(move || {
                let lost = || shared.state().lost.clone();
                job::run(&shared.parts, &claimed, &held, &cancel, &lost);
                drop(held);
                shared.parts.provider.ended();
                shared.ended(fence.job);
            });
        if let Err(error) = spawned {
            tracing::error!(job = %fence.job, %error, "no thread for a job; its lease will end");
            self.ended(fence.job);
        }
    }

    fn ended(&self, job: JobId) {
        let mut state = self.state();
        state.running.remove(&job);
        state.look = true;
        self.wake.notify_all();
    }

    fn pass_on(&self, cancels: &[JobId]) {
        for job in cancels {
            let row = self.parts.store.read(|db| queue::job(db, *job));
            let reason = match row.map(|row| row.and_then(|row| row.cancel)) {
                Ok(Some(asked)) => format!("cancelled by {}", asked.by),
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%job, error = %chain(&error), "cannot read who cancelled");
                    "cancelled".to_owned()
                }
            };
            if let Some(running) = self.state().running.get(job) {
                running.cancel.request(&reason);
            }
        }
    }

    fn renew_and_expire(&self) {
        let Parts {
            config,
            store,
            auditor,
            clock,
            ..
        } = &self.parts;
        let held: Vec<(Fence, Cancel)> = self
            .state()
            .running
            .values()
            .map(|r| (r.fence, r.cancel.clone()))
            .collect();
        let now = clock.now();
        for (fence, cancel) in held {
            match store.write(|tx| queue::renew(tx, now, auditor, fence, config.lease)) {
                Ok(Fenced::Done(_)) => {}
                Ok(Fenced::Lost(lost)) => cancel.request(&lost.to_string()),
                Err(error) => {
                    tracing::error!(job = %fence.job, error = %chain(&error), "lease not renewed");
                }
            }
        }
        if let Err(error) = store.write(|tx| queue::expire_leases(tx, now, auditor)) {
            tracing::error!(error = %chain(&error), "expired leases were not looked for");
        }
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
