//! The action that a step names: carried into this job, or in its workspace.

use std::sync::Arc;

use workflow::{Action, ActionRef, Limits, Object, Value, path_below};

use super::Called;
use super::frame::Place;
use crate::job::Job;

/// An action, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) action: Arc<Action>,
    /// What it is, whatever it was called by.
    pub(crate) key: String,
    pub(crate) place: Place,
    /// The root of its tree inside the sandbox.
    pub(crate) root: String,
    /// Its folder in that tree.
    pub(crate) folder: String,
    /// The commit that it was pinned to; empty for an action of the workspace.
    pub(crate) commit: String,
}

/// Looks among the actions that were carried into this job.
pub(crate) fn carried(job: &Job<'_>, action: &ActionRef) -> Option<Found> {
    let (_, _, folder, _) = action.carried()?;
    job.order.actions.iter().find_map(|carried| {
        let found = carried.find(action)?;
        let root = carried.place();
        let path = match folder {
            "" => root.clone(),
            folder => format!("{root}/{folder}"),
        };
        Some(Found {
            action: Arc::clone(found),
            key: format!("{}/{folder}@{}", carried.name, carried.commit),
            place: Place {
                path,
                repository: carried.name.clone(),
                git_ref: carried.git_ref.clone(),
            },
            root,
            folder: folder.to_owned(),
            commit: carried.commit.clone(),
        })
    })
}

/// Looks for the action of a step. Errors: it is not there, or cannot be understood.
pub(super) fn find(job: &mut Job<'_>, called: &Called<'_>) -> Result<Found, String> {
    let uses = called.uses;
    match called.action {
        ActionRef::Docker(_) => Err(format!(
            "{uses} cannot be run: actions in containers are not served"
        )),
        ActionRef::Local(folder) => local(job, folder, uses),
        action => carried(job, action).ok_or_else(|| {
            if let (Some(supply), ActionRef::Repo { .. }) = (&job.order.supply, action) {
                supply.want("action", uses);
            }
            format!(
                "action {uses} is neither built in nor among those that the run's commit names \
                 and its generation has"
            )
        }),
    }
}

/// An action of the workspace, as it is there now.
fn local(job: &mut Job<'_>, folder: &str, uses: &str) -> Result<Found, String> {
    let root = job.paths.workspace.clone();
    let folder =
        path_below("", folder).ok_or_else(|| format!("{uses} leads out of the workspace"))?;
    let path = match folder.as_str() {
        "" => root.clone(),
        folder => format!("{root}/{folder}"),
    };
    let limits = Limits::default();
    for name in Action::FILES {
        let file = job
            .sandbox()
            .read_file(&format!("{path}/{name}"), limits.file_bytes as u64);
        let Some(bytes) = file.map_err(|e| e.to_string())? else {
            continue;
        };
        let shown = path_below(&folder, name).unwrap_or_default();
        let action = workflow::parse_action(&shown, &bytes, &limits).map_err(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            all.join("\n")
        })?;
        for warning in &action.warnings {
            let step = job.step();
            job.log.warn(step, &warning.to_string());
        }
        return Ok(Found {
            action: Arc::new(action),
            key: format!("./{folder}"),
            place: Place {
                path,
                repository: String::new(),
                git_ref: String::new(),
            },
            root,
            folder,
            commit: String::new(),
        });
    }
    Err(format!(
        "there is no action.yml in {path}; check the repository out first, with actions/checkout"
    ))
}

/// The inputs of an action: what it is given, else its defaults. Tells what is odd about them.
pub(super) fn told_inputs(
    job: &mut Job<'_>,
    action: &Action,
    called: &Called<'_>,
) -> Result<Object, String> {
    let (inputs, odd) = inputs(job, action, called)?;
    let step = job.step();
    for text in odd {
        job.log.warn(step, &text);
    }
    Ok(inputs)
}

/// The same, and what is odd about them.
pub(crate) fn inputs(
    job: &Job<'_>,
    action: &Action,
    called: &Called<'_>,
) -> Result<(Object, Vec<String>), String> {
    let uses = called.uses;
    let empty = Object::new();
    let given = called.with.as_object().unwrap_or(&empty);
    let mut inputs = Object::new();
    let mut odd = Vec::new();
    for input in &action.inputs {
        let value = match (given.get(&input.id), &input.default) {
            (Some(value), _) => {
                if let Some(words) = &input.deprecation {
                    odd.push(format!(
                        "input '{}' of {uses} is outdated: {words}",
                        input.id
                    ));
                }
                value.to_text().to_string()
            }
            (None, Some(default)) => default
                .text(&job.scope(called.env))
                .map_err(|e| format!("the default of its input '{}': {e}", input.id))?,
            (None, None) => {
                if input.required {
                    odd.push(format!(
                        "input '{}' of {uses} is required and not given",
                        input.id
                    ));
                }
                String::new()
            }
        };
        inputs.set(input.id.as_str(), Value::from(value));
    }
    for (name, value) in given.iter() {
        if action.input(name).is_none() {
            let known: Vec<&str> = action.inputs.iter().map(|i| i.id.as_str()).collect();
            odd.push(format!(
                "{uses} has no input '{name}'; it has {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            ));
            // Programs may still look for it, as they can elsewhere.
            inputs.set(name, Value::from(value.to_text().to_string()));
        }
    }
    Ok((inputs, odd))
}
