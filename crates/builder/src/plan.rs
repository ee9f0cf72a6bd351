//! `bundle plan`: what the workflows of some repos need that must be carried in.
//!
//! Reads workflows, the actions that they nest as far as these can be seen, and the files in
//! which a project names its Python packages. Says for each thing where it was found. Guesses
//! nothing: what only a run could know is told as such.

mod needs;
mod nested;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use workflow::{Limits, WORKFLOW_DIRS, is_workflow_file};

pub use needs::{Kind, Need};
use needs::{Needs, setup_tool};
use nested::Nested;
use tree::Tree;

use crate::cache::Cache;
use crate::lock::Lock;

/// What a plan looks at beside the repos.
#[derive(Clone, Copy)]
pub struct PlanOptions<'a> {
    /// What the recipe has already.
    pub lock: Option<&'a Lock>,
    /// Where packs of actions lie, to look for what they nest.
    pub cache: &'a Cache,
    /// Whether the appliance has this action itself.
    pub built_in: &'a dyn Fn(&str) -> bool,
}

/// What repos need.
#[derive(Debug, Default)]
pub struct Plan {
    /// Each thing once, sorted.
    pub needs: Vec<Need>,
    /// What could not be read or known: `path:line: reason`.
    pub problems: Vec<String>,
}

/// Why nothing could be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not a repo.
    #[error("{} is neither a working tree nor a bare repo", .0.display())]
    NoRepo(PathBuf),
    /// A folder that cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// git failed on a bare repo.
    #[error(transparent)]
    Child(#[from] crate::child::ChildError),
}

/// Plans for `repos`.
pub fn plan(repos: &[PathBuf], options: &PlanOptions<'_>) -> Result<Plan, PlanError> {
    let mut found = Needs::default();
    let mut nested = Nested::new(options);
    for repo in repos {
        let tree = Tree::open(repo)?;
        let name = shown(repo);
        for path in tree.files()? {
            let place = format!("{name}/{path}");
            if is_workflow(&path) {
                let bytes = tree.read(&path)?;
                workflow_file(&place, &bytes, &mut found);
                follow(&tree, &name, &place, &bytes, &mut nested, &mut found);
            } else if is_requirements(&path) {
                let text = String::from_utf8_lossy(&tree.read(&path)?).into_owned();
                found.requirements(&place, &text);
            } else if path == "pyproject.toml" || path.ends_with("/pyproject.toml") {
                let text = String::from_utf8_lossy(&tree.read(&path)?).into_owned();
                found.pyproject(&place, &text);
            }
        }
    }
    Ok(found.into_plan(options))
}

/// A repo as messages call it: its own folder's name.
fn shown(repo: &Path) -> String {
    let whole = repo.canonicalize();
    let whole = whole.as_deref().unwrap_or(repo);
    whole.file_name().map_or_else(
        || ".".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn is_workflow(path: &str) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else {
        return false;
    };
    WORKFLOW_DIRS.contains(&folder) && is_workflow_file(file)
}

fn is_requirements(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.starts_with("requirements") && file.ends_with(".txt")
        || path.contains("requirements/") && file.ends_with(".txt")
}

/// What a workflow says by itself.
fn workflow_file(place: &str, bytes: &[u8], found: &mut Needs) {
    let parsed = match workflow::parse(place, bytes, &Limits::default()) {
        Ok(parsed) => parsed,
        Err(problems) => {
            found
                .problems
                .extend(problems.iter().map(ToString::to_string));
            return;
        }
    };
    for job in &parsed.jobs {
        let matrix = job.strategy.matrix.as_ref();
        let at = format!("{place}:{}", job.runs_on_position.line);
        found.labels(&job.runs_on, matrix, &at);
        for step in &job.steps {
            let workflow::StepAction::Uses {
                action,
                position,
                with,
                ..
            } = &step.action
            else {
                continue;
            };
            let (Some((owner, name, ..)), Some(with)) = (action.repo(), with) else {
                continue;
            };
            if let Some((tool, input)) = setup_tool(owner, name) {
                found.tool(
                    tool,
                    input,
                    with,
                    matrix,
                    &format!("{place}:{}", position.line),
                );
            }
        }
    }
}

/// Images, actions and scripts of a file, and of the actions that it nests.
fn follow(
    tree: &Tree,
    repo: &str,
    place: &str,
    bytes: &[u8],
    nested: &mut Nested<'_>,
    found: &mut Needs,
) {
    let limits = Limits::default();
    let Ok(carried) = workflow::carried_of_workflow(place, bytes, &limits) else {
        // Told already, by who parsed it.
        return;
    };
    let mut open = vec![(place.to_owned(), carried)];
    let mut seen: BTreeMap<String, ()> = BTreeMap::new();
    while let Some((place, carried)) = open.pop() {
        found.images(&place, &carried);
        found.scripts(&place, &carried);
        for named in &carried.uses {
            let at = format!("{place}:{}", named.position.line);
            found.uses(&named.text, &at);
            if seen.insert(named.text.clone(), ()).is_some() {
                continue;
            }
            match nested.look(tree, repo, &named.text) {
                Ok(Some((path, bytes))) => {
                    match workflow::carried_of_action(&path, &bytes, &limits) {
                        Ok(inner) => open.push((path, inner)),
                        Err(problems) => {
                            found
                                .problems
                                .extend(problems.iter().map(ToString::to_string));
                        }
                    }
                }
                Ok(None) => {}
                Err(reason) => found.problems.push(format!("{at}: {reason}")),
            }
        }
    }
}
