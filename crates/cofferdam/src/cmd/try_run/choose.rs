//! Which workflows of a tree an event starts, and with which inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use runner::Secret;
use serde_json::{Value, json};
use workflow::{Event, Selected, Workflow};

use crate::cli::Try;
use crate::local;

/// A working tree and the workflow files to consider.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) files: Vec<PathBuf>,
}

impl Tree {
    /// `path` is a tree, or one workflow file in it.
    pub(super) fn find(path: &Path) -> anyhow::Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        if path.is_dir() {
            let dir = workflow::WORKFLOW_DIRS
                .iter()
                .map(|d| path.join(d))
                .find(|d| d.is_dir());
            let Some(dir) = dir else {
                let dirs = workflow::WORKFLOW_DIRS.join(", ");
                bail!("{} has no workflows; looked in {dirs}", path.display());
            };
            let mut files = Vec::new();
            for entry in
                std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?
            {
                let file = entry.context("cannot read the workflows")?.path();
                let name = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if workflow::is_workflow_file(&name) {
                    files.push(file);
                }
            }
            files.sort();
            return Ok(Self { root: path, files });
        }
        let root = path
            .ancestors()
            .find(|dir| dir.join(".git").exists())
            .or_else(|| workflow_root(&path))
            .or_else(|| path.parent())
            .context("the workflow file is in no directory")?;
        Ok(Self {
            root: root.to_owned(),
            files: vec![path.clone()],
        })
    }
}

/// The directory above `.github/workflows` and its like.
pub(super) fn workflow_root(file: &Path) -> Option<&Path> {
    let dir = file.parent()?;
    workflow::WORKFLOW_DIRS
        .iter()
        .any(|known| dir.ends_with(known))
        .then(|| dir.parent().and_then(Path::parent))?
}

pub(super) fn payload(args: &Try) -> anyhow::Result<Value> {
    let Some(path) = &args.event_file else {
        return Ok(json!({}));
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

pub(super) fn secrets(given: &[String]) -> anyhow::Result<Vec<(String, Secret)>> {
    let secrets = pairs("--secret", given)?.into_iter();
    Ok(secrets
        .map(|(name, value)| (name.to_ascii_uppercase(), Secret::new(value)))
        .collect())
}

/// Each `NAME=VALUE` that was given with `flag`.
pub(super) fn pairs(flag: &str, given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .with_context(|| format!("{flag} {pair} has no '='"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// A workflow that the event starts, and its inputs.
pub(super) struct Chosen {
    pub(super) workflow: Workflow,
    /// Null unless it is started by hand.
    pub(super) inputs: workflow::Value,
}

pub(super) fn choose(tree: &Tree, args: &Try, given: &Value) -> anyhow::Result<Vec<Chosen>> {
    let head = local::head(&tree.root);
    let mut chosen = Vec::new();
    let mut problems = Vec::new();
    let mut skipped = Vec::new();
    for file in &tree.files {
        let shown = file
            .strip_prefix(&tree.root)
            .unwrap_or(file)
            .display()
            .to_string();
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let workflow = match workflow::parse(&shown, &bytes, &workflow::Limits::default()) {
            Ok(workflow) => workflow,
            Err(found) => {
                problems.extend(found.iter().map(ToString::to_string));
                continue;
            }
        };
        let event = match args.event.as_str() {
            "push" => Event::Push {
                git_ref: &head.git_ref,
                deleted: false,
                changed_paths: None,
                head_message: "",
            },
            "workflow_dispatch" => Event::Dispatch,
            other => bail!("event '{other}' is not served yet; push and workflow_dispatch are"),
        };
        match workflow::select(&workflow, &event) {
            Selected::Skip(reason) => skipped.push(format!("{shown}: {reason}")),
            Selected::Run => chosen.push(prepare(workflow, args, given)?),
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    if chosen.is_empty() {
        bail!("no workflow runs on {}: {}", args.event, skipped.join("; "));
    }
    Ok(chosen)
}

pub(super) fn prepare(mut workflow: Workflow, args: &Try, given: &Value) -> anyhow::Result<Chosen> {
    if let Some(job) = &args.job {
        if workflow.job(job).is_none() {
            let known: Vec<&str> = workflow.jobs.iter().map(|j| j.id.as_str()).collect();
            bail!(
                "{} has no job '{job}'; it has {}",
                workflow.path,
                known.join(", ")
            );
        }
        let mut wanted: Vec<String> = workflow
            .ancestors(job)
            .into_iter()
            .map(str::to_owned)
            .collect();
        wanted.push(job.clone());
        workflow.jobs.retain(|j| wanted.contains(&j.id));
    }
    for action in workflow::uses_of(&workflow) {
        // What is in the work tree is looked up there; carried actions are an appliance's.
        let local = matches!(action.action, workflow::ActionRef::Local(_));
        if !local && !runner::is_built_in(&action.action) {
            bail!(
                "{}:{}:{}: action {} is not in the active generation; try has none",
                workflow.path,
                action.position.line,
                action.position.column,
                action.uses
            );
        }
    }
    let inputs = if args.event == "workflow_dispatch" {
        let empty = serde_json::Map::new();
        let mut given: BTreeMap<String, String> = given["inputs"]
            .as_object()
            .unwrap_or(&empty)
            .iter()
            .map(|(name, v)| {
                (
                    name.clone(),
                    v.as_str().map_or_else(|| v.to_string(), str::to_owned),
                )
            })
            .collect();
        given.extend(pairs("--input", &args.inputs)?);
        workflow::dispatch_inputs(&workflow, &given).map_err(|errors| {
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}; give inputs with --input NAME=VALUE", words.join("; "))
        })?
    } else {
        workflow::Value::Null
    };
    Ok(Chosen { workflow, inputs })
}
