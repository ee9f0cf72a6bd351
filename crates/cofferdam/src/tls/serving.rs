//! The certificate as rustls serves it, replaced while connections go on; and what a client trusts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::Context;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Where distributions keep the authorities that the site trusts.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The certificate that is served now.
#[derive(Debug)]
pub(crate) struct Serving {
    data: PathBuf,
    now: RwLock<(Arc<CertifiedKey>, Option<SystemTime>)>,
}

impl Serving {
    /// Loads it from the data directory.
    pub(crate) fn load(data: &Path) -> anyhow::Result<Arc<Self>> {
        let loaded = read(data)?;
        Ok(Arc::new(Self {
            data: data.to_owned(),
            now: RwLock::new(loaded),
        }))
    }

    /// What a listener is given.
    pub(crate) fn server_config(self: &Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Renews it when little time is left, and serves what is on disk. Whether it changed.
    pub(crate) fn refresh(&self, now: SystemTime) -> anyhow::Result<bool> {
        super::ensure(&self.data, &[], now)?;
        let known = self.now.read().unwrap_or_else(PoisonError::into_inner).1;
        if known.is_some() && known == stamp(&self.data) {
            return Ok(false);
        }
        let loaded = read(&self.data)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(true)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        Some(now.0.clone())
    }
}

fn read(data: &Path) -> anyhow::Result<(Arc<CertifiedKey>, Option<SystemTime>)> {
    let path = super::folder(data).join("server.pem");
    let stamp = stamp(data);
    let pem = fs::read(&path).with_context(|| {
        format!(
            "cannot read {}; make it with `cofferdam tls init --data {}`",
            path.display(),
            data.display()
        )
    })?;
    let key = certified(&pem).with_context(|| format!("{} cannot be served", path.display()))?;
    Ok((Arc::new(key), stamp))
}

fn stamp(data: &Path) -> Option<SystemTime> {
    let facts = fs::metadata(super::folder(data).join("server.pem"));
    facts.and_then(|facts| facts.modified()).ok()
}

/// Key and chain of a PEM text; an error when they do not belong together.
pub(super) fn certified(pem: &[u8]) -> anyhow::Result<CertifiedKey> {
    let (chain, key) = super::parts(pem)?;
    CertifiedKey::from_der(chain, key, &provider()).context("key and certificate do not match")
}

/// What a client trusts: the certificates in `authority`, else those that the host trusts.
pub(crate) fn client_config(authority: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let system = || {
        SYSTEM_ROOTS
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
    };
    let mut roots = RootCertStore::empty();
    if let Some(path) = authority.or_else(system) {
        let unusable = || format!("cannot use the certificates in {}", path.display());
        for found in CertificateDer::pem_file_iter(path).with_context(unusable)? {
            let found = found.with_context(unusable)?;
            let added = roots.add(found);
            // Of a system's many, one may be of a form that nobody here needs.
            if authority.is_some() {
                added.with_context(unusable)?;
            }
        }
    }
    Ok(Arc::new(
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .context("TLS cannot be set up")?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
