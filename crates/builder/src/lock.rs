//! The lock: every name of a recipe with its digest, its size and how it was checked.
//!
//! Written to be read by people and kept with the recipe: sorted, one fact a line, no path of the
//! host that made it. Refuses unknown keys, other versions and names that two entries claim.
//! Invariant: a bundle is a function of its lock. Source: docs/bundles.md, "Lock".

mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bundle::Item;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use vocab::Digest;

pub(crate) use moves::moves;

/// The only version.
const VERSION: u32 = 1;

/// What stands above the first line.
const TOP: &str = "# Made by `cofferdam bundle lock`; to read and to commit, not to edit.\n\n";

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of the format.
    pub cofferdam_lock: u32,
    /// What the content is for.
    pub product: String,
    /// The line of releases.
    pub channel: String,
    /// The number of the bundle that this lock makes.
    pub seq: u64,
    /// Version of the content as people say it.
    pub content: String,
    /// Day of the lock, `YYYY-MM-DD`.
    pub day: String,
    /// Last day on which the bundle may be imported without an override.
    pub not_after: String,
    /// Release notes, if the recipe has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<LockedBlob>,
    /// Keys that an earlier lock of this channel had and this one has not, sorted.
    pub removes: Vec<String>,
    /// Names that moved since an earlier lock, with what they stood for; `*` when more than once.
    pub replaces: BTreeMap<String, String>,
    /// One for each entry of the recipe, in its order.
    #[serde(default, rename = "pin")]
    pub pins: Vec<Pin>,
}

/// What one entry of the recipe came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The entry, as people call it.
    pub entry: String,
    /// Digest of what the recipe said.
    pub want: String,
    /// Day on which it was resolved.
    pub locked: String,
    /// The program whose version decides the bytes, if one does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub made_with: String,
    /// Debian packages that an image is built from: file, digest, size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debs: Vec<LockedFile>,
    /// Wheels of each interpreter and platform, `3.11 manylinux_2_36_x86_64`: file names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub wheels: BTreeMap<String, Vec<String>>,
    /// Its blobs, sorted: digest, size, media type.
    pub blobs: Vec<LockedBlob>,
    /// What it gives to the appliance.
    pub items: Vec<Item>,
}

/// A blob: `sha256:… 1234 application/x`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LockedBlob {
    /// Its digest.
    pub d: Digest,
    /// Its size in bytes.
    pub n: u64,
    /// Its media type.
    pub m: String,
}

/// A file that is used and not carried: `git_2.39_amd64.deb sha256:… 1234`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LockedFile {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub d: Digest,
    /// Its size in bytes.
    pub n: u64,
}

/// Why a text is not one of those.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a digest, a size and a name")]
pub struct WordsError(String);

impl fmt::Display for LockedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.d, self.n, self.m)
    }
}

impl fmt::Display for LockedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.d, self.n)
    }
}

/// Three words with single spaces between; the last may have blanks of its own.
fn three(text: &str) -> Option<[&str; 3]> {
    let words: Vec<&str> = text.splitn(3, ' ').collect();
    let words: [&str; 3] = words.try_into().ok()?;
    words.iter().all(|w| !w.is_empty()).then_some(words)
}

impl FromStr for LockedBlob {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        let read = || {
            let [d, n, m] = three(text)?;
            let (d, n, m) = (d.parse().ok()?, n.parse().ok()?, m.to_owned());
            Some(Self { d, n, m })
        };
        read().ok_or_else(|| WordsError(text.chars().take(100).collect()))
    }
}

impl FromStr for LockedFile {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        let read = || {
            let [name, d, n] = three(text)?;
            if name.contains('/') || name.starts_with('.') {
                return None;
            }
            let (d, n) = (d.parse().ok()?, n.parse().ok()?);
            let name = name.to_owned();
            Some(Self { name, d, n })
        };
        read().ok_or_else(|| WordsError(text.chars().take(100).collect()))
    }
}

impl TryFrom<String> for LockedBlob {
    type Error = WordsError;

    fn try_from(text: String) -> Result<Self, WordsError> {
        text.parse()
    }
}

impl TryFrom<String> for LockedFile {
    type Error = WordsError;

    fn try_from(text: String) -> Result<Self, WordsError> {
        text.parse()
    }
}

impl From<LockedBlob> for String {
    fn from(blob: LockedBlob) -> Self {
        blob.to_string()
    }
}

