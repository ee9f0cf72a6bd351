//! Prints what the jobs print until every run has ended.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::PoisonError;

use anyhow::Context;
use queue::JobRow;
use queue::logs::Kind;
use serde_json::json;
use vocab::{Attempt, JobId, Outcome, RunId, RunState};

use super::scratch::{Scratch, Wake};
use crate::output;

/// Prints what the jobs print until every run has ended; the exit code is the verdict.
pub(super) fn follow(
    site: &Scratch,
    runs: &[RunId],
    wake: &Wake,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut printed: BTreeMap<(JobId, Attempt), u64> = BTreeMap::new();
    loop {
        *wake.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let mut over = true;
        for run in runs {
            let (row, jobs) = site
                .store
                .read(|db| {
                    Ok::<_, queue::QueueError>((queue::run(db, *run)?, queue::jobs_of(db, *run)?))
                })
                .context("cannot read the run")?;
            over &= row.is_none_or(|row| row.state == RunState::Finished);
            if !as_json {
                print_jobs(site, &jobs, &mut printed)?;
            }
        }
        if over {
            break;
        }
        let ringing = wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            wake.1
                .wait_while(ringing, |rung| !*rung)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
    let mut rows = Vec::new();
    let mut good = true;
    for run in runs {
        let found = site.store.read(|db| {
            Ok::<_, queue::QueueError>((
                queue::run(db, *run)?,
                queue::jobs_of(db, *run)?,
                queue::problems(db, *run)?,
            ))
        });
        let (row, jobs, problems) = found.context("cannot read the run")?;
        let row = row.context("the run is gone")?;
        good &= row.outcome.is_some_and(Outcome::is_good);
        if !as_json {
            for problem in &problems {
                output::line(&format!("problem: {problem}"));
            }
            // The others said in their logs how they ended.
            for job in jobs.iter().filter(|job| job.runner.is_none()) {
                let outcome = job.outcome.map_or("unknown", Outcome::as_str);
                output::line(&format!("{} │ {outcome}: {}", job.name, job.reason));
            }
            if !row.reason.is_empty() {
                output::line(&row.reason);
            }
            let outcome = row.outcome.map_or("unknown", Outcome::as_str);
            output::line(&format!("{}: {outcome}", row.workflow_path));
        }
        rows.push(json!({ "run": row, "jobs": jobs, "problems": problems }));
    }
    if as_json {
        output::json(&json!({ "runs": rows, "success": good }));
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Prints new lines of every job, each with its job's name when there are several.
pub(super) fn print_jobs(
    site: &Scratch,
    jobs: &[JobRow],
    printed: &mut BTreeMap<(JobId, Attempt), u64>,
) -> anyhow::Result<()> {
    for job in jobs.iter().filter(|job| job.attempt.get() > 0) {
        let from = printed.entry((job.id, job.attempt)).or_default();
        loop {
            let chunk = site
                .logs
                .read(job.id, job.attempt, *from, 256 << 10)
                .with_context(|| format!("cannot read the log of {}", job.name))?;
            let more = chunk.next_offset > *from;
            *from = chunk.next_offset;
            for record in &chunk.records {
                let text = match record.kind {
                    Kind::Command => format!("$ {}", record.text),
                    Kind::Group => format!("▾ {}", record.text),
                    Kind::Endgroup => continue,
                    Kind::Error | Kind::Warning | Kind::Notice => {
                        format!("{}: {}", record.kind.as_str(), record.text)
                    }
                    _ => record.text.clone(),
                };
                if jobs.len() > 1 {
                    output::line(&format!("{} │ {text}", job.name));
                } else {
                    output::line(&text);
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(())
}
