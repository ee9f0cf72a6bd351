//! What a run or a leg is called, and which others may not run beside it, once computed.

use serde::{Deserialize, Serialize};

use crate::contexts::Contexts;
use crate::diagnostic::{Diagnostic, Position};
use crate::expr::ExprError;
use crate::model::{Concurrency, Workflow};

/// The most characters of a group's name.
const MAX_GROUP: usize = 400;
/// The most characters of a run's name.
const MAX_NAME: usize = 200;

/// A concurrency group as computed: its members do not run side by side.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Its name, unique within a repo without regard to case.
    pub name: String,
    /// Whether a new member cancels those that run.
    pub cancel_in_progress: bool,
    /// Whether all that wait are kept, not only the newest.
    pub keep_all: bool,
}

impl Group {
    /// Computes what `concurrency` says; the error is without a place.
    pub(super) fn of(concurrency: &Concurrency, host: &Contexts) -> Result<Self, String> {
        let failed = |error: ExprError| format!("concurrency: {error}");
        let name = concurrency.group.text(host).map_err(failed)?;
        let name = name.trim().to_owned();
        if name.is_empty() {
            return Err("its concurrency group is empty; give it a name".to_owned());
        }
        if name.chars().count() > MAX_GROUP {
            return Err(format!(
                "the name of its concurrency group has more than {MAX_GROUP} characters"
            ));
        }
        let cancel = concurrency.cancel_in_progress.as_ref();
        let cancel = cancel.map(|t| t.eval(host)).transpose().map_err(failed)?;
        Ok(Self {
            name,
            cancel_in_progress: cancel.is_some_and(|value| value.is_truthy()),
            keep_all: concurrency.keep_all,
        })
    }
}

/// The group of a whole run. The contexts are `github`, `inputs` and `vars`.
///
/// Errors: an expression cannot be computed, or the name comes out empty or too long.
pub fn run_group(workflow: &Workflow, contexts: &Contexts) -> Result<Option<Group>, Diagnostic> {
    let group = workflow
        .concurrency
        .as_ref()
        .map(|c| Group::of(c, contexts));
    group
        .transpose()
        .map_err(|error| problem(workflow, format!("the run cannot be planned: {error}")))
}

/// What `run-name` calls a run; `None` without one, or when it comes out blank. The contexts are
/// `github`, `inputs` and `vars`.
///
/// Errors: an expression cannot be computed.
pub fn run_name(workflow: &Workflow, contexts: &Contexts) -> Result<Option<String>, Diagnostic> {
    let Some(template) = &workflow.run_name else {
        return Ok(None);
    };
    let name = template
        .text(contexts)
        .map_err(|error| problem(workflow, format!("run-name cannot be computed: {error}")))?;
    let line = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(MAX_NAME).collect();
    Ok((!short.is_empty()).then_some(short))
}

fn problem(workflow: &Workflow, message: String) -> Diagnostic {
    let top = Position { line: 1, column: 1 };
    Diagnostic::new(&workflow.path, top, message, None)
}
