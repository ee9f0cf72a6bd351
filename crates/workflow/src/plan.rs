//! Turns a job that is ready into the legs that run, and each leg into what a runner is given.

mod group;

use serde::{Deserialize, Serialize};

pub use group::{Group, run_group, run_name};

use crate::contexts::Contexts;
use crate::diagnostic::{Diagnostic, Position};
use crate::expr::{Object, Value};
use crate::matrix;
use crate::model::{Job, Permissions, RunDefaults, Step, Workflow};
use crate::template::{Data, Template};

/// The most characters of a leg's name.
const MAX_NAME: usize = 100;

/// On what kind of runner a leg runs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RunsOn {
    /// The group, if one is named.
    pub group: Option<String>,
    /// The labels, all of which a runner must have.
    pub labels: Vec<String>,
}

/// One leg of a job: the job with one set of matrix values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// The job's id.
    pub job: String,
    /// The name to show, for example `test (3.11, linux)`.
    pub name: String,
    /// The `matrix` context; null without a matrix.
    pub matrix: Value,
    /// Its number among the legs, from 0.
    pub index: u32,
    /// How many legs there are.
    pub total: u32,
    /// Whether one failed leg cancels the others.
    pub fail_fast: bool,
    /// How many legs may run side by side, when that is limited.
    pub max_parallel: Option<u32>,
    /// Whether the run goes on when it fails.
    pub continue_on_error: bool,
    /// After how many minutes it is stopped, if the workflow says so.
    pub timeout_minutes: Option<f64>,
    /// On what kind of runner it runs.
    pub runs_on: RunsOn,
    /// Which legs and runs may not run beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

impl Leg {
    /// The `strategy` context.
    #[must_use]
    pub fn strategy(&self) -> Value {
        strategy_value(self.fail_fast, self.max_parallel, self.index, self.total)
    }
}

/// All that a runner needs to know of one leg, besides the contexts; stored as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobSpec {
    /// The workflow's display name.
    pub workflow: String,
    /// The workflow's file.
    pub path: String,
    /// The leg.
    pub leg: Leg,
    /// The workflow's `env`.
    pub workflow_env: Option<Data>,
    /// The job's `env`.
    pub env: Option<Data>,
    /// The workflow's defaults.
    pub workflow_defaults: RunDefaults,
    /// The job's defaults.
    pub defaults: RunDefaults,
    /// What the job's token may do: the job's word, else the workflow's.
    pub permissions: Option<Permissions>,
    /// What the job gives to those that need it.
    pub outputs: Option<Data>,
    /// The steps.
    pub steps: Vec<Step>,
}

impl JobSpec {
    /// Puts together what a runner is given for `leg` of `job`.
    #[must_use]
    pub fn new(workflow: &Workflow, job: &Job, leg: Leg) -> Self {
        Self {
            workflow: workflow.display_name().to_owned(),
            path: workflow.path.clone(),
            leg,
            workflow_env: workflow.env.clone(),
            env: job.env.clone(),
            workflow_defaults: workflow.defaults.clone(),
            defaults: job.defaults.clone(),
            permissions: job
                .permissions
                .clone()
                .or_else(|| workflow.permissions.clone()),
            outputs: job.outputs.clone(),
            steps: job.steps.clone(),
        }
    }
}

impl JobSpec {
    /// The shell of a step: its own, else the job's, else the workflow's.
    #[must_use]
    pub fn shell<'a>(&'a self, step: Option<&'a Template>) -> Option<&'a Template> {
        step.or(self.defaults.shell.as_ref())
            .or(self.workflow_defaults.shell.as_ref())
    }

    /// The folder of a step: its own, else the job's, else the workflow's.
    #[must_use]
    pub fn working_directory<'a>(&'a self, step: Option<&'a Template>) -> Option<&'a Template> {
        step.or(self.defaults.working_directory.as_ref())
            .or(self.workflow_defaults.working_directory.as_ref())
    }

