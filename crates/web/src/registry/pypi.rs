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
use crate::fault::Fault;
use crate::href;

const JSON: &str = "application/vnd.pypi.simple.v1+json";
const HTML: &str = "application/vnd.pypi.simple.v1+html";
const PLAIN_HTML: &str = "text/html; charset=utf-8";
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
    match form(&asked) {
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
    match form(&asked) {
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

/// A project's name as addresses have it (PEP 503): lower case, runs of `-`, `_` and `.` as `-`.
/// `None` for what cannot be a name (PEP 508).
fn normal(name: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let end = |c: char| c.is_ascii_alphanumeric();
    let fine = (1..=200).contains(&name.len())
        && name.bytes().all(plain)
        && name.starts_with(end)
        && name.ends_with(end);
    if !fine {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    Some(out)
}

/// The version in a file's name: the second part of a wheel's, what follows the project's name
/// in another's.
pub(crate) fn version(filename: &str, project: &str) -> Option<String> {
    if let Some(wheel) = filename.strip_suffix(".whl") {
        return wheel.split('-').nth(1).map(str::to_owned);
    }
    let stem = [".tar.gz", ".zip", ".tar.bz2", ".tgz"]
        .iter()
        .find_map(|end| filename.strip_suffix(end))?;
    stem.match_indices('-')
        .find(|(at, _)| normal(&stem[..*at]).as_deref() == Some(project))
        .map(|(at, _)| stem[at + 1..].to_owned())
}

/// The form that the caller likes best; HTML when it does not say.
fn form(asked: &HeaderMap) -> &'static str {
    let accept = asked.get_all(header::ACCEPT).iter();
    let mut best = (PLAIN_HTML, 0.0);
    for word in accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
    {
        let mut parts = word.split(';').map(str::trim);
        let kind = match parts.next() {
            Some(
                "application/vnd.pypi.simple.v1+json" | "application/vnd.pypi.simple.latest+json",
            ) => JSON,
            Some(
                "application/vnd.pypi.simple.v1+html" | "application/vnd.pypi.simple.latest+html",
            ) => HTML,
            Some("text/html" | "text/*" | "*/*") => PLAIN_HTML,
            _ => continue,
        };
        let weight: f32 = parts
            .find_map(|p| p.strip_prefix("q=")?.trim().parse().ok())
            .unwrap_or(1.0);
        if weight > best.1 {
            best = (kind, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normal_in_one_way() {
        for odd in ["Foo.Bar", "foo__bar", "FOO-_.bar"] {
            assert_eq!(normal(odd).as_deref(), Some("foo-bar"), "{odd}");
        }
        for odd in ["", "../x", "a/b", "-a", "a.", "a\u{0}", "ä"] {
            assert_eq!(normal(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn versions_are_read_from_names() {
        let of = |filename| version(filename, "zope-interface");
        assert_eq!(
            of("zope.interface-7.0-cp312-cp312-linux_x86_64.whl").unwrap(),
            "7.0"
        );
        assert_eq!(of("zope_interface-7.0.post1.tar.gz").unwrap(), "7.0.post1");
        assert_eq!(of("zope-interface-7.0.zip").unwrap(), "7.0");
        assert_eq!(of("other-1.0.tar.gz"), None);
        assert_eq!(of("README"), None);
    }

    #[test]
    fn the_form_follows_what_the_caller_likes() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            form(&headers)
        };
        let pip = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";
        assert_eq!(of(pip), JSON);
        assert_eq!(
            of("text/html, application/vnd.pypi.simple.v1+json;q=0.5"),
            PLAIN_HTML
        );
        assert_eq!(of(HTML), HTML);
        assert_eq!(of("*/*"), PLAIN_HTML);
        assert_eq!(of("image/png"), PLAIN_HTML);
        assert_eq!(form(&HeaderMap::new()), PLAIN_HTML);
    }
}
