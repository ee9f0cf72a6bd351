//! Workflow files: bytes in, types out. No clock, no network, no database.
//!
//! What the rest of the program uses, in the order in which a push needs it:
//!
//! 1. [`WORKFLOW_DIRS`], [`is_workflow_file`]: which files of a commit are workflows.
//! 2. [`parse`] reads one file into a [`Workflow`], or tells every problem as a [`Diagnostic`].
//! 3. [`select`] says whether an [`Event`] starts it; [`Workflow::unserved_events`] what it also
//!    waits for in vain; [`uses_of`] which actions it needs; [`dispatch_inputs`] checks inputs.
//! 4. When a job is ready (its needs have ended): [`Status::of_needs`], [`Contexts`],
//!    [`job_runs`], then [`expand`] into [`Leg`]s, and [`JobSpec::new`] for each; a `JobSpec` is
//!    stored as JSON and is all that a runner is given besides contexts.
//! 5. The runner computes [`Template`]s, [`Data`] and [`Condition`]s against its own
//!    [`Contexts`] (or any [`Host`]), and asks [`ShellCommand::resolve`] how to run a script.
//!
//! An action's own file is read by [`parse_action`] into an [`Action`], under the same rules.
//!
//! [`eval_to_json`] is the command line's way to try one expression.

mod action;
mod availability;
mod carried;
mod condition;
mod contexts;
mod diagnostic;
mod event;
mod expr;
mod glob;
mod matrix;
mod model;
mod plan;
mod read;
mod shell;
mod template;
mod uses;
mod yaml;

pub use action::{Action, ActionInput, ActionOutput, NodeRun, Runs};
pub use carried::{Carried, Named, carried_of_action, carried_of_workflow};
pub use condition::{Condition, evaluate_condition};
pub use contexts::{Contexts, GITHUB_ALIASES, GithubContext, HashFiles, Status};
pub use diagnostic::{Diagnostic, Position};
pub use event::{
    Event, InputError, Selected, SkipReason, WORKFLOW_DIRS, dispatch_inputs, event_inputs,
    is_workflow_file, select, skip_request,
};
pub use expr::{
    Array, ErrorKind, Expr, ExprError, Function, Host, Names, Object, StatusFunction, Value,
    eval_to_json, parse as parse_expression,
};
pub use matrix::MAX_LEGS;
pub use model::{
    Access, ActionUse, Concurrency, Dispatch, Input, InputKind, Job, PatternFilter, Permissions,
    PushFilter, RunDefaults, Step, StepAction, Strategy, Triggers, UnservedEvent, Workflow,
    uses_of,
};
pub use plan::{Group, JobSpec, Leg, RunsOn, expand, job_runs, run_group, run_name};
pub use read::{parse, parse_action};
pub use shell::{HasProgram, ShellCommand, ShellError};
pub use template::{Data, Key, Part, Template};
pub use uses::{ActionRef, ActionRefError, path_below};
pub use yaml::Limits;
