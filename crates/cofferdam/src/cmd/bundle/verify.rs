//! `cofferdam bundle verify`: the verdict, with an appliance or with a fingerprint alone.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bundle::root::Root;
use bundle::{Sealed, Trust, Verified};
use serde_json::{Value, json};
use supply::bundles::{BundleError, Progress, deep};
use vocab::Digest;

use super::{carried, show};
use crate::cli::Global;
use crate::client::Client;
use crate::output;

pub(super) fn run(
    global: &Global,
    medium: &Path,
    every_byte: bool,
    fingerprint: Option<&str>,
) -> anyhow::Result<ExitCode> {
    if let Some(text) = fingerprint {
        let trust = Trust::Pinned(parse(text)?);
        return alone(global, medium, every_byte, &trust);
    }
    if every_byte && global.server.is_some() {
        bail!("--deep reads the medium here; run it on the appliance, or give --root-fingerprint");
    }
    let path = carried::absolute(medium)?;
    let told: Value = crate::cmd::ask(global, async |client: &Client| {
        carried::post(client, "verify", json!({ "path": path })).await
    })?;
    if every_byte {
        let trust: Value = crate::cmd::ask(global, async |client: &Client| {
            client.get("/api/v1/bundles/trust").await
        })?;
        let sealed = Sealed::open(medium).map_err(BundleError::from)?;
        let verified = sealed
            .verify(&of_appliance(&trust)?)
            .map_err(BundleError::from)?;
        read(&sealed, &verified)?;
    }
    if global.json {
        let mut told = told.clone();
        told["every_byte"] = every_byte.into();
        output::json(&told);
    } else {
        show::verdict(&told);
        if every_byte {
            output::line("  read       every byte is what was signed");
        }
    }
    Ok(show::verdict_code(&told))
}

/// The fingerprint as it stands on paper.
fn parse(text: &str) -> anyhow::Result<Digest> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digits = digits.trim_start_matches("sha256:").to_lowercase();
    format!("sha256:{digits}")
        .parse()
        .context("a fingerprint has 64 hex digits; type it from the paper")
}

fn of_appliance(trust: &Value) -> anyhow::Result<Trust> {
    let newest = trust["statements"].as_array().and_then(|all| all.last());
    if let Some(body) = newest.and_then(|kept| kept["body"].as_str()) {
        let root = Root::kept(body.as_bytes().to_vec()).map_err(BundleError::from)?;
        return Ok(Trust::Root(Box::new(root)));
    }
    match trust["fingerprint"].as_str() {
        Some(text) => Ok(Trust::Pinned(parse(text)?)),
        None => Err(BundleError::NoTrust.into()),
    }
}

fn alone(
    global: &Global,
    medium: &Path,
    every_byte: bool,
    trust: &Trust,
) -> anyhow::Result<ExitCode> {
    let sealed = Sealed::open(medium).map_err(BundleError::from)?;
    let verified = sealed.verify(trust).map_err(BundleError::from)?;
    if every_byte {
        read(&sealed, &verified)?;
    }
    let manifest = &verified.manifest;
    let told = json!({
        "bundle": {
            "product": manifest.product,
            "channel": manifest.channel,
            "seq": manifest.seq,
            "content": manifest.content,
            "created": manifest.created,
            "not_after": manifest.not_after,
            "manifest": verified.digest,
            "signers": verified.signers,
            "comment": verified.comment,
            "root": verified.root.number(),
            "items": manifest.items.len(),
            "blobs": manifest.blobs.len(),
            "volumes": manifest.volumes,
            "size_bytes": manifest.volumes.iter().map(|v| v.size).sum::<u64>(),
        },
        "strays": sealed.strays,
        "every_byte": every_byte,
    });
    if global.json {
        output::json(&told);
    } else {
        show::verdict(&told);
        if every_byte {
            output::line("  read       every byte is what was signed");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(sealed: &Sealed, verified: &Verified) -> anyhow::Result<()> {
    let progress = Progress::new(String::new(), 0);
    Ok(deep(sealed, verified, &progress)?)
}
