//! The steps of a job, in order: conditions, environment, scripts, what they hand over.

use std::time::Duration;

use vocab::Outcome;
use workflow::{
    Contexts, ExprError, Host, Object, ShellCommand, StatusFunction, Step, StepAction, Template,
    Value, evaluate_condition,
};

use crate::actions;
use crate::environment::{self, Env};
use crate::executor::{ExecSpec, Exit, SandboxError};
use crate::files::{self, FileError};
use crate::hashfiles;
use crate::job::{Job, Progress, minutes};
use crate::observer::LineKind;
use crate::output::{Asked, Stream};
use crate::process::{Deadline, Done, Stop};
use crate::report::StepReport;

/// Folder, below `/work`, of the files by which steps hand over values.
const COMMANDS: &str = "_temp/_runner_file_commands";

/// What a step's expressions see.
pub(crate) struct Scope<'a, 'b> {
    contexts: Contexts,
    job: &'b Job<'a>,
}

impl Host for Scope<'_, '_> {
    fn context(&self, name: &str) -> Option<Value> {
        self.contexts.context(name)
    }

    fn status(&self, function: StatusFunction, jobs: &[String]) -> Result<bool, String> {
        self.contexts.status(function, jobs)
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, String> {
        hashfiles::hash(self.job, patterns)
    }

    fn memory_bytes(&self) -> usize {
        self.contexts.memory_bytes()
    }
}

/// How a step's own work ended.
#[derive(Debug)]
pub(crate) struct Worked {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) outputs: Vec<(String, String)>,
    pub(crate) summary: String,
}

impl Worked {
    pub(crate) fn well(outputs: Vec<(String, String)>) -> Self {
        Self {
            outcome: Outcome::Success,
            reason: String::new(),
            exit_code: None,
            outputs,
            summary: String::new(),
        }
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Failure,
            reason: reason.into(),
            ..Self::well(Vec::new())
        }
    }
}

impl<'a> Job<'a> {
    /// Runs all steps; afterwards `progress` and `reports` say how it went.
    pub(crate) fn run_steps(&mut self) {
        if let Err(error) = self.settle() {
            self.log.error(0, &error);
            self.progress = Progress::Lost(error);
            return;
        }
        let scope = self.scope(&Env::default());
        let asked = Env::eval(self.spec.workflow_env.as_ref(), &scope).and_then(|mut env| {
            env.add(&Env::eval(self.spec.env.as_ref(), &scope)?);
            Ok(env)
        });
        let base = match asked {
            Ok(base) => base,
            Err(error) => {
                let reason = format!("the env of the job cannot be computed: {error}");
                self.log.error(0, &reason);
                self.progress = Progress::Lost(reason);
                return;
            }
        };
        for step in &self.spec.steps {
            self.run_step(step, &base);
        }
        self.job_env = base;
        self.job_env.add(&self.set_env);
    }

    /// Gathers the folders and files that every job has.
    fn settle(&mut self) -> Result<(), String> {
        self.find_user().map_err(|e| e.to_string())?;
        let event = self
            .github
            .get("event")
            .map(Value::to_json)
            .unwrap_or_default();
        let event = serde_json::to_vec(&event).map_err(|e| e.to_string())?;
        let workspace = below_work(&self.paths.workspace);
        let parent = below_work(&self.paths.runner_workspace);
        let mut gather = || -> std::io::Result<()> {
            for folder in [
                &parent,
                &workspace,
                "_temp",
                "_temp/_github_workflow",
                COMMANDS,
            ] {
                self.stage.folder(folder, 0o755)?;
            }
            self.stage
                .file(&below_work(&self.paths.event), &event, 0o644)
        };
        gather().map_err(|e| format!("the job's files could not be gathered: {e}"))
    }

