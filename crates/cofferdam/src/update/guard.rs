//! The guard: the program that ran before watches the new one, and takes its place back.
//!
//! A process of its own, so that nothing the new program does can keep it from that. Invariant:
//! each step is on the disk before it is taken, so that a guard that was killed is carried on by
//! the next, from whatever step it had come to.

mod watch;

use std::time::Duration;

use anyhow::{Context, bail};
use vocab::{Clock, Stopwatch, unix_ms};
use web::UpdateStage;

use self::watch::{Verdict, Watch};
use super::ask::Ask;
use super::keeper::{self, Keeper, Process};
use super::layout::{Link, Lock, Prefix};
use super::trial::{STRIKES, State, Trial};

/// What jobs are told that did not end before the switch.
const LOST: &str = "the appliance was updated while this job ran";
/// What waiting jobs say meanwhile.
const WHY: &str = "the appliance is being updated; it starts when that is done";
/// How long the program before may take to end its requests.
const LEAVE: Duration = Duration::from_secs(25);
/// How long one that did not pass may take to end.
const HURRY: Duration = Duration::from_secs(3);
/// How long the program before may take to serve again.
const BACK: Duration = Duration::from_secs(60);

/// Carries the newest update to its end. `waiting` is the process that just started and waits to
/// be watched, if it was that process that called.
pub(crate) fn guard(prefix: &Prefix, waiting: Option<u32>) -> anyhow::Result<()> {
    // Whoever called may go away, and its terminal with it.
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "it leads a session already");
    }
    let Some(lock) = prefix.lock(Duration::from_secs(10))? else {
        return Ok(());
    };
    let Some(trial) = Trial::load(prefix)? else {
        return Ok(());
    };
    let mut guard = Guard {
        prefix,
        ask: Ask::of(&trial.data)?,
        trial,
        _lock: lock,
    };
    guard.carry_on(waiting)
}

/// Counts a start of the program on trial that no guard watches; after too many, puts the
/// program before it back. What a unit runs before each start, as the program before.
pub(crate) fn settle(prefix: &Prefix) -> anyhow::Result<()> {
    let Some(_lock) = prefix.lock(Duration::ZERO)? else {
        return Ok(());
    };
    let Some(mut trial) = Trial::load(prefix)? else {
        return Ok(());
    };
    match trial.state {
        State::Switched if trial.strikes >= STRIKES => {
            trial.reason = format!("it was started {STRIKES} times and did not pass its trial");
            put_back(prefix, &mut trial)
        }
        State::Switched => {
            trial.strikes += 1;
            trial.save(prefix)
        }
        State::RollingBack => put_back(prefix, &mut trial),
        State::Prepared | State::Healthy | State::RolledBack => Ok(()),
    }
}

/// Points the links at what they named before, and says so.
pub(super) fn put_back(prefix: &Prefix, trial: &mut Trial) -> anyhow::Result<()> {
    point_back(prefix, trial)?;
    trial.state = State::RolledBack;
    trial.save(prefix)
}

fn point_back(prefix: &Prefix, trial: &mut Trial) -> anyhow::Result<()> {
    trial.state = State::RollingBack;
    trial.save(prefix)?;
    prefix.point(Link::Current, Some(&trial.from.sha256))?;
    let before = trial.previous.as_deref();
    let there = before.filter(|hex| prefix.program(hex).is_file());
    prefix.point(Link::Previous, there)
}

struct Guard<'a> {
    prefix: &'a Prefix,
    ask: Ask,
    trial: Trial,
    _lock: Lock,
}

