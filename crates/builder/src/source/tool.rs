//! Tools for `setup-*` actions: an archive by address and digest, from a file, or an npm package.
//!
//! The archive is carried as it is; nothing of it runs here.

use std::path::Path;

use bundle::Item;
use bundle::manifest::{self, Origin, ToolFormat};
use serde::Deserialize;

use super::{Means, SourceError, blob, digest};
use crate::cache::Kept;
use crate::child::Child;
use crate::lock::Pin;
use crate::recipe::Tool;

/// What `npm pack --json` says, as far as it is used.
#[derive(Deserialize)]
struct Packed {
    name: String,
    version: String,
    filename: String,
    integrity: String,
}

pub(super) fn resolve(want: &Tool, means: &Means<'_>) -> Result<Pin, SourceError> {
    let version = || want.version.clone().unwrap_or_default();
    let (kept, version, source) = if let Some(package) = &want.npm {
        let (kept, packed) = npm(package, means)?;
        let source = Origin {
            uri: format!("npm:{}@{}", packed.name, packed.version),
            checked: format!("npm integrity {}", packed.integrity),
        };
        (kept, packed.version, source)
    } else if let Some(url) = &want.url {
        let expected = digest(want.sha256.as_deref().unwrap_or_default())?;
        let source = Origin {
            uri: url.clone(),
            checked: "sha256 of the recipe".to_owned(),
        };
        (download(url, &expected, means)?, version(), source)
    } else {
        let file = want.file.as_deref().unwrap_or(Path::new(""));
        let source = Origin {
            uri: format!("file:{}", file.display()),
            checked: "read from the recipe's folder".to_owned(),
        };
        (
            means.cache.keep_file(&means.folder.join(file))?,
            version(),
            source,
        )
    };
    let (format, media) = format_of(kept, means)?;
    Ok(Pin {
        blobs: vec![blob(kept, media)],
        items: vec![Item::Toolcache(manifest::Tool {
            name: name_of(&want.tool),
            version,
            arch: want.arch.clone(),
            d: kept.digest,
            format,
            strip: want.strip.unwrap_or(u32::from(want.npm.is_some())),
            source,
        })],
        ..Pin::default()
    })
}

/// Fetches the archive of `pin` again.
pub(super) fn fetch(want: &Tool, pin: &Pin, means: &Means<'_>) -> Result<(), SourceError> {
    let Some(Item::Toolcache(item)) = pin.items.first() else {
        return Err(SourceError::Refused(
            "the lock has no tool there".to_owned(),
        ));
    };
    if want.npm.is_some() {
        let package = item.source.uri.trim_start_matches("npm:");
        npm(package, means)?;
    } else if let Some(url) = &want.url {
        download(url, &item.d, means)?;
    }
    Ok(())
}

/// As the tool cache writes it.
fn name_of(tool: &str) -> String {
    match tool {
        "python" => "Python".to_owned(),
        other => other.to_owned(),
    }
}

fn npm(package: &str, means: &Means<'_>) -> Result<(Kept, Packed), SourceError> {
    let folder = means.cache.scratch()?;
    means.watch.begin(&format!("fetch {package} from npm"));
    let said = Child::new("npm", "npm")
        .args([
            "pack",
            "--json",
            "--ignore-scripts",
            "--loglevel=error",
            "--",
            package,
        ])
        .folder(folder.path())
        .read()?;
    let unclear = |e: serde_json::Error| SourceError::Refused(format!("npm's answer: {e}"));
    let mut packed: Vec<Packed> = serde_json::from_slice(&said).map_err(unclear)?;
    let (Some(packed), true) = (packed.pop(), packed.is_empty()) else {
        return Err(SourceError::Refused(format!(
            "npm gives not one package for {package}"
        )));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if !packed.filename.chars().all(plain) || packed.filename.starts_with('.') {
        let said = format!("npm wrote a file of the strange name {:?}", packed.filename);
        return Err(SourceError::Refused(said));
    }
    Ok((
        means
            .cache
            .keep_file(&folder.path().join(&packed.filename))?,
        packed,
    ))
}

fn download(url: &str, expected: &vocab::Digest, means: &Means<'_>) -> Result<Kept, SourceError> {
    let folder = means.cache.scratch()?;
    let path = folder.path().join("archive");
    means.watch.begin(&format!("fetch {url}"));
    Child::new("curl", "curl")
        .args(["--fail", "--silent", "--show-error", "--location"])
        .args(["--proto", "=https", "--retry", "2", "--output"])
        .arg(&path)
        .arg("--")
        .arg(url)
        .read()?;
    Ok(means.cache.keep_expected(&path, expected, url)?)
}

/// How an archive is packed, by its first bytes.
fn format_of(kept: Kept, means: &Means<'_>) -> Result<(ToolFormat, &'static str), SourceError> {
    let path = means.cache.path(&kept.digest);
    let mut magic = Vec::new();
    let file = std::fs::File::open(&path).map_err(SourceError::io(&path))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 4), &mut magic)
        .map_err(SourceError::io(&path))?;
    match magic[..] {
        [0x1f, 0x8b, ..] => Ok((ToolFormat::TarGz, "application/gzip")),
        [0x28, 0xb5, 0x2f, 0xfd] => Ok((ToolFormat::TarZst, "application/zstd")),
        _ => Err(SourceError::Refused(
            "the archive is neither .tar.gz nor .tar.zst; pack it as one of these".to_owned(),
        )),
    }
}
