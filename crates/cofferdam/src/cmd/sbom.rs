//! `cofferdam sbom`: the bill of materials of the program and of what is served.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use evidence::sbom::{Component, Kind, document, of_cargo_lock};
use http_body_util::BodyExt as _;
use hyper::Method;
use vocab::Clock;

use crate::cli::Global;
use crate::client::{self, Client};
use crate::{output, program};

pub(super) fn run(global: &Global, to: Option<&Path>, alone: bool) -> anyhow::Result<ExitCode> {
    let text = match alone {
        true => own()?,
        false => super::ask(global, asked)?,
    };
    match to {
        None => output::line(text.trim_end()),
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn own() -> anyhow::Result<String> {
    let version = program::this().version;
    let reference = format!("pkg:cargo/cofferdam@{version}");
    let main = Component::new(Kind::Application, "cofferdam", version, reference).purl(
        "cargo",
        "cofferdam",
        version,
        "",
    );
    let made = vocab::unix_ms(Clock::system().now()) / 1000 * 1000;
    let made = jiff::Timestamp::from_millisecond(made)?.to_string();
    Ok(document(
        &main,
        &of_cargo_lock(program::LOCK, "cofferdam"),
        &made,
    ))
}

async fn asked(client: &Client) -> anyhow::Result<String> {
    let answer = client
        .send(Method::GET, "/api/v1/inventory/sbom", None, client::empty())
        .await?;
    let body = client::accepted(answer).await?.into_body();
    let bytes = body.collect().await.context("the answer broke off")?;
    Ok(String::from_utf8(bytes.to_bytes().to_vec())?)
}
