//! The manifest of a bundle: the one document that is signed, and what it may say.
//!
//! Everything is written in one canonical way, so that the bytes are a function of the meaning.
//! Refuses unknown fields, duplicate keys, numbers that are not whole, lists out of order, names
//! that could be paths, and places in volumes that the entries before them do not lead to.
//! Source: docs/bundle-format.md, "Manifest".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vocab::Digest;

/// The only version of the format.
pub const FORMAT: u32 = 1;
/// Largest manifest that is read.
pub const MANIFEST_MAX_BYTES: u64 = 64 << 20;
/// Largest volume, so that FAT32 holds it.
pub const VOLUME_MAX_BYTES: u64 = 4_000_000_000;
/// A blob of more bytes is stored as several entries of this size.
pub const SEGMENT_BYTES: u64 = 1 << 30;
/// What one chunk digest covers.
pub const CHUNK_BYTES: u64 = 64 << 20;

/// What a bundle holds, and for whom it is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format: [`FORMAT`].
    pub cofferdam_bundle: u32,
    /// What the content is for, such as `lab`.
    pub product: String,
    /// The line of releases that this one follows, such as `stable`.
    pub channel: String,
    /// Number in its channel; each import needs a higher one.
    pub seq: u64,
    /// Version of the content, as people say it.
    pub content: String,
    /// Processor architectures of images, tools and programs in it, sorted: `amd64`, `arm64`.
    pub arch: Vec<String>,
    /// Day on which it was locked, `YYYY-MM-DD`.
    pub created: String,
    /// Last day on which it may be imported without an override, `YYYY-MM-DD`.
    pub not_after: String,
    /// Undo never goes below the highest epoch that was imported.
    pub security_epoch: u64,
    /// The oldest appliance that can use it, `MAJOR.MINOR.PATCH`.
    pub min_appliance: String,
    /// The version of the content that it goes back from, when it means to go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<String>,
    /// The appliances it is meant for, sorted; empty means all.
    pub audience: Vec<String>,
    /// Number of the root statement that its signers stand in.
    pub root: u64,
    /// What a delta takes for granted; absent when the volumes hold everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The volumes, in order.
    pub volumes: Vec<Volume>,
    /// SHA-256 of the file `SHA256SUMS`.
    pub sums_sha256: Digest,
    /// The blobs in the volumes, sorted by digest, which is also their order there.
    pub blobs: Vec<Blob>,
    /// Everything that is served once this is imported, sorted by [`Item::key`].
    pub items: Vec<Item>,
    /// Keys that the generation before had and this one has not, sorted: said, never silent.
    pub removes: Vec<String>,
    /// Keys whose content moves, each with the digest or object id it had, or `*` for any.
    pub replaces: BTreeMap<String, String>,
    /// How much all items come to.
    pub closure: Closure,
    /// SHA-256 of the lock that this was built from.
    pub lock_sha256: Digest,
    /// Release notes, plain text or Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Digest>,
}

/// What a delta takes for granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// SHA-256 of the have slip that it was built against.
    pub have_sha256: Digest,
    /// Blobs that the items need and the volumes do not hold, sorted, with their sizes.
    pub assumed: Vec<Assumed>,
}

/// One blob that must be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumed {
    /// Its digest.
    pub d: Digest,
    /// Its size in bytes.
    pub n: u64,
}

/// One volume file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its file name, `vol-0001-of-0003.tar`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub sha256: Digest,
}

/// One blob and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// SHA-256 of its bytes.
    pub d: Digest,
    /// Its size in bytes.
    pub n: u64,
    /// Place of each segment's header: number of the volume from 1, offset in it. One place for
    /// a blob of at most [`SEGMENT_BYTES`].
    pub at: Vec<(u32, u64)>,
    /// Its media type.
    pub m: String,
    /// SHA-256 of each [`CHUNK_BYTES`] of it; empty when it is no larger than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub c: Vec<Digest>,
}

/// How much all items come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closure {
    /// Different blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Where something came from, as the lock says; shown, never followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Address or package name.
    pub uri: String,
    /// What it was checked against, such as `digest` or `apt signature`.
    pub checked: String,
}

/// One thing that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Item {
    /// A container image.
    Oci(Oci),
    /// A repository of actions.
    Action(Action),
    /// A Python project with its files.
    Pypi(Pypi),
    /// A tool for `setup-*` actions.
    Toolcache(Tool),
    /// A file, served under its name.
    File(FileItem),
    /// A document to read on the appliance.
    Doc(FileItem),
    /// The appliance's own next version, with the runner in it.
    Selfupdate(SelfUpdate),
}

/// A container image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oci {
    /// Full name, such as `docker.io/library/debian` or `lab/debian-python`.
    pub name: String,
    /// Tag, such as `12`.
    pub tag: String,
    /// Digest of its manifest; that blob is in `blobs`.
    pub digest: Digest,
    /// `linux/amd64`.
    pub platform: String,
    /// Manifest, configuration and layers, sorted.
    pub blobs: Vec<Digest>,
    /// The sum of what its layers unpack to, for the estimate of disk.
    pub unpacked_bytes: u64,
    /// `runs-on` labels that it serves where the site's settings say nothing, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Where it came from.
    pub source: Origin,
}

