//! Image verbs: import with progress, list, remove.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::sync::mpsc;

use super::admin;
use crate::cli::Image;
use crate::client::{self, Client};
use crate::output;

pub(super) async fn run(client: &Client, verb: Image, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Image::Import { path, name } => {
            let name = match name {
                Some(name) => name,
                None => default_name(&path)?,
            };
            let image = import(client, path, &name).await?;
            if as_json {
                output::json(&image);
            } else {
                let digest = output::text(&image, "digest");
                output::line(&format!("imported {name}, {digest}"));
            }
        }
        Image::List => {
            let list: Value = client.get("/api/v1/images").await?;
            if as_json {
                output::json(&list);
            } else {
                show(&list);
            }
        }
        Image::Explain { name } => {
            let told: Value = client.get(&format!("/api/v1/images/{name}")).await?;
            if as_json {
                output::json(&told);
            } else {
                explained(&told);
            }
        }
        Image::Remove { name } => {
            let path = format!("/api/v1/images/{name}");
            let gone: Value = client.call(Method::DELETE, &path, None).await?;
            if as_json {
                output::json(&gone);
            } else {
                output::line(&format!("removed {name}"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn explained(told: &Value) {
    output::line(&output::text(told, "digest"));
    for name in admin::rows_of(&told["names"], "names") {
        output::line(&format!("  called {}", name.as_str().unwrap_or_default()));
    }
    let deed = |what: &str, deed: &Value| {
        let text = |key| output::text(deed, key);
        let (by, at, seq) = (text("by"), text("at"), text("seq"));
        output::line(&format!("  {what} by {by} at {at}, audit entry {seq}"));
    };
    for one in admin::rows_of(&told["by_hand"], "by_hand") {
        deed("imported", one);
    }
    for bundle in admin::rows_of(&told["bundles"], "bundles") {
        let text = |key| output::text(bundle, key);
        let active = if bundle["active"] == true {
            ", active"
        } else {
            ""
        };
        output::line(&format!(
            "bundle {} {} {} (generation {}{active}), manifest sha256:{}",
            text("product"),
            text("channel"),
            text("seq"),
            text("generation"),
            text("manifest")
        ));
        for signer in admin::rows_of(&bundle["signers"], "signers") {
            let part = |at: usize| signer[at].as_str().unwrap_or_default();
            output::line(&format!("  signed by {} (key {})", part(0), part(1)));
        }
        for one in admin::rows_of(&bundle["approved"], "approved") {
            deed("approved", one);
        }
        if bundle["committed"].is_object() {
            deed("committed", &bundle["committed"]);
        }
    }
    let jobs = admin::rows_of(&told["jobs"], "jobs");
    if jobs.is_empty() {
        return output::line("no job has used it");
    }
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let columns = ["job", "attempt", "repo", "run", "name", "outcome"];
            columns.iter().map(|key| output::text(job, key)).collect()
        })
        .collect();
    output::table(&["job", "attempt", "repo", "run", "name", "outcome"], &rows);
}

fn show(list: &Value) {
    let rows: Vec<Vec<String>> = admin::rows_of(list, "images")
        .iter()
        .map(|image| {
            let python: Vec<&str> = admin::rows_of(&image["tools"]["python"], "python")
                .iter()
                .filter_map(|tool| tool["version"].as_str())
                .collect();
            vec![
                output::text(image, "name"),
                output::bytes(image["size_bytes"].as_u64().unwrap_or_default()),
                output::time(&image["imported"]),
                if python.is_empty() {
                    String::new()
                } else {
                    format!("python {}", python.join(", "))
                },
                output::text(image, "digest"),
            ]
        })
        .collect();
    if rows.is_empty() {
        output::line("no images; import one with `cofferdam image import FILE`");
    } else {
        output::table(&["name", "size", "imported", "tools", "digest"], &rows);
    }
}

/// Sends the archive, or the layout directory as a tar, and returns the server's answer.
async fn import(client: &Client, path: PathBuf, name: &str) -> anyhow::Result<Value> {
    let size_bytes = size_of(&path)?;
    let bar = progress(size_bytes, &format!("importing {name}"));
    let (chunks, received) = mpsc::channel::<io::Result<Bytes>>(8);
    let reading = tokio::task::spawn_blocking({
        let bar = bar.clone();
        move || send_file(&path, &Chunks { to: chunks, bar })
    });
    let answer = client
        .send(
            Method::PUT,
            &format!("/api/v1/images/{name}"),
            Some("application/x-tar"),
            client::streamed(received),
        )
        .await;
    bar.finish_and_clear();
    let answer = client::accepted(answer?).await?;
    reading.await.context("the reading thread ended early")??;
    let bytes = answer
        .into_body()
        .collect()
        .await
        .context("the answer broke off")?
        .to_bytes();
    serde_json::from_slice(&bytes).context("the server's answer is not what this version expects")
}

/// A writer that hands what it is given to the request's body, chunk by chunk.
pub(super) struct Chunks {
    pub(super) to: mpsc::Sender<io::Result<Bytes>>,
    pub(super) bar: ProgressBar,
}

impl Write for &Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bar.inc(bytes.len() as u64);
        self.to
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send_file(path: &Path, chunks: &Chunks) -> anyhow::Result<()> {
    let sent = if path.is_dir() {
        let mut tar = tar::Builder::new(io::BufWriter::with_capacity(256 << 10, chunks));
        tar.follow_symlinks(false);
        tar.append_dir_all(".", path)
            .and_then(|()| tar.into_inner())
            .and_then(|mut out| out.flush())
    } else {
        copy(path, chunks)
    };
    finish(sent, path, chunks)
}

/// Ends a body that was read from `path`: a failure on this side becomes one on the other.
pub(super) fn finish(sent: io::Result<()>, path: &Path, chunks: &Chunks) -> anyhow::Result<()> {
    match sent {
        // The server stopped reading: its own answer says why.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => {
            let failed = format!("cannot read {}", path.display());
            // A broken body makes the server drop what it has, instead of taking half a file.
            if chunks
                .to
                .blocking_send(Err(io::Error::other(failed.clone())))
                .is_err()
            {
                tracing::debug!("the server had stopped reading");
            }
            Err(e).context(failed)
        }
        Ok(()) => Ok(()),
    }
}

pub(super) fn copy(path: &Path, mut chunks: &Chunks) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            n => chunks.write_all(&buffer[..n])?,
        }
    }
}

