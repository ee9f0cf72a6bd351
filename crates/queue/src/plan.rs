//! Asks `workflow` what is to become of a job, and keeps the answer as text for the store.

use serde_json::Value;
use store::Db;
use workflow::{Contexts, JobSpec, Status, Workflow};

use crate::{QueueError, RunRow, sql};

/// A job as the workflow file has it, before its matrix is applied.
pub(crate) struct WrittenJob {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
}

/// The jobs of a workflow, in its order.
pub(crate) fn jobs(workflow: &Workflow) -> Vec<WrittenJob> {
    let jobs = workflow.jobs.iter();
    jobs.map(|job| WrittenJob {
        key: job.id.clone(),
        name: literal_name(job),
        needs: job.needs.clone(),
    })
    .collect()
}

/// What an unplanned job is called: its name where that holds no expression, else its key.
fn literal_name(job: &workflow::Job) -> String {
    let name = job.name.as_ref().and_then(|name| name.literal());
    name.map_or_else(|| job.id.clone(), |name| name.to_text().to_string())
}

/// The contexts that belong to a run as a whole.
pub(crate) struct RunContexts {
    pub(crate) github: Value,
    pub(crate) inputs: Value,
    pub(crate) vars: Value,
}

impl RunContexts {
    /// Reads them, with the run's own numbers filled in.
    fn parse(run: &RunRow, text: &sql::PlanText) -> Result<Self, QueueError> {
        let mut github: Value = from_text(run, &text.github)?;
        if let Some(github) = github.as_object_mut() {
            github.insert("run_id".into(), run.id.to_string().into());
            github.insert("run_number".into(), run.number.to_string().into());
            github.insert("run_attempt".into(), run.attempt.to_string().into());
        }
        Ok(Self {
            github,
            inputs: from_text(run, &text.inputs)?,
            vars: from_text(run, &text.vars)?,
        })
    }
}

fn from_text<T: serde::de::DeserializeOwned>(run: &RunRow, text: &str) -> Result<T, QueueError> {
    serde_json::from_str(text).map_err(|e| unreadable(run, &e.to_string()))
}

fn unreadable(run: &RunRow, reason: &str) -> QueueError {
    QueueError::Unreadable {
        what: "the plan of run",
        id: run.id.0,
        reason: reason.to_owned(),
    }
}

/// What a run was planned from.
pub(crate) struct Plan {
    workflow: Workflow,
    contexts: RunContexts,
}

/// What is known when a job's needs have ended.
pub(crate) struct Situation<'a> {
    pub(crate) key: &'a str,
    pub(crate) needs: Value,
    /// How the jobs ended that it depends on, near and far.
    pub(crate) ancestors: Vec<vocab::Outcome>,
    pub(crate) cancelled: bool,
}

/// What is to become of a job.
pub(crate) enum Decision {
    /// It does not run.
    Skip(String),
    /// It cannot be planned.
    Fail(String),
    /// These legs run; at least one.
    Run(Vec<PlannedLeg>),
}

/// One leg that runs.
pub(crate) struct PlannedLeg {
    pub(crate) name: String,
    pub(crate) matrix: Option<Value>,
    pub(crate) labels: Vec<String>,
    pub(crate) max_parallel: Option<u32>,
    pub(crate) fail_fast: bool,
    pub(crate) forgiven: bool,
    pub(crate) group: Option<workflow::Group>,
    pub(crate) spec: String,
}

impl Plan {
    pub(crate) fn load(db: &Db, run: &RunRow) -> Result<Self, QueueError> {
        let text = sql::plan(db, run.id)?.ok_or_else(|| unreadable(run, "it has no plan"))?;
        let workflow = text
            .workflow
            .as_deref()
            .ok_or_else(|| unreadable(run, "it is invalid"))?;
        Ok(Self {
            workflow: from_text(run, workflow)?,
            contexts: RunContexts::parse(run, &text)?,
        })
    }

    /// What its workflow calls the run, and the group of the run as a whole.
    pub(crate) fn of_run(&self) -> Result<(Option<String>, Option<workflow::Group>), String> {
        let contexts = self.contexts(Status::SUCCESS);
        let name = workflow::run_name(&self.workflow, &contexts).map_err(|e| e.to_string())?;
        let group = workflow::run_group(&self.workflow, &contexts).map_err(|e| e.to_string())?;
        Ok((name, group))
    }

    fn contexts(&self, status: Status) -> Contexts {
        let value = |json: &Value| workflow::Value::from_json(json);
        Contexts::new(status)
            .with("github", value(&self.contexts.github))
            .with("inputs", value(&self.contexts.inputs))
            .with("vars", value(&self.contexts.vars))
    }

    pub(crate) fn decide(&self, situation: &Situation<'_>) -> Decision {
        let Some(job) = self.workflow.job(situation.key) else {
            return Decision::Fail("its workflow has no such job".to_owned());
        };
        let status = Status::of_needs([], situation.ancestors.iter().copied(), situation.cancelled);
        let needs = workflow::Value::from_json(&situation.needs);
        let contexts = self.contexts(status).with("needs", needs);
        match workflow::job_runs(&self.workflow, job, &contexts) {
            Ok(true) => {}
            Ok(false) => return Decision::Skip(skip_reason(job, situation)),
            Err(problem) => return Decision::Fail(problem.to_string()),
        }
        let legs = match workflow::expand(&self.workflow, job, &contexts) {
            Ok(legs) if legs.is_empty() => {
                return Decision::Fail("its matrix has no values".to_owned());
            }
            Ok(legs) => legs,
            Err(problem) => return Decision::Fail(problem.to_string()),
        };
        Decision::Run(legs.iter().map(Self::planned).collect())
    }

    /// What a runner is given for a leg that was planned earlier; `text` is what was kept of it.
    pub(crate) fn spec(&self, text: &str) -> Result<JobSpec, String> {
        let leg: workflow::Leg = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match self.workflow.job(&leg.job) {
            Some(job) => Ok(JobSpec::new(&self.workflow, job, leg)),
            None => Err(format!("its workflow has no job '{}'", leg.job)),
        }
    }

    /// The contexts that belong to the run as a whole.
    pub(crate) fn into_contexts(self) -> RunContexts {
        self.contexts
    }

    fn planned(leg: &workflow::Leg) -> PlannedLeg {
        let mut labels = leg.runs_on.labels.clone();
        labels.extend(
            leg.runs_on
                .group
                .iter()
                .map(|group| format!("group:{group}")),
        );
        let matrix = match serde_json::to_value(&leg.matrix) {
            Ok(Value::Null) | Err(_) => None,
            Ok(matrix) => Some(matrix),
        };
        PlannedLeg {
            name: leg.name.clone(),
            matrix,
            labels,
            max_parallel: leg.max_parallel,
            fail_fast: leg.fail_fast,
            forgiven: leg.continue_on_error,
            group: leg.group.clone(),
            spec: to_text(leg),
        }
    }
}

fn skip_reason(job: &workflow::Job, situation: &Situation<'_>) -> String {
    match &job.condition {
        Some(condition) if condition.uses_status() => {
            format!("its condition is not met: {}", condition.source())
        }
        condition => {
            let bad = situation
                .ancestors
                .iter()
                .any(|o| *o != vocab::Outcome::Success);
            match condition {
                _ if bad => "a job that it needs did not succeed".to_owned(),
                Some(condition) => format!("its condition is not met: {}", condition.source()),
                None => "it is not to run".to_owned(),
            }
        }
    }
}

/// JSON as it is stored.
pub(crate) fn to_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("workflow types have only text keys and finite numbers")
}
