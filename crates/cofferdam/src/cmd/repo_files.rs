//! Repos as files: import, export, check, collect.

use std::fs::{self, File};
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use git::{BundleHead, Durability, PackError, Repository};
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::admin::{repo_path, rows_of, say};
use super::image::{self, Chunks};
use crate::client::{self, Client};
use crate::output;

/// Where the objects come from.
enum Source {
    File(PathBuf),
    Directory(Box<Repository>),
}

impl Source {
    /// Opens it; also the branch that a clone of it checks out, and its size where it is known.
    fn open(path: &Path) -> anyhow::Result<(Self, Option<String>, u64)> {
        let look = || format!("cannot read {}", path.display());
        if path.is_dir() {
            let inner = path.join(".git");
            let dir = if inner.is_dir() { &inner } else { path };
            let repository = Repository::open(dir, Durability::Full)?;
            let branch = repository.head().with_context(look)?;
            let branch = branch.branch().and_then(|b| b.strip_prefix("refs/heads/"));
            let branch = branch.map(str::to_owned);
            let size = repository.disk_bytes().with_context(look)?;
            return Ok((Self::Directory(Box::new(repository)), branch, size));
        }
        let file = File::open(path).with_context(look)?;
        let size = file.metadata().with_context(look)?.len();
        let head = BundleHead::read(&mut BufReader::new(file)).with_context(look)?;
        let branch = head.default_branch().map(str::to_owned);
        Ok((Self::File(path.to_owned()), branch, size))
    }

    fn send(&self, mut chunks: &Chunks) -> io::Result<()> {
        match self {
            Self::File(path) => image::copy(path, chunks),
            Self::Directory(repository) => {
                let mut out = io::BufWriter::with_capacity(256 << 10, &mut chunks);
                match repository.write_bundle(&mut out) {
                    Ok(_) => out.flush(),
                    Err(PackError::Io(error)) => Err(error),
                    Err(error) => Err(io::Error::other(error)),
                }
            }
        }
    }
}

pub(super) async fn import(
    client: &Client,
    path: &str,
    source: &Path,
    mut wanted: Value,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let api = repo_path(path)?;
    // What cannot be read must not leave an empty repo behind.
    let (opened, branch, size) = Source::open(source)?;
    wanted["default_branch"] = json!(branch);
    let made = client
        .call::<Value>(Method::POST, "/api/v1/repos", Some(wanted))
        .await;
    let new = match made {
        Ok(_) => true,
        // An empty repo that is there will do; the server says if it is not empty.
        Err(error) => match client.get::<Value>(&api).await {
            Ok(_) => false,
            Err(_) => return Err(error),
        },
    };
    let taken = send(client, &format!("{api}/import"), source, opened, size).await;
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            if new && let Err(left) = client.call::<Value>(Method::DELETE, &api, None).await {
                bail!("{error:#}; the empty repo {path} stays: {left:#}");
            }
            return Err(error);
        }
    };
    say(as_json, &taken, || {
        let mut words = format!("took {} refs into {path}", taken["refs"]);
        let left: Vec<String> = rows_of(&taken["left_out"], "left_out")
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        if !left.is_empty() {
            words.push_str(&format!("\nleft out: {}", left.join(", ")));
        }
        words
    });
    Ok(ExitCode::SUCCESS)
}

async fn send(
    client: &Client,
    api: &str,
    path: &Path,
    source: Source,
    size: u64,
) -> anyhow::Result<Value> {
    let bar = image::progress(size, &format!("importing {}", path.display()));
    let (to, received) = mpsc::channel(8);
    let reading = tokio::task::spawn_blocking({
        let (bar, path) = (bar.clone(), path.to_owned());
        move || {
            let chunks = Chunks { to, bar };
            image::finish(source.send(&chunks), &path, &chunks)
        }
    });
    let kind = Some("application/x-git-bundle");
    let answer = client
        .send(Method::POST, api, kind, client::streamed(received))
        .await;
    bar.finish_and_clear();
    let answer = client::accepted(answer?).await;
    reading.await.context("the reading thread ended early")??;
    let bytes = answer?
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?
        .to_bytes();
    serde_json::from_slice(&bytes).context("the server's answer is not what this version expects")
}

pub(super) async fn export(
    client: &Client,
    path: &str,
    out: &Path,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    if out.exists() {
        bail!("{} exists already; choose another name", out.display());
    }
    let api = format!("{}/bundle", repo_path(path)?);
    let answer = client
        .send(Method::GET, &api, None, client::empty())
        .await?;
    let answer = client::accepted(answer).await?;
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let size = match receive(answer.into_body(), &part).await {
        Ok(size) => size,
        Err(error) => {
            if let Err(left) = fs::remove_file(&part) {
                tracing::debug!(path = %part.display(), error = %left, "half a file stays");
            }
            return Err(error);
        }
    };
    fs::rename(&part, out).with_context(|| format!("cannot write {}", out.display()))?;
    let told = json!({ "repo": path, "file": out, "bytes": size });
    say(as_json, &told, || {
        format!(
            "wrote {} of {path} to {}",
            output::bytes(size),
            out.display()
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Writes the body to a file and proves that it is whole: its length and its checksum.
async fn receive(mut body: hyper::body::Incoming, part: &Path) -> anyhow::Result<u64> {
    let failed = || format!("cannot write {}", part.display());
    let mut file = File::create(part).with_context(failed)?;
    let bar = image::counter("exporting");
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off")?;
        if let Some(bytes) = frame.data_ref() {
            file.write_all(bytes).with_context(failed)?;
            size += bytes.len() as u64;
            bar.inc(bytes.len() as u64);
        }
    }
    bar.finish_and_clear();
    file.sync_all().with_context(failed)?;
    git::check_bundle(part).context("the server could not write all of it; its log says why")?;
    Ok(size)
}

pub(super) async fn check(client: &Client, path: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let api = format!("{}/check", repo_path(path)?);
    let found: Value = client.call(Method::POST, &api, None).await?;
    let problems = rows_of(&found["problems"], "problems");
    say(as_json, &found, || {
        let mut words = String::new();
        for problem in problems {
            words.push_str(&format!(
                "problem: {}\n",
                problem.as_str().unwrap_or_default()
            ));
        }
        words.push_str(&format!(
            "checked {} objects in {} packs and {} refs of {path}: {}",
            found["objects"],
            found["packs"],
            found["refs"],
            match problems.len() {
                0 => "all is well".to_owned(),
                n => format!("{n} problems"),
            }
        ));
        words
    });
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

pub(super) async fn collect(
    client: &Client,
    path: &str,
    grace_days: u32,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let api = format!("{}/gc", repo_path(path)?);
    let body = json!({ "grace_days": grace_days });
    let done: Value = client.call(Method::POST, &api, Some(body)).await?;
    say(as_json, &done, || {
        format!(
            "{} objects reachable, {} set aside for {grace_days} days, {} removed; {} packs, now \
             {}; {} on disk, {} before",
            done["reachable"],
            done["set_aside"],
            done["removed"],
            done["packs_before"],
            done["packs_after"],
            output::bytes(done["bytes_after"].as_u64().unwrap_or_default()),
            output::bytes(done["bytes_before"].as_u64().unwrap_or_default()),
        )
    });
    Ok(ExitCode::SUCCESS)
}
