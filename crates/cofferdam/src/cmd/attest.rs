//! `cofferdam run verify` and `run attest`: a job's signed statements, checked here or taken away.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use evidence::attestation::Which;
use evidence::note::NoteKey;
use evidence::proof::{Check, Inclusion, Proof, good};
use http_body_util::BodyExt as _;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::admin::rows_of;
use super::runs::path_of;
use crate::cli::{AttestRun, RunRef, VerifyRun};
use crate::client::{self, Client};
use crate::output;

/// A job that has just ended is attested in a moment: so often and so long it is waited for.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);
const LOG_KEY: &str = "log.key";

/// What the server says of a job's statements.
#[derive(Deserialize)]
struct Standing {
    job: i64,
    name: String,
    attempt: i64,
    state: String,
    started: bool,
    proof: Option<Proved>,
}

#[derive(Deserialize)]
struct Proved {
    entry: String,
    inclusion: Inclusion,
    checkpoint: String,
    log_key: String,
    attest_pub: String,
    files: Vec<Place>,
    log: String,
}

#[derive(Deserialize)]
struct Place {
    path: String,
}

/// One job, as it was checked.
struct Checked {
    job: i64,
    name: String,
    checks: Vec<Check>,
}

/// The one thing that is known of a job without statements.
fn alone(what: &str, holds: Option<bool>, found: &str) -> Vec<Check> {
    vec![Check {
        what: what.to_owned(),
        holds,
        found: found.to_owned(),
    }]
}

pub(super) async fn verify(
    client: &Client,
    args: &VerifyRun,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let (checked, key) = match (&args.offline, &args.repo) {
        (Some(dir), _) => offline(dir, args)?,
        (None, Some(repo)) => {
            let run = RunRef {
                repo: repo.clone(),
                number: args.number,
            };
            online(client, &run, args).await?
        }
        (None, None) => bail!("name a repo, or a folder with --offline"),
    };
    if checked.is_empty() {
        bail!("there is no such job");
    }
    let all = checked.iter().all(|job| good(&job.checks));
    if as_json {
        output::json(&told(&checked, key.as_ref(), args.key.is_some(), all));
    } else {
        show(&checked, key.as_ref(), args.key.is_some(), all);
    }
    Ok(ExitCode::from(u8::from(!all)))
}

fn told(checked: &[Checked], key: Option<&NoteKey>, given: bool, good_all: bool) -> Value {
    let jobs: Vec<Value> = checked
        .iter()
        .map(|job| {
            json!({
                "job": job.job, "name": job.name, "good": good(&job.checks), "checks": job.checks,
            })
        })
        .collect();
    json!({
        "good": good_all,
        "key": key.map(ToString::to_string),
        "key_given": given,
        "jobs": jobs,
    })
}

fn show(checked: &[Checked], key: Option<&NoteKey>, given: bool, all: bool) {
    for job in checked {
        let verdict = if good(&job.checks) { "good" } else { "REFUSED" };
        output::line(&format!("job {}, {}: {verdict}", job.job, job.name));
        for check in &job.checks {
            let mark = match check.holds {
                Some(true) => "holds  ",
                Some(false) => "WRONG  ",
                None => "       ",
            };
            output::line(&format!("  {mark}{}: {}", check.what, check.found));
        }
    }
    output::line(if all { "good" } else { "REFUSED" });
    if let Some(key) = key {
        output::line(&format!("signed by {key}"));
        if !given {
            output::line("compare this key with the appliance's paper, or give it with --key");
        }
    }
}

type Found = (Vec<Checked>, Option<NoteKey>);

async fn online(client: &Client, run: &RunRef, args: &VerifyRun) -> anyhow::Result<Found> {
    let (mut checked, mut used) = (Vec::new(), args.key.clone());
    for standing in standings(client, run, args.job.as_deref()).await? {
        let checks = match &standing.proof {
            Some(proved) => {
                let key: NoteKey = proved.log_key.parse()?;
                let log = summed(client, &proved.log, None).await?;
                let proof = taken(client, proved, log).await?;
                proof.check(used.get_or_insert(key))
            }
            None => unproved(&standing),
        };
        checked.push(Checked {
            job: standing.job,
            name: standing.name,
            checks,
        });
    }
    Ok((checked, used))
}

/// What is to be said of a job that has no statements.
fn unproved(standing: &Standing) -> Vec<Check> {
    let what = "the job's statements are there";
    match (standing.state.as_str(), standing.started) {
        ("running", _) => alone(what, Some(false), "the job has not ended; wait for its end"),
        ("due", _) => alone(
            what,
            Some(false),
            "they are still to be made; the server's log says why",
        ),
        (_, true) => alone(
            what,
            Some(false),
            "it ran and was not attested: an earlier version ran it",
        ),
        (_, false) => alone(
            what,
            None,
            "nobody ran it, so that there is nothing to attest",
        ),
    }
}

/// Where the statements of each job stand; those that are about to be made are waited for.
async fn standings(
    client: &Client,
    run: &RunRef,
    only: Option<&str>,
) -> anyhow::Result<Vec<Standing>> {
    let shown: Value = client.get(&path_of(run)?).await?;
    let mut all = Vec::new();
    for job in rows_of(&shown["jobs"], "jobs") {
        let id = job["id"]
            .as_i64()
            .context("the server names a job without an id")?;
        if only.is_some_and(|only| job["name"].as_str() != Some(only) && only.parse() != Ok(id)) {
            continue;
        }
        let path = format!("/api/v1/jobs/{id}/attestation");
        let mut standing: Standing = client.get(&path).await?;
        let mut beat = tokio::time::interval(PAUSE);
        for _ in 0..TRIES {
            if standing.state != "due" {
                break;
            }
            beat.tick().await;
            standing = client.get(&path).await?;
        }
        all.push(standing);
    }
    Ok(all)
}

