//! Container images of a generation, for clients that pull.
//!
//! Names hold slashes, so that one route takes every address below `/v2/`. A manifest is served
//! by the tag or digest of an image in the generation, a blob only under the name of an image that
//! has it. Nothing can be pushed.
//! Source: OCI distribution-spec 1.1, "Pull" and "Content discovery"; the token flow of registries.

use std::collections::BTreeSet;

use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bundle::Item;
use bundle::manifest::Oci;
use serde::Deserialize;
use serde_json::{Value, json};
use vocab::Digest;

use super::asked::{Asked, parse};
use super::{Shelf, referrers};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::identify;
use crate::state::App;

/// Largest manifest that is served as one.
pub(super) const MANIFEST_BYTES: u64 = 4 << 20;
/// Most entries of one answer of a list.
const LIST: usize = 1_000;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

#[derive(Deserialize)]
pub(crate) struct Rest {
    rest: String,
}

#[derive(Deserialize)]
pub(crate) struct Page {
    n: Option<usize>,
    last: Option<String>,
    #[serde(rename = "artifactType")]
    artifact_type: Option<String>,
}

/// `GET /v2/`: who gets this answer may pull.
pub(crate) async fn version(_shelf: Shelf) -> Response {
    axum::Json(json!({})).into_response()
}

