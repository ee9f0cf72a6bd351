//! The steps of a job, in order: what they see, whether they run, how they ended.

use vocab::Outcome;
use workflow::{ExprError, Host, Object, Step, StepAction, Template, Value, evaluate_condition};

use crate::actions::{self, Called};
use crate::environment::{self, Env};
use crate::executor::SandboxError;
use crate::handover::COMMANDS;
use crate::job::{Job, Progress};
use crate::report::StepReport;
use crate::script::Script;

/// How a step's own work ended.
#[derive(Debug)]
pub(crate) struct Worked {
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    pub(crate) exit_code: Option<i32>,
    pub(crate) outputs: Vec<(String, String)>,
    /// What it keeps for a program of the same action that runs later.
    pub(crate) state: Vec<(String, String)>,
    pub(crate) summary: String,
}

impl Worked {
    pub(crate) fn well(outputs: Vec<(String, String)>) -> Self {
        Self {
            outcome: Outcome::Success,
            reason: String::new(),
            exit_code: None,
            outputs,
            state: Vec::new(),
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

impl Job<'_> {
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
        self.base_env = match asked {
            Ok(base) => base,
            Err(error) => {
                let reason = format!("the env of the job cannot be computed: {error}");
                self.log.error(0, &reason);
                self.progress = Progress::Lost(reason);
                return;
            }
        };
        let steps = &self.spec.steps;
        self.run_pres(steps);
        for (index, step) in steps.iter().enumerate() {
            self.path = vec![index];
            self.run_step(step);
        }
        self.run_posts();
    }

    /// What the workflow, the job and earlier steps set, and the steps around this one.
    pub(crate) fn env_now(&self) -> Env {
        let mut env = self.base_env.clone();
        env.add(&self.set_env);
        if let Some(frame) = self.frames.last() {
            env.add(&frame.env);
        }
        env
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

    #[tracing::instrument(skip_all, fields(step.number = self.step()))]
    fn run_step(&mut self, step: &Step) {
        self.heed_cancel();
        let number = self.step();
        self.calls = 0;
        let mut env = self.env_now();
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
            (Ok(true), Ok(own)) => Some(self.limited(step, &env, &own)),
        };
        match worked {
            None => {
                report.end(Outcome::Skipped, self.why_skipped(), self.log.now_ms());
                self.remember(step, (report.outcome, report.conclusion), &[]);
            }
            Some(worked) => self.conclude(step, &env, &mut report, worked),
        }
        let at = self.log.now();
        self.observer.step_finished(number, &report, at);
        self.reports.push(report);
    }

    pub(crate) fn why_skipped(&self) -> String {
        match &self.progress {
            Progress::Success => "its condition is false".to_owned(),
            Progress::Failed => "an earlier step failed".to_owned(),
            Progress::Cancelled(_) => "the job was cancelled".to_owned(),
            Progress::TimedOut => "the job ran past its time limit".to_owned(),
            Progress::Lost(reason) => self.log.masker.mask_text(reason),
        }
    }

    /// Writes down how a step ended, for later steps and for the report.
    fn conclude(&mut self, step: &Step, env: &Env, report: &mut StepReport, worked: Worked) {
        let number = self.step();
        let good = worked.outcome.is_good();
        let forgiven = self.forgives(step, env, worked.outcome);
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
        self.remember(step, (report.outcome, report.conclusion), &worked.outputs);
    }

    /// Whether a step's `continue-on-error` forgives how it ended.
    pub(crate) fn forgives(&mut self, step: &Step, env: &Env, outcome: Outcome) -> bool {
        let number = self.step();
        outcome == Outcome::Failure
            && self
                .truth(step.continue_on_error.as_ref(), env)
                .unwrap_or_else(|error| {
                    let text = format!("continue-on-error cannot be computed: {error}");
                    self.log.error(number, &text);
                    false
                })
    }

    /// Puts a step that is over, skipped ones too, into the `steps` context.
    pub(crate) fn remember(
        &mut self,
        step: &Step,
        (outcome, conclusion): (Outcome, Outcome),
        given: &[(String, String)],
    ) {
        let Some(id) = step.id.as_deref() else {
            return;
        };
        let mut outputs = Object::new();
        for (name, value) in given {
            outputs.set(name.as_str(), Value::from(value.as_str()));
        }
        let mut entry = Object::new();
        entry.set("outputs", Value::object(outputs));
        entry.set("outcome", Value::from(outcome.as_result()));
        entry.set("conclusion", Value::from(conclusion.as_result()));
        let steps = match self.frames.last_mut() {
            Some(frame) => &mut frame.steps,
            None => &mut self.steps,
        };
        steps.set(id, Value::object(entry));
    }

    fn truth(&self, template: Option<&Template>, env: &Env) -> Result<bool, ExprError> {
        match template {
            Some(template) => Ok(template.eval(&self.scope(env))?.is_truthy()),
            None => Ok(false),
        }
    }

    /// Notices a cancellation or the end of the job's time between two steps.
    pub(crate) fn heed_cancel(&mut self) {
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
    pub(crate) fn begin_cleanup(&mut self, progress: Progress) {
        self.progress = progress;
        self.deadline = self
            .watch
            .since
            .elapsed()
            .saturating_add(self.order.grace.cleanup);
    }

    /// Whether what runs now is cleaning up after a cancellation or the end of the job's time.
    pub(crate) fn cleans_up(&self) -> bool {
        matches!(self.progress, Progress::Cancelled(_) | Progress::TimedOut)
    }

    /// Does what a step of the workflow says, within its time.
    fn limited(&mut self, step: &Step, env: &Env, own: &Env) -> Worked {
        let limit = match self.time_limit(step, env) {
            Ok(limit) => limit,
            Err(reason) => return Worked::failed(reason),
        };
        self.step_end = limit.map(|limit| self.watch.since.elapsed().saturating_add(limit));
        let worked = self.work(step, env, own);
        self.step_end = None;
        worked
    }

    /// Does what a step says.
    pub(crate) fn work(&mut self, step: &Step, env: &Env, own: &Env) -> Worked {
        match &step.action {
            StepAction::Run {
                script,
                shell,
                working_directory,
            } => {
                let written = (script, shell.as_ref(), working_directory.as_ref());
                match self.script(written, env) {
                    Ok(script) => self.run_script(&script, step, env, own),
                    Err(e) => Worked::failed(format!("it cannot be computed: {e}")),
                }
            }
            StepAction::Uses {
                uses, action, with, ..
            } => {
                let inputs = match with.as_ref().map(|w| w.eval(&self.scope(env))).transpose() {
                    Ok(inputs) => inputs.unwrap_or_default(),
                    Err(e) => return Worked::failed(format!("its inputs cannot be computed: {e}")),
                };
                let called = Called {
                    uses,
                    action,
                    with: &inputs,
                    env,
                    own,
                };
                let worked = actions::run(self, &called);
                if worked.outcome == Outcome::Failure {
                    self.note_loss();
                }
                worked
            }
        }
    }

    /// A script with its expressions computed. Defaults of a workflow do not reach into actions.
    fn script(
        &self,
        (script, shell, folder): (&Template, Option<&Template>, Option<&Template>),
        env: &Env,
    ) -> Result<Script, ExprError> {
        let scope = self.scope(env);
        let inside = !self.frames.is_empty();
        let pick = |own, usual| if inside { own } else { usual };
        let shell = pick(shell, self.spec.shell(shell));
        let folder = pick(folder, self.spec.working_directory(folder));
        Ok(Script {
            text: script.text(&scope)?,
            shell: shell.map(|t| t.text(&scope)).transpose()?,
            folder: folder.map(|t| t.text(&scope)).transpose()?,
        })
    }

    /// Tells a failed step from a sandbox that is gone, which ends the job.
    pub(crate) fn note_loss(&mut self) {
        if let Err(error @ SandboxError::Gone { .. }) = self.sandbox().usage() {
            self.progress = Progress::Lost(error.to_string());
        }
    }
}

/// A path below `/work`, as the stage names it.
pub(crate) fn below_work(path: &str) -> String {
    path.strip_prefix(environment::WORK)
        .unwrap_or(path)
        .trim_matches('/')
        .to_owned()
}

/// The step's name, or what it does.
pub(crate) fn step_name(step: &Step, host: &dyn Host) -> String {
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
