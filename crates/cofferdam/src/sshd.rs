//! The SSH listener of `serve`: bound first, its host key made at the first start, told to people.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ssh::{HostKey, Limits};
use tokio::task::JoinHandle;
use web::{App, SshDoor, SshFacts};

use crate::site::Site;

/// A listener that is bound, and its key.
pub(crate) struct Ready {
    listener: TcpListener,
    key: HostKey,
    /// What pages and the API tell of it.
    pub(crate) facts: SshFacts,
    bound: SocketAddr,
}

/// A listener that serves.
pub(crate) struct Serving {
    task: JoinHandle<std::io::Result<()>>,
    /// What `serve` prints: address and fingerprint.
    pub(crate) line: String,
}

/// Takes the port, before rights are given up.
pub(crate) fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).with_context(|| {
        format!(
            "cannot listen on {address} for SSH; is another program using it? --ssh-listen, or \
             listen under [ssh] in config.toml, takes another"
        )
    })?;
    Ok(Some(listener))
}

/// The host key of the data directory `data`, where SSH was ever served.
pub(crate) fn host_key(data: &Path) -> anyhow::Result<Option<HostKey>> {
    Ok(HostKey::open(&data.join("keys"))?)
}

/// Opens or makes the host key.
pub(crate) fn prepare(
    site: &Site,
    listener: Option<TcpListener>,
    public_url: &str,
) -> anyhow::Result<Option<Ready>> {
    let Some(listener) = listener else {
        return Ok(None);
    };
    let bound = listener
        .local_addr()
        .context("cannot tell the bound address of SSH")?;
    let key = HostKey::open_or_create(&site.store.dir().join("keys"), &site.entropy)?;
    let address = match &site.config.ssh.public_address {
        Some(address) => address.clone(),
        None => format!("{}:{}", host_of(public_url), bound.port()),
    };
    let facts = SshFacts {
        address,
        fingerprint: key.fingerprint(),
    };
    Ok(Some(Ready {
        listener,
        key,
        facts,
        bound,
    }))
}

/// The name in an address such as `https://forge.lab:8470`; brackets stay.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    match (rest.rfind(':'), rest.rfind(']')) {
        (Some(colon), Some(bracket)) if colon < bracket => rest,
        (Some(colon), _) => &rest[..colon],
        (None, _) => rest,
    }
}

impl Ready {
    /// Serves until `shutdown` comes.
    pub(crate) fn start(
        self,
        app: &App,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> anyhow::Result<Serving> {
        self.listener
            .set_nonblocking(true)
            .context("cannot use the listener of SSH")?;
        let listener = tokio::net::TcpListener::from_std(self.listener)
            .context("cannot use the listener of SSH")?;
        let door = Arc::new(SshDoor::new(app.clone()));
        let line = format!("ssh://git@{} {}", self.bound, self.facts.fingerprint);
        let key = self.key;
        let task = tokio::spawn(async move {
            ssh::serve(listener, &key, door, Limits::default(), shutdown).await
        });
        Ok(Serving { task, line })
    }
}

impl Serving {
    /// Waits for the commands at work to end.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.task
            .await
            .context("the SSH listener ended by a panic")?
            .context("the SSH listener failed")
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_of_an_address_is_found_with_and_without_a_port() {
        for (url, host) in [
            ("http://127.0.0.1:8470", "127.0.0.1"),
            ("https://forge.lab", "forge.lab"),
            ("https://forge.lab/x:1", "forge.lab"),
            ("https://[::1]:8470", "[::1]"),
            ("https://[fd00::1]", "[fd00::1]"),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