impl From<LockedFile> for String {
    fn from(file: LockedFile) -> Self {
        file.to_string()
    }
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file.
    #[error("the lock {} cannot be read or written", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no lock.
    #[error("{}:{line}: {reason}; make it again with `cofferdam bundle lock`", path.display())]
    Shape {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Two entries give the same name.
    #[error("'{key}' is given by '{first}' and by '{second}' of the recipe; leave one out")]
    Twice {
        /// The name.
        key: String,
        /// One entry.
        first: String,
        /// The other.
        second: String,
    },
    /// A lock that does not fit together.
    #[error("the lock contradicts itself: {0}; make it again with `cofferdam bundle lock`")]
    Contradiction(String),
}

impl Lock {
    /// Reads the lock at `path`; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LockError::Io {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, LockError> {
        let shape = |line, reason| LockError::Shape {
            path: path.to_owned(),
            line,
            reason,
        };
        let lock: Self = toml::from_str(text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            let line = 1 + text[..at.min(text.len())].matches('\n').count();
            shape(line, e.message().to_owned())
        })?;
        if lock.cofferdam_lock != VERSION {
            let said = format!("version {} of the format is not known", lock.cofferdam_lock);
            return Err(shape(1, said));
        }
        Ok(lock)
    }

    /// Writes it to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let failed = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let beside = path.with_extension("lock.new");
        std::fs::write(&beside, self.text()).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)
    }

    /// Its text, a function of what it says.
    #[must_use]
    pub fn text(&self) -> String {
        let body = toml::to_string_pretty(self).expect("a lock has text keys only");
        format!("{TOP}{body}")
    }

    /// A lock of the present version with nothing in it.
    pub(crate) fn empty(product: &str, channel: &str, day: Date) -> Self {
        Self {
            cofferdam_lock: VERSION,
            product: product.to_owned(),
            channel: channel.to_owned(),
            seq: 1,
            content: String::new(),
            day: day.to_string(),
            not_after: day.to_string(),
            notes: None,
            removes: Vec::new(),
            replaces: BTreeMap::new(),
            pins: Vec::new(),
        }
    }

    /// All items, sorted by key; files of one Python project that several entries ask for are
    /// put together.
    pub fn items(&self) -> Result<Vec<Item>, LockError> {
        let mut found: BTreeMap<String, (Item, &str)> = BTreeMap::new();
        for pin in &self.pins {
            for item in &pin.items {
                let key = item.key();
                match found.get_mut(&key) {
                    None => {
                        found.insert(key, (item.clone(), &pin.entry));
                    }
                    Some((known, first)) => {
                        merge(known, item).ok_or_else(|| LockError::Twice {
                            key,
                            first: (*first).to_owned(),
                            second: pin.entry.clone(),
                        })?;
                    }
                }
            }
        }
        Ok(found.into_values().map(|(item, _)| item).collect())
    }

    /// All blobs, sorted by digest, each once; proves that the items need these and no others.
    pub fn blobs(&self) -> Result<Vec<LockedBlob>, LockError> {
        let mut found: BTreeMap<Digest, LockedBlob> = BTreeMap::new();
        let all = self
            .pins
            .iter()
            .flat_map(|pin| &pin.blobs)
            .chain(&self.notes);
        for blob in all {
            match found.get(&blob.d) {
                Some(known) if known.n != blob.n => {
                    let said = format!("{} has two sizes", blob.d);
                    return Err(LockError::Contradiction(said));
                }
                // One content under two types, such as a file that is also a document.
                Some(known) if known.m <= blob.m => {}
                _ => {
                    found.insert(blob.d, blob.clone());
                }
            }
        }
        let mut needed: BTreeSet<Digest> = BTreeSet::new();
        for item in self.items()? {
            for digest in item.blobs() {
                if !found.contains_key(&digest) {
                    let said = format!("{} needs {digest}, which is not there", item.key());
                    return Err(LockError::Contradiction(said));
                }
                needed.insert(digest);
            }
        }
        needed.extend(self.notes.as_ref().map(|notes| notes.d));
        if let Some(extra) = found.keys().find(|digest| !needed.contains(digest)) {
            return Err(LockError::Contradiction(format!("nothing needs {extra}")));
        }
        Ok(found.into_values().collect())
    }
}