    /// The environments outside of a step, the outermost first; a later one wins.
    pub fn env_layers(&self) -> impl Iterator<Item = &Data> {
        self.workflow_env.iter().chain(&self.env)
    }
}

/// Whether a job that is ready is to run. The contexts are `github`, `inputs`, `vars` and `needs`.
///
/// Errors: the condition cannot be computed.
pub fn job_runs(workflow: &Workflow, job: &Job, contexts: &Contexts) -> Result<bool, Diagnostic> {
    crate::condition::evaluate_condition(job.condition.as_ref(), contexts).map_err(|error| {
        let message = format!(
            "the condition of job '{}' cannot be computed: {error}",
            job.id
        );
        Diagnostic::new(&workflow.path, job.position, message, None)
    })
}

/// Applies the matrix of a job that is ready. The contexts are `github`, `inputs`, `vars` and
/// `needs`; `matrix` and `strategy` are added here.
///
/// Errors: an expression cannot be computed, the matrix has no values or more than 256 legs, or
/// what comes out is not of the right kind.
pub fn expand(workflow: &Workflow, job: &Job, contexts: &Contexts) -> Result<Vec<Leg>, Diagnostic> {
    Expansion {
        workflow,
        job,
        contexts,
    }
    .legs()
}

fn strategy_value(fail_fast: bool, max_parallel: Option<u32>, index: u32, total: u32) -> Value {
    let mut strategy = Object::new();
    strategy.set("fail-fast", Value::from(fail_fast));
    strategy.set("job-index", Value::from(index));
    strategy.set("job-total", Value::from(total));
    strategy.set("max-parallel", Value::from(max_parallel.unwrap_or(total)));
    Value::object(strategy)
}

struct Expansion<'a> {
    workflow: &'a Workflow,
    job: &'a Job,
    contexts: &'a Contexts,
}

