//! `actions/checkout`: the tree of the run's commit, straight from the appliance's object store.
//!
//! Needs no network, no git and no Node in the image. No credential ever reaches the disk.

use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;

use workflow::Value;

use super::{Done, Inputs, output};
use crate::job::Job;
use crate::observer::LineKind;
use crate::source::{CheckedOut, CheckoutRequest, SourceError};

/// Chunk in which the tree goes through the pipe.
const CHUNK_BYTES: usize = 128 * 1024;

pub(super) fn run(job: &mut Job<'_>, inputs: &Inputs) -> Done {
    let step = job.step();
    let request = request(job, inputs)?;
    let submodules = wants_submodules(inputs)?;
    let clean = inputs.truth("clean", true)?;
    inputs.truth("persist-credentials", true)?;
    if inputs.truth("lfs", false)? {
        return Err(
            "lfs: true is not served yet; leave it out to get the pointer files".to_owned(),
        );
    }
    if inputs.text("sparse-checkout").is_some() {
        job.log.warn(
            step,
            "sparse-checkout is not served yet: the whole tree is checked out",
        );
    }
    let target = target(&job.paths.workspace, inputs.text("path").as_deref())?;
    job.unpack_stage().map_err(|e| e.to_string())?;
    if clean && job.touched {
        job.sandbox().remove(&target).map_err(|e| e.to_string())?;
    }
    let done = stream(job, &request, &target)?;
    job.touched = true;
    if submodules && done.has_submodules {
        return Err(
            "submodules are not served yet, and this commit has a .gitmodules; leave submodules \
             out to go on without them"
                .to_owned(),
        );
    }
    let depth = match request.depth {
        0 => "all of its history".to_owned(),
        1 => "no further history".to_owned(),
        n => format!("{n} commits of history"),
    };
    let text = format!(
        "checked out {} of {} into {target}: {} files, {depth}",
        done.commit, request.repository, done.files
    );
    job.log.say(step, LineKind::Info, &text);
    Ok(vec![
        output("ref", &done.reference),
        output("commit", &done.commit),
    ])
}

fn request(job: &Job<'_>, inputs: &Inputs) -> Result<CheckoutRequest, String> {
    let github = |name: &str| job.github.get(name).map(Value::to_text).unwrap_or_default();
    let own = github("repository");
    let repository = inputs.text("repository").unwrap_or_else(|| own.to_string());
    let is_own = repository.eq_ignore_ascii_case(&own);
    let (reference, commit) = match inputs.text("ref") {
        Some(reference) if reference == *github("ref") => (reference, github("sha").to_string()),
        Some(reference) => (reference, String::new()),
        None if is_own => (github("ref").to_string(), github("sha").to_string()),
        None => (String::new(), String::new()),
    };
    let depth = match inputs.text("fetch-depth") {
        None => 1,
        Some(text) => text
            .parse()
            .map_err(|_| format!("input fetch-depth must be a number from 0, not '{text}'"))?,
    };
    let server = job.order.server_url.trim_end_matches('/');
    Ok(CheckoutRequest {
        remote_url: format!("{server}/{repository}.git"),
        repository,
        reference,
        commit,
        depth,
        tags: inputs.truth("fetch-tags", false)?,
    })
}

fn wants_submodules(inputs: &Inputs) -> Result<bool, String> {
    match inputs.text("submodules").as_deref() {
        Some("recursive") => Ok(true),
        _ => inputs.truth("submodules", false),
    }
}

/// The folder to check out into: the workspace or one below it.
fn target(workspace: &str, path: Option<&str>) -> Result<String, String> {
    let Some(path) = path else {
        return Ok(workspace.to_owned());
    };
    let relative = path.strip_prefix(workspace).unwrap_or(path);
    let parts: Vec<&str> = relative
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let absolute = path.starts_with('/') && !path.starts_with(&format!("{workspace}/"));
    if parts.contains(&"..") || (absolute && path != workspace) {
        return Err(format!(
            "input path '{path}' leaves the workspace {workspace}"
        ));
    }
    let mut target = workspace.to_owned();
    for part in parts {
        target.push('/');
        target.push_str(part);
    }
    Ok(target)
}

/// Sends the tree into the sandbox while it is being read.
fn stream(job: &Job<'_>, request: &CheckoutRequest, target: &str) -> Result<CheckedOut, String> {
    let (reader, writer) = std::io::pipe().map_err(|e| format!("no pipe for the tree: {e}"))?;
    let (source, sandbox, user) = (job.source, job.sandbox(), job.user);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut out = BufWriter::with_capacity(CHUNK_BYTES, writer);
            let done = source.checkout(request, &mut out);
            let flushed = out.flush();
            (done, flushed)
        });
        let unpacked = sandbox.unpack_tar(target, OwnedFd::from(reader), user);
        let Ok((done, flushed)) = sender.join() else {
            return Err("reading the tree failed unexpectedly".to_owned());
        };
        match (done, unpacked, flushed) {
            (Ok(done), Ok(()), Ok(())) => Ok(done),
            (Err(error @ SourceError::Failed { .. }), Err(broken), _) => {
                Err(format!("{broken}; {error}"))
            }
            (Err(error), ..) => Err(error.to_string()),
            (_, Err(error), _) => Err(error.to_string()),
            (_, _, Err(error)) => Err(format!("the tree could not be sent: {error}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_stays_in_the_workspace() {
        let at = |path: Option<&str>| target("/work/a/a", path);
        assert_eq!(at(None).unwrap(), "/work/a/a");
        assert_eq!(at(Some("./x//y/")).unwrap(), "/work/a/a/x/y");
        assert_eq!(at(Some("/work/a/a/x")).unwrap(), "/work/a/a/x");
        assert_eq!(at(Some("/work/a/a")).unwrap(), "/work/a/a");
        for path in ["../x", "x/../../y", "/etc", "/work/a/ab"] {
            assert!(at(Some(path)).is_err(), "{path}");
        }
    }
}
