//! Images from a registry, by name and tag; pinned and fetched by digest.
//!
//! The one place here that speaks a network protocol itself, and the one that is asynchronous: a
//! small runtime lives as long as one call. Credentials are those of the usual docker
//! `config.json`. Names are resolved without the name service switch. Every byte is hashed again.

mod credentials;

use std::io::Write as _;

use bundle::manifest::Origin;
use bundle::{Archive, Item, Stored, image_of};
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use vocab::Digest;

use super::{Means, SourceError, oci};
use crate::cache::Kept;
use crate::lock::Pin;
use crate::recipe::Oci;

/// Largest manifest that is read.
const MANIFEST_MAX_BYTES: usize = 4 << 20;

const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const IMAGE_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

pub(super) fn resolve(want: &Oci, means: &Means<'_>) -> Result<Pin, SourceError> {
    let from = place(want);
    let session = Session::open(from)?;
    let mut pin = Pin::default();
    for tag in &want.tags {
        means.watch.begin(&format!("fetch {from}:{tag}"));
        let packed = session.image(&session.named(tag)?, means)?;
        let source = Origin {
            uri: format!("registry:{from}:{tag}"),
            checked: "digest of the manifest".to_owned(),
        };
        let mut alone = want.clone();
        alone.tags = vec![tag.clone()];
        if Some(tag) != want.tags.first() {
            alone.labels.clear();
        }
        let found = packed.pin(&alone, &source);
        pin.blobs.extend(found.blobs);
        pin.items.extend(found.items);
    }
    pin.items.sort_by_key(Item::key);
    Ok(pin)
}

/// Where the registry has it.
fn place(want: &Oci) -> &str {
    want.from.as_deref().unwrap_or(&want.name)
}

/// Fetches the images of `pin` again, by digest.
pub(super) fn fetch(want: &Oci, pin: &Pin, means: &Means<'_>) -> Result<(), SourceError> {
    let session = Session::open(place(want))?;
    for item in &pin.items {
        if let Item::Oci(image) = item {
            means
                .watch
                .begin(&format!("fetch {}@{}", want.name, image.digest));
            session.image(
                &session.base.clone_with_digest(image.digest.to_string()),
                means,
            )?;
        }
    }
    Ok(())
}

/// A client for one repository of a registry.
struct Session {
    runtime: tokio::runtime::Runtime,
    client: Client,
    auth: RegistryAuth,
    base: Reference,
}

fn refused(what: &str, error: &dyn std::error::Error) -> SourceError {
    let mut said = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        said += &format!(": {inner}");
        cause = inner.source();
    }
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    SourceError::Refused(said.chars().map(clean).take(600).collect())
}

impl Session {
    fn open(name: &str) -> Result<Self, SourceError> {
        let base: Reference = name.parse().map_err(|e| refused(name, &e))?;
        // Fails when it was done before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| refused("the runtime of the registry client", &e))?;
        let host = base.resolve_registry().to_owned();
        let config = ClientConfig {
            // As docker does: plain HTTP to this very host only.
            protocol: if is_loopback(&host) {
                ClientProtocol::HttpsExcept(vec![host.clone()])
            } else {
                ClientProtocol::Https
            },
            user_agent: concat!("cofferdam/", env!("CARGO_PKG_VERSION")),
            connect_timeout: Some(std::time::Duration::from_secs(20)),
            read_timeout: Some(std::time::Duration::from_secs(120)),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|e| refused("the registry client", &e))?;
        Ok(Self {
            runtime,
            client,
            auth: credentials::of(base.registry())?,
            base,
        })
    }

    fn named(&self, tag: &str) -> Result<Reference, SourceError> {
        let text = format!("{}/{}:{tag}", self.base.registry(), self.base.repository());
        text.parse().map_err(|e| refused(&text, &e))
    }