/// Puts the files of `more` into `known` when both are one Python project; `None` otherwise.
fn merge(known: &mut Item, more: &Item) -> Option<()> {
    let (Item::Pypi(known), Item::Pypi(more)) = (known, more) else {
        return None;
    };
    for file in &more.files {
        match known.files.iter().find(|f| f.filename == file.filename) {
            Some(same) if same == file => {}
            Some(_) => return None,
            None => known.files.push(file.clone()),
        }
    }
    known.files.sort_by(|a, b| a.filename.cmp(&b.filename));
    Some(())
}

#[cfg(test)]
pub(crate) mod tests {
    use bundle::manifest::{FileItem, Origin, Pypi, PypiFile};

    use super::*;

    pub(crate) fn file(name: &str, content: &[u8]) -> Pin {
        let d = Digest::of(content);
        Pin {
            entry: format!("file {name}"),
            want: "x".to_owned(),
            locked: "2026-11-20".to_owned(),
            blobs: vec![LockedBlob {
                d,
                n: content.len() as u64,
                m: "application/octet-stream; odd=\"yes\"".to_owned(),
            }],
            items: vec![Item::File(FileItem {
                name: name.to_owned(),
                d,
                source: Origin::default(),
            })],
            ..Pin::default()
        }
    }

    pub(crate) fn wheel(project: &str, filename: &str, content: &[u8]) -> Pin {
        let mut pin = file(filename, content);
        pin.entry = format!("pypi {filename}");
        pin.items = vec![Item::Pypi(Pypi {
            name: project.to_owned(),
            files: vec![PypiFile {
                filename: filename.to_owned(),
                d: pin.blobs[0].d,
                requires_python: String::new(),
                yanked: None,
                core_metadata: None,
            }],
            source: Origin::default(),
        })];
        pin
    }

    pub(crate) fn lock(pins: Vec<Pin>) -> Lock {
        let mut lock = Lock::empty("lab", "stable", jiff::civil::date(2026, 11, 20));
        lock.pins = pins;
        lock
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let mut written = lock(vec![
            file("a", b"one"),
            wheel("p", "p-1-py3-none-any.whl", b"w"),
        ]);
        written
            .replaces
            .insert("oci:a:1".to_owned(), "*".to_owned());
        written.pins[0].debs = vec!["git_2.39%2b1_amd64.deb sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 7".parse().unwrap()];
        written.pins[1]
            .wheels
            .insert("3.11 x".to_owned(), vec!["p".to_owned()]);
        let text = written.text();
        let read = Lock::parse(Path::new("demo.lock"), &text).unwrap();
        assert_eq!(read, written, "{text}");
        assert_eq!(read.text(), text);
    }

    #[test]
    fn a_damaged_lock_is_refused_with_its_line() {
        let text = lock(vec![file("a", b"one")]).text();
        for (from, to, words) in [
            ("seq = 1", "seq = 1\ncolour = 2", "colour"),
            ("cofferdam_lock = 1", "cofferdam_lock = 9", "version 9"),
            (" 3 application", " three application", "is not a digest"),
        ] {
            let said = Lock::parse(Path::new("demo.lock"), &text.replace(from, to)).unwrap_err();
            let said = said.to_string();
            assert!(
                said.contains(words) && said.starts_with("demo.lock:"),
                "{said}"
            );
        }
    }

    #[test]
    fn wheels_of_one_project_come_together_and_any_other_name_is_given_once() {
        let both = lock(vec![
            wheel("p", "p-1-b.whl", b"1"),
            wheel("p", "p-1-a.whl", b"2"),
        ]);
        let items = both.items().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].blobs().len(), 2);
        let said = lock(vec![file("a", b"1"), file("a", b"1")])
            .items()
            .unwrap_err();
        assert!(said.to_string().contains("'file:a' is given by"), "{said}");
        let differ = lock(vec![
            wheel("p", "p-1-a.whl", b"1"),
            wheel("p", "p-1-a.whl", b"2"),
        ]);
        assert!(differ.items().is_err());
    }

    #[test]
    fn a_lock_that_lacks_a_blob_or_has_one_too_many_is_refused() {
        let mut lacks = lock(vec![file("a", b"1")]);
        lacks.pins[0].blobs.clear();
        assert!(lacks.blobs().unwrap_err().to_string().contains("not there"));
        let mut more = lock(vec![file("a", b"1")]);
        more.pins[0].blobs.extend(file("b", b"2").blobs);
        assert!(
            more.blobs()
                .unwrap_err()
                .to_string()
                .contains("nothing needs")
        );
    }
}
