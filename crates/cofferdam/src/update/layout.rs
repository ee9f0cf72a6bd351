//! The prefix on disk: versions by digest, two links, one lock.
//!
//! Invariant: a version's folder appears whole, durable and checked, or not at all; a link is
//! replaced by one rename.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::Schema;
use vocab::{Clock, Digest, Stopwatch};

/// The name of the program in its version's folder.
const PROGRAM: &str = "cofferdam";

/// Which of the two links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// What is started.
    Current,
    /// What was started before, and is gone back to.
    Previous,
}

impl Link {
    fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }
}

/// Where programs are installed.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(PathBuf);

/// What is known of an installed version: `versions/<sha256>/release.json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Release {
    /// `MAJOR.MINOR.PATCH`.
    pub(crate) version: String,
    /// `amd64`.
    pub(crate) arch: String,
    /// How many migrations of each crate it knows.
    pub(crate) schema: Schema,
    /// Security epoch of the bundle that brought it.
    #[serde(default)]
    pub(crate) epoch: u64,
    /// That bundle in words.
    #[serde(default)]
    pub(crate) bundle: String,
}

/// Held while somebody changes the prefix.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Prefix {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The prefix that this very process was started from, and its digest in hex.
    pub(crate) fn of_self() -> Option<(Self, String)> {
        let exe = fs::read_link("/proc/self/exe").ok()?;
        let folder = exe.parent()?;
        let hex = folder.file_name()?.to_str()?.to_owned();
        let versions = folder.parent()?;
        let fits = exe.file_name()? == PROGRAM && is_hex(&hex) && versions.ends_with("versions");
        fits.then(|| Some((Self(versions.parent()?.to_owned()), hex)))?
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn folder(&self, hex: &str) -> PathBuf {
        self.0.join("versions").join(hex)
    }

    /// The program of the version `hex`.
    pub(crate) fn program(&self, hex: &str) -> PathBuf {
        self.folder(hex).join(PROGRAM)
    }

    /// What units start.
    pub(crate) fn current_program(&self) -> PathBuf {
        self.0.join("current").join(PROGRAM)
    }

    /// The digest that a link points at, if it points at an installed version.
    pub(crate) fn link(&self, link: Link) -> Option<String> {
        let to = fs::read_link(self.0.join(link.name())).ok()?;
        let hex = to.file_name()?.to_str()?.to_owned();
        (is_hex(&hex) && self.program(&hex).is_file()).then_some(hex)
    }

    /// Points a link at a version, or removes it; durable on return.
    pub(crate) fn point(&self, link: Link, to: Option<&str>) -> anyhow::Result<()> {
        let path = self.0.join(link.name());
        let failed = || format!("cannot change the link {}", path.display());
        let Some(hex) = to else {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(failed),
                _ => store::sync_dir(&self.0).with_context(failed),
            };
        };
        if !self.program(hex).is_file() {
            bail!("{} is not installed", self.program(hex).display());
        }
        let fresh = self.0.join(format!(".{}.new", link.name()));
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).with_context(failed),
            _ => {}
        }
        std::os::unix::fs::symlink(Path::new("versions").join(hex), &fresh)
            .and_then(|()| fs::rename(&fresh, &path))
            .and_then(|()| store::sync_dir(&self.0))
            .with_context(failed)
    }

    /// Takes the prefix's lock, waiting at most `wait`; none while somebody else has it.
    pub(crate) fn lock(&self, wait: Duration) -> anyhow::Result<Option<Lock>> {
        let path = self.0.join("update.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let watch = Stopwatch::start();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(Lock { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) if watch.elapsed() < wait => {
                    Clock::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
            }
        }
    }

    /// Copies a program to `versions/<digest>/`, hashing it on the way. Present is fine.
    pub(crate) fn stage(&self, from: &Path, digest: &Digest) -> anyhow::Result<()> {
        let hex = digest.hex();
        let versions = self.0.join("versions");
        let failed = || format!("cannot stage a program in {}", versions.display());
        let mut folders = DirBuilder::new();
        folders.recursive(true).mode(0o755);
        folders.create(&versions).with_context(failed)?;
        if self.program(&hex).is_file() && digest_of(&self.program(&hex))? == hex {
            return Ok(());
        }
        let fresh = versions.join(format!(".{hex}.new"));
        for stale in [&fresh, &self.folder(&hex)] {
            match fs::remove_dir_all(stale) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(e).with_context(failed);
                }
                _ => {}
            }
        }
        folders.create(&fresh).with_context(failed)?;
        let got = copy(from, &fresh.join(PROGRAM)).with_context(failed)?;
        if got != hex {
            fs::remove_dir_all(&fresh).with_context(failed)?;
            return Err(super::judge::Refusal::Damaged { expected: hex, got }.into());
        }
        store::sync_dir(&fresh)
            .and_then(|()| fs::rename(&fresh, self.folder(&hex)))
            .and_then(|()| store::sync_dir(&versions))
            .with_context(failed)
    }

    /// Removes a version that neither link names; absent is fine.
    pub(crate) fn remove(&self, hex: &str) {
        let named = [Link::Current, Link::Previous].map(|link| self.link(link));
        if named.iter().flatten().any(|kept| kept == hex) {
            return;
        }
        if let Err(error) = fs::remove_dir_all(self.folder(hex))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, hex, "a version that is not needed stays");
        }
    }

    /// Removes every version that neither link names.
    pub(crate) fn prune(&self) {
        let Ok(entries) = fs::read_dir(self.0.join("versions")) else {
            return;
        };
        for name in entries.flatten().map(|entry| entry.file_name()) {
            if let Some(hex) = name.to_str().filter(|hex| is_hex(hex)) {
                self.remove(hex);
            }
        }
    }

    /// Notes what is known of a version beside its program.
    pub(crate) fn set_release(&self, hex: &str, release: &Release) -> anyhow::Result<()> {
        write_durably(&self.folder(hex), "release.json", release)
    }

    /// What is known of a version; none where nothing was noted.
    pub(crate) fn release(&self, hex: &str) -> Option<Release> {
        let text = fs::read(self.folder(hex).join("release.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Copies a program, executable and durable; gives its digest in hex.
fn copy(from: &Path, to: &Path) -> io::Result<String> {
    let mut input = File::open(from)?;
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(to)?;
    let digest = hash_into(&mut input, &mut output)?;
    output.set_permissions(Permissions::from_mode(0o755))?;
    output.sync_all()?;
    Ok(digest)
}

/// SHA-256 of a file, in hex.
pub(crate) fn digest_of(path: &Path) -> anyhow::Result<String> {
    let look = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(look)?;
    hash_into(&mut file, &mut io::sink()).with_context(look)
}

fn hash_into(input: &mut File, output: &mut impl Write) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                output.write_all(&buffer[..n])?;
            }
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// Writes JSON to `folder/name` so that a crash leaves the old text or the new.
pub(crate) fn write_durably(
    folder: &Path,
    name: &str,
    value: &impl Serialize,
) -> anyhow::Result<()> {
    let path = folder.join(name);
    let fresh = folder.join(format!(".{name}.new"));
    let text = serde_json::to_vec_pretty(value).context("our own types have only text keys")?;
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        store::sync_dir(folder)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix() -> (tempfile::TempDir, Prefix) {
        let dir = tempfile::tempdir().unwrap();
        let prefix = Prefix::new(&dir.path().join("opt"));
        (dir, prefix)
    }

    fn staged(prefix: &Prefix, dir: &Path, text: &str) -> String {
        let from = dir.join("blob");
        fs::write(&from, text).unwrap();
        let digest = Digest::of(text.as_bytes());
        prefix.stage(&from, &digest).unwrap();
        digest.hex()
    }

    #[test]
    fn links_move_between_versions_and_point_at_nothing_that_is_not_there() {
        let (dir, prefix) = prefix();
        let one = staged(&prefix, dir.path(), "one");
        let two = staged(&prefix, dir.path(), "two");
        assert_eq!(prefix.link(Link::Current), None);
        prefix.point(Link::Current, Some(&one)).unwrap();
        prefix.point(Link::Current, Some(&two)).unwrap();
        prefix.point(Link::Previous, Some(&one)).unwrap();
        assert_eq!(prefix.link(Link::Current).unwrap(), two);
        assert!(prefix.point(Link::Current, Some(&"0".repeat(64))).is_err());
        assert_eq!(prefix.link(Link::Current).unwrap(), two);
        assert_eq!(fs::read_to_string(prefix.current_program()).unwrap(), "two");
        let three = staged(&prefix, dir.path(), "three");
        prefix.prune();
        assert!(!prefix.program(&three).exists());
        assert!(prefix.program(&one).exists());
        prefix.point(Link::Previous, None).unwrap();
        assert_eq!(prefix.link(Link::Previous), None);
    }

    #[test]
    fn a_program_that_is_not_what_its_digest_says_is_not_staged() {
        let (dir, prefix) = prefix();
        let from = dir.path().join("blob");
        fs::write(&from, "else").unwrap();
        let digest = Digest::of(b"promised");
        let error = prefix.stage(&from, &digest).unwrap_err();
        assert!(format!("{error:#}").contains("E_HASH"), "{error:#}");
        assert_eq!(fs::read_dir(prefix.file("versions")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_version_is_staged_afresh() {
        let (dir, prefix) = prefix();
        let one = staged(&prefix, dir.path(), "one");
        fs::write(prefix.program(&one), "on").unwrap();
        assert_eq!(staged(&prefix, dir.path(), "one"), one);
        assert_eq!(fs::read_to_string(prefix.program(&one)).unwrap(), "one");
    }

    #[test]
    fn the_lock_has_one_holder() {
        let (dir, prefix) = prefix();
        fs::create_dir(dir.path().join("opt")).unwrap();
        let held = prefix.lock(Duration::ZERO).unwrap();
        assert!(held.is_some());
        assert!(prefix.lock(Duration::ZERO).unwrap().is_none());
        drop(held);
        assert!(prefix.lock(Duration::ZERO).unwrap().is_some());
    }
}
