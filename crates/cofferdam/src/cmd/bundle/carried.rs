//! The appliance's side: asks it, shows what it says, writes slips.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use hyper::Method;
use serde_json::{Value, json};

use super::{custody, import, show, verify};
use crate::cli::{Carried, Global};
use crate::client::{Client, Refusal};
use crate::output;

pub(super) fn run(global: &Global, verb: Carried) -> anyhow::Result<ExitCode> {
    let done = match verb {
        Carried::Verify {
            medium,
            deep,
            root_fingerprint,
        } => verify::run(global, &medium, deep, root_fingerprint.as_deref()),
        other => crate::cmd::client(ask(global, other)),
    };
    match done {
        Err(error) => refused(error, global.json),
        done => done,
    }
}

/// A refusal of the bundle ends with 1; what went wrong otherwise with 2.
fn refused(error: anyhow::Error, as_json: bool) -> anyhow::Result<ExitCode> {
    let code = match error.downcast_ref::<Refusal>() {
        Some(refusal) => refusal.code.clone(),
        None => error
            .downcast_ref::<supply::bundles::BundleError>()
            .map(|e| e.code().to_owned()),
    };
    let Some(code) = code else {
        return Err(error);
    };
    if as_json {
        output::json(&json!({ "code": code, "error": format!("{error:#}") }));
    } else {
        eprintln!("cofferdam: {code}: {}", show::plain(&format!("{error:#}")));
    }
    Ok(ExitCode::from(1))
}

/// The path as the appliance must hear it: absolute, in this machine's own words.
pub(super) fn absolute(path: &Path) -> anyhow::Result<String> {
    let full = std::path::absolute(path)
        .with_context(|| format!("cannot tell where {} is", path.display()))?;
    full.into_os_string()
        .into_string()
        .map_err(|path| anyhow::anyhow!("the path {} is not text", path.display()))
}

async fn ask(global: &Global, verb: Carried) -> anyhow::Result<ExitCode> {
    let client = Client::from_flags(global)?;
    let shown = |value: &Value, text: fn(&Value)| {
        if global.json {
            output::json(value);
        } else {
            text(value);
        }
        Ok(ExitCode::SUCCESS)
    };
    match verb {
        Carried::Verify { .. } => Ok(ExitCode::SUCCESS),
        Carried::Diff { medium } => {
            let body = json!({ "path": absolute(&medium)? });
            let diff = post(&client, "diff", body).await?;
            shown(&diff, show::diff)?;
            Ok(show::verdict_code(&diff))
        }
        Carried::Import {
            medium,
            quorum_override,
            cancel,
        } => import::run(&client, medium, quorum_override, cancel, global.json).await,
        Carried::Undo { dry_run } => {
            let undone = post(&client, "undo", json!({ "dry_run": dry_run })).await?;
            shown(
                &undone,
                if dry_run {
                    show::would_undo
                } else {
                    show::undone
                },
            )
        }
        Carried::History => {
            let history = client.get("/api/v1/bundles").await?;
            shown(&history, show::history)
        }
        Carried::Custody { seq, channel } => {
            let channel = channel.map_or(String::new(), |name| format!("?channel={name}"));
            let path = format!("/api/v1/bundles/{seq}/custody{channel}");
            shown(&client.get(&path).await?, custody::show)
        }
        Carried::Gc { dry_run, abandon } => {
            let body = json!({ "dry_run": dry_run, "abandon": abandon });
            let gone = post(&client, "gc", body).await?;
            shown(
                &gone,
                if dry_run {
                    show::would_collect
                } else {
                    show::collected
                },
            )
        }
        Carried::Scrub { cancel } => import::scrub(&client, cancel, global.json).await,
        Carried::Have { output, show_key } => {
            if show_key {
                let trust: Value = client.get("/api/v1/bundles/trust").await?;
                return shown(&trust["slip_key"], show::key);
            }
            slip(&client, "have", output.as_deref(), global.json).await
        }
        Carried::Need { output } => slip(&client, "need", Some(&output), global.json).await,
        Carried::Trust { fingerprint } => {
            if !fingerprint.is_empty() {
                let body = json!({ "fingerprint": fingerprint.concat() });
                let path = "/api/v1/bundles/trust";
                client.call::<Value>(Method::PUT, path, Some(body)).await?;
            }
            let trust = client.get("/api/v1/bundles/trust").await?;
            shown(&trust, show::trust)
        }
    }
}

pub(super) async fn post(client: &Client, what: &str, body: Value) -> anyhow::Result<Value> {
    let path = format!("/api/v1/bundles/{what}");
    client.call(Method::POST, &path, Some(body)).await
}

async fn slip(
    client: &Client,
    what: &str,
    to: Option<&Path>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let written: Value = client
        .call(Method::POST, &format!("/api/v1/bundles/{what}"), None)
        .await?;
    let text = written["text"].as_str().context("the answer has no slip")?;
    let to = to.context("no file was named")?;
    fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))?;
    if as_json {
        output::json(&json!({
            "file": to,
            "sha256": written["sha256"],
            "entries": written["entries"],
        }));
    } else {
        output::line(&format!(
            "wrote {} ({} entries, {})",
            to.display(),
            written["entries"],
            output::bytes(text.len() as u64)
        ));
    }
    Ok(ExitCode::SUCCESS)
}
