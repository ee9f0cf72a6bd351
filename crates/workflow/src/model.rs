//! A workflow as it is understood: what a file says, checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, Position};
use crate::template::{Data, Template};
use crate::uses::ActionRef;

/// One workflow file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workflow {
    /// The file, as the repo names it.
    pub path: String,
    /// Its name, if it gives one.
    pub name: Option<String>,
    /// The name of each run, if it gives one.
    pub run_name: Option<Template>,
    /// What starts it.
    pub on: Triggers,
    /// Environment variables of every job.
    pub env: Option<Data>,
    /// How steps of every job run commands.
    pub defaults: RunDefaults,
    /// Which runs may not run side by side.
    pub concurrency: Option<Concurrency>,
    /// What the token of every job may do.
    pub permissions: Option<Permissions>,
    /// The jobs, as written.
    pub jobs: Vec<Job>,
    /// What is legal but surely not meant.
    pub warnings: Vec<Diagnostic>,
}

impl Workflow {
    /// Its name, or its path when it gives none.
    #[must_use]
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.path)
    }

    /// The job with this id.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    /// The events it names that this version does not serve.
    #[must_use]
    pub fn unserved_events(&self) -> &[UnservedEvent] {
        &self.on.unserved
    }

    /// What its author should hear of it: warnings, and events that do not start it.
    #[must_use]
    pub fn notices(&self) -> Vec<Diagnostic> {
        let unserved = self.on.unserved.iter().map(|event| {
            let message = format!("event '{}' is not served yet", event.name);
            let mend = Some("it does not start this workflow here".to_owned());
            Diagnostic::new(&self.path, event.position, message, mend)
        });
        self.warnings.iter().cloned().chain(unserved).collect()
    }

    /// Every job that `id` depends on, directly or not.
    #[must_use]
    pub fn ancestors(&self, id: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        let mut open: Vec<&str> = vec![id];
        while let Some(job) = open.pop().and_then(|id| self.job(id)) {
            for need in &job.needs {
                if !found.contains(&need.as_str()) {
                    found.push(need);
                    open.push(need);
                }
            }
        }
        found
    }
}

/// What starts a workflow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Triggers {
    /// Pushes that pass these filters.
    pub push: Option<PushFilter>,
    /// Starting it by hand.
    pub workflow_dispatch: Option<Dispatch>,
    /// Events that this version does not serve.
    pub unserved: Vec<UnservedEvent>,
}

/// A real event that this version does not serve, and where the file names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UnservedEvent {
    /// The event's name.
    pub name: String,
    /// Where it is named.
    pub position: Position,
}

/// Which pushes start a workflow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PushFilter {
    /// By branch.
    pub branches: PatternFilter,
    /// By tag.
    pub tags: PatternFilter,
    /// By changed path; tags are not asked.
    pub paths: PatternFilter,
}

/// Patterns to keep or to ignore.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum PatternFilter {
    /// No filter.
    #[default]
    Absent,
    /// Only what matches; `!` takes back.
    Only(Vec<String>),
    /// All but what matches.
    Ignore(Vec<String>),
}

/// Starting a workflow by hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Dispatch {
    /// What may be given.
    pub inputs: Vec<Input>,
}

/// One input of a workflow that is started by hand.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub id: String,
    /// What it is for.
    pub description: Option<String>,
    /// Whether it must be given.
    pub required: bool,
    /// Its value when it is not given.
    pub default: Option<String>,
    /// What it may be.
    pub kind: InputKind,
}

/// What an input may be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum InputKind {
    /// Any text.
    String,
    /// True or false.
    Boolean,
    /// A number.
    Number,
    /// One of these.
    Choice(Vec<String>),
    /// The name of an environment.
    Environment,
}

/// How steps run commands unless they say it themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunDefaults {
    /// The shell.
    pub shell: Option<Template>,
    /// The folder, from the workspace.
    pub working_directory: Option<Template>,
}

