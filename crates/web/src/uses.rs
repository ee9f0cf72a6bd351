//! What the workflows of all repos use: actions, labels, tools, read from their default branches.

use std::collections::BTreeSet;

use access::Principal;
use forge::Repo;
use git::ReadError;
use supply::bundles::WorkflowUse;
use vocab::Sight;
use workflow::{Data, Key, StepAction, Workflow};

use crate::fault::Fault;
use crate::plan;
use crate::state::App;

/// The most repos that are looked through.
const REPOS: u32 = 1000;

/// The built-in actions that set a tool up, the input that names its version, the tool.
const SETUPS: [(&str, &str, &str); 2] = [
    ("actions/setup-python", "python-version", "Python"),
    ("actions/setup-node", "node-version", "node"),
];

/// What every repo's workflows use; a repo that cannot be read is passed over. Blocking.
pub(crate) fn of_all_repos(app: &App) -> Result<Vec<WorkflowUse>, Fault> {
    let all = forge::Query::all(Sight::Everything);
    let repos = app
        .store
        .read(|db| forge::list(db, &all, REPOS).map_err(Fault::internal))?;
    let mut found = BTreeSet::new();
    for repo in &repos {
        if let Err(error) = of_repo(app, repo, &mut found) {
            tracing::debug!(repo = %repo.path, error, "its workflows were not looked at");
        }
    }
    Ok(found.into_iter().collect())
}

/// The same, for whoever may see the names of all repos; nothing for others. Blocking.
pub(crate) fn shown_to(app: &App, reader: &Principal) -> Result<Vec<WorkflowUse>, Fault> {
    let sight = app
        .store
        .read(|db| access::sight(db, reader).map_err(Fault::internal))?;
    match sight {
        Sight::Everything => of_all_repos(app),
        _ => Ok(Vec::new()),
    }
}

fn of_repo(app: &App, repo: &Repo, found: &mut BTreeSet<WorkflowUse>) -> Result<(), String> {
    let told = |e: ReadError| e.to_string();
    let repository = app.repository(repo.id).map_err(|e| e.to_string())?;
    let refs = repository.refs().map_err(|e| e.to_string())?;
    let branch = format!("refs/heads/{}", repo.default_branch);
    let Some(tip) = refs.get(&branch) else {
        return Ok(());
    };
    let objects = repository.objects();
    let (commit, _) = objects.peel(tip).map_err(told)?;
    for file in plan::files(&objects, commit).map_err(told)? {
        if let Ok(workflow) = &file.read {
            let mut add = |kind, name: String| {
                found.insert(WorkflowUse {
                    repo: repo.path.to_string(),
                    path: file.path.clone(),
                    kind,
                    name,
                });
            };
            of_workflow(workflow, &mut add);
        }
    }
    Ok(())
}

fn of_workflow(workflow: &Workflow, add: &mut dyn FnMut(&'static str, String)) {
    for job in &workflow.jobs {
        let mut labels = Vec::new();
        texts(&job.runs_on, &mut labels);
        for label in labels {
            add("label", label);
        }
        for step in &job.steps {
            let StepAction::Uses { action, with, .. } = &step.action else {
                continue;
            };
            let Some((owner, name, _, git_ref)) = action.repo() else {
                continue;
            };
            add("action", format!("{owner}/{name}@{git_ref}"));
            let repo = format!("{owner}/{name}");
            let setup = SETUPS
                .iter()
                .find(|(action, ..)| action.eq_ignore_ascii_case(&repo));
            if let (Some((_, input, tool)), Some(Data::Mapping(inputs))) = (setup, with) {
                for (key, value) in inputs {
                    let mut versions = Vec::new();
                    texts(value, &mut versions);
                    if is_name(key, input) {
                        for version in versions {
                            add("tool", format!("{tool}:{version}"));
                        }
                    }
                }
            }
        }
    }
}

fn is_name(key: &Key, name: &str) -> bool {
    match key {
        Key::Name(template) => template
            .literal()
            .is_some_and(|value| value.to_text().as_ref() == name),
        Key::Insert => false,
    }
}

/// Every text that stands there without an expression.
fn texts(data: &Data, found: &mut Vec<String>) {
    match data {
        Data::Scalar(template) => {
            found.extend(template.literal().map(|value| value.to_text().to_string()));
        }
        Data::Sequence(items) => items.iter().for_each(|item| texts(item, found)),
        Data::Mapping(entries) => entries.iter().for_each(|(_, value)| texts(value, found)),
    }
}
