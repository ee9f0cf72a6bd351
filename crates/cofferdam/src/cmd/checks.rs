//! Verbs that look: at this host, at what a job could see, at a data directory.

use std::process::ExitCode;

use anyhow::Context;
use sandbox::{FindingState, JailSpec, Launcher, LauncherConfig, Root, View};
use serde_json::json;
use store::StoreOptions;

use crate::cli::Global;
use crate::install::{look, place::Place};
use crate::output;
use crate::site::Site;
use crate::sshd;

/// What this host offers for sandboxes, and how an installation on it stands. Exits 1 when no job could start.
pub(super) fn doctor(global: &Global) -> anyhow::Result<ExitCode> {
    let mut findings = sandbox::probe(&LauncherConfig::new());
    let place = Place::new(std::path::Path::new("/"));
    findings.extend(look::findings(&place, &global.data));
    findings.extend(super::audit::finding(global));
    let mandatory = findings.iter().any(|f| f.state == FindingState::Mandatory);
    let host_key = sshd::host_key(&global.data)
        .ok()
        .flatten()
        .map(|key| key.fingerprint());
    if global.json {
        output::json(
            &json!({ "findings": findings, "jobs_can_run": !mandatory, "ssh_host_key": host_key }),
        );
    } else {
        if let Some(fingerprint) = &host_key {
            output::line(&format!("ok       SSH host key: {fingerprint}"));
        }
        for finding in &findings {
            let mark = match finding.state {
                FindingState::Ok => "ok      ",
                FindingState::Missing => "missing ",
                FindingState::Mandatory => "NEEDED  ",
            };
            output::line(&format!("{mark} {}: {}", finding.name, finding.words));
            if !finding.mend.is_empty() {
                output::line(&format!("         → {}", finding.mend));
            }
        }
        output::line(if mandatory {
            "no job can run on this host until what is NEEDED is there"
        } else {
            "jobs can run on this host"
        });
    }
    Ok(if mandatory {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs as a job and lists what a job could see. Exits 1 when something reached what it must not.
pub(super) fn inspect(global: &Global) -> anyhow::Result<ExitCode> {
    let launcher = Launcher::start(&LauncherConfig::new())
        .context("cannot start the launcher; `cofferdam doctor` says what this host lacks")?;
    let jail = launcher
        .create(&JailSpec::new(Root::HostUsr))
        .context("cannot make a sandbox; `cofferdam doctor` says what this host lacks")?;
    let view = jail.view().context("the sandbox could not look around")?;
    let facts = jail
        .facts()
        .context("the kernel's facts could not be read")?;
    let residue = jail.destroy().context("the sandbox was not removed")?;
    let reached = view.attempts.iter().filter(|a| !a.denied).count();
    if global.json {
        output::json(
            &json!({ "view": view, "facts": facts, "residue": residue, "reached": reached }),
        );
    } else {
        show(&view);
        output::line("");
        output::line(&match reached {
            0 => format!(
                "all {} tries at what a job must not reach were denied",
                view.attempts.len()
            ),
            n => format!(
                "{n} of {} tries REACHED what a job must not",
                view.attempts.len()
            ),
        });
    }
    Ok(if reached == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn show(view: &View) {
    for (title, lines) in [
        ("who it is", &view.identity),
        ("processes it sees", &view.processes),
        ("mounts it sees", &view.mounts),
        ("where it can write", &view.writable),
        ("devices it can open", &view.devices),
        ("network interfaces", &view.interfaces),
        (
            "capabilities, in its own user namespace only",
            &view.capabilities,
        ),
        ("environment", &view.environment),
        ("open descriptors it did not ask for", &view.descriptors),
    ] {
        output::line(title);
        if lines.is_empty() {
            output::line("  none");
        }
        for line in lines {
            output::line(&format!("  {line}"));
        }
    }
    output::line("what it tried");
    for attempt in &view.attempts {
        let mark = if attempt.denied { "denied " } else { "REACHED" };
        output::line(&format!("  {mark} {}: {}", attempt.what, attempt.answer));
    }
}

/// Checks a stopped appliance's data. Exits 1 when something is wrong.
pub(super) fn fsck(global: &Global) -> anyhow::Result<ExitCode> {
    let site = Site::open(&global.data, StoreOptions::default())?;
    let mut problems = site
        .store
        .integrity()
        .context("the database cannot be checked")?;
    let audited = site.store.read(|db| {
        let head = audit::head(db).map_err(store::StoreError::from)?;
        let found = audit::check(db).map_err(store::StoreError::from)?;
        Ok::<_, store::StoreError>((head, found))
    });
    let (head, found) = audited.context("the audit log cannot be read")?;
    problems.extend(found);
    if audit::Seal::exists(&global.data) {
        let seal = audit::Seal::open(&global.data, &site.name, &site.entropy);
        match seal.and_then(|seal| seal.check(&site.store)) {
            Ok(found) => problems.extend(found),
            Err(error) => problems.push(format!("{:#}", anyhow::Error::from(error))),
        }
    }
    let signed = site.store.read(attest::check);
    problems.extend(signed.context("the statements of jobs cannot be read")?);
    let blobs = site
        .store
        .blobs()
        .list()
        .context("the blobs cannot be listed")?;
    for digest in &blobs {
        let checked = site.store.blobs().check(digest);
        if let Err(error) = checked {
            problems.push(format!("blob {digest}: {error}"));
        }
    }
    let repos = check_repos(&site, &mut problems)?;
    if global.json {
        output::json(&json!({ "problems": problems, "repos": repos, "blobs": blobs.len() }));
    } else {
        for problem in &problems {
            output::line(&format!("problem: {problem}"));
        }
        output::line(&format!(
            "checked the database, {} audit entries, {repos} repos, {} blobs: {}",
            head.size,
            blobs.len(),
            match problems.len() {
                0 => "all is well".to_owned(),
                n => format!("{n} problems"),
            }
        ));
    }
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Reads every object of every repo, follows every ref, and names what is no repo.
fn check_repos(site: &Site, problems: &mut Vec<String>) -> anyhow::Result<usize> {
    let dir = site.store.dir().join("repos");
    let mut count = 0;
    for entry in
        std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?
    {
        let path = entry.context("cannot read the repos")?.path();
        if path.extension().is_none_or(|e| e != "git") {
            problems.push(format!("{} is no repo", path.display()));
            continue;
        }
        count += 1;
        if let Err(error) = check_repo(&path, problems) {
            problems.push(format!("{}: {error:#}", path.display()));
        }
    }
    Ok(count)
}

fn check_repo(path: &std::path::Path, problems: &mut Vec<String>) -> anyhow::Result<()> {
    let repo = git::Repository::open(path, git::Durability::Full)?;
    let found = repo.check()?.problems;
    problems.extend(found.iter().map(|p| format!("{}: {p}", path.display())));
    Ok(())
}
