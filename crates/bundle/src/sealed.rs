//! A medium as it was found: the manifest, its signatures and the root statements, read once.
//!
//! What is checked and what is used later are the same bytes in memory. Follows no symbolic link,
//! waits for no pipe, reads no file beyond its limit, and no byte of any volume.
//! Source: docs/bundle-format.md, "On the stick".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use vocab::Digest;

use crate::manifest::MANIFEST_MAX_BYTES;
use crate::refusal::Refusal;
use crate::root::{ROOT_MAX_BYTES, SealedRoot};
use crate::sign::SIGNATURE_MAX_BYTES;

/// Most directory entries that are looked at, and most signatures and statements that are read.
const ENTRIES: usize = 20_000;
const SIGNATURES: usize = 64;
const ROOTS: usize = 1_000;

/// A bundle's signed part, in memory, not yet believed.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The folder that it lies in.
    pub dir: PathBuf,
    /// The bytes of `MANIFEST.json`.
    pub manifest: Vec<u8>,
    /// File name and text of each signature over it.
    pub signatures: Vec<(String, String)>,
    /// File name and text of each override of root keys (`OVERRIDE.<key>.minisig`).
    pub overrides: Vec<(String, String)>,
    /// Root statements by number.
    pub roots: BTreeMap<u64, SealedRoot>,
    /// Files that belong to no bundle; listed, never read.
    pub strays: Vec<String>,
}

/// Files that lie beside a manifest for people and for the installer.
const COMPANIONS: [&str; 5] = [
    "MANIFEST.json",
    "SHA256SUMS",
    "VERIFY.txt",
    "verify.sh",
    "cofferdam-linux-x86_64",
];

impl Sealed {
    /// Reads the bundle at `place`: its own folder, or a folder that holds exactly one.
    pub fn open(place: &Path) -> Result<Self, Refusal> {
        let dir = find(place)?;
        let mut sealed = Self {
            manifest: read(&dir.join("MANIFEST.json"), MANIFEST_MAX_BYTES)?,
            signatures: Vec::new(),
            overrides: Vec::new(),
            roots: BTreeMap::new(),
            strays: Vec::new(),
            dir,
        };
        for name in names(&sealed.dir)? {
            sealed.sort_in(name)?;
        }
        Ok(sealed)
    }

    /// SHA-256 of the manifest's bytes: what names this bundle.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    fn sort_in(&mut self, name: String) -> Result<(), Refusal> {
        if COMPANIONS.contains(&name.as_str())
            || (name.starts_with("vol-") && name.ends_with(".tar"))
        {
            return Ok(());
        }
        let path = self.dir.join(&name);
        let is_signature = |of: &str| {
            let middle = name
                .strip_prefix(of)
                .and_then(|n| n.strip_suffix(".minisig"));
            middle.is_some_and(|m| !m.is_empty())
        };
        if is_signature("MANIFEST.json.") {
            let text = read_text(&path, SIGNATURE_MAX_BYTES)?;
            push(&mut self.signatures, name, text)
        } else if is_signature("OVERRIDE.") {
            let text = read_text(&path, SIGNATURE_MAX_BYTES)?;
            push(&mut self.overrides, name, text)
        } else if let Some((number, rest)) = of_root(&name) {
            if self.roots.len() >= ROOTS && !self.roots.contains_key(&number) {
                return Err(too_many("root statements"));
            }
            if rest.is_empty() {
                let bytes = read(&path, ROOT_MAX_BYTES)?;
                self.roots.entry(number).or_default().bytes = bytes;
                Ok(())
            } else {
                let text = read_text(&path, SIGNATURE_MAX_BYTES)?;
                push(
                    &mut self.roots.entry(number).or_default().signatures,
                    name,
                    text,
                )
            }
        } else {
            self.strays.push(name);
            Ok(())
        }
    }
}

/// `ROOT.3.json` and `ROOT.3.json.<key>.minisig`: the number, and what follows `.json`.
fn of_root(name: &str) -> Option<(u64, &str)> {
    let (number, rest) = name.strip_prefix("ROOT.")?.split_once(".json")?;
    let plain = !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse().ok().filter(|_| plain)?;
    (rest.is_empty() || rest.ends_with(".minisig")).then_some((number, rest))
}

fn push(list: &mut Vec<(String, String)>, name: String, text: String) -> Result<(), Refusal> {
    if list.len() >= SIGNATURES {
        return Err(too_many("signatures"));
    }
    list.push((name, text));
    Ok(())
}

fn too_many(what: &str) -> Refusal {
    Refusal::Format {
        what: "the medium".to_owned(),
        reason: format!("it holds too many {what}"),
    }
}

/// The folder of the bundle at `place`.
fn find(place: &Path) -> Result<PathBuf, Refusal> {
    let has_manifest = |dir: &Path| dir.join("MANIFEST.json").symlink_metadata().is_ok();
    let shown = place.display().to_string();
    let meta = std::fs::metadata(place).map_err(|source| Refusal::Medium {
        what: shown.clone(),
        source,
    })?;
    if !meta.is_dir() {
        return Err(Refusal::NoBundle {
            place: shown,
            reason: "it is not a folder; name the folder that holds MANIFEST.json".to_owned(),
        });
    }
    if has_manifest(place) {
        return Ok(place.to_owned());
    }
    let inside: Vec<String> = names(place)?
        .into_iter()
        .filter(|name| has_manifest(&place.join(name)))
        .collect();
    match &inside[..] {
        [one] => Ok(place.join(one)),
        [] => Err(Refusal::NoBundle {
            place: shown,
            reason: "there is no MANIFEST.json in it or in a folder of it".to_owned(),
        }),
        several => Err(Refusal::NoBundle {
            place: shown,
            reason: format!("it holds several; name one of: {}", several.join(", ")),
        }),
    }
}

/// Names in a folder, sorted.
fn names(dir: &Path) -> Result<Vec<String>, Refusal> {
    let failed = |source| Refusal::Medium {
        what: dir.display().to_string(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        found.push(name.to_string_lossy().into_owned());
        if found.len() > ENTRIES {
            return Err(too_many("files"));
        }
    }
    found.sort();
    Ok(found)
}

/// Opens a plain file of a medium: no symbolic link, no pipe, no device.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a plain file",
        ))
    }
}

fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Refusal> {
    let what = || path.display().to_string();
    let failed = |source| Refusal::Medium {
        what: what(),
        source,
    };
    let too_large = || Refusal::TooLarge {
        what: what(),
        limit_bytes,
    };
    let file = open_plain(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > limit_bytes {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(too_large());
    }
    Ok(bytes)
}

fn read_text(path: &Path, limit_bytes: u64) -> Result<String, Refusal> {
    String::from_utf8(read(path, limit_bytes)?).map_err(|_| Refusal::Signature {
        what: path.display().to_string(),
        reason: "it is not text".to_owned(),
    })
}