fn size_of(path: &Path) -> anyhow::Result<u64> {
    let look = || format!("cannot read {}", path.display());
    let meta = std::fs::metadata(path).with_context(look)?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    if !path.join("oci-layout").exists() {
        bail!(
            "{} is no OCI layout: it has no file oci-layout",
            path.display()
        );
    }
    let mut total = 0;
    for entry in std::fs::read_dir(path.join("blobs/sha256")).with_context(look)? {
        total += entry.and_then(|e| e.metadata()).with_context(look)?.len();
    }
    Ok(total)
}

/// The file's name without its endings; a directory's own name.
fn default_name(path: &Path) -> anyhow::Result<String> {
    let full = path
        .canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))?;
    let name = full
        .file_name()
        .and_then(|n| n.to_str())
        .context("the path has no file name")?;
    let mut name = name;
    for ending in [".gz", ".zst", ".tar", ".oci"] {
        name = name.strip_suffix(ending).unwrap_or(name);
    }
    Ok(name.to_owned())
}

/// A bar with rate and time left on a terminal; nothing elsewhere.
pub(super) fn progress(size_bytes: u64, what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is a constant");
    ProgressBar::new(size_bytes)
        .with_style(style)
        .with_message(what.to_owned())
}

/// What has come so far and how fast, on a terminal, where nobody knows how much there will be.
pub(super) fn counter(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bytes}, {bytes_per_sec}");
    ProgressBar::no_length()
        .with_style(style.expect("the template is a constant"))
        .with_message(what.to_owned())
}