/// Which runs or jobs may not run side by side.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Concurrency {
    /// Those of one group wait for each other.
    pub group: Template,
    /// Whether a new one cancels the one that runs.
    pub cancel_in_progress: Option<Template>,
    /// Whether all that wait are kept, not only the last: `queue: max`.
    pub keep_all: bool,
}

/// What the token of a job may do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Permissions {
    /// Read everything.
    ReadAll,
    /// Write everything.
    WriteAll,
    /// By kind; what is not named is forbidden.
    Each(BTreeMap<String, Access>),
}

/// How far a permission goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Access {
    /// Not at all.
    None,
    /// Read.
    Read,
    /// Read and write.
    Write,
}

/// One job of a workflow, before its matrix is applied.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Where it is defined.
    pub position: Position,
    /// Its name, if it gives one.
    pub name: Option<Template>,
    /// The jobs that must end before it.
    pub needs: Vec<String>,
    /// Whether it runs.
    pub condition: Option<Condition>,
    /// On what kind of runner: a text, a list, a mapping of group and labels, or an expression.
    pub runs_on: Data,
    /// Where `runs-on` stands.
    pub runs_on_position: Position,
    /// How often it runs.
    pub strategy: Strategy,
    /// After how many minutes it is stopped.
    pub timeout_minutes: Option<Template>,
    /// Whether the run goes on when it fails.
    pub continue_on_error: Option<Template>,
    /// What it gives to the jobs that need it.
    pub outputs: Option<Data>,
    /// Environment variables of its steps.
    pub env: Option<Data>,
    /// How its steps run commands.
    pub defaults: RunDefaults,
    /// Which jobs may not run side by side with it.
    pub concurrency: Option<Concurrency>,
    /// What its token may do.
    pub permissions: Option<Permissions>,
    /// What it does.
    pub steps: Vec<Step>,
}

/// How often a job runs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Strategy {
    /// The values it runs with.
    pub matrix: Option<Data>,
    /// Where the matrix stands.
    pub matrix_position: Option<Position>,
    /// Whether one failed leg cancels the others.
    pub fail_fast: Option<Template>,
    /// How many legs may run side by side.
    pub max_parallel: Option<Template>,
}

/// One step of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its name, if it gives one.
    pub name: Option<Template>,
    /// Whether it runs.
    pub condition: Option<Condition>,
    /// What it does.
    pub action: StepAction,
    /// Its environment variables.
    pub env: Option<Data>,
    /// Whether the job goes on when it fails.
    pub continue_on_error: Option<Template>,
    /// After how many minutes it is stopped.
    pub timeout_minutes: Option<Template>,
    /// Where it is defined.
    pub position: Position,
}

/// What a step does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum StepAction {
    /// Runs a script.
    Run {
        /// The script.
        script: Template,
        /// The shell.
        shell: Option<Template>,
        /// The folder, from the workspace.
        working_directory: Option<Template>,
    },
    /// Runs an action.
    Uses {
        /// Which action, as written.
        uses: String,
        /// Which action.
        action: ActionRef,
        /// Where it is named.
        position: Position,
        /// Its inputs.
        with: Option<Data>,
    },
}

/// One use of an action in a workflow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActionUse {
    /// The job's id.
    pub job: String,
    /// The step, from 0.
    pub step: usize,
    /// Which action, as written.
    pub uses: String,
    /// Which action.
    pub action: ActionRef,
    /// Where it is named.
    pub position: Position,
}

/// Every use of an action, in order, so that a run can be refused before it starts.
#[must_use]
pub fn uses_of(workflow: &Workflow) -> Vec<ActionUse> {
    let mut found = Vec::new();
    for job in &workflow.jobs {
        for (step, definition) in job.steps.iter().enumerate() {
            if let StepAction::Uses {
                uses,
                action,
                position,
                ..
            } = &definition.action
            {
                found.push(ActionUse {
                    job: job.id.clone(),
                    step,
                    uses: uses.clone(),
                    action: action.clone(),
                    position: *position,
                });
            }
        }
    }
    found
}
