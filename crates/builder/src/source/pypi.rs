//! Python packages: pip resolves requirements into wheels for each interpreter and platform.
//!
//! Only wheels are taken, so nothing of a package runs here. pip evaluates environment markers
//! for the interpreter that runs it; it is told those of the target instead. Every wheel is
//! fetched again by its hash, whatever the resolution did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bundle::Item;
use bundle::manifest::{self, Origin, PypiFile};
use serde::Deserialize;

use super::{Means, SourceError, blob, digest, wheel};
use crate::child::Child;
use crate::lock::Pin;
use crate::recipe::Pypi;

const WHEEL_TYPE: &str = "application/zip";
const METADATA_TYPE: &str = "text/plain; charset=utf-8";

/// Runs pip with the markers of another interpreter: version, then architecture, then pip's words.
const AS_TARGET: &str = "\
import runpy, sys
version, machine, sys.argv = sys.argv[1], sys.argv[2], ['pip'] + sys.argv[3:]
from pip._vendor.packaging import markers
own = markers.default_environment
def target():
    e = dict(own())
    e.update(python_version=version, python_full_version=version + '.0',
             implementation_version=version + '.0', implementation_name='cpython',
             platform_python_implementation='CPython', os_name='posix', sys_platform='linux',
             platform_system='Linux', platform_machine=machine)
    return e
markers.default_environment = target
runpy.run_module('pip', run_name='__main__')
";

/// What `pip install --report` writes, as far as it is used.
#[derive(Deserialize)]
struct Report {
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    download_info: Download,
    metadata: Metadata,
    #[serde(default)]
    is_yanked: bool,
}

#[derive(Deserialize)]
struct Download {
    url: String,
    #[serde(default)]
    archive_info: Archive,
}

#[derive(Default, Deserialize)]
struct Archive {
    hash: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
    #[serde(default)]
    requires_python: Option<String>,
}

/// One wheel that was chosen.
#[derive(Clone, Debug)]
struct Chosen {
    project: String,
    version: String,
    filename: String,
    sha256: String,
    requires_python: String,
    yanked: bool,
}

pub(super) fn resolve(want: &Pypi, means: &Means<'_>) -> Result<Pin, SourceError> {
    let mut pin = Pin::default();
    let mut projects: BTreeMap<String, manifest::Pypi> = BTreeMap::new();
    for python in &want.python {
        for platform in &want.platforms {
            let target = Target { python, platform };
            means
                .watch
                .begin(&format!("resolve wheels for Python {python}, {platform}"));
            let chosen = choose(want, &target, means)?;
            download(want, &target, &chosen, means)?;
            for wheel in &chosen {
                let file = describe(wheel, &mut pin, means)?;
                let project = projects.entry(wheel.project.clone());
                let project = project.or_insert_with(|| manifest::Pypi {
                    name: wheel.project.clone(),
                    files: Vec::new(),
                    source: origin(want, &wheel.project),
                });
                if !project.files.contains(&file) {
                    project.files.push(file);
                }
            }
            let mut names: Vec<String> = chosen.into_iter().map(|c| c.filename).collect();
            names.sort();
            pin.wheels.insert(target.to_string(), names);
        }
    }
    for project in projects.values_mut() {
        project.files.sort_by(|a, b| a.filename.cmp(&b.filename));
    }
    pin.items = projects.into_values().map(Item::Pypi).collect();
    Ok(pin)
}

/// Fetches the wheels of `pin` that the cache lacks.
pub(super) fn fetch(want: &Pypi, pin: &Pin, means: &Means<'_>) -> Result<(), SourceError> {
    let mut files: BTreeMap<&str, Chosen> = BTreeMap::new();
    for item in &pin.items {
        let Item::Pypi(project) = item else { continue };
        for file in &project.files {
            let version = file.filename.split('-').nth(1).unwrap_or_default();
            let chosen = Chosen {
                project: project.name.clone(),
                version: version.to_owned(),
                filename: file.filename.clone(),
                sha256: file.d.hex(),
                requires_python: file.requires_python.clone(),
                yanked: file.yanked.is_some(),
            };
            files.insert(&file.filename, chosen);
        }
    }
    for (target, names) in &pin.wheels {
        let Some((python, platform)) = target.split_once(' ') else {
            return Err(SourceError::Refused(format!(
                "{target:?} of the lock is no target"
            )));
        };
        let chosen: Vec<Chosen> = names
            .iter()
            .filter_map(|name| files.get(name.as_str()).cloned())
            .collect();
        means
            .watch
            .begin(&format!("fetch wheels for Python {python}, {platform}"));
        download(want, &Target { python, platform }, &chosen, means)?;
        for wheel in &chosen {
            describe(wheel, &mut Pin::default(), means)?;
        }
    }
    Ok(())
}