async fn taken(client: &Client, proved: &Proved, log: Option<String>) -> anyhow::Result<Proof> {
    let [provenance, receipt] = &proved.files[..] else {
        bail!("the server's answer is not what this version expects");
    };
    Ok(Proof {
        envelopes: [
            whole(client, &provenance.path).await?,
            whole(client, &receipt.path).await?,
        ],
        entry: proved.entry.clone().into_bytes(),
        inclusion: proved.inclusion.clone(),
        checkpoint: proved.checkpoint.clone().into_bytes(),
        key: proved.attest_pub.clone(),
        log,
    })
}

async fn whole(client: &Client, path: &str) -> anyhow::Result<Vec<u8>> {
    let answer = client
        .send(Method::GET, path, None, client::empty())
        .await?;
    let body = client::accepted(answer).await?.into_body().collect().await;
    Ok(body.context("the server broke off")?.to_bytes().to_vec())
}

/// SHA-256 of a log as the server has it, which is written to `to` on the way; `None` without one.
async fn summed(
    client: &Client,
    path: &str,
    mut to: Option<fs::File>,
) -> anyhow::Result<Option<String>> {
    let answer = client
        .send(Method::GET, path, None, client::empty())
        .await?;
    if answer.status() == hyper::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let mut body = client::accepted(answer).await?.into_body();
    let mut hash = Sha256::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.context("the server broke off")?.into_data() {
            hash.update(&data);
            if let Some(file) = &mut to {
                file.write_all(&data).context("cannot write the log")?;
            }
        }
    }
    let digest = hash.finalize();
    Ok(Some(digest.iter().map(|b| format!("{b:02x}")).collect()))
}

pub(super) async fn attest(
    client: &Client,
    args: &AttestRun,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let out = &args.output;
    let standings = standings(client, &args.run, args.job.as_deref()).await?;
    let attested = standings
        .iter()
        .filter_map(|s| Some((s, s.proof.as_ref()?)));
    let attested: Vec<_> = attested.collect();
    if attested.is_empty() {
        bail!("no job of this run was attested; `cofferdam run verify` says why");
    }
    fs::create_dir(out)
        .with_context(|| format!("cannot make {}; -o takes a new folder", out.display()))?;
    let mut written = Vec::new();
    for (standing, proved) in attested {
        let dir = out.join(format!("job-{}", standing.job));
        fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let proof = taken(client, proved, None).await?;
        proof
            .write(&dir)
            .with_context(|| format!("cannot write into {}", dir.display()))?;
        let log = dir.join("log");
        let file = fs::File::create_new(&log);
        let file = file.with_context(|| format!("cannot make {}", log.display()))?;
        if summed(client, &proved.log, Some(file)).await?.is_none() {
            fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
        }
        let key = out.join(LOG_KEY);
        fs::write(&key, format!("{}\n", proved.log_key))
            .with_context(|| format!("cannot write {}", key.display()))?;
        written.push((standing, dir));
    }
    if as_json {
        let jobs = written.iter().map(|(standing, dir)| {
            json!({ "job": standing.job, "attempt": standing.attempt, "dir": dir })
        });
        output::json(&json!({ "jobs": jobs.collect::<Vec<_>>() }));
    } else {
        for (standing, dir) in &written {
            output::line(&format!("job {}: {}", standing.name, dir.display()));
        }
        output::line(&format!(
            "check them anywhere with `cofferdam run verify --offline {} --key KEY`",
            out.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks a folder that [`attest`] wrote, or that of one of its jobs.
fn offline(dir: &Path, args: &VerifyRun) -> anyhow::Result<Found> {
    let single = dir.join(Which::Provenance.file()).exists();
    let base = if single {
        dir.parent().unwrap_or(dir)
    } else {
        dir
    };
    let key = match &args.key {
        Some(key) => key.clone(),
        None => {
            let path = base.join(LOG_KEY);
            let text = fs::read_to_string(&path);
            let text = text.with_context(|| {
                format!(
                    "cannot read {}; give the log's key with --key",
                    path.display()
                )
            })?;
            text.parse()?
        }
    };
    let mut dirs = vec![dir.to_owned()];
    if !single {
        let listed = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        dirs = listed
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        dirs.retain(|path| path.is_dir());
        dirs.sort();
    }
    let mut checked = Vec::new();
    for path in dirs {
        let folder = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (entry, checks) = match Proof::read(&path) {
            Ok(proof) => {
                let entry: Value = serde_json::from_slice(&proof.entry).unwrap_or_default();
                (entry, proof.check(&key))
            }
            Err(error) => {
                let checks = alone("its files are there", Some(false), &error.to_string());
                (Value::Null, checks)
            }
        };
        let id = entry["obj"]["id"]
            .as_str()
            .and_then(|id| id.rsplit(':').next());
        let job = Checked {
            job: id.and_then(|id| id.parse().ok()).unwrap_or_default(),
            name: entry["obj"]["name"].as_str().map_or(folder, str::to_owned),
            checks,
        };
        let wanted = args.job.as_deref();
        if wanted.is_none_or(|only| job.name == only || only.parse() == Ok(job.job)) {
            checked.push(job);
        }
    }
    Ok((checked, Some(key)))
}