impl Expansion<'_> {
    fn error(&self, at: Position, message: impl std::fmt::Display) -> Diagnostic {
        let message = format!("job '{}' cannot be planned: {message}", self.job.id);
        Diagnostic::new(&self.workflow.path, at, message, None)
    }

    fn eval(&self, key: &str, template: &Template, host: &Contexts) -> Result<Value, Diagnostic> {
        template
            .eval(host)
            .map_err(|error| self.error(self.job.position, format!("{key}: {error}")))
    }

    fn legs(&self) -> Result<Vec<Leg>, Diagnostic> {
        let fail_fast = match &self.job.strategy.fail_fast {
            Some(template) => self.eval("fail-fast", template, self.contexts)?.is_truthy(),
            None => true,
        };
        let max_parallel = self.max_parallel()?;
        let at = self
            .job
            .strategy
            .matrix_position
            .unwrap_or(self.job.position);
        let combinations = match &self.job.strategy.matrix {
            Some(matrix) => {
                let value = matrix
                    .eval(self.contexts)
                    .map_err(|error| self.error(at, format!("its matrix: {error}")))?;
                matrix::combinations(&self.job.id, &value).map_err(|error| {
                    Diagnostic::new(&self.workflow.path, at, error.to_string(), None)
                })?
            }
            None => vec![matrix::Combination {
                values: Value::Null,
                labels: Vec::new(),
            }],
        };
        let total = u32::try_from(combinations.len())
            .map_err(|_| self.error(at, "its matrix has too many legs"))?;
        (0..total)
            .zip(combinations)
            .map(|(index, combination)| {
                self.leg(combination, index, total, fail_fast, max_parallel)
            })
            .collect()
    }

    fn max_parallel(&self) -> Result<Option<u32>, Diagnostic> {
        let Some(template) = &self.job.strategy.max_parallel else {
            return Ok(None);
        };
        let value = self.eval("max-parallel", template, self.contexts)?;
        match value.to_number() {
            number if number >= 1.0 => Ok(format!("{:.0}", number.floor()).parse().ok()),
            _ => Err(self.error(
                self.job.position,
                format!(
                    "max-parallel must be a number from 1, not '{}'",
                    value.to_text()
                ),
            )),
        }
    }

    fn leg(
        &self,
        combination: matrix::Combination,
        index: u32,
        total: u32,
        fail_fast: bool,
        max_parallel: Option<u32>,
    ) -> Result<Leg, Diagnostic> {
        let host = self
            .contexts
            .clone()
            .with("matrix", combination.values.clone())
            .with(
                "strategy",
                strategy_value(fail_fast, max_parallel, index, total),
            );
        let continue_on_error = match &self.job.continue_on_error {
            Some(template) => self.eval("continue-on-error", template, &host)?.is_truthy(),
            None => false,
        };
        Ok(Leg {
            job: self.job.id.clone(),
            name: self.name(&combination.labels, &host)?,
            matrix: combination.values,
            index,
            total,
            fail_fast,
            max_parallel,
            continue_on_error,
            timeout_minutes: self.timeout_minutes(&host)?,
            runs_on: self.runs_on(&host)?,
            group: self.group(&host)?,
        })
    }

    fn group(&self, host: &Contexts) -> Result<Option<Group>, Diagnostic> {
        let concurrency = self.job.concurrency.as_ref();
        let group = concurrency.map(|c| Group::of(c, host)).transpose();
        group.map_err(|error| self.error(self.job.position, error))
    }

    fn timeout_minutes(&self, host: &Contexts) -> Result<Option<f64>, Diagnostic> {
        let Some(template) = &self.job.timeout_minutes else {
            return Ok(None);
        };
        let value = self.eval("timeout-minutes", template, host)?;
        match value.to_number() {
            _ if matches!(value, Value::Null) => Ok(None),
            minutes if minutes > 0.0 => Ok(minutes.is_finite().then_some(minutes)),
            _ => Err(self.error(
                self.job.position,
                format!(
                    "timeout-minutes must be a number above 0, not '{}'",
                    value.to_text()
                ),
            )),
        }
    }

    /// The name as written where it has expressions in it, else with the leg's values.
    fn name(&self, labels: &[String], host: &Contexts) -> Result<String, Diagnostic> {
        let base = match &self.job.name {
            Some(template) if template.literal().is_none() => {
                let name = self.eval("name", template, host)?.to_text().to_string();
                return Ok(shorten(if name.is_empty() {
                    self.job.id.clone()
                } else {
                    name
                }));
            }
            Some(Template::Literal(name)) => name.to_text().to_string(),
            _ => self.job.id.clone(),
        };
        if labels.is_empty() {
            return Ok(shorten(base));
        }
        Ok(shorten(format!("{base} ({})", labels.join(", "))))
    }

    fn runs_on(&self, host: &Contexts) -> Result<RunsOn, Diagnostic> {
        let at = self.job.runs_on_position;
        let value = self
            .job
            .runs_on
            .eval(host)
            .map_err(|error| self.error(at, format!("runs-on: {error}")))?;
        let runs_on = match value.as_object() {
            Some(object) => RunsOn {
                group: object.get("group").map(|group| group.to_text().to_string()),
                labels: object.get("labels").map(labels).unwrap_or_default(),
            },
            None => RunsOn {
                group: None,
                labels: labels(&value),
            },
        };
        let blank = runs_on.labels.iter().any(|label| label.trim().is_empty());
        if blank || (runs_on.labels.is_empty() && runs_on.group.is_none()) {
            return Err(self.error(at, "runs-on is empty; name the label of a runner"));
        }
        Ok(runs_on)
    }
}

fn labels(value: &Value) -> Vec<String> {
    match value.as_array() {
        Some(items) => items
            .iter()
            .map(|item| item.to_text().to_string())
            .collect(),
        None => vec![value.to_text().to_string()],
    }
}

fn shorten(name: String) -> String {
    if name.chars().count() <= MAX_NAME {
        return name;
    }
    name.chars()
        .take(MAX_NAME - 3)
        .chain("...".chars())
        .collect()
}

#[cfg(test)]
mod tests;
