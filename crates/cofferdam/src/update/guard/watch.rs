//! The trial itself: what the new program does until its time is over.
//!
//! Healthy is a program that says it is the one that was switched to, serves where the one before
//! served, passed its self-test, and lives to the end of its trial.

use std::sync::Arc;
use std::time::Duration;

use vocab::{Clock, Stopwatch};

use crate::update::ask::Ask;
use crate::update::keeper::{self, Keeper, Legacy, Process};
use crate::update::layout::Prefix;
use crate::update::start::why;
use crate::update::trial::{STRIKES, Trial};

/// Between two looks.
const BEAT: Duration = Duration::from_millis(200);
/// Between two self-tests, the first of which failed.
const REST: Duration = Duration::from_secs(2);
/// What any program may hold in memory.
const MEMORY_FLOOR_BYTES: u64 = 1 << 30;

/// What came of it.
pub(super) enum Verdict {
    Healthy,
    Unhealthy(String),
}

/// One trial.
pub(super) struct Watch<'a> {
    prefix: &'a Prefix,
    ask: &'a Ask,
    trial: &'a mut Trial,
    /// The process, where we keep it ourselves.
    pub(super) process: Option<Process>,
    since: Stopwatch,
    /// What was not good at the last look.
    lack: String,
    passed: bool,
    tested: Option<Stopwatch>,
    /// What the last self-test did not like: it says more than a look that came after it.
    failed: String,
    legacy: Arc<Legacy>,
}

/// What one look found.
enum Look {
    Good,
    /// It may yet get better.
    Lacks(String),
    /// It will not.
    Bad(String),
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        prefix: &'a Prefix,
        ask: &'a Ask,
        trial: &'a mut Trial,
        process: Option<Process>,
    ) -> Self {
        let legacy = process.as_ref().map(Process::legacy);
        Self {
            prefix,
            ask,
            trial,
            process,
            since: Stopwatch::start(),
            lack: "it never answered".to_owned(),
            passed: false,
            tested: None,
            failed: String::new(),
            legacy: legacy.unwrap_or_default(),
        }
    }

    /// Watches until the trial is over or lost.
    pub(super) fn until_over(&mut self) -> Verdict {
        let length = Duration::from_secs(self.trial.trial_seconds);
        loop {
            if let Err(reason) = self.lives() {
                return Verdict::Unhealthy(reason);
            }
            match self.look(length) {
                Look::Good => self.lack.clear(),
                Look::Lacks(lack) => self.lack = lack,
                Look::Bad(reason) => return Verdict::Unhealthy(reason),
            }
            if self.since.elapsed() >= length {
                return self.at_the_end(length);
            }
            match &self.process {
                // Wakes up when it ends.
                Some(process) => {
                    process.ends_within(BEAT);
                }
                None => Clock::sleep(BEAT),
            }
        }
    }

    fn at_the_end(&mut self, length: Duration) -> Verdict {
        if self.passed && self.lack.is_empty() {
            return match self.lives() {
                Ok(()) => Verdict::Healthy,
                Err(reason) => Verdict::Unhealthy(reason),
            };
        }
        let lack = match (self.failed.as_str(), self.lack.as_str()) {
            ("", "") => "it was not tested",
            ("", lack) => lack,
            (failed, _) => failed,
        };
        Verdict::Unhealthy(format!("not healthy after {} s: {lack}", length.as_secs()))
    }

    /// Sees that it runs and counts its deaths; starts it again where that is for us to do.
    fn lives(&mut self) -> Result<(), String> {
        let fell = match &self.trial.keeper {
            Keeper::Unit(unit) => {
                let facts = keeper::unit_facts(unit).map_err(|e| format!("{e:#}"))?;
                if facts.state == "failed" {
                    return Err(format!("{unit} failed{}", why(&self.trial.data)));
                }
                let before = self.trial.strikes;
                self.trial.strikes = before.max(facts.restarts);
                (self.trial.strikes > before).then(|| format!("{unit} was started again"))
            }
            Keeper::Process { .. } => match &mut self.process {
                Some(process) if process.ends_within(Duration::ZERO) => {
                    self.trial.strikes += 1;
                    Some(process.ending())
                }
                _ => None,
            },
        };
        let Some(ending) = fell else {
            return Ok(());
        };
        let words = format!("{ending}{}", why(&self.trial.data));
        if self.passed {
            let after = self.since.elapsed().as_secs();
            return Err(format!("it ended {after} s after the switch: {words}"));
        }
        if self.trial.strikes >= STRIKES {
            return Err(format!(
                "it ended {STRIKES} times before it was ready: {words}"
            ));
        }
        self.lack = words;
        self.trial.save(self.prefix).map_err(|e| format!("{e:#}"))?;
        if let Keeper::Process { .. } = self.trial.keeper {
            let again = self
                .trial
                .keeper
                .start(self.prefix, &self.trial.data, self.legacy.clone());
            self.process = Some(again.map_err(|e| format!("{e:#}"))?);
        }
        Ok(())
    }

    fn look(&mut self, length: Duration) -> Look {
        if let Some(bad) = self.too_much_memory() {
            return Look::Bad(bad);
        }
        let running = match self.ask.who() {
            Ok(running) => running,
            Err(error) => return Look::Lacks(format!("it does not answer: {error:#}")),
        };
        let to = &self.trial.to;
        if running.sha256 != to.sha256 || running.version != to.version {
            return Look::Bad(format!(
                "another program answers: version {} with digest {}, not {} with {}",
                running.version, running.sha256, to.version, to.sha256
            ));
        }
        if let Some(before) = &self.trial.address
            && *before != running.address
        {
            return Look::Bad(format!(
                "it listens on {}, and the version before on {before}",
                running.address
            ));
        }
        if let Err(error) = self.ask.ready(&running) {
            return Look::Lacks(format!("{error:#}"));
        }
        if self.passed {
            return Look::Good;
        }
        if self.tested.is_some_and(|last| last.elapsed() < REST) {
            return Look::Lacks(std::mem::take(&mut self.lack));
        }
        let left = length.saturating_sub(self.since.elapsed());
        let tested = self.ask.self_test(left.max(BEAT));
        self.tested = Some(Stopwatch::start());
        match tested {
            Ok(()) => {
                let after_ms = self.since.elapsed().as_millis();
                tracing::info!(%after_ms, "the new program passed its self-test");
                self.passed = true;
                self.failed.clear();
                Look::Good
            }
            Err(error) => {
                self.failed = format!("{error:#}");
                Look::Lacks(self.failed.clone())
            }
        }
    }

    /// Four times what the program before held, and a gibibyte in any case, is enough.
    fn too_much_memory(&self) -> Option<String> {
        let pid = match (&self.process, &self.trial.keeper) {
            (Some(process), _) => process.pid,
            (None, Keeper::Unit(unit)) => keeper::unit_facts(unit).ok()?.pid,
            (None, Keeper::Process { .. }) => return None,
        };
        let held = Process::memory_bytes(pid);
        let most = MEMORY_FLOOR_BYTES.max(self.trial.memory_bytes.saturating_mul(4));
        (held > most).then(|| {
            let mib = |bytes: u64| bytes >> 20;
            format!(
                "it holds {} MiB of memory; {} are enough",
                mib(held),
                mib(most)
            )
        })
    }
}
