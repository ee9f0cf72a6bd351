//! Tools of a generation, and the list of them in the shape that `setup-*` actions read.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bundle::Item;
use bundle::manifest::{Tool, ToolFormat};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shelf;
use crate::fault::Fault;
use crate::href;

#[derive(Deserialize)]
pub(crate) struct OfTool {
    name: String,
}

#[derive(Deserialize)]
pub(crate) struct OfFile {
    name: String,
    version: String,
    filename: String,
}

/// `GET /toolcache/versions-manifest.json`: every tool.
pub(crate) async fn all(shelf: Shelf, headers: HeaderMap) -> Result<Response, Fault> {
    let items = shelf.all("toolcache").await?;
    Ok(manifest(&shelf, items, &headers))
}

/// `GET /toolcache/{name}/versions-manifest.json`: one tool.
pub(crate) async fn one(
    shelf: Shelf,
    Path(OfTool { name }): Path<OfTool>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let items = shelf.named("toolcache", &name).await?;
    if items.is_empty() {
        return Err(shelf.absent("toolcache", &name));
    }
    Ok(manifest(&shelf, items, &headers))
}

/// `GET /toolcache/{name}/{version}/{filename}`
pub(crate) async fn archive(
    shelf: Shelf,
    Path(asked): Path<OfFile>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let items = shelf.named("toolcache", &asked.name).await?;
    let found = items.into_iter().find_map(|item| match item {
        Item::Toolcache(tool)
            if tool.version == asked.version && filename(&tool) == asked.filename =>
        {
            Some(tool)
        }
        _ => None,
    });
    match found {
        Some(tool) => {
            let kind = "application/octet-stream";
            shelf.blob(&tool.d, kind, &headers).await
        }
        None => {
            let name = format!("{} {}", asked.name, asked.version);
            Err(shelf.absent("toolcache", &name))
        }
    }
}

/// Newest first, each version with its archives; the name of the tool is an addition of ours.
fn manifest(shelf: &Shelf, items: Vec<Item>, headers: &HeaderMap) -> Response {
    let base = shelf.address(headers.get(header::HOST));
    let mut versions: BTreeMap<(String, Vec<u64>, String), Vec<Tool>> = BTreeMap::new();
    for item in items {
        if let Item::Toolcache(tool) = item {
            let key = (
                tool.name.clone(),
                numbers(&tool.version),
                tool.version.clone(),
            );
            versions.entry(key).or_default().push(tool);
        }
    }
    let list: Vec<Value> = versions
        .into_iter()
        .rev()
        .map(|((name, numbers, version), tools)| {
            let files: Vec<Value> = tools.iter().map(|tool| file(&base, tool)).collect();
            json!({
                "tool": name,
                "version": version,
                "stable": numbers.len() == 3,
                "release_url": format!("{base}/toolcache/{}/versions-manifest.json", href::path(&name)),
                "files": files,
            })
        })
        .collect();
    let mut response = Json(list).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn file(base: &str, tool: &Tool) -> Value {
    let filename = filename(tool);
    let (name, version) = (href::value(&tool.name), href::value(&tool.version));
    json!({
        "filename": filename,
        "arch": tool.arch,
        "platform": "linux",
        "download_url": format!("{base}/toolcache/{name}/{version}/{}", href::value(&filename)),
    })
}

fn filename(tool: &Tool) -> String {
    let end = match tool.format {
        ToolFormat::TarGz => "tar.gz",
        ToolFormat::TarZst => "tar.zst",
    };
    format!("{}-{}-linux-{}.{end}", tool.name, tool.version, tool.arch)
}

/// The parts of a version as numbers; none for what is no plain version.
fn numbers(version: &str) -> Vec<u64> {
    let parts: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.unwrap_or_default()
}
