//! An action as it is understood: what an `action.yml` says, checked.

use crate::condition::Condition;
use crate::diagnostic::{Diagnostic, Position};
use crate::model::Step;
use crate::template::Template;

/// The names under which an action's file is looked for, in this order.
pub(crate) const FILES: [&str; 2] = ["action.yml", "action.yaml"];

/// One action.
#[derive(Clone, Debug)]
pub struct Action {
    /// The file, as messages name it.
    pub path: String,
    /// Its name, if it gives one.
    pub name: Option<String>,
    /// What may be given to it.
    pub inputs: Vec<ActionInput>,
    /// What it gives to later steps.
    pub outputs: Vec<ActionOutput>,
    /// What it does.
    pub runs: Runs,
    /// What is legal but surely not meant.
    pub warnings: Vec<Diagnostic>,
}

impl Action {
    /// The names of an action's file, the preferred one first.
    pub const FILES: [&str; 2] = FILES;

    /// The input of this name; letter case does not matter.
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&ActionInput> {
        self.inputs.iter().find(|i| i.id.eq_ignore_ascii_case(name))
    }

    /// The steps of a composite action; none for others.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        match &self.runs {
            Runs::Composite(steps) => steps,
            Runs::Node(_) | Runs::Docker(_) => &[],
        }
    }
}

/// One input of an action.
#[derive(Clone, Debug)]
pub struct ActionInput {
    /// Its name.
    pub id: String,
    /// Whether the action says that it must be given.
    pub required: bool,
    /// Its value when it is not given.
    pub default: Option<Template>,
    /// What to tell whoever gives it.
    pub deprecation: Option<String>,
}

/// One output of an action.
#[derive(Clone, Debug)]
pub struct ActionOutput {
    /// Its name.
    pub id: String,
    /// Its value; only composite actions say one.
    pub value: Option<Template>,
}

/// What an action does.
#[derive(Clone, Debug)]
pub enum Runs {
    /// Runs steps.
    Composite(Vec<Step>),
    /// Runs programs with Node.
    Node(Box<NodeRun>),
    /// Runs a container, which this version does not serve.
    Docker(Position),
}

/// The programs of an action that is written in JavaScript.
#[derive(Clone, Debug)]
pub struct NodeRun {
    /// The major version of Node that it was written for.
    pub major: u32,
    /// The program, a path from the action's folder.
    pub main: String,
    /// Runs before all steps of the job.
    pub pre: Option<String>,
    /// Whether `pre` runs; always, when absent.
    pub pre_if: Option<Condition>,
    /// Runs after all steps of the job.
    pub post: Option<String>,
    /// Whether `post` runs; always, when absent.
    pub post_if: Option<Condition>,
}
