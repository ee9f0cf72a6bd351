//! The Python package index of a generation.
//!
//! Source: PEP 503 (HTML), 691 (JSON), 592 (yanked), 658 and 714 (metadata), 700 (versions, sizes).

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use bundle::Item;
use bundle::manifest::{Pypi, PypiFile};
use serde::Deserialize;
use serde_json::{Value, json};
use vocab::Digest;

use super::Shelf;
use super::asked::{JSON, form, normal, version};
use crate::fault::Fault;
use crate::href;

/// The version of the index that is served (PEP 700).
const API: &str = "1.1";

#[derive(Deserialize)]
pub(crate) struct OfProject {
    project: String,
}

#[derive(Deserialize)]
pub(crate) struct OfFile {
    sha256: String,
    filename: String,
}

#[derive(Template)]
#[template(path = "simple/index.html")]
struct Index<'a> {
    api: &'static str,
    projects: &'a [String],
}

#[derive(Template)]
#[template(path = "simple/project.html")]
struct Project<'a> {
    api: &'static str,
    name: &'a str,
    files: Vec<Row>,
}

/// One file of a project's page.
struct Row {
    href: String,
    filename: String,
    requires_python: Option<String>,
    yanked: Option<String>,
    core_metadata: Option<String>,
}

/// `GET /simple/`
pub(crate) async fn index(shelf: Shelf, asked: HeaderMap) -> Result<Response, Fault> {
    let projects: Vec<String> = shelf
        .all("pypi")
        .await?
        .into_iter()
        .filter_map(|item| match item {
            Item::Pypi(project) => Some(project.name),
            _ => None,
        })
        .collect();
    match form(liked(&asked)) {
        JSON => {
            let list: Vec<Value> = projects
                .iter()
                .map(|name| json!({ "name": name }))
                .collect();
            let text = json!({ "meta": { "api-version": API }, "projects": list }).to_string();
            page(JSON, text)
        }
        kind => {
            let index = Index {
                api: API,
                projects: &projects,
            };
            page(kind, index.render().map_err(Fault::internal)?)
        }
    }
}

/// `GET /simple/{project}`: its address has a slash at the end.
pub(crate) async fn to_project(
    shelf: Shelf,
    Path(OfProject { project }): Path<OfProject>,
) -> Result<Redirect, Fault> {
    match normal(&project) {
        Some(name) => Ok(to(&name)),
        None => Err(shelf.absent("pypi", &project)),
    }
}

fn to(name: &str) -> Redirect {
    Redirect::permanent(&format!("/simple/{name}/"))
}

/// `GET /simple/{project}/`
pub(crate) async fn project(
    shelf: Shelf,
    Path(OfProject { project }): Path<OfProject>,
    asked: HeaderMap,
) -> Result<Response, Fault> {
    let Some(name) = normal(&project) else {
        return Err(shelf.absent("pypi", &project));
    };
    if name != project {
        return Ok(to(&name).into_response());
    }
    let Some(Item::Pypi(found)) = shelf.item(format!("pypi:{name}")).await? else {
        return Err(shelf.absent("pypi", &name));
    };
    match form(liked(&asked)) {
        JSON => {
            let blobs = found.files.iter().map(|f| f.d).collect();
            let sizes = shelf.sizes(blobs).await?;
            page(JSON, as_json(&found, &sizes).to_string())
        }
        kind => {
            let project = Project {
                api: API,
                name: &found.name,
                files: found.files.iter().map(row).collect(),
            };
            page(kind, project.render().map_err(Fault::internal)?)
        }
    }
}

/// `GET /simple/files/{sha256}/{filename}`: a file, or its metadata under `.metadata`.
pub(crate) async fn file(
    shelf: Shelf,
    Path(OfFile { sha256, filename }): Path<OfFile>,
    asked: HeaderMap,
) -> Result<Response, Fault> {
    let absent = || shelf.absent("pypi", &filename);
    let digest: Digest = format!("sha256:{sha256}").parse().map_err(|_| absent())?;
    let (own_name, metadata) = match filename.strip_suffix(".metadata") {
        Some(own) => (own, true),
        None => (filename.as_str(), false),
    };
    // A project's name may hold dashes, so that only the generation tells where it ends.
    for (at, _) in own_name.match_indices('-') {
        let Some(name) = normal(&own_name[..at]) else {
            continue;
        };
        let Some(Item::Pypi(project)) = shelf.item(format!("pypi:{name}")).await? else {
            continue;
        };
        let Some(file) = project
            .files
            .iter()
            .find(|f| f.filename == own_name && f.d == digest)
        else {
            continue;
        };
        let blob = match (metadata, file.core_metadata) {
            (false, _) => file.d,
            (true, Some(metadata)) => metadata,
            (true, None) => return Err(absent()),
        };
        return shelf.blob(&blob, "application/octet-stream", &asked).await;
    }
    Err(absent())
}

/// The values of `Accept`.
fn liked(asked: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = asked.get_all(header::ACCEPT).iter();
    values.filter_map(|value| value.to_str().ok())
}

fn page(kind: &str, text: String) -> Result<Response, Fault> {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_str(kind).map_err(Fault::internal)?,
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn address(file: &PypiFile) -> String {
    format!("../files/{}/{}", file.d.hex(), href::value(&file.filename))
}

fn row(file: &PypiFile) -> Row {
    Row {
        href: format!("{}#sha256={}", address(file), file.d.hex()),
        filename: file.filename.clone(),
        requires_python: Some(file.requires_python.clone()).filter(|r| !r.is_empty()),
        yanked: file.yanked.clone(),
        core_metadata: file.core_metadata.map(|d| format!("sha256={}", d.hex())),
    }
}

fn as_json(project: &Pypi, sizes: &[u64]) -> Value {
    let versions: BTreeSet<String> = project
        .files
        .iter()
        .filter_map(|file| version(&file.filename, &project.name))
        .collect();
    let files: Vec<Value> = project
        .files
        .iter()
        .zip(sizes)
        .map(|(file, size)| file_json(file, *size))
        .collect();
    json!({
        "meta": { "api-version": API },
        "name": project.name,
        "versions": versions,
        "files": files,
    })
}

/// PEP 658's own word for the metadata is left out: pip 23.0, which Debian 12 has, trips over it
/// (PEP 714).
fn file_json(file: &PypiFile, size: u64) -> Value {
    let metadata = match file.core_metadata {
        Some(digest) => json!({ "sha256": digest.hex() }),
        None => Value::Bool(false),
    };
    let mut out = json!({
        "filename": file.filename,
        "url": address(file),
        "hashes": { "sha256": file.d.hex() },
        "size": size,
        "core-metadata": metadata,
        "yanked": match &file.yanked {
            Some(why) if why.is_empty() => Value::Bool(true),
            Some(why) => why.as_str().into(),
            None => Value::Bool(false),
        },
    });
    if !file.requires_python.is_empty() {
        out["requires-python"] = file.requires_python.as_str().into();
    }
    out
}
