//! `cofferdam tls`: the certificate, made, renewed, shown.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, bail};
use vocab::Clock;

use crate::cli::{Global, Tls};
use crate::{output, tls};

pub(super) fn run(global: &Global, verb: Tls) -> anyhow::Result<ExitCode> {
    let data = &global.data;
    if !data.join("name").exists() {
        bail!(
            "{} is no data directory; make one with `cofferdam init --data {}`",
            data.display(),
            data.display()
        );
    }
    let now = Clock::system().now();
    match verb {
        Tls::Init {
            cert: Some(cert),
            key: Some(key),
            ..
        } => tls::bring(data, &tls::check(&cert, &key)?)?,
        Tls::Init { stdin: true, .. } => {
            let both = std::io::read_to_string(std::io::stdin().take(1 << 20))
                .context("cannot read the certificate from standard input")?;
            tls::bring(data, &both)?;
        }
        Tls::Init { names, .. } => {
            let mut all = checked(names)?;
            all.extend(tls::host_names());
            tls::ensure(data, &all, now)?;
        }
        Tls::Renew { names } => tls::renew(data, &checked(names)?, now)?,
        Tls::Show => {}
    }
    show(global, now)
}

fn checked(names: Vec<String>) -> anyhow::Result<Vec<String>> {
    for name in &names {
        if name.parse::<std::net::IpAddr>().is_err() && !tls::is_name(name) {
            bail!("'{name}' is neither a host's name nor an address");
        }
    }
    Ok(names)
}

fn show(global: &Global, now: std::time::SystemTime) -> anyhow::Result<ExitCode> {
    let shown = tls::show(&global.data, now)?;
    if global.json {
        output::json(&serde_json::to_value(&shown)?);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&match shown.left_s {
        Some(left) => format!("good until {} ({} days)", shown.expires, left / 86_400),
        None => format!("NOT GOOD since {}", shown.expires),
    });
    match (&shown.authority, &shown.authority_sha256) {
        (Some(path), Some(sha256)) => {
            output::line(&format!("names: {}", shown.names.join(", ")));
            output::line(&format!("authority: {}", path.display()));
            output::line(&format!("its SHA-256: {sha256}"));
            output::line("clients fetch it at /ca.crt, and compare that SHA-256");
        }
        _ => output::line("the certificate and its authority are the site's own"),
    }
    Ok(ExitCode::SUCCESS)
}
