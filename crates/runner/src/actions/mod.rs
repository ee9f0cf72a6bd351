//! The actions that this runner has built in, by name; any version tag is the same one.

mod checkout;
mod setup_node;
mod setup_python;
mod tools;

use workflow::{ActionRef, Object, Value};

use crate::environment::Env;
use crate::job::Job;
use crate::steps::Worked;

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

/// Runs an action as the step that runs now.
pub(crate) fn run(
    job: &mut Job<'_>,
    uses: &str,
    action: &ActionRef,
    with: &Value,
    env: &Env,
) -> Worked {
    let inputs = Inputs::of(with);
    let done = match find(action) {
        Some(BuiltIn::Checkout) => checkout::run(job, &inputs),
        Some(BuiltIn::SetupPython) => setup_python::run(job, &inputs, env),
        Some(BuiltIn::SetupNode) => setup_node::run(job, &inputs, env),
        None => {
            if let (Some(supply), ActionRef::Repo { .. }) = (&job.order.supply, action) {
                supply.want("action", uses);
            }
            Err(format!(
                "action {uses} cannot be run by this version; built in are actions/checkout, \
                 actions/setup-python and actions/setup-node"
            ))
        }
    };
    match done {
        Ok(outputs) => Worked::well(outputs),
        Err(reason) => Worked::failed(reason),
    }
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
