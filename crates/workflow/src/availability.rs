//! Which contexts and functions an expression may use, by the key it stands under.

use std::sync::LazyLock;

use crate::contexts::GITHUB_ALIASES;
use crate::expr::Names;

/// A kind of place in a workflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Nowhere: the value is taken as it is.
    Plain,
    /// `run-name`, and the workflow's `concurrency`.
    Run,
    /// The workflow's `env`.
    WorkflowEnv,
    /// `jobs.<id>.if`
    JobIf,
    /// `jobs.<id>.strategy`
    Strategy,
    /// Most keys of a job.
    Job,
    /// `jobs.<id>.env` and a reusable workflow's `secrets`.
    JobSecrets,
    /// `jobs.<id>.defaults.run`
    JobDefaults,
    /// `jobs.<id>.outputs`, and the `env` of containers.
    JobOutputs,
    /// `jobs.<id>.environment.url`
    EnvironmentUrl,
    /// The credentials of containers.
    Credentials,
    /// `if` of a step.
    StepIf,
    /// All other keys of a step.
    Step,
    /// `on.workflow_call.outputs.<id>.value`
    CallOutput,
    /// `if` of a step of a composite action; `pre-if` and `post-if`.
    ActionIf,
    /// All other keys of a step of a composite action, and its outputs.
    ActionStep,
    /// The default of an action's input.
    ActionInput,
}

/// What one place allows.
struct Allowed {
    place: Place,
    contexts: &'static [&'static str],
    hash_files: bool,
    /// Whether status functions are allowed, and if so whether they take names of jobs.
    status: Option<bool>,
}

const fn allowed(place: Place, contexts: &'static [&'static str]) -> Allowed {
    Allowed {
        place,
        contexts,
        hash_files: false,
        status: None,
    }
}

const TABLE: [Allowed; 16] = [
    allowed(Place::Run, &["github", "inputs", "vars"]),
    allowed(Place::WorkflowEnv, &["github", "inputs", "vars", "secrets"]),
    Allowed {
        status: Some(true),
        ..allowed(Place::JobIf, &["github", "inputs", "vars", "needs"])
    },
    allowed(Place::Strategy, &["github", "inputs", "vars", "needs"]),
    allowed(
        Place::Job,
        &["github", "inputs", "vars", "needs", "strategy", "matrix"],
    ),
    allowed(
        Place::JobSecrets,
        &[
            "github", "inputs", "vars", "needs", "strategy", "matrix", "secrets",
        ],
    ),
    allowed(
        Place::JobDefaults,
        &[
            "github", "inputs", "vars", "needs", "strategy", "matrix", "env",
        ],
    ),
    allowed(
        Place::JobOutputs,
        &[
            "github", "inputs", "vars", "needs", "strategy", "matrix", "secrets", "steps", "job",
            "runner", "env",
        ],
    ),
    allowed(
        Place::EnvironmentUrl,
        &[
            "github", "inputs", "vars", "needs", "strategy", "matrix", "steps", "job", "runner",
            "env",
        ],
    ),
    allowed(
        Place::Credentials,
        &["github", "inputs", "vars", "secrets", "env"],
    ),
    Allowed {
        hash_files: true,
        status: Some(false),
        ..allowed(
            Place::StepIf,
            &[
                "github", "inputs", "vars", "needs", "strategy", "matrix", "steps", "job",
                "runner", "env",
            ],
        )
    },
    Allowed {
        hash_files: true,
        ..allowed(
            Place::Step,
            &[
                "github", "inputs", "vars", "needs", "strategy", "matrix", "secrets", "steps",
                "job", "runner", "env",
            ],
        )
    },
    allowed(Place::CallOutput, &["github", "inputs", "vars", "jobs"]),
    // An action sees no secrets but those that a step hands it.
    Allowed {
        hash_files: true,
        status: Some(false),
        ..allowed(Place::ActionIf, &IN_ACTION)
    },
    Allowed {
        hash_files: true,
        ..allowed(Place::ActionStep, &IN_ACTION)
    },
    Allowed {
        hash_files: true,
        ..allowed(
            Place::ActionInput,
            &["github", "strategy", "matrix", "job", "runner"],
        )
    },
];

/// What steps of an action see.
const IN_ACTION: [&str; 8] = [
    "github", "inputs", "strategy", "matrix", "steps", "job", "runner", "env",
];

static NAMES: LazyLock<Vec<(Place, Names)>> = LazyLock::new(|| {
    TABLE
        .iter()
        .map(|allowed| {
            let mut names = Names::new(allowed.contexts.iter().copied().chain(GITHUB_ALIASES));
            if allowed.hash_files {
                names = names.with_hash_files();
            }
            if let Some(job_ids) = allowed.status {
                names = names.with_status(job_ids);
            }
            (allowed.place, names)
        })
        .collect()
});

static NOTHING: LazyLock<Names> = LazyLock::new(Names::default);

impl Place {
    /// The names that expressions may use here.
    pub(crate) fn names(self) -> &'static Names {
        NAMES
            .iter()
            .find(|(place, _)| *place == self)
            .map_or(&*NOTHING, |(_, names)| names)
    }

    /// The contexts that may be used here, for messages.
    pub(crate) fn contexts(self) -> &'static [&'static str] {
        TABLE
            .iter()
            .find(|allowed| allowed.place == self)
            .map_or(&[], |allowed| allowed.contexts)
    }

    /// Whether expressions may be used here at all.
    pub(crate) fn allows_expressions(self) -> bool {
        self != Self::Plain
    }
}