    /// Fetches a whole image into the cache.
    fn image(&self, from: &Reference, means: &Means<'_>) -> Result<oci::Packed, SourceError> {
        let (digest, bytes) = self.image_manifest(from)?;
        let manifest: Value = serde_json::from_slice(&bytes)
            .map_err(|e| refused(&format!("the manifest of {from}"), &e))?;
        let kept = means.cache.keep_bytes(&bytes)?;
        let mut archive = Archive::default();
        let index = json!({ "manifests": [{ "digest": digest }] }).to_string();
        let mut files = vec![means.cache.keep_bytes(index.as_bytes())?, kept];
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for part in layers.chain([&manifest["config"]]) {
            files.push(self.blob(from, part, means)?);
        }
        for (at, kept) in files.iter().enumerate() {
            let name = match at {
                0 => "index.json".to_owned(),
                _ => format!("blobs/sha256/{}", kept.digest.hex()),
            };
            let stored = Stored {
                digest: kept.digest,
                size_bytes: kept.size_bytes,
            };
            archive.files.insert(name, stored);
        }
        let read = |digest: &Digest| means.cache.bytes(digest).map_err(|e| e.to_string());
        let image = image_of(&archive, &read).map_err(|e| refused(&from.to_string(), &e))?;
        oci::as_it_is(&image, means.cache)
    }

    /// The manifest of the image for linux/amd64, with its digest.
    fn image_manifest(&self, from: &Reference) -> Result<(Digest, Vec<u8>), SourceError> {
        let accepted = [&IMAGE_TYPES[..], &INDEX_TYPES[..]].concat();
        let (digest, bytes) = self.manifest(from, &accepted)?;
        let read: Value =
            serde_json::from_slice(&bytes).map_err(|e| refused(&from.to_string(), &e))?;
        let Some(listed) = read["manifests"].as_array() else {
            return Ok((digest, bytes));
        };
        let fits = |entry: &&Value| {
            let platform = &entry["platform"];
            platform["os"] == "linux" && platform["architecture"] == "amd64"
        };
        let found = listed
            .iter()
            .find(fits)
            .and_then(|entry| entry["digest"].as_str());
        let found = found
            .ok_or_else(|| SourceError::Refused(format!("{from} has no image for linux/amd64")))?;
        self.manifest(&from.clone_with_digest(found.to_owned()), &IMAGE_TYPES)
    }

    fn manifest(
        &self,
        from: &Reference,
        accepted: &[&str],
    ) -> Result<(Digest, Vec<u8>), SourceError> {
        let asked = self.client.pull_manifest_raw(from, &self.auth, accepted);
        let (bytes, _) = self.runtime.block_on(asked).map_err(|e| told(from, &e))?;
        if bytes.len() > MANIFEST_MAX_BYTES {
            return Err(SourceError::Refused(format!(
                "the manifest of {from} is too large"
            )));
        }
        let digest = Digest::of(&bytes);
        match from.digest() {
            Some(expected) if expected != digest.to_string() => Err(SourceError::Refused(format!(
                "{from} came as {digest}; the registry or the way to it cannot be trusted"
            ))),
            _ => Ok((digest, bytes.to_vec())),
        }
    }

    /// Fetches one blob that a manifest names, unless the cache has it.
    fn blob(&self, from: &Reference, part: &Value, means: &Means<'_>) -> Result<Kept, SourceError> {
        let wrong = || SourceError::Refused(format!("the manifest of {from} names no digest"));
        let digest: Digest = part["digest"]
            .as_str()
            .ok_or_else(wrong)?
            .parse()
            .map_err(|_| wrong())?;
        let size = part["size"].as_u64().ok_or_else(wrong)?;
        if means.cache.has(&digest, size) {
            return Ok(Kept {
                digest,
                size_bytes: size,
            });
        }
        let descriptor = OciDescriptor {
            digest: digest.to_string(),
            size: i64::try_from(size).map_err(|_| wrong())?,
            ..OciDescriptor::default()
        };
        let mut blob = means.cache.begin()?;
        let (mut done, cut) = (0, || {
            SourceError::Refused(format!("{digest} is not as long as it should be"))
        });
        self.runtime.block_on(async {
            let mut stream = self
                .client
                .pull_blob_stream(from, &descriptor)
                .await
                .map_err(|e| told(from, &e))?;
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(|e| refused(&digest.to_string(), &e))?;
                done += piece.len() as u64;
                if done > size {
                    return Err(cut());
                }
                blob.write_all(&piece)
                    .map_err(|e| refused("the cache", &e))?;
                means.watch.bytes(done, size);
            }
            Ok(())
        })?;
        let kept = means.cache.end(blob)?;
        if kept.digest != digest || kept.size_bytes != size {
            return Err(SourceError::Refused(format!(
                "{digest} came as {}; the registry or the way to it cannot be trusted",
                kept.digest
            )));
        }
        Ok(kept)
    }
}

fn told(from: &Reference, error: &OciDistributionError) -> SourceError {
    refused(&from.to_string(), error)
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.starts_with("127.")
}
