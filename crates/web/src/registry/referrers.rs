//! What refers to an image: the signed statement of how its bundle came in.
//!
//! Nothing is stored: the statement is a function of the generation, the audit log and the key, so
//! that whoever asks twice gets the same bytes under the same digest.
//! Source: OCI distribution-spec 1.1, "Listing Referrers"; OCI image-spec 1.1, "Guidelines for
//! Artifact Usage".

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bundle::manifest::Oci;
use serde_json::{Value, json};
use vocab::Digest;

use super::Shelf;
use crate::fault::Fault;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
/// What kind of artifact a statement is.
pub(super) const STATEMENT: &str = "application/vnd.in-toto+json";
/// The configuration of an artifact that has none.
const NOTHING: &[u8] = b"{}";

/// A statement about one image, as registries serve it.
pub(super) struct Artifact {
    manifest: Vec<u8>,
    envelope: Vec<u8>,
}

impl Artifact {
    /// The statement about `image`; `None` where nothing is signed here.
    pub(super) async fn of(shelf: &Shelf, image: &Oci) -> Result<Option<Self>, Fault> {
        let (Some(attester), Some(generation)) = (shelf.app.attester.clone(), shelf.generation)
        else {
            return Ok(None);
        };
        let (name, digest) = (format!("{}:{}", image.name, image.tag), image.digest);
        let envelope = shelf
            .app
            .read(move |db| {
                let found = attester.custody_of_image(db, generation, &name, &digest);
                found.map_err(Fault::internal)
            })
            .await?;
        let Some(envelope) = envelope else {
            return Ok(None);
        };
        let size = shelf
            .small(image.digest, super::oci::MANIFEST_BYTES)
            .await?
            .len();
        let kind = super::oci::kind_of(shelf, image.digest).await;
        let subject = json!({
            "mediaType": kind.unwrap_or_else(|| MANIFEST.to_owned()),
            "digest": image.digest, "size": size,
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": STATEMENT,
            "config": {
                "mediaType": EMPTY, "digest": Digest::of(NOTHING), "size": NOTHING.len(),
            },
            "layers": [{
                "mediaType": ENVELOPE,
                "digest": Digest::of(&envelope),
                "size": envelope.len(),
                "annotations": Self::annotations(),
            }],
            "subject": subject,
            "annotations": Self::annotations(),
        });
        Ok(Some(Self {
            manifest: manifest.to_string().into_bytes(),
            envelope,
        }))
    }

    fn annotations() -> Value {
        json!({ "in-toto.io/predicate-type": evidence::attestation::CUSTODY })
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Its line in a list of referrers.
    fn descriptor(&self) -> Value {
        json!({
            "mediaType": MANIFEST,
            "digest": self.digest(),
            "size": self.manifest.len(),
            "artifactType": STATEMENT,
            "annotations": Self::annotations(),
        })
    }

    /// Its manifest, if that has this digest.
    fn manifest(self, digest: &Digest) -> Option<Vec<u8>> {
        (self.digest() == *digest).then_some(self.manifest)
    }

    /// What of its content has this digest.
    fn blob(self, digest: &Digest) -> Option<Vec<u8>> {
        (Digest::of(&self.envelope) == *digest).then_some(self.envelope)
    }
}

/// `GET /v2/{name}/referrers/{digest}`: never a 404 for a digest that nothing refers to.
pub(super) async fn list(
    shelf: &Shelf,
    images: &[Oci],
    digest: &str,
    wanted: Option<&str>,
) -> Result<Response, Fault> {
    let subject: Digest = digest
        .parse()
        .map_err(|_| Fault::bad(format!("'{digest}' is no digest of SHA-256")))?;
    let mut found = Vec::new();
    let mut seen = images.iter().filter(|image| image.digest == subject);
    if wanted.is_none_or(|kind| kind == STATEMENT)
        && let Some(image) = seen.next()
        && let Some(artifact) = Artifact::of(shelf, image).await?
    {
        found.push(artifact.descriptor());
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": found });
    let mut response = answer(index.to_string().into_bytes(), INDEX)?;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if wanted.is_some() {
        let name = header::HeaderName::from_static("oci-filters-applied");
        headers.insert(name, HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

/// The manifest of a statement about one of `images`.
pub(super) async fn manifest(
    shelf: &Shelf,
    images: &[Oci],
    digest: &Digest,
) -> Result<Option<Response>, Fault> {
    for image in images {
        let artifact = Artifact::of(shelf, image).await?;
        if let Some(bytes) = artifact.and_then(|artifact| artifact.manifest(digest)) {
            return answer(bytes, MANIFEST).map(Some);
        }
    }
    Ok(None)
}

/// What a statement about one of `images` consists of.
pub(super) async fn blob(
    shelf: &Shelf,
    images: &[Oci],
    digest: &Digest,
) -> Result<Option<Response>, Fault> {
    if *digest == Digest::of(NOTHING) && !images.is_empty() {
        return answer(NOTHING.to_vec(), EMPTY).map(Some);
    }
    for image in images {
        let artifact = Artifact::of(shelf, image).await?;
        if let Some(bytes) = artifact.and_then(|artifact| artifact.blob(digest)) {
            return answer(bytes, ENVELOPE).map(Some);
        }
    }
    Ok(None)
}

fn answer(bytes: Vec<u8>, kind: &'static str) -> Result<Response, Fault> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    super::oci::content_digest(&mut headers, &Digest::of(&bytes))?;
    Ok((StatusCode::OK, headers, bytes).into_response())
}
