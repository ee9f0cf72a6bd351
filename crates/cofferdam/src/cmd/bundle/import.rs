//! Imports and scrubs: begun or followed, with rate and time left on a terminal.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{carried, show};
use crate::client::Client;
use crate::output;

const IMPORT: &str = "/api/v1/bundles/import";
const SCRUB: &str = "/api/v1/bundles/scrub";

pub(super) async fn run(
    client: &Client,
    medium: Option<PathBuf>,
    quorum_override: bool,
    cancel: bool,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    if cancel {
        let now: Value = client.call(Method::DELETE, IMPORT, None).await?;
        return finish(&follow(client, now).await?, as_json);
    }
    let now: Value = match medium {
        Some(medium) => {
            let path = carried::absolute(&medium)?;
            let body = json!({ "path": path, "quorum_override": quorum_override });
            client.call(Method::POST, IMPORT, Some(body)).await?
        }
        None => client.get(IMPORT).await?,
    };
    if now.is_null() {
        bail!("no import has run since the appliance was started; name a medium to begin one");
    }
    finish(&follow(client, now).await?, as_json)
}

fn finish(end: &Value, as_json: bool) -> anyhow::Result<ExitCode> {
    let failed = end["phase"] == "failed";
    if as_json {
        output::json(end);
    } else if failed {
        let (code, error) = (output::text(end, "code"), output::text(end, "error"));
        eprintln!("cofferdam: {code}: {}", show::plain(&error));
    } else {
        show::imported(end);
    }
    Ok(if failed {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// Waits for the end of what `now` is a look at.
async fn follow(client: &Client, mut now: Value) -> anyhow::Result<Value> {
    let bar = bar();
    while now["phase"] != "done" && now["phase"] != "failed" {
        tell(&bar, &now);
        let seen = now["version"].as_u64().unwrap_or_default();
        now = client.get(&format!("{IMPORT}?seen={seen}")).await?;
    }
    bar.finish_and_clear();
    Ok(now)
}

/// A bar with rate and time left on a terminal; nothing elsewhere.
fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{msg} {wide_bar} {bytes} of {total_bytes}, {prefix}";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    ProgressBar::new(0).with_style(style)
}

fn tell(bar: &ProgressBar, now: &Value) {
    bar.set_length(now["bytes"]["total"].as_u64().unwrap_or_default());
    bar.set_position(now["bytes"]["done"].as_u64().unwrap_or_default());
    let at = now["at"].as_str().unwrap_or_default();
    let phase = now["phase"].as_str().unwrap_or_default();
    bar.set_message(format!("{phase} {at}").trim_end().to_owned());
    let rate = output::bytes(now["rate"].as_u64().unwrap_or_default());
    bar.set_prefix(match now["seconds_left"].as_i64() {
        Some(left) => format!("{rate}/s, {} left", output::duration(left * 1000)),
        None => format!("{rate}/s"),
    });
}

pub(super) async fn scrub(
    client: &Client,
    cancel: bool,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    if cancel {
        client.call::<Value>(Method::DELETE, SCRUB, None).await?;
        output::line("cancelled; the next scrub goes on there");
        return Ok(ExitCode::SUCCESS);
    }
    let begun: Value = client.call(Method::POST, SCRUB, None).await?;
    let bar = bar();
    tell(&bar, &begun);
    let mut seen = begun["version"].as_u64().unwrap_or_default();
    let state = loop {
        let state: Value = client.get(&format!("{SCRUB}?seen={seen}")).await?;
        let running = &state["running"];
        if running.is_null() || running["phase"] == "failed" || running["phase"] == "done" {
            break state;
        }
        tell(&bar, running);
        seen = running["version"].as_u64().unwrap_or_default();
    };
    bar.finish_and_clear();
    if as_json {
        output::json(&state);
    } else {
        show::scrubbed(&state);
    }
    let ended = !state["last"]["ended_ms"].is_null();
    Ok(if ended && state["last"]["bad"] == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}
