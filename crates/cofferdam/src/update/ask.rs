//! The guard's questions to a running appliance, each with a limit of time.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::cli::Global;
use crate::client::{self, Client};

/// How long a small answer may take.
const SOON: Duration = Duration::from_secs(5);

/// Asks one appliance, over its control socket.
pub(crate) struct Ask {
    runtime: Runtime,
    client: Client,
    global: Global,
}

/// What an appliance says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Running {
    pub(crate) version: String,
    pub(crate) sha256: String,
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) any_port: bool,
    pub(crate) secure: bool,
}

impl Ask {
    pub(crate) fn of(data: &Path) -> anyhow::Result<Self> {
        let global = Global {
            data: data.to_owned(),
            server: None,
            token_file: None,
            ca: None,
            json: false,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self {
            runtime,
            client: Client::from_flags(&global)?,
            global,
        })
    }

    /// What program answers, and where it listens.
    pub(crate) fn who(&self) -> anyhow::Result<Running> {
        let said = self.call(Method::GET, "/api/v1/update", None, Some(SOON))?;
        serde_json::from_value(said).context("the appliance does not say what it is")
    }

    /// Whether it serves: it says so itself, and whoever comes to its address is let in. With
    /// TLS that means a connection: whose names the certificate has is between it and people.
    pub(crate) fn ready(&self, running: &Running) -> anyhow::Result<()> {
        self.is_ready(&self.client, "it")?;
        let mut address: SocketAddr = running.address.parse().context("its address is none")?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        if running.secure {
            return std::net::TcpStream::connect_timeout(&address, SOON)
                .map(drop)
                .with_context(|| format!("{address} lets nobody in"));
        }
        let client = Client::from_flags(&Global {
            server: Some(format!("http://{address}")),
            ..self.global.clone()
        })?;
        self.is_ready(&client, &address.to_string())
    }

    fn is_ready(&self, client: &Client, what: &str) -> anyhow::Result<()> {
        let asked = client.send(Method::GET, "/readyz", None, client::empty());
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(SOON, asked)
                .await
                .with_context(|| format!("{what} does not answer"))?
        })?;
        if !answer.status().is_success() {
            bail!("{what} is not ready: /readyz answers {}", answer.status());
        }
        Ok(())
    }

    /// Has it try itself; an error says what was not good.
    pub(crate) fn self_test(&self, most: Duration) -> anyhow::Result<()> {
        let path = "/api/v1/update/self-test";
        let said = self.call(Method::POST, path, None, Some(most))?;
        if said["good"] == true {
            return Ok(());
        }
        let checks = said["checks"].as_array().cloned().unwrap_or_default();
        let bad: Vec<String> = checks
            .iter()
            .filter(|check| check["good"] != true)
            .map(|check| format!("{}: {}", text(&check["name"]), text(&check["detail"])))
            .collect();
        bail!("its self-test failed: {}", bad.join("; "))
    }

    /// Has it hold its jobs; gives how many had to be ended.
    pub(crate) fn hold(&self, patience: Duration, why: &str, lost: &str) -> anyhow::Result<u64> {
        let body = json!({ "seconds": patience.as_secs(), "why": why, "lost": lost });
        let path = "/api/v1/update/hold";
        let said = self.call(Method::POST, path, Some(body), None)?;
        Ok(said["lost"].as_u64().unwrap_or(0))
    }

    /// Has it take jobs again.
    pub(crate) fn let_go(&self) -> anyhow::Result<()> {
        self.call(Method::DELETE, "/api/v1/update/hold", None, Some(SOON))
            .map(drop)
    }

    /// Has it note an event of an update.
    pub(crate) fn note(&self, event: &web::UpdateEvent) -> anyhow::Result<()> {
        let body = serde_json::to_value(event).context("our own types have only text keys")?;
        self.call(
            Method::POST,
            "/api/v1/update/events",
            Some(body),
            Some(SOON),
        )
        .map(drop)
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        most: Option<Duration>,
    ) -> anyhow::Result<Value> {
        let asked = self.client.call(method, path, body);
        self.runtime.block_on(async {
            match most {
                None => asked.await,
                Some(most) => tokio::time::timeout(most, asked)
                    .await
                    .context("it did not answer in time")?,
            }
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