/// One interpreter on one platform.
struct Target<'a> {
    python: &'a str,
    platform: &'a str,
}

impl std::fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.python, self.platform)
    }
}

impl Target<'_> {
    /// pip for this target, up to its own words.
    fn pip(&self, verb: &str, want: &Pypi, means: &Means<'_>) -> Child {
        let machine = ["x86_64", "aarch64"]
            .into_iter()
            .find(|m| self.platform.ends_with(m));
        let mut pip = Child::new("python3", "python3-pip")
            .args(["-c", AS_TARGET, self.python, machine.unwrap_or("x86_64")])
            .args([verb, "--no-input", "--disable-pip-version-check", "--quiet"])
            .args(["--only-binary=:all:", "--implementation=cp"])
            .args(["--python-version", self.python])
            .without_env("PYTHONPATH")
            .env("PIP_NO_COLOR", "1");
        for platform in platforms(self.platform) {
            pip = pip.args(["--platform", &platform]);
        }
        match &want.folder {
            Some(folder) => {
                let folder = means.folder.join(folder);
                let links = std::path::absolute(&folder).unwrap_or(folder);
                pip.without_env("PIP_FIND_LINKS")
                    .arg("--no-index")
                    .arg("--find-links")
                    .arg(links)
            }
            None => pip,
        }
    }
}

/// A platform tag and the older ones that it can also run, best first (PEP 600).
fn platforms(tag: &str) -> Vec<String> {
    let read = || {
        let (minor, machine) = tag.strip_prefix("manylinux_2_")?.split_once('_')?;
        Some((minor.parse::<u32>().ok()?, machine))
    };
    let Some((newest, machine)) = read() else {
        return vec![tag.to_owned()];
    };
    let mut found = Vec::new();
    for minor in (5..=newest.min(99)).rev() {
        found.push(format!("manylinux_2_{minor}_{machine}"));
        let older = match minor {
            17 => "manylinux2014",
            12 => "manylinux2010",
            5 => "manylinux1",
            _ => continue,
        };
        found.push(format!("{older}_{machine}"));
    }
    found.push(format!("linux_{machine}"));
    found
}

/// Lets pip choose wheels.
fn choose(want: &Pypi, target: &Target<'_>, means: &Means<'_>) -> Result<Vec<Chosen>, SourceError> {
    let scratch = means.cache.scratch()?;
    let report = scratch.path().join("report.json");
    let mut pip = target
        .pip("install", want, means)
        .args(["--dry-run", "--ignore-installed", "--report"])
        .arg(&report)
        .arg("--target")
        .arg(scratch.path().join("target"));
    match &want.file {
        Some(file) => pip = pip.arg("--requirement").arg(means.folder.join(file)),
        None => pip = pip.arg("--").args(&want.requirements),
    }
    pip.read()?;
    let bytes = std::fs::read(&report).map_err(SourceError::io(&report))?;
    let report: Report = serde_json::from_slice(&bytes)
        .map_err(|e| SourceError::Refused(format!("pip's report cannot be understood: {e}")))?;
    report.install.into_iter().map(chosen).collect()
}

