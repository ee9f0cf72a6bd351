//! What an installer asks of the appliance that it has started.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};
use vocab::{Clock, Digest, Entropy, Stopwatch};

use crate::client::{Client, empty};
use crate::cmd::admin::rows_of;

/// How long an appliance may take to get ready; slow hosts take seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const BREATH: Duration = Duration::from_millis(50);

/// Waits until it answers that it is ready.
pub(crate) fn wait(data: &Path) -> anyhow::Result<()> {
    let client = Client::control(data);
    let watch = Stopwatch::start();
    let runtime = runtime()?;
    loop {
        let asked = runtime.block_on(client.send(Method::GET, "/readyz", None, empty()));
        match asked {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) if watch.elapsed() > PATIENCE => {
                bail!(
                    "it did not get ready within two minutes: {}",
                    answer.status()
                );
            }
            Err(error) if watch.elapsed() > PATIENCE => {
                return Err(error.context("it did not get ready within two minutes"));
            }
            Ok(_) | Err(_) => Clock::sleep(BREATH),
        }
    }
}

/// Makes the user `admin` where there is no administrator yet; the password, shown once.
pub(crate) fn administrator(data: &Path) -> anyhow::Result<(Option<String>, String)> {
    let client = Client::control(data);
    let runtime = runtime()?;
    let users: Value = runtime.block_on(client.get("/api/v1/users"))?;
    if let Some(user) = rows_of(&users, "users")
        .iter()
        .find(|u| u["role"] == "admin")
    {
        let name = user["name"].as_str().unwrap_or_default();
        return Ok((None, format!("{name}, known already")));
    }
    let password = Entropy::system().hex(10);
    let body = json!({ "name": "admin", "password": password, "admin": true });
    let made: anyhow::Result<Value> =
        runtime.block_on(client.call(Method::POST, "/api/v1/users", Some(body)));
    if let Err(error) = made {
        bail!("{error:#}; make one with `cofferdam user create NAME --admin`");
    }
    Ok((Some(password), "admin".to_owned()))
}

const TRUST: &str = "/api/v1/bundles/trust";
const IMPORT: &str = "/api/v1/bundles/import";

/// Pins the root that `fingerprint` names and imports the bundle at `from`, whole.
pub(crate) fn import(
    data: &Path,
    from: &Path,
    fingerprint: &Digest,
) -> anyhow::Result<((), String)> {
    let client = Client::control(data);
    let path = std::path::absolute(from)?;
    let path = path.to_str().context("the path of the medium is no text")?;
    let done: Value = runtime()?.block_on(async {
        let pin = json!({ "fingerprint": fingerprint.hex() });
        client.call::<Value>(Method::PUT, TRUST, Some(pin)).await?;
        let body = json!({ "path": path, "quorum_override": false });
        let mut now: Value = client.call(Method::POST, IMPORT, Some(body)).await?;
        while now["phase"] != "done" && now["phase"] != "failed" {
            let seen = now["version"].as_u64().unwrap_or_default();
            now = client.get(&format!("{IMPORT}?seen={seen}")).await?;
        }
        anyhow::Ok(now)
    })?;
    if done["phase"] == "failed" {
        bail!(
            "{}: {}; then install again, or `cofferdam bundle import`",
            done["code"].as_str().unwrap_or("E_IMPORT"),
            done["error"].as_str().unwrap_or_default()
        );
    }
    let said = match done["generation"].as_i64() {
        Some(generation) => format!(
            "generation {generation}, {} MiB read",
            done["bytes"]["done"].as_u64().unwrap_or_default() >> 20
        ),
        None => "active already".to_owned(),
    };
    Ok(((), said))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
