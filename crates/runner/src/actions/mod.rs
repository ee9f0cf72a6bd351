//! The actions that steps use: those that this runner has built in, by name, whatever their version
//! tag; those that were carried into the job; those of its workspace.

mod checkout;
mod composite;
mod found;
mod frame;
mod node;
mod setup_node;
mod setup_python;
mod tools;

use workflow::{ActionRef, Object, Runs, Value};

use crate::environment::Env;
use crate::job::Job;
use crate::observer::LineKind;
use crate::steps::Worked;

pub(crate) use composite::enter;
pub(crate) use found::{Found, carried, inputs};
pub(crate) use frame::Frame;
pub(crate) use node::{Call, expect_post, program};

/// A built-in action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuiltIn {
    Checkout,
    SetupPython,
    SetupNode,
}

fn find(action: &ActionRef) -> Option<BuiltIn> {
    let (owner, name, path, _) = action.repo()?;
    if !owner.eq_ignore_ascii_case("actions") || !path.is_empty() {
        return None;
    }
    match name.to_ascii_lowercase().as_str() {
        "checkout" => Some(BuiltIn::Checkout),
        "setup-python" => Some(BuiltIn::SetupPython),
        "setup-node" => Some(BuiltIn::SetupNode),
        _ => None,
    }
}

/// Whether this runner can run an action without looking anywhere.
#[must_use]
pub fn is_built_in(action: &ActionRef) -> bool {
    find(action).is_some()
}

/// An action as a step calls it.
#[derive(Clone, Copy)]
pub(crate) struct Called<'a> {
    /// As written.
    pub(crate) uses: &'a str,
    pub(crate) action: &'a ActionRef,
    /// What it is given.
    pub(crate) with: &'a Value,
    /// The whole `env` context of the step.
    pub(crate) env: &'a Env,
    /// What the step itself sets.
    pub(crate) own: &'a Env,
}

/// Runs an action as the step that runs now.
pub(crate) fn run(job: &mut Job<'_>, called: &Called<'_>) -> Worked {
    let given = Inputs::of(called.with);
    let done = match find(called.action) {
        Some(BuiltIn::Checkout) => checkout::run(job, &given),
        Some(BuiltIn::SetupPython) => setup_python::run(job, &given, called.env),
        Some(BuiltIn::SetupNode) => setup_node::run(job, &given, called.env),
        None => {
            return foreign(job, called).unwrap_or_else(Worked::failed);
        }
    };
    match done {
        Ok(outputs) => Worked::well(outputs),
        Err(reason) => Worked::failed(reason),
    }
}

/// Runs an action that is not built in.
fn foreign(job: &mut Job<'_>, called: &Called<'_>) -> Result<Worked, String> {
    let found = found::find(job, called)?;
    let inputs = found::told_inputs(job, &found.action, called)?;
    announce(job, &format!("Run {}", called.uses), &found, &inputs);
    match &found.action.runs {
        Runs::Composite(_) => {
            enter(job, &found, inputs, called)?;
            Ok(composite::run(job, &found))
        }
        Runs::Node(node) => {
            let call = call_of(job, called, &found, node.major, inputs);
            Ok(node::run(job, call, node))
        }
        Runs::Docker(at) => Err(format!(
            "{}:{}:{}: actions in containers are not served",
            found.action.path, at.line, at.column
        )),
    }
}

/// The use of a JavaScript action by the step that runs now.
pub(crate) fn call_of(
    job: &Job<'_>,
    called: &Called<'_>,
    found: &Found,
    major: u32,
    inputs: Object,
) -> Call {
    let mut own = job.frames.last().map(|f| f.env.clone()).unwrap_or_default();
    own.add(called.own);
    Call {
        uses: called.uses.to_owned(),
        found: found.clone(),
        major,
        inputs,
        own,
        path: job.path.clone(),
    }
}

/// Shows in the log what will run, from where, with what.
pub(crate) fn announce(job: &mut Job<'_>, title: &str, found: &Found, inputs: &Object) {
    let step = job.step();
    job.log.say(step, LineKind::Group, title);
    let from = match (found.commit.as_str(), &job.order.supply) {
        ("", _) => format!("from {} of the workspace", found.action.path),
        (commit, None) => format!("commit {commit}"),
        (commit, Some(supply)) => format!("commit {commit} of {}", supply.facts()),
    };
    job.log.say(step, LineKind::Info, &from);
    let given: Vec<String> = inputs
        .iter()
        .map(|(name, value)| format!("with {name}: {}", value.to_text()))
        .collect();
    if !given.is_empty() {
        job.log.say(step, LineKind::Debug, &given.join("\n"));
    }
    job.log.say(step, LineKind::Endgroup, "");
}

/// What a built-in action gives to later steps, or why it failed.
type Done = Result<Vec<(String, String)>, String>;

/// The inputs of an action; names do not differ by case.
struct Inputs(Object);

impl Inputs {
    fn of(with: &Value) -> Self {
        Self(with.as_object().cloned().unwrap_or_default())
    }

    /// The trimmed text of an input; `None` when absent or empty.
    fn text(&self, name: &str) -> Option<String> {
        let text = self.0.get(name)?.to_text();
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A truth, as YAML 1.2 writes it.
    fn truth(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.text(name).as_deref() {
            None => Ok(default),
            Some("true" | "True" | "TRUE") => Ok(true),
            Some("false" | "False" | "FALSE") => Ok(false),
            Some(other) => Err(format!("input {name} must be true or false, not '{other}'")),
        }
    }
}

fn output(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