fn chosen(found: Installed) -> Result<Chosen, SourceError> {
    let url = found.download_info.url;
    let last = url
        .split(['#', '?'])
        .next()
        .and_then(|path| path.rsplit('/').next());
    let filename = percent_decoded(last.unwrap_or_default());
    if !is_wheel_name(&filename) {
        let said = format!(
            "{} comes as {filename:?}, which is no wheel",
            found.metadata.name
        );
        return Err(SourceError::Refused(said));
    }
    let archive = found.download_info.archive_info;
    let named = archive.hashes.get("sha256").cloned();
    let sha256 = named.or_else(|| Some(archive.hash?.strip_prefix("sha256=")?.to_owned()));
    let sha256 = match (sha256, url.strip_prefix("file://")) {
        (Some(known), _) => known,
        (None, Some(path)) => {
            let path = PathBuf::from(percent_decoded(path));
            let bytes = std::fs::read(&path).map_err(SourceError::io(&path))?;
            vocab::Digest::of(&bytes).hex()
        }
        (None, None) => {
            let said = format!("the index gives no sha256 of {filename}");
            return Err(SourceError::Refused(said));
        }
    };
    Ok(Chosen {
        project: normal(&found.metadata.name),
        version: found.metadata.version,
        filename,
        sha256,
        requires_python: found.metadata.requires_python.unwrap_or_default(),
        yanked: found.is_yanked,
    })
}

/// Fetches the wheels that the cache lacks, by name, version and hash.
fn download(
    want: &Pypi,
    target: &Target<'_>,
    chosen: &[Chosen],
    means: &Means<'_>,
) -> Result<(), SourceError> {
    let mut wanted = Vec::new();
    for wheel in chosen {
        if !means.cache.path(&digest(&wheel.sha256)?).is_file() {
            wanted.push(wheel);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let scratch = means.cache.scratch()?;
    let (list, folder) = (
        scratch.path().join("list.txt"),
        scratch.path().join("wheels"),
    );
    let lines: BTreeSet<String> = wanted
        .iter()
        .map(|w| format!("{}=={} --hash=sha256:{}\n", w.project, w.version, w.sha256))
        .collect();
    let lines: String = lines.into_iter().collect();
    std::fs::write(&list, lines).map_err(SourceError::io(&list))?;
    target
        .pip("download", want, means)
        .args(["--no-deps", "--require-hashes", "--requirement"])
        .arg(&list)
        .arg("--dest")
        .arg(&folder)
        .read()?;
    for wheel in wanted {
        let path = folder.join(&wheel.filename);
        let expected = digest(&wheel.sha256)?;
        means
            .cache
            .keep_expected(&path, &expected, &wheel.filename)?;
    }
    Ok(())
}

/// What the manifest says of a wheel; its blobs go to `pin`.
fn describe(wheel: &Chosen, pin: &mut Pin, means: &Means<'_>) -> Result<PypiFile, SourceError> {
    let expected = digest(&wheel.sha256)?;
    let bytes = means.cache.bytes(&expected)?;
    let metadata = wheel::metadata(&bytes)
        .map_err(|reason| SourceError::Refused(format!("{}: {reason}", wheel.filename)))?;
    let metadata = means.cache.keep_bytes(&metadata)?;
    let kept = crate::cache::Kept {
        digest: expected,
        size_bytes: bytes.len() as u64,
    };
    pin.blobs.push(blob(kept, WHEEL_TYPE));
    pin.blobs.push(blob(metadata, METADATA_TYPE));
    Ok(PypiFile {
        filename: wheel.filename.clone(),
        d: expected,
        requires_python: wheel.requires_python.clone(),
        yanked: wheel.yanked.then(|| "yanked on the index".to_owned()),
        core_metadata: Some(metadata.digest),
    })
}

fn origin(want: &Pypi, project: &str) -> Origin {
    match &want.folder {
        Some(folder) => Origin {
            uri: format!("folder:{}", folder.display()),
            checked: "sha256 of the file".to_owned(),
        },
        None => Origin {
            uri: format!("pypi:{project}"),
            checked: "sha256 of the index".to_owned(),
        },
    }
}

/// The one way to write a project's name (PEP 503).
pub(crate) fn normal(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

fn is_wheel_name(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || "._-+!".contains(c);
    name.ends_with(".whl")
        && !name.starts_with('.')
        && name.chars().all(ok)
        && Path::new(name).file_name().is_some_and(|file| file == name)
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let pair = (byte == b'%').then(|| bytes.as_str_pair()).flatten();
        match pair {
            Some(decoded) => {
                out.push(decoded);
                bytes.nth(1);
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

trait Pair {
    fn as_str_pair(&self) -> Option<u8>;
}

impl Pair for std::str::Bytes<'_> {
    fn as_str_pair(&self) -> Option<u8> {
        let mut rest = self.clone();
        let digits = [rest.next()?, rest.next()?];
        u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
    }
}
