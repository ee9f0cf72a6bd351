//! Workflow verbs: check files, evaluate an expression. Neither needs a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::cli::{Global, Workflow};
use crate::output;

pub(super) fn run(global: &Global, verb: Workflow) -> anyhow::Result<ExitCode> {
    match verb {
        Workflow::Check { paths } => check(&paths, global.json),
        Workflow::Eval {
            context,
            expression,
        } => eval(context.as_deref(), &expression),
    }
}

/// Prints every problem as `path:line:col: message`; 0 when there is none, else 1.
fn check(paths: &[PathBuf], as_json: bool) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        bail!(
            "no workflow file (*.yml, *.yaml) below {}",
            paths[0].display()
        );
    }
    let mut problems = Vec::new();
    let mut notices = Vec::new();
    for file in &files {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.display().to_string();
        match workflow::parse(&name, &bytes, &workflow::Limits::default()) {
            Ok(workflow) => notices.extend(workflow.notices()),
            Err(found) => problems.extend(found),
        }
    }
    if as_json {
        let found = serde_json::to_value(&problems).context("problems have only text keys")?;
        let noted = serde_json::to_value(&notices).context("notices have only text keys")?;
        output::json(&json!({ "files": files.len(), "problems": found, "notices": noted }));
    } else {
        for problem in &problems {
            output::line(&problem.to_string());
        }
        for notice in &notices {
            output::line(&format!("{notice} (notice)"));
        }
        if problems.is_empty() {
            let s = if files.len() == 1 { "" } else { "s" };
            output::line(&format!(
                "{} file{s} checked, no problem found",
                files.len()
            ));
        }
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// The workflow files at or below `path`, in the order of their names.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let look = || format!("cannot read {}", path.display());
    if !fs::metadata(path).with_context(look)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    // The root of a tree: only its workflows are workflows.
    let known = workflow::WORKFLOW_DIRS.iter().map(|dir| path.join(dir));
    let known: Vec<PathBuf> = known.filter(|dir| dir.is_dir()).collect();
    if !known.is_empty() {
        return known.iter().try_for_each(|dir| collect(dir, files));
    }
    let mut entries = fs::read_dir(path)
        .with_context(look)?
        .collect::<Result<Vec<_>, _>>()
        .with_context(look)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().with_context(look)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && workflow::is_workflow_file(&name) {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn eval(context: Option<&Path>, expression: &str) -> anyhow::Result<ExitCode> {
    let contexts: Value = match context {
        None => json!({}),
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            serde_json::from_str(&text)
                .with_context(|| format!("{} is not JSON", path.display()))?
        }
    };
    if !contexts.is_object() {
        bail!("the contexts must be a JSON object: context name to value");
    }
    match workflow::eval_to_json(expression, &contexts) {
        Ok(value) => {
            output::line(&value.to_string());
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::from(1))
        }
    }
}
