//! Run verbs: list, show, log, watch, cancel, re-run, dispatch.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::{Context, bail};
use hyper::Method;
use runner::receipt::Receipt;
use serde_json::{Map, Value, json};

use super::admin::{repo_path, rows_of};
use super::attest;
use crate::cli::{Run, RunRef};
use crate::client::{self, Client};
use crate::output;
use crate::sse::Events;

pub(super) async fn run(client: &Client, verb: Run, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Run::List { repo, limit } => {
            let list: Value = client
                .get(&format!("{}/runs?limit={limit}", repo_path(&repo)?))
                .await?;
            if as_json {
                output::json(&list);
            } else {
                show_all(&list);
            }
        }
        Run::Show(run) => {
            let shown: Value = client.get(&path_of(&run)?).await?;
            if as_json {
                output::json(&shown);
            } else {
                let receipts = receipts(client, &shown).await;
                show(&shown, &receipts);
            }
        }
        Run::Log { run, job, follow } => return log(client, &run, job.as_deref(), follow).await,
        Run::Watch(run) => return watch(client, &run, as_json).await,
        Run::Verify(args) => return attest::verify(client, &args, as_json).await,
        Run::Attest(args) => return attest::attest(client, &args, as_json).await,
        Run::Cancel(run) => {
            let path = format!("{}/cancel", path_of(&run)?);
            let answer: Value = client.call(Method::POST, &path, None).await?;
            told(as_json, &answer, "asked to cancel");
        }
        Run::Rerun { run, failed } => {
            let path = format!("{}/rerun", path_of(&run)?);
            let body = json!({ "failed": failed });
            let answer: Value = client.call(Method::POST, &path, Some(body)).await?;
            told(as_json, &answer, "started again");
        }
        Run::Dispatch {
            repo,
            workflow,
            git_ref,
            inputs,
        } => {
            let mut given = Map::new();
            for input in &inputs {
                let (name, value) = input
                    .split_once('=')
                    .with_context(|| format!("--input {input} has no '='"))?;
                given.insert(name.to_owned(), value.into());
            }
            let body = json!({ "workflow": workflow, "ref": git_ref, "inputs": given });
            let path = format!("{}/dispatches", repo_path(&repo)?);
            let answer: Value = client.call(Method::POST, &path, Some(body)).await?;
            if as_json {
                output::json(&answer);
            } else {
                for run in rows_of(&answer, "runs") {
                    let (number, url) = (output::text(run, "number"), output::text(run, "url"));
                    output::line(&format!("run {number}: {url}"));
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn told(as_json: bool, answer: &Value, words: &str) {
    if as_json {
        output::json(answer);
    } else {
        output::line(words);
    }
}

pub(super) fn path_of(run: &RunRef) -> anyhow::Result<String> {
    let number = run
        .number
        .map_or_else(|| "latest".to_owned(), |n| n.to_string());
    Ok(format!("{}/runs/{number}", repo_path(&run.repo)?))
}

/// The exit code of a finished run: 0 for success, 1 for anything else.
fn verdict(run: &Value) -> ExitCode {
    match run["outcome"].as_str() {
        Some("success" | "skipped") => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}

/// One word for where a run, job or step stands.
fn state_of(value: &Value, ended: &str) -> String {
    output::text(
        value,
        if value[ended].is_null() {
            "state"
        } else {
            ended
        },
    )
}

/// How long something ran, where it ended; else nothing.
fn took(value: &Value) -> String {
    let span = |from: &str, to: &str| Some(value[to].as_i64()? - value[from].as_i64()?);
    span("started_ms", "finished_ms")
        .map(output::duration)
        .unwrap_or_default()
}

fn short_ref(git_ref: &str) -> &str {
    git_ref
        .trim_start_matches("refs/heads/")
        .trim_start_matches("refs/tags/")
}

fn show_all(list: &Value) {
    let rows: Vec<Vec<String>> = rows_of(list, "runs")
        .iter()
        .map(|run| {
            vec![
                output::text(run, "number"),
                state_of(run, "outcome"),
                took(run),
                output::text(run, "workflow"),
                short_ref(&output::text(run, "ref")).to_owned(),
                output::text(run, "sha").chars().take(8).collect(),
                output::text(run, "title"),
            ]
        })
        .collect();
    if rows.is_empty() {
        output::line("no runs yet; push a commit with a workflow in .github/workflows/");
    } else {
        output::table(
            &["run", "state", "took", "workflow", "ref", "commit", "title"],
            &rows,
        );
    }
}

fn show(run: &Value, receipts: &[(i64, Vec<String>)]) {
    let field = |key| output::text(run, key);
    output::line(&format!(
        "run {} of {}: {}",
        field("number"),
        field("repo"),
        field("title")
    ));
    let after = match took(run).as_str() {
        "" => String::new(),
        took => format!(" after {took}"),
    };
    output::line(&format!(
        "{}{after}, {} on {} at {}",
        state_of(run, "outcome"),
        field("workflow"),
        short_ref(&field("ref")),
        field("sha")
    ));
    output::line(&field("url"));
    for problem in rows_of(&run["problems"], "problems") {
        output::line(&format!(
            "  problem: {}",
            problem.as_str().unwrap_or_default()
        ));
    }
    for job in rows_of(&run["jobs"], "jobs") {
        let state = state_of(job, "outcome");
        output::line(&format!(
            "\njob {}: {state} {}",
            output::text(job, "name"),
            took(job)
        ));
        for key in ["reason", "wait"] {
            if let Some(reason) = job[key].as_str().filter(|reason| !reason.is_empty()) {
                output::line(&format!("  {reason}"));
            }
        }
        for step in rows_of(&job["steps"], "steps") {
            let (name, state) = (output::text(step, "name"), state_of(step, "conclusion"));
            output::line(&format!("  {state:<10} {:>8}  {name}", took(step)));
        }
        for (_, lines) in receipts
            .iter()
            .filter(|(id, _)| job["id"].as_i64() == Some(*id))
        {
            for line in lines {
                output::line(&format!("    {line}"));
            }
        }
    }
}

/// The receipt of every job that has one, as the lines that end its log.
async fn receipts(client: &Client, run: &Value) -> Vec<(i64, Vec<String>)> {
    let mut found = Vec::new();
    for job in rows_of(&run["jobs"], "jobs") {
        let Some(id) = job["id"].as_i64() else {
            continue;
        };
        // A job without a receipt answers 404: it never came to a sandbox.
        let receipt: anyhow::Result<Receipt> =
            client.get(&format!("/api/v1/jobs/{id}/receipt")).await;
        if let Ok(receipt) = receipt {
            found.push((id, receipt.render_text()));
        }
    }
    found
}

/// Prints the logs of the run's jobs one after the other; with `follow`, until the run ends.
async fn log(
    client: &Client,
    run: &RunRef,
    job: Option<&str>,
    follow: bool,
) -> anyhow::Result<ExitCode> {
    if follow {
        let mut printer = Printer::new(client, job);
        printer.follow(run).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Value = client.get(&path_of(run)?).await?;
    let mut printer = Printer::new(client, job);
    for job in rows_of(&shown["jobs"], "jobs") {
        if printer.wants(job) && started(job) {
            printer.print_rest(job).await?;
        }
    }
    if let (0, Some(job)) = (printer.printed.len(), job) {
        bail!(
            "run {} has no job '{job}' with a log",
            output::text(&shown, "number")
        );
    }
    Ok(ExitCode::SUCCESS)
}

async fn watch(client: &Client, run: &RunRef, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut printer = Printer::new(client, None);
    printer.quiet = as_json;
    let last = printer.follow(run).await?;
    if as_json {
        output::json(&last);
    } else {
        let outcome = output::text(&last, "outcome");
        output::line(&format!(
            "run {} {outcome}: {}",
            output::text(&last, "number"),
            output::text(&last, "url")
        ));
    }
    Ok(verdict(&last))
}

/// Whether a runner ever began it, so that it has a log.
fn started(job: &Value) -> bool {
    job["started_ms"].is_i64()
}

/// Prints logs so that no line is missed or repeated, one job at a time.
struct Printer<'a> {
    client: &'a Client,
    only: Option<&'a str>,
    /// Jobs whose log was printed to its end.
    printed: HashMap<i64, ()>,
    quiet: bool,
}

impl<'a> Printer<'a> {
    fn new(client: &'a Client, only: Option<&'a str>) -> Self {
        Self {
            client,
            only,
            printed: HashMap::new(),
            quiet: false,
        }
    }

    fn wants(&self, job: &Value) -> bool {
        self.only.is_none_or(|only| {
            job["name"].as_str() == Some(only)
                || job["id"].as_i64().is_some_and(|id| only.parse() == Ok(id))
        })
    }

    /// Follows the run to its end and returns it as it then stands.
    async fn follow(&mut self, run: &RunRef) -> anyhow::Result<Value> {
        // A run that is asked for as «the newest» must stay the same run.
        let first: Value = self.client.get(&path_of(run)?).await?;
        let run = RunRef {
            repo: run.repo.clone(),
            number: first["number"].as_i64(),
        };
        let path = format!("{}/events", path_of(&run)?);
        let answer = self
            .client
            .send(Method::GET, &path, None, client::empty())
            .await?;
        let mut events = Events::new(client::accepted(answer).await?.into_body());
        let mut last = first;
        while let Some(event) = events.next().await? {
            match event.name.as_str() {
                "run" => {
                    last = event.data;
                    self.print_started(&last).await?;
                }
                "end" => break,
                _ => {}
            }
        }
        let last: Value = self.client.get(&path_of(&run)?).await.unwrap_or(last);
        self.print_started(&last).await?;
        if last["outcome"].is_null() {
            bail!("the server ended the stream before the run ended; watch it again");
        }
        for problem in rows_of(&last["problems"], "problems") {
            self.line(&format!(
                "problem: {}",
                problem.as_str().unwrap_or_default()
            ));
        }
        Ok(last)
    }

    async fn print_started(&mut self, run: &Value) -> anyhow::Result<()> {
        for job in rows_of(&run["jobs"], "jobs") {
            let id = job["id"].as_i64().unwrap_or_default();
            if started(job) && self.wants(job) && !self.printed.contains_key(&id) {
                self.print_rest(job).await?;
            }
        }
        Ok(())
    }

    /// Prints one job's log until it is complete.
    async fn print_rest(&mut self, job: &Value) -> anyhow::Result<()> {
        let id = job["id"]
            .as_i64()
            .context("the server names a job without an id")?;
        self.printed.insert(id, ());
        if self.quiet {
            return Ok(());
        }
        self.line(&format!("── {} ──", output::text(job, "name")));
        let path = format!("/api/v1/jobs/{id}/log/stream?from=0");
        let answer = self
            .client
            .send(Method::GET, &path, None, client::empty())
            .await?;
        let mut events = Events::new(client::accepted(answer).await?.into_body());
        while let Some(event) = events.next().await? {
            if event.name == "end" {
                break;
            }
            for line in rows_of(&event.data["lines"], "lines") {
                let text: String = rows_of(&line["spans"], "spans")
                    .iter()
                    .filter_map(|span| span[1].as_str())
                    .collect();
                self.line(&decorate(line["kind"].as_str().unwrap_or("out"), &text));
            }
        }
        Ok(())
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            output::line(text);
        }
    }
}

/// Marks the lines that are not a step's own output.
fn decorate(kind: &str, text: &str) -> String {
    match kind {
        "command" => format!("$ {text}"),
        "group" => format!("▾ {text}"),
        "endgroup" => String::new(),
        "error" | "warning" | "notice" => format!("{kind}: {text}"),
        _ => text.to_owned(),
    }
}