/// A repository of actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// `owner/name`.
    pub name: String,
    /// Full ref names to commit ids in hex.
    pub refs: BTreeMap<String, String>,
    /// The git pack that holds all that the refs reach (history may be cut off).
    pub pack: Digest,
    /// Commits whose parents are left out, in hex, sorted (git's `shallow` file).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shallow: Vec<String>,
    /// Where it came from.
    pub source: Origin,
}

/// A Python project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pypi {
    /// Normalised name (PEP 503).
    pub name: String,
    /// Its files, sorted by file name.
    pub files: Vec<PypiFile>,
    /// Where it came from.
    pub source: Origin,
}

/// One file of a Python project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PypiFile {
    /// Its file name, `ruff-0.9.1-py3-none-manylinux_2_17_x86_64.whl`.
    pub filename: String,
    /// Its content.
    pub d: Digest,
    /// `Requires-Python`, empty when not said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requires_python: String,
    /// Why it was yanked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yanked: Option<String>,
    /// Its `METADATA` file (PEP 658).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_metadata: Option<Digest>,
}

/// A tool for `setup-*` actions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name in the tool cache: `Python`, `node`.
    pub name: String,
    /// `3.12.7`.
    pub version: String,
    /// `x64` or `arm64`.
    pub arch: String,
    /// The archive.
    pub d: Digest,
    /// How it is packed.
    pub format: ToolFormat,
    /// Leading path parts that are dropped when it is unpacked.
    pub strip: u32,
    /// Where it came from.
    pub source: Origin,
}

/// How a tool is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToolFormat {
    /// A tar, gzip.
    #[serde(rename = "tar.gz")]
    TarGz,
    /// A tar, zstd.
    #[serde(rename = "tar.zst")]
    TarZst,
}

/// A file or a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileItem {
    /// Its name, with `/` for folders.
    pub name: String,
    /// Its content.
    pub d: Digest,
    /// Where it came from.
    pub source: Origin,
}

/// The appliance's own next version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfUpdate {
    /// `MAJOR.MINOR.PATCH`.
    pub version: String,
    /// `amd64`.
    pub arch: String,
    /// The program; it is also the runner.
    pub d: Digest,
    /// Schema versions of each crate's tables that it reads and writes, as text to compare.
    pub schema: BTreeMap<String, u32>,
    /// Where it came from.
    pub source: Origin,
}

impl Item {
    /// What names it for ever: `oci:docker.io/library/debian:12`, `pypi:ruff`,
    /// `action:actions/checkout`, `toolcache:node:20.20.2:x64`.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Oci(i) => format!("oci:{}:{}", i.name, i.tag),
            Self::Action(i) => format!("action:{}", i.name),
            Self::Pypi(i) => format!("pypi:{}", i.name),
            Self::Toolcache(i) => format!("toolcache:{}:{}:{}", i.name, i.version, i.arch),
            Self::File(i) => format!("file:{}", i.name),
            Self::Doc(i) => format!("doc:{}", i.name),
            Self::Selfupdate(i) => format!("selfupdate:{}", i.arch),
        }
    }

    /// The kind, as in [`Item::key`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Oci(_) => "oci",
            Self::Action(_) => "action",
            Self::Pypi(_) => "pypi",
            Self::Toolcache(_) => "toolcache",
            Self::File(_) => "file",
            Self::Doc(_) => "doc",
            Self::Selfupdate(_) => "selfupdate",
        }
    }

    /// Every blob that it needs.
    #[must_use]
    pub fn blobs(&self) -> Vec<Digest> {
        match self {
            Self::Oci(i) => i.blobs.clone(),
            Self::Action(i) => vec![i.pack],
            Self::Pypi(i) => i
                .files
                .iter()
                .flat_map(|f| std::iter::once(f.d).chain(f.core_metadata))
                .collect(),
            Self::Toolcache(i) => vec![i.d],
            Self::File(i) | Self::Doc(i) => vec![i.d],
            Self::Selfupdate(i) => vec![i.d],
        }
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> &Origin {
        match self {
            Self::Oci(i) => &i.source,
            Self::Action(i) => &i.source,
            Self::Pypi(i) => &i.source,
            Self::Toolcache(i) => &i.source,
            Self::File(i) | Self::Doc(i) => &i.source,
            Self::Selfupdate(i) => &i.source,
        }
    }

    /// What moves when its content changes under the same names, each with what it stands for
    /// now: `("oci:lab/debian:12", "sha256:…")`, `("action:actions/checkout@v4", "<commit>")`.
    ///
    /// New files of a Python project are additions, so they are not among these; a file whose
    /// bytes change is.
    #[must_use]
    pub fn pins(&self) -> Vec<(String, String)> {
        match self {
            Self::Oci(i) => vec![(self.key(), i.digest.to_string())],
            Self::Action(i) => i
                .refs
                .iter()
                .map(|(name, id)| {
                    let short = name.strip_prefix("refs/tags/").unwrap_or(name);
                    (format!("action:{}@{short}", i.name), id.clone())
                })
                .collect(),
            Self::Pypi(i) => i
                .files
                .iter()
                .map(|f| (format!("pypi:{}/{}", i.name, f.filename), f.d.to_string()))
                .collect(),
            Self::Toolcache(i) => vec![(self.key(), i.d.to_string())],
            // Documents and the program itself are expected to change.
            Self::File(i) => vec![(self.key(), i.d.to_string())],
            Self::Doc(_) | Self::Selfupdate(_) => Vec::new(),
        }
    }
}
