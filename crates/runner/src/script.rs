//! One script of a step: the shell that runs it, its environment, its time, how it ended.

use std::time::Duration;

use vocab::Outcome;
use workflow::{ShellCommand, Step, Value};

use crate::environment::{self, Env};
use crate::executor::{ExecSpec, Exit, SandboxError};
use crate::handover::{COMMAND_FILES, COMMANDS};
use crate::job::{Job, Progress, minutes};
use crate::observer::LineKind;
use crate::output::Stream;
use crate::process::{Deadline, Done, Stop};
use crate::steps::Worked;

/// What a `run` says, its expressions computed.
pub(crate) struct Script {
    pub(crate) text: String,
    pub(crate) shell: Option<String>,
    pub(crate) folder: Option<String>,
}

impl Job<'_> {
    pub(crate) fn time_limit(&self, step: &Step, env: &Env) -> Result<Option<Duration>, String> {
        let Some(template) = &step.timeout_minutes else {
            return Ok(None);
        };
        let value = template
            .eval(&self.scope(env))
            .map_err(|e| format!("its timeout-minutes cannot be computed: {e}"))?;
        let number = value.to_number();
        if matches!(value, Value::Null) || number == f64::INFINITY {
            Ok(None)
        } else if number > 0.0 {
            Ok(Some(minutes(number)))
        } else {
            let text = value.to_text();
            Err(format!(
                "its timeout-minutes must be a number above 0, not '{text}'"
            ))
        }
    }

    pub(crate) fn run_script(
        &mut self,
        script: &Script,
        step: &Step,
        env: &Env,
        own: &Env,
    ) -> Worked {
        let tag = self.tag();
        let folder = self.folder(script.folder.as_deref());
        let id = step.id.clone().unwrap_or_else(|| format!("__run_{tag}"));
        let mut extra = Env::default();
        if let Some(frame) = self.frames.last() {
            frame.place.tell(&mut extra);
        }
        loop {
            // Every program counts as there until starting it has failed.
            let has = |program: &str| !self.missing.iter().any(|m| m == program);
            let shell = match ShellCommand::resolve(script.shell.as_deref(), &has) {
                Ok(shell) => shell,
                Err(error) => return Worked::failed(error.to_string()),
            };
            let name = format!("_temp/step-{tag}{}", shell.extension);
            let text = shell.script(&script.text.replace("\r\n", "\n"));
            if let Err(error) = self.stage.file(&name, text.as_bytes(), 0o755) {
                return Worked::failed(format!("its script could not be gathered: {error}"));
            }
            let argv = shell.argv(&format!("{}/{name}", environment::WORK));
            self.show(script, &argv, own);
            match self.run_program(&argv, &folder, env, &id, &extra) {
                Err(SandboxError::NoProgram { program }) if has_not(&self.missing, &program) => {
                    self.missing.push(program);
                }
                Err(error) => {
                    self.note_loss();
                    return Worked::failed(error.to_string());
                }
                Ok(worked) => return worked,
            }
        }
    }

    /// Shows what will run, once.
    fn show(&mut self, script: &Script, argv: &[String], own: &Env) {
        let (number, tag) = (self.step(), self.tag());
        if self.shown.as_ref() == Some(&tag) {
            return;
        }
        self.shown = Some(tag);
        let text = script.text.trim_end();
        let first = text.lines().next().unwrap_or_default();
        self.log
            .say(number, LineKind::Group, &format!("Run {first}"));
        self.log.say(number, LineKind::Command, text);
        self.log.say(
            number,
            LineKind::Debug,
            &format!("shell: {}", argv.join(" ")),
        );
        if !own.is_empty() {
            let lines: Vec<String> = own.iter().map(|(n, v)| format!("env {n}: {v}")).collect();
            self.log.say(number, LineKind::Debug, &lines.join("\n"));
        }
        self.log.say(number, LineKind::Endgroup, "");
    }

    fn folder(&self, folder: Option<&str>) -> String {
        match folder.map(str::trim).filter(|f| !f.is_empty()) {
            Some(absolute) if absolute.starts_with('/') => absolute.to_owned(),
            Some(relative) => format!("{}/{relative}", self.paths.workspace),
            None => self.paths.workspace.clone(),
        }
    }

    /// Runs a program as a step: fresh command files, its output obeyed, what it wrote read back.
    /// Nobody can take the names in `extra`.
    pub(crate) fn run_program(
        &mut self,
        argv: &[String],
        folder: &str,
        env: &Env,
        id: &str,
        extra: &Env,
    ) -> Result<Worked, SandboxError> {
        let (number, tag) = (self.step(), self.tag());
        let mut own = self.own_env.clone();
        own.add(extra);
        own.set("GITHUB_ACTION", id);
        for (variable, word) in COMMAND_FILES {
            let name = format!("{COMMANDS}/{word}_{tag}");
            if self.stage.file(&name, b"", 0o644).is_ok() {
                own.set(variable, &format!("{}/{name}", environment::WORK));
            }
        }
        self.unpack_stage()?;
        let all = environment::compose(&self.image_env, env, &own, &self.folders);
        let unsecure = all
            .get("ACTIONS_ALLOW_UNSECURE_COMMANDS")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"));
        let spec = ExecSpec {
            argv: argv.to_vec(),
            env: all.into_pairs(),
            cwd: folder.to_owned(),
            user: self.user,
        };
        let stream = Stream::new(number, self.order.debug, unsecure);
        let deadline = self.step_deadline();
        let heed = !self.cleans_up();
        self.touched = true;
        let done = self
            .watch
            .run(&spec, stream, &deadline, heed, &mut self.log)?;
        Ok(self.after_program(done))
    }

    /// The sooner of the step's own end and the job's.
    fn step_deadline(&self) -> Deadline {
        let job = match self.cleans_up() {
            true => Stop::CleanupTimeout,
            false => Stop::JobTimeout,
        };
        match self.step_end {
            Some(at) if at < self.deadline => Deadline {
                at,
                why: Stop::StepTimeout,
            },
            _ => Deadline {
                at: self.deadline,
                why: job,
            },
        }
    }

    fn after_program(&mut self, done: Done) -> Worked {
        let mut worked = Worked::well(done.asked.outputs.clone());
        let code = done.exit.shell_code();
        worked.exit_code = Some(code);
        if let Err(error) = self.read_back(done.asked, &mut worked) {
            (worked.outcome, worked.reason) = (Outcome::Failure, error);
        }
        if done.exit != Exit::Code(0) {
            (worked.outcome, worked.reason) = (Outcome::Failure, self.why_failed(done.exit));
        }
        match done.stopped {
            None => {}
            Some(Stop::StepTimeout) => {
                worked.outcome = Outcome::Failure;
                worked.reason = "stopped: it ran past its timeout-minutes".to_owned();
            }
            Some(Stop::JobTimeout) => {
                worked.outcome = Outcome::TimedOut;
                worked.reason = "stopped: the job ran past its time limit".to_owned();
                self.begin_cleanup(Progress::TimedOut);
            }
            Some(Stop::CleanupTimeout) => {
                worked.outcome = Outcome::Cancelled;
                worked.reason = "stopped: the time for cleaning up is over".to_owned();
            }
            Some(Stop::Cancelled(reason)) => {
                worked.outcome = Outcome::Cancelled;
                worked.reason = format!("stopped: {reason}");
                self.begin_cleanup(Progress::Cancelled(reason));
            }
        }
        if done.exit == Exit::SandboxLost {
            self.progress = Progress::Lost(worked.reason.clone());
        }
        worked
    }

    /// Why a program did not end well: memory, a signal, its own word.
    fn why_failed(&mut self, exit: Exit) -> String {
        let kills = self
            .sandbox()
            .usage()
            .map_or(self.oom_kills, |usage| usage.oom_kills);
        if kills > self.oom_kills {
            let count = kills - self.oom_kills;
            self.oom_kills = kills;
            let limit = self.order.limits.memory_bytes >> 20;
            let what = match count {
                1 => "one of its processes".to_owned(),
                count => format!("{count} of its processes"),
            };
            return format!(
                "out of memory: the kernel ended {what} at the job's limit of {limit} MiB"
            );
        }
        match exit {
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("ended by signal {signal}"),
            Exit::SandboxLost => "the sandbox ended under it".to_owned(),
        }
    }
}

fn has_not(missing: &[String], program: &str) -> bool {
    !missing.iter().any(|m| m == program)
}
