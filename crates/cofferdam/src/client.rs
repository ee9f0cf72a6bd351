//! The CLI's side of the API: JSON over HTTP, on the control socket or a server's address.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::cli::Global;

/// Where requests go.
enum Target {
    Control(PathBuf),
    Server {
        address: SocketAddr,
        host: String,
        token: Option<String>,
        /// The name to prove and what is trusted, with https.
        tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    },
}

/// A client of one appliance.
pub(crate) struct Client(Target);

/// The body of a request.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// The server's own words for a refusal.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Refusal {
    error: String,
    #[serde(default)]
    what_to_do: Option<String>,
    /// A stable code, where there is one.
    #[serde(default)]
    pub(crate) code: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.error)?;
        match &self.what_to_do {
            Some(todo) => write!(f, "; {todo}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl Client {
    /// A client of the control socket of `data`.
    pub(crate) fn control(data: &Path) -> Self {
        Self(Target::Control(data.join("control.sock")))
    }

    /// The client that the global flags ask for.
    pub(crate) fn from_flags(global: &Global) -> anyhow::Result<Self> {
        let Some(url) = &global.server else {
            return Ok(Self(Target::Control(global.data.join("control.sock"))));
        };
        let (secure, host) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest.trim_end_matches('/')),
            (None, Some(rest)) => (false, rest.trim_end_matches('/')),
            (None, None) => bail!("--server {url} must begin with https:// or http://"),
        };
        let usual = if secure { "443" } else { "80" };
        let (name, port) = host.rsplit_once(':').unwrap_or((host, usual));
        let port: u16 = port
            .parse()
            .with_context(|| format!("--server {url} has no valid port"))?;
        let tls = if secure {
            let bare = name
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            let proved = ServerName::try_from(bare)
                .with_context(|| format!("--server {url} has no valid name"))?;
            Some((proved, crate::tls::client_config(global.ca.as_deref())?))
        } else {
            None
        };
        let address = SocketAddr::new(resolve(name)?, port);
        let token = match &global.token_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token file {}", path.display()))?
                    .trim()
                    .to_owned(),
            ),
            None => std::env::var("COFFERDAM_TOKEN").ok(),
        };
        Ok(Self(Target::Server {
            address,
            host: host.to_owned(),
            token,
            tls,
        }))
    }

    /// Sends one request and hands back the response, whatever its status.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(kind) = content_type {
            request = request.header("content-type", kind);
        }
        match &self.0 {
            Target::Control(socket) => {
                let request = request.header("host", "control").body(body)?;
                let stream = UnixStream::connect(socket)
                    .await
                    .with_context(|| unreachable_words(socket))?;
                exchange(stream, request).await
            }
            Target::Server {
                address,
                host,
                token,
                tls,
            } => {
                request = request.header("host", host);
                if let Some(token) = token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                let request = request.body(body)?;
                let stream = TcpStream::connect(address)
                    .await
                    .with_context(|| format!("cannot reach the server at {address}; is it up?"))?;
                let Some((name, config)) = tls else {
                    return exchange(stream, request).await;
                };
                let connector = TlsConnector::from(config.clone());
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.with_context(|| {
                    format!(
                        "the server at {address} does not prove to be {host}; --ca FILE names \
                         the authority to trust"
                    )
                })?;
                exchange(stream, request).await
            }
        }
    }

    /// Sends JSON (or nothing) and reads JSON; a refusal becomes an error in the server's words.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        json: Option<serde_json::Value>,
    ) -> anyhow::Result<T> {
        let kind = json.is_some().then_some("application/json");
        let body = json.map_or_else(empty, |value| full(value.to_string()));
        let response = accepted(self.send(method, path, kind, body).await?).await?;
        let bytes = response
            .into_body()
            .collect()
            .await
            .context("the answer broke off")?
            .to_bytes();
        if bytes.is_empty() {
            return serde_json::from_slice(b"null").context("the server answered nothing");
        }
        serde_json::from_slice(&bytes)
            .context("the server's answer is not what this version expects")
    }

    /// `GET` as [`Client::call`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None).await
    }
}

/// Turns a refusal into an error in the server's own words.
pub(crate) async fn accepted(response: Response<Incoming>) -> anyhow::Result<Response<Incoming>> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?
        .to_bytes();
    match serde_json::from_slice::<Refusal>(&bytes) {
        Ok(refusal) => Err(refusal.into()),
        Err(_) => bail!("the server answered {status}"),
    }
}

/// A body of these bytes.
pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// No body.
pub(crate) fn empty() -> Body {
    full(Bytes::new())
}

/// A body that is read from `chunks` as the server takes it.
pub(crate) fn streamed(chunks: tokio::sync::mpsc::Receiver<std::io::Result<Bytes>>) -> Body {
    let frames = tokio_stream::wrappers::ReceiverStream::new(chunks);
    BodyExt::boxed(StreamBody::new(tokio_stream::StreamExt::map(frames, |c| {
        c.map(Frame::data)
    })))
}

async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> anyhow::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            tracing::debug!(error = %e, "connection ended");
        }
    });
    sender
        .send_request(request)
        .await
        .context("the server broke off before it answered")
}

fn unreachable_words(socket: &Path) -> String {
    format!(
        "cannot reach the appliance at {}; is `cofferdam serve` running with this --data, and may \
         this user talk to it?",
        socket.display()
    )
}

/// Addresses and names from /etc/hosts only: this program never enters the system's resolver.
fn resolve(name: &str) -> anyhow::Result<IpAddr> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(address);
    }
    if bare == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .find_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|word| word.eq_ignore_ascii_case(bare))
                .then_some(address)
        })
        .with_context(|| format!("no address for '{name}' in /etc/hosts; write the IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_resolve_without_the_system_resolver() {
        assert_eq!(resolve("127.0.0.1").unwrap(), IpAddr::from([127, 0, 0, 1]));
        assert!(resolve("[::1]").unwrap().is_ipv6());
        assert!(resolve("localhost").unwrap().is_loopback());
        assert!(resolve("no-such-host.invalid").is_err());
    }
}