    /// The contexts for a step, or for the job itself.
    pub(crate) fn scope(&self, env: &Env) -> Scope<'a, '_> {
        let order = self.order;
        let mut contexts = Contexts::new(self.progress.status());
        let texts = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
            let mut object = Object::new();
            for (name, value) in pairs {
                object.set(name, Value::from(value));
            }
            Value::object(object)
        };
        let json = |map: &serde_json::Map<String, serde_json::Value>| {
            Value::from_json(&serde_json::Value::Object(map.clone()))
        };
        contexts.set("github", Value::object(self.github.clone()));
        contexts.set("env", env.to_value());
        contexts.set(
            "vars",
            texts(&mut order.vars.iter().map(|(n, v)| (n.as_str(), v.as_str()))),
        );
        contexts.set(
            "secrets",
            texts(&mut order.secrets.iter().map(|(n, v)| (n.as_str(), v.expose()))),
        );
        contexts.set("inputs", json(&order.inputs));
        contexts.set("needs", json(&order.needs));
        contexts.set("matrix", self.spec.leg.matrix.clone());
        contexts.set("strategy", self.spec.leg.strategy());
        contexts.set("steps", Value::object(self.steps.clone()));
        let mut job = Object::new();
        job.set("status", Value::from(self.progress.word()));
        job.set("container", Value::object(Object::new()));
        job.set("services", Value::object(Object::new()));
        contexts.set("job", job);
        let debug = if order.debug { "1" } else { "" };
        let runner = [
            ("name", order.runner.name.as_str()),
            ("os", "Linux"),
            ("arch", environment::arch()),
            ("temp", self.paths.temp.as_str()),
            ("tool_cache", self.paths.tool_cache.as_str()),
            ("workspace", self.paths.runner_workspace.as_str()),
            ("environment", "self-hosted"),
            ("debug", debug),
        ];
        contexts.set("runner", texts(&mut runner.into_iter()));
        Scope {
            contexts,
            job: self,
        }
    }

    fn run_step(&mut self, step: &'a Step, base: &Env) {
        self.heed_cancel();
        let number = self.step();
        let mut env = base.clone();
        env.add(&self.set_env);
        let own = Env::eval(step.env.as_ref(), &self.scope(&env));
        if let Ok(own) = &own {
            env.add(own);
        }
        let scope = self.scope(&env);
        let name = step_name(step, &scope);
        let runs = match (
            &self.progress,
            evaluate_condition(step.condition.as_ref(), &scope),
        ) {
            (Progress::Lost(_), _) => Ok(false),
            (_, runs) => runs,
        };
        drop(scope);
        let id = step.id.as_deref().unwrap_or_default();
        let name = self.log.masker.mask_text(&name);
        let mut report = StepReport::new(&name, id, self.log.now_ms());
        self.log.step_started(number, &name);
        let worked = match (runs, own) {
            (Ok(false), _) => None,
            (Err(error), _) => Some(Worked::failed(format!(
                "its if cannot be computed: {error}"
            ))),
            (_, Err(error)) => Some(Worked::failed(format!(
                "its env cannot be computed: {error}"
            ))),
            (Ok(true), Ok(own)) => Some(self.work(step, &env, &own)),
        };
        match worked {
            None => {
                report.end(Outcome::Skipped, self.why_skipped(), self.log.now_ms());
                self.remember(step, &report, &[]);
            }
            Some(worked) => self.conclude(step, &env, &mut report, worked),
        }
        let at = self.log.now();
        self.observer.step_finished(number, &report, at);
        self.reports.push(report);
    }

    fn why_skipped(&self) -> String {
        match &self.progress {
            Progress::Success => "its condition is false".to_owned(),
            Progress::Failed => "an earlier step failed".to_owned(),
            Progress::Cancelled(_) => "the job was cancelled".to_owned(),
            Progress::TimedOut => "the job ran past its time limit".to_owned(),
            Progress::Lost(reason) => reason.clone(),
        }
    }

    /// Writes down how a step ended, for later steps and for the report.
    fn conclude(&mut self, step: &Step, env: &Env, report: &mut StepReport, worked: Worked) {
        let number = self.step();
        let good = worked.outcome.is_good();
        let forgiven = !good
            && worked.outcome == Outcome::Failure
            && self
                .truth(step.continue_on_error.as_ref(), env)
                .unwrap_or_else(|error| {
                    self.log.error(
                        number,
                        &format!("continue-on-error cannot be computed: {error}"),
                    );
                    false
                });
        if !good && !worked.reason.is_empty() {
            self.log.error(number, &worked.reason);
        }
        let reason = self.log.masker.mask_text(&worked.reason);
        report.end(worked.outcome, reason, self.log.now_ms());
        report.exit_code = worked.exit_code;
        report.summary = worked.summary;
        if forgiven {
            report.conclusion = Outcome::Success;
        }
        if !report.conclusion.is_good() && self.progress == Progress::Success {
            self.progress = Progress::Failed;
        }
        self.remember(step, report, &worked.outputs);
    }

    /// Puts a step that is over, skipped ones too, into the `steps` context.
    fn remember(&mut self, step: &Step, report: &StepReport, given: &[(String, String)]) {
        let Some(id) = step.id.as_deref() else {
            return;
        };
        let mut outputs = Object::new();
        for (name, value) in given {
            outputs.set(name.as_str(), Value::from(value.as_str()));
        }
        let mut entry = Object::new();
        entry.set("outputs", Value::object(outputs));
        entry.set("outcome", Value::from(report.outcome.as_result()));
        entry.set("conclusion", Value::from(report.conclusion.as_result()));
        self.steps.set(id, Value::object(entry));
    }

    fn truth(&self, template: Option<&Template>, env: &Env) -> Result<bool, ExprError> {
        match template {
            Some(template) => Ok(template.eval(&self.scope(env))?.is_truthy()),
            None => Ok(false),
        }
    }

    /// Notices a cancellation or the end of the job's time between two steps.
    fn heed_cancel(&mut self) {
        if !matches!(self.progress, Progress::Success | Progress::Failed) {
            return;
        }
        if let Some(reason) = self.watch.cancel.requested() {
            self.begin_cleanup(Progress::Cancelled(reason));
        } else if self.watch.since.elapsed() >= self.deadline {
            self.begin_cleanup(Progress::TimedOut);
        }
    }

    /// From now on only steps that ask for it run, and only for so long.
    fn begin_cleanup(&mut self, progress: Progress) {
        self.progress = progress;
        self.deadline = self
            .watch
            .since
            .elapsed()
            .saturating_add(self.order.grace.cleanup);
    }

    /// Whether what runs now is cleaning up after a cancellation or the end of the job's time.
    fn cleans_up(&self) -> bool {
        matches!(self.progress, Progress::Cancelled(_) | Progress::TimedOut)
    }

    /// Does what a step says.
    fn work(&mut self, step: &'a Step, env: &Env, own: &Env) -> Worked {
        let limit = match self.time_limit(step, env) {
            Ok(limit) => limit,
            Err(reason) => return Worked::failed(reason),
        };
        match &step.action {
            StepAction::Run {
                script,
                shell,
                working_directory,
            } => {
                let scope = self.scope(env);
                let defaults = [&self.spec.defaults, &self.spec.workflow_defaults];
                let pick = |own: &Option<Template>, of: &dyn Fn(usize) -> Option<&'a Template>| {
                    own.as_ref()
                        .or_else(|| of(0))
                        .or_else(|| of(1))
                        .map(|t| t.text(&scope))
                        .transpose()
                };
                let script = script.text(&scope);
                let shell = pick(shell, &|i| defaults[i].shell.as_ref());
                let folder = pick(working_directory, &|i| {
                    defaults[i].working_directory.as_ref()
                });
                drop(scope);
                match (script, shell, folder) {
                    (Ok(script), Ok(shell), Ok(folder)) => {
                        let run = Script {
                            text: script,
                            shell,
                            folder,
                        };
                        self.run_script(&run, step, env, own, limit)
                    }
                    (Err(e), ..) | (_, Err(e), _) | (.., Err(e)) => {
                        Worked::failed(format!("it cannot be computed: {e}"))
                    }
                }
            }
            StepAction::Uses {
                uses, action, with, ..
            } => {
                let inputs = match with.as_ref().map(|w| w.eval(&self.scope(env))).transpose() {
                    Ok(inputs) => inputs.unwrap_or_default(),
                    Err(e) => return Worked::failed(format!("its inputs cannot be computed: {e}")),
                };
                let worked = actions::run(self, uses, action, &inputs, env);
                if worked.outcome == Outcome::Failure {
                    self.note_loss();
                }
                worked
            }
        }
    }

    fn time_limit(&self, step: &Step, env: &Env) -> Result<Option<Duration>, String> {
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

    fn run_script(
        &mut self,
        script: &Script,
        step: &Step,
        env: &Env,
        own: &Env,
        limit: Option<Duration>,
    ) -> Worked {
        let number = self.step();
        let folder = self.folder(script.folder.as_deref());
        let id = step.id.clone().unwrap_or_else(|| format!("__run_{number}"));
        loop {
            // Every program counts as there until starting it has failed.
            let has = |program: &str| !self.missing.iter().any(|m| m == program);
            let shell = match ShellCommand::resolve(script.shell.as_deref(), &has) {
                Ok(shell) => shell,
                Err(error) => return Worked::failed(error.to_string()),
            };
            let name = format!("_temp/step-{number}{}", shell.extension);
            let text = shell.script(&script.text.replace("\r\n", "\n"));
            if let Err(error) = self.stage.file(&name, text.as_bytes(), 0o755) {
                return Worked::failed(format!("its script could not be gathered: {error}"));
            }
            let argv = shell.argv(&format!("{}/{name}", environment::WORK));
            self.show(script, &argv, own);
            match self.run_program(&argv, &folder, env, &id, limit) {
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
        let number = self.step();
        if self.shown == Some(number) {
            return;
        }
        self.shown = Some(number);
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
    fn run_program(
        &mut self,
        argv: &[String],
        folder: &str,
        env: &Env,
        id: &str,
        limit: Option<Duration>,
    ) -> Result<Worked, SandboxError> {
        let number = self.step();
        let mut own = self.own_env.clone();
        own.set("GITHUB_ACTION", id);
        for (variable, word) in COMMAND_FILES {
            let name = format!("{COMMANDS}/{word}_{number}");
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
        let deadline = self.step_deadline(limit);
        let heed = !self.cleans_up();
        self.touched = true;
        let done = self
            .watch
            .run(&spec, stream, &deadline, heed, &mut self.log)?;
        Ok(self.after_program(done))
    }

    /// The sooner of the step's own end and the job's.
    fn step_deadline(&self, limit: Option<Duration>) -> Deadline {
        let job = match self.cleans_up() {
            true => Stop::CleanupTimeout,
            false => Stop::JobTimeout,
        };
        let own = limit.map(|limit| self.watch.since.elapsed().saturating_add(limit));
        match own {
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

    /// Takes what the step wrote to its command files and asked for by commands.
    fn read_back(&mut self, asked: Asked, worked: &mut Worked) -> Result<(), String> {
        let mut errors = asked.errors;
        let mut env = asked.env;
        let mut folders = asked.path;
        let mut pairs_of = |job: &Self, variable, word| -> Vec<(String, String)> {
            let bytes = job.command_file(variable, word, files::FILE_BYTES);
            bytes
                .and_then(|b| Ok(files::pairs(variable, &b)?))
                .unwrap_or_else(|error| {
                    errors.push(error.to_string());
                    Vec::new()
                })
        };
        worked
            .outputs
            .extend(pairs_of(self, "GITHUB_OUTPUT", "set_output"));
        env.extend(pairs_of(self, "GITHUB_ENV", "set_env"));
        match self.command_file("GITHUB_PATH", "add_path", files::FILE_BYTES) {
            Ok(bytes) => folders.extend(files::folders(&bytes)),
            Err(error) => errors.push(error.to_string()),
        }
        self.take_summary(worked);
        for (name, value) in env {
            if files::is_refused_env(&name) {
                errors.push(format!(
                    "GITHUB_ENV cannot set {name}: later actions would run it"
                ));
            } else {
                self.set_env.set(&name, &value);
            }
        }
        for folder in folders {
            self.folders.retain(|f| *f != folder);
            self.folders.insert(0, folder);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }

    fn take_summary(&mut self, worked: &mut Worked) {
        match self.command_file("GITHUB_STEP_SUMMARY", "step_summary", files::SUMMARY_BYTES) {
            Ok(bytes) => {
                worked.summary = self.log.masker.mask_text(&files::decode(&bytes));
            }
            Err(error) => {
                let number = self.step();
                self.log
                    .warn(number, &format!("the summary is left out: {error}"));
            }
        }
    }

    fn command_file(
        &self,
        variable: &'static str,
        word: &str,
        limit: u64,
    ) -> Result<Vec<u8>, CommandFileError> {
        let path = format!("{}/{COMMANDS}/{word}_{}", environment::WORK, self.step());
        match self.sandbox().read_file(&path, limit) {
            Ok(bytes) => Ok(bytes.unwrap_or_default()),
            Err(SandboxError::TooLarge { limit, .. }) => {
                Err(CommandFileError::File(FileError::TooLarge {
                    file: variable,
                    limit,
                }))
            }
            Err(error) => Err(CommandFileError::Sandbox(error)),
        }
    }

    /// Tells a failed step from a sandbox that is gone, which ends the job.
    pub(crate) fn note_loss(&mut self) {
        if let Err(error @ SandboxError::Gone { .. }) = self.sandbox().usage() {
            self.progress = Progress::Lost(error.to_string());
        }
    }

    /// What the job gives to those that need it.
    pub(crate) fn outputs(&mut self) -> Vec<(String, String)> {
        let last = self.step().saturating_sub(1);
        let Some(data) = &self.spec.outputs else {
            return Vec::new();
        };
        let value = match data.eval(&self.scope(&self.job_env)) {
            Ok(value) => value,
            Err(error) => {
                self.log.error(
                    last,
                    &format!("the job's outputs cannot be computed: {error}"),
                );
                return Vec::new();
            }
        };
        let mut outputs = Vec::new();
        for (name, value) in value.as_object().unwrap_or(&Object::new()).iter() {
            let value = value.to_text();
            let refusal = if self.log.masker.reveals(&value) {
                "it holds a secret"
            } else if value.len() > OUTPUT_BYTES {
                "it is larger than 1 MiB"
            } else if name.len() > 255 || outputs.len() >= OUTPUTS {
                "its name is longer than 255 characters, or there are more than 1,000 outputs"
            } else {
                outputs.push((name.to_owned(), value.to_string()));
                continue;
            };
            self.log.warn(
                last,
                &format!("output '{name}' is not passed on: {refusal}"),
            );
        }
        outputs
    }
}

/// Largest output of a job.
const OUTPUT_BYTES: usize = 1 << 20;
/// Most outputs of a job.
const OUTPUTS: usize = 1000;

/// The command files: variable and name.
const COMMAND_FILES: [(&str, &str); 5] = [
    ("GITHUB_OUTPUT", "set_output"),
    ("GITHUB_ENV", "set_env"),
    ("GITHUB_PATH", "add_path"),
    ("GITHUB_STATE", "save_state"),
    ("GITHUB_STEP_SUMMARY", "step_summary"),
];

#[derive(Debug, thiserror::Error)]
enum CommandFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

fn has_not(missing: &[String], program: &str) -> bool {
    !missing.iter().any(|m| m == program)
}

struct Script {
    text: String,
    shell: Option<String>,
    folder: Option<String>,
}

/// A path below `/work`, as the stage names it.
pub(crate) fn below_work(path: &str) -> String {
    path.strip_prefix(environment::WORK)
        .unwrap_or(path)
        .trim_matches('/')
        .to_owned()
}

/// The step's name, or what it does.
fn step_name(step: &Step, host: &dyn Host) -> String {
    if let Some(name) = &step.name {
        let text = name
            .text(host)
            .unwrap_or_else(|_| name.source().to_text().to_string());
        if !text.trim().is_empty() {
            return text.trim().to_owned();
        }
    }
    match &step.action {
        StepAction::Run { script, .. } => {
            let text = script
                .text(host)
                .unwrap_or_else(|_| script.source().to_text().to_string());
            let first = text.trim().lines().next().unwrap_or_default().trim();
            let short: String = first.chars().take(100).collect();
            format!("Run {short}")
        }
        StepAction::Uses { uses, .. } => format!("Run {uses}"),
    }
}