impl Guard<'_> {
    fn carry_on(&mut self, waiting: Option<u32>) -> anyhow::Result<()> {
        let waiting = waiting.map(Process::of).transpose()?;
        match self.trial.state {
            State::Prepared => self.switch(),
            State::Switched if !self.is_current(&self.trial.to.sha256) => {
                self.trial.reason = "the switch was cut short".to_owned();
                self.back(waiting)
            }
            State::Switched if waiting.is_some() && self.trial.strikes >= STRIKES => {
                self.trial.reason =
                    format!("it was started {STRIKES} times and did not pass its trial");
                self.back(waiting)
            }
            State::Switched => {
                if waiting.is_some() {
                    self.trial.strikes += 1;
                }
                self.try_it(waiting)
            }
            State::RollingBack => self.back(waiting),
            State::Healthy | State::RolledBack => self.tell_the_end(),
        }
    }

    fn is_current(&self, hex: &str) -> bool {
        self.prefix.link(Link::Current).as_deref() == Some(hex)
    }

    fn save(&self) -> anyhow::Result<()> {
        self.trial.save(self.prefix)
    }

    /// Holds the jobs, points `current` at the new program, and tries that.
    fn switch(&mut self) -> anyhow::Result<()> {
        if let Err(error) = self.hold().and_then(|()| self.flip()) {
            // Nothing was stopped yet: the program before goes on as if nothing had been asked.
            if let Err(error) = self.ask.let_go() {
                tracing::debug!(%error, "it holds nothing");
            }
            self.trial.reason = format!("nothing was changed: {error:#}");
            put_back(self.prefix, &mut self.trial)?;
            return self.tell_the_end();
        }
        // Whatever process runs is one of the program before.
        self.try_it(None)
    }

    fn flip(&mut self) -> anyhow::Result<()> {
        self.trial.state = State::Switched;
        self.save()?;
        self.prefix
            .point(Link::Current, Some(&self.trial.to.sha256))
    }

    fn hold(&mut self) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        let running = loop {
            match self.ask.who() {
                Ok(running) => break running,
                Err(error) if watch.elapsed() > BACK => return Err(error),
                Err(_) => Clock::sleep(Duration::from_millis(200)),
            }
        };
        if running.sha256 != self.trial.from.sha256 {
            bail!(
                "the appliance runs {}, not the installed program {}",
                running.sha256,
                self.trial.from.sha256
            );
        }
        self.trial.keeper = Keeper::of(running.pid)?;
        self.trial.address = (!running.any_port).then_some(running.address);
        let patience = Duration::from_secs(self.trial.hold_seconds);
        let lost = self.ask.hold(patience, WHY, LOST)?;
        if lost > 0 {
            tracing::warn!(lost, "jobs did not end in time and were ended");
        }
        self.trial.memory_bytes = Process::memory_bytes(running.pid);
        self.ask.note(&self.trial.event(UpdateStage::Switched))
    }

    /// Has the new program run, watches it, and decides.
    fn try_it(&mut self, waiting: Option<Process>) -> anyhow::Result<()> {
        let now = unix_ms(Clock::system().now());
        let length = i64::try_from(self.trial.trial_seconds).unwrap_or(0) * 1000;
        self.trial.deadline_ms = Some(now + length);
        self.save()?;
        let process = match waiting {
            Some(process) => Some(process),
            None => self.started()?,
        };
        let mut watch = Watch::new(self.prefix, &self.ask, &mut self.trial, process);
        let verdict = watch.until_over();
        let process = watch.process.take();
        match verdict {
            Verdict::Healthy => self.keep(),
            Verdict::Unhealthy(reason) => {
                tracing::error!(reason, "the new program did not pass its trial");
                self.trial.reason = reason;
                self.back(process)
            }
        }
    }

    /// Has the program that `current` names run, if that is for us to do.
    fn started(&self) -> anyhow::Result<Option<Process>> {
        let Trial { keeper, data, .. } = &self.trial;
        let running = self.ask.who().ok();
        let runs = running.as_ref().map(|r| r.sha256 == self.trial.to.sha256);
        match (keeper, running) {
            // An earlier guard started it.
            (Keeper::Process { .. }, Some(r)) if runs == Some(true) => Process::of(r.pid).map(Some),
            (Keeper::Unit(_), _) if runs == Some(true) => Ok(None),
            // The host starts up, and systemd starts it by itself.
            (Keeper::Unit(unit), None) if keeper::unit_facts(unit)?.state == "activating" => {
                Ok(None)
            }
            (_, running) => {
                let old = running.and_then(|r| Process::of(r.pid).ok());
                keeper.restart(self.prefix, data, old, LEAVE)
            }
        }
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        self.trial.state = State::Healthy;
        self.save()?;
        self.prefix.prune();
        self.tell_the_end()
    }

    /// Puts the program before back, and waits until it serves.
    fn back(&mut self, process: Option<Process>) -> anyhow::Result<()> {
        point_back(self.prefix, &mut self.trial)?;
        let started = match process {
            // The very process that waits for us is the one to go back to.
            Some(process) if self.runs_from(&process) => Some(process),
            Some(process) => self.restarted(Some(process))?,
            None => match self.ask.who().ok() {
                Some(r) if r.sha256 == self.trial.from.sha256 => None,
                other => self.restarted(other.and_then(|r| Process::of(r.pid).ok()))?,
            },
        };
        let watch = Stopwatch::start();
        loop {
            let serves = self.ask.who().and_then(|running| {
                if running.sha256 != self.trial.from.sha256 {
                    bail!("{} answers", running.sha256);
                }
                self.ask.ready(&running)
            });
            match serves {
                Ok(()) => break,
                Err(error) if watch.elapsed() > BACK => {
                    return Err(error).context("the program before does not serve");
                }
                Err(_) => match &started {
                    Some(process) if process.ends_within(Duration::from_millis(100)) => {
                        bail!("the program before ended; start it and look at its log");
                    }
                    Some(_) => {}
                    None => Clock::sleep(Duration::from_millis(100)),
                },
            }
        }
        let after_ms = watch.elapsed().as_millis();
        tracing::info!(%after_ms, "the program before serves again");
        self.trial.state = State::RolledBack;
        self.save()?;
        self.prefix.remove(&self.trial.to.sha256);
        self.tell_the_end()
    }

    fn restarted(&self, old: Option<Process>) -> anyhow::Result<Option<Process>> {
        let Trial { keeper, data, .. } = &self.trial;
        keeper.restart(self.prefix, data, old, HURRY)
    }

    fn runs_from(&self, process: &Process) -> bool {
        let exe = std::fs::read_link(format!("/proc/{}/exe", process.pid));
        exe.is_ok_and(|exe| exe == self.prefix.program(&self.trial.from.sha256))
    }

    fn tell_the_end(&mut self) -> anyhow::Result<()> {
        if self.trial.told {
            return Ok(());
        }
        let Some(end) = self.trial.end() else {
            return Ok(());
        };
        match self.ask.note(&end) {
            Ok(()) => {
                self.trial.told = true;
                self.save()
            }
            // The appliance notes it at its next start.
            Err(error) => {
                tracing::warn!(%error, "the audit log does not have the end of the update yet");
                Ok(())
            }
        }
    }
}