/// `GET /v2/token`: gives an image client the access token that it came with, as its bearer.
pub(crate) async fn token(ctx: Ctx, headers: HeaderMap) -> Result<Response, Fault> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| identify::token_in(value.to_str().ok()?))
        .ok_or_else(|| {
            Fault::unknown_caller().todo("give an access token as the password of the registry")
        })?;
    drop(ctx);
    let body = json!({ "token": given, "access_token": given, "expires_in": 3600 });
    let mut response = axum::Json(body).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /v2/{…}`
pub(crate) async fn get(
    shelf: Shelf,
    Path(Rest { rest }): Path<Rest>,
    Query(page): Query<Page>,
    asked: HeaderMap,
) -> Result<Response, Fault> {
    match parse(&rest) {
        Some(Asked::Catalog) => catalog(&shelf, &page).await,
        Some(Asked::Tags(name)) => tags(&shelf, name, &page).await,
        Some(Asked::Manifest(name, reference)) => manifest(&shelf, name, reference, &asked).await,
        Some(Asked::Blob(name, digest)) => blob(&shelf, name, digest, &asked).await,
        Some(Asked::Referrers(name, digest)) => {
            let images = images(&shelf, name).await?;
            if images.is_empty() {
                return Err(shelf.absent("oci", name));
            }
            referrers::list(&shelf, &images, digest, page.artifact_type.as_deref()).await
        }
        None => Err(Fault::new(
            StatusCode::NOT_FOUND,
            "this address names no manifest, blob or list of tags",
        )
        .todo("ask for /v2/NAME/manifests/TAG")),
    }
}

async fn images(shelf: &Shelf, name: &str) -> Result<Vec<Oci>, Fault> {
    let items = shelf.named("oci", name).await?;
    Ok(items
        .into_iter()
        .filter_map(|item| match item {
            Item::Oci(oci) if oci.name == name => Some(oci),
            _ => None,
        })
        .collect())
}

async fn manifest(
    shelf: &Shelf,
    name: &str,
    reference: &str,
    asked: &HeaderMap,
) -> Result<Response, Fault> {
    let images = images(shelf, name).await?;
    let by_digest = reference.parse::<Digest>().ok();
    let found = match by_digest {
        Some(digest) => images
            .iter()
            .any(|oci| oci.digest == digest || oci.blobs.contains(&digest))
            .then_some(digest),
        None => images
            .iter()
            .find(|oci| oci.tag == reference)
            .map(|oci| oci.digest),
    };
    let separator = if by_digest.is_some() { "@" } else { ":" };
    let absent = || shelf.absent("oci", &format!("{name}{separator}{reference}"));
    let Some(digest) = found else {
        if let Some(digest) = by_digest
            && let Some(found) = referrers::manifest(shelf, &images, &digest).await?
        {
            return Ok(found);
        }
        return Err(absent());
    };
    let Some(kind) = kind_of(shelf, digest).await else {
        // A layer, not a manifest.
        return Err(absent());
    };
    let mut response = shelf.blob(&digest, &kind, asked).await?;
    let headers = response.headers_mut();
    if by_digest.is_none() {
        // A tag may mean another manifest in the next generation.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    content_digest(headers, &digest)?;
    Ok(response)
}

/// The media type of a manifest, as it says itself; `None` for what is no manifest.
pub(super) async fn kind_of(shelf: &Shelf, digest: Digest) -> Option<String> {
    let bytes = shelf.small(digest, MANIFEST_BYTES).await.ok()?;
    let document: Value = serde_json::from_slice(&bytes).ok()?;
    if let Some(kind) = document["mediaType"].as_str() {
        let known = kind.starts_with("application/vnd.oci.image.")
            || kind.starts_with("application/vnd.docker.distribution.");
        return known.then(|| kind.to_owned());
    }
    if document["manifests"].is_array() {
        return Some(INDEX.to_owned());
    }
    if !document["layers"].is_array() {
        return None;
    }
    let config = document["config"]["mediaType"].as_str().unwrap_or_default();
    Some(if config.starts_with("application/vnd.docker.") {
        DOCKER_MANIFEST.to_owned()
    } else {
        MANIFEST.to_owned()
    })
}

async fn blob(
    shelf: &Shelf,
    name: &str,
    digest: &str,
    asked: &HeaderMap,
) -> Result<Response, Fault> {
    let absent = || shelf.absent("oci", &format!("{name}@{digest}"));
    let digest: Digest = digest.parse().map_err(|_| absent())?;
    let images = images(shelf, name).await?;
    if !images.iter().any(|oci| oci.blobs.contains(&digest)) {
        if let Some(found) = referrers::blob(shelf, &images, &digest).await? {
            return Ok(found);
        }
        return Err(absent());
    }
    let mut response = shelf
        .blob(&digest, "application/octet-stream", asked)
        .await?;
    content_digest(response.headers_mut(), &digest)?;
    Ok(response)
}

pub(super) fn content_digest(headers: &mut HeaderMap, digest: &Digest) -> Result<(), Fault> {
    let value = HeaderValue::from_str(&digest.to_string()).map_err(Fault::internal)?;
    headers.insert("docker-content-digest", value);
    Ok(())
}

async fn tags(shelf: &Shelf, name: &str, page: &Page) -> Result<Response, Fault> {
    let images = images(shelf, name).await?;
    if images.is_empty() {
        return Err(shelf.absent("oci", name));
    }
    let tags = images.into_iter().map(|oci| oci.tag).collect();
    let address = format!("/v2/{name}/tags/list");
    listed(
        &address,
        page,
        tags,
        |tags| json!({ "name": name, "tags": tags }),
    )
}

async fn catalog(shelf: &Shelf, page: &Page) -> Result<Response, Fault> {
    let names = shelf
        .all("oci")
        .await?
        .into_iter()
        .filter_map(|item| match item {
            Item::Oci(oci) => Some(oci.name),
            _ => None,
        });
    listed(
        "/v2/_catalog",
        page,
        names.collect(),
        |names| json!({ "repositories": names }),
    )
}

/// One page of a list, and where the next one is.
fn listed(
    address: &str,
    page: &Page,
    all: BTreeSet<String>,
    shape: impl FnOnce(&[&String]) -> Value,
) -> Result<Response, Fault> {
    let most = page.n.unwrap_or(LIST).min(LIST);
    let last = page.last.as_deref().unwrap_or_default();
    let after: Vec<&String> = all.iter().filter(|one| one.as_str() > last).collect();
    let here = &after[..after.len().min(most)];
    let mut response = axum::Json(shape(here)).into_response();
    if let Some(end) = here.last()
        && here.len() < after.len()
    {
        let next = format!(
            "<{address}?n={most}&last={}>; rel=\"next\"",
            crate::href::value(end)
        );
        let next = HeaderValue::from_str(&next).map_err(Fault::internal)?;
        response.headers_mut().insert(header::LINK, next);
    }
    Ok(response)
}

/// A fault as image clients read it.
pub(crate) fn error(fault: &Fault, incident: Option<String>) -> Response {
    let code = match fault.status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::NOT_FOUND => "MANIFEST_UNKNOWN",
        StatusCode::METHOD_NOT_ALLOWED => "UNSUPPORTED",
        _ => "UNKNOWN",
    };
    let mut message = fault.error.clone();
    if let Some(todo) = &fault.what_to_do {
        message.push_str("; ");
        message.push_str(todo);
    }
    if let Some(incident) = incident {
        message.push_str(&format!(" (incident {incident})"));
    }
    let body = json!({ "errors": [{ "code": code, "message": message, "detail": null }] });
    (fault.status, axum::Json(body)).into_response()
}

/// Where an image client gets its token: at this server, as the client itself calls it.
pub(crate) fn challenge(app: &App, host: Option<&HeaderValue>) -> HeaderValue {
    let base = super::address(app, host);
    let text = format!("Bearer realm=\"{base}/v2/token\",service=\"cofferdam\"");
    HeaderValue::from_str(&text)
        .unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"Cofferdam\""))
}
