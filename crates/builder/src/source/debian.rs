//! Images from Debian packages: which packages, by the host's own apt; then a root file system
//! out of exactly those, by mmdebstrap.
//!
//! apt resolves and downloads with its own signature checks, in a state folder of its own. The
//! image is made from a closed repository of the pinned files, so that nothing else can get in.
//! Name, resolver and package sources of the host do not reach the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bundle::manifest::Origin;
use jiff::civil::Date;
use vocab::Digest;

use super::{Means, SourceError, digest, oci};
use crate::child::Child;
use crate::lock::{LockedFile, Pin};
use crate::recipe::{Debian, Oci, Variant};

/// Raised when the code here makes other bytes of the same packages.
const FORMAT: u32 = 1;

pub(super) fn resolve(
    want: &Oci,
    debian: &Debian,
    day: Date,
    means: &Means<'_>,
) -> Result<Pin, SourceError> {
    let apt = Apt::new(&debian.suite, means)?;
    let debs = apt.choose(debian)?;
    fetch_debs(&debs, &apt, means)?;
    let image = build(debian, &debs, day, means)?;
    let mut pin = image.pin(want, &origin(debian));
    pin.made_with = made_with()?;
    pin.debs = debs;
    Ok(pin)
}

/// Builds the image of `pin` again when the cache lacks it.
pub(super) fn fetch(debian: &Debian, pin: &Pin, means: &Means<'_>) -> Result<(), SourceError> {
    let day = pin
        .locked
        .parse()
        .map_err(|_| SourceError::Refused(format!("{:?} of the lock is no day", pin.locked)))?;
    let has = |deb: &LockedFile| means.cache.has(&deb.d, deb.n);
    if !pin.debs.iter().all(has) {
        if means.offline {
            return Err(SourceError::Offline(format!(
                "a Debian package of {}",
                pin.entry
            )));
        }
        fetch_debs(&pin.debs, &Apt::new(&debian.suite, means)?, means)?;
    }
    let image = build(debian, &pin.debs, day, means)?;
    let same = pin.blobs.iter().any(|blob| blob.d == image.manifest.digest);
    let here = made_with()?;
    if !same && here != pin.made_with {
        return Err(SourceError::Refused(format!(
            "{} was locked with {}, and {here} makes other bytes of the same packages; lock it \
             again with --update",
            pin.entry, pin.made_with
        )));
    }
    Ok(())
}

fn origin(debian: &Debian) -> Origin {
    Origin {
        uri: format!("debian:{}", debian.suite),
        checked: "apt signature; sha256 of each package".to_owned(),
    }
}

/// Builds the image of `debian` as it is today, and writes it to `out` as an OCI archive that is
/// called `name`.
pub fn debian_archive(
    debian: &Debian,
    name: &str,
    day: Date,
    out: &Path,
    means: &Means<'_>,
) -> Result<(), SourceError> {
    let apt = Apt::new(&debian.suite, means)?;
    let debs = apt.choose(debian)?;
    fetch_debs(&debs, &apt, means)?;
    build(debian, &debs, day, means)?.write_archive(means.cache, name, out)
}

fn made_with() -> Result<String, SourceError> {
    let said = Child::new("mmdebstrap", "mmdebstrap")
        .arg("--version")
        .read()?;
    Ok(String::from_utf8_lossy(&said).trim().to_owned())
}

/// apt in a state folder of its own, with the host's package sources for one suite.
struct Apt {
    folder: tempfile::TempDir,
    suite: String,
}

impl Apt {
    fn new(suite: &str, means: &Means<'_>) -> Result<Self, SourceError> {
        let apt = Self {
            folder: means.cache.scratch()?,
            suite: suite.to_owned(),
        };
        for part in [
            "sources",
            "state",
            "lists/partial",
            "cache/archives/partial",
        ] {
            let path = apt.folder.path().join(part);
            std::fs::create_dir_all(&path).map_err(SourceError::io(&path))?;
        }
        let status = apt.folder.path().join("status");
        std::fs::write(&status, "").map_err(SourceError::io(&status))?;
        for (index, from) in host_sources(suite)?.iter().enumerate() {
            let kind = from.extension().unwrap_or_default().to_string_lossy();
            let to = apt.folder.path().join(format!("sources/{index}.{kind}"));
            std::fs::copy(from, &to).map_err(SourceError::io(from))?;
        }
        means
            .watch
            .begin(&format!("read the package lists of Debian {suite}"));
        apt.command("apt-get").arg("update").read()?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Child {
        let at = self.folder.path().display();
        let release = format!(
            "APT::Default-Release=/^{}(|-updates|-security)$/",
            self.suite
        );
        let options = [
            format!("Dir::State={at}/state"),
            format!("Dir::State::status={at}/status"),
            format!("Dir::State::lists={at}/lists"),
            format!("Dir::Cache={at}/cache"),
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={at}/sources"),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Get::List-Cleanup=false".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::ForceHash=SHA256".to_owned(),
            release,
        ];
        let mut child = Child::new(program, "apt").env("DEBIAN_FRONTEND", "noninteractive");
        for option in options {
            child = child.arg("-o").arg(option);
        }
        child.args(["-q", "-y"])
    }

    /// Every package of the image, sorted.
    fn choose(&self, debian: &Debian) -> Result<Vec<LockedFile>, SourceError> {
        let base: &[&str] = match debian.variant {
            Variant::Essential => &["?essential"],
            Variant::Apt => &["?essential", "apt"],
            Variant::Minbase => &["?essential", "?priority(required)", "apt"],
        };
        let said = self
            .command("apt-get")
            .args(["--print-uris", "install"])
            .args(base)
            .args(&debian.packages)
            .read()?;
        let said = String::from_utf8_lossy(&said);
        let mut debs = Vec::new();
        for line in said.lines().filter(|line| line.starts_with('\'')) {
            debs.push(deb_of(line).ok_or_else(|| {
                SourceError::Refused(format!("apt answered {line:?}, which is no package"))
            })?);
        }
        debs.sort();
        Ok(debs)
    }
}

/// A line of `--print-uris`: address, file, size, digest.
fn deb_of(line: &str) -> Option<LockedFile> {
    let mut words = line.split(' ');
    let (_, name, size, hash) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let ok = |c: char| c.is_ascii_alphanumeric() || "._-+~%".contains(c);
    if !name.ends_with(".deb") || name.starts_with('.') || !name.chars().all(ok) {
        return None;
    }
    Some(LockedFile {
        name: name.to_owned(),
        d: digest(hash.strip_prefix("SHA256:")?).ok()?,
        n: size.parse().ok()?,
    })
}

/// `git_1%3a2.39-1_amd64.deb` as apt asks for it: `git:amd64=1:2.39-1`.
fn asked(deb: &LockedFile) -> Option<String> {
    let mut parts = deb.name.strip_suffix(".deb")?.split('_');
    let (name, version, arch) = (parts.next()?, parts.next()?, parts.next()?);
    let version = version.replace("%3a", ":");
    let arch = if arch == "all" {
        String::new()
    } else {
        format!(":{arch}")
    };
    Some(format!("{name}{arch}={version}"))
}

/// Downloads the packages that the cache lacks; each must be what was pinned.
fn fetch_debs(debs: &[LockedFile], apt: &Apt, means: &Means<'_>) -> Result<(), SourceError> {
    let lacks = |deb: &&LockedFile| !means.cache.has(&deb.d, deb.n);
    let missing: Vec<&LockedFile> = debs.iter().filter(lacks).collect();
    if missing.is_empty() {
        return Ok(());
    }
    means
        .watch
        .begin(&format!("fetch {} Debian packages", missing.len()));
    let folder = means.cache.scratch()?;
    let names = missing.iter().map(|deb| {
        asked(deb).ok_or_else(|| SourceError::Refused(format!("{:?} is no package", deb.name)))
    });
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    apt.command("apt-get")
        .arg("download")
        .args(names)
        .folder(folder.path())
        .read()?;
    for deb in missing {
        means
            .cache
            .keep_expected(&folder.path().join(&deb.name), &deb.d, &deb.name)?;
    }
    Ok(())
}

/// Makes the image out of these packages and no others; or finds that it was made before.
fn build(
    debian: &Debian,
    debs: &[LockedFile],
    day: Date,
    means: &Means<'_>,
) -> Result<oci::Packed, SourceError> {
    let inputs = format!("{FORMAT} {} {day} {debian:?} {debs:?}", made_with()?);
    let key = Digest::of(inputs.as_bytes());
    let noted = means.cache.noted(&key);
    let known = noted.and_then(|bytes| serde_json::from_slice::<oci::Packed>(&bytes).ok());
    if let Some(known) = known.filter(|known| known.is_in(means.cache)) {
        return Ok(known);
    }
    let made = build_anew(debian, debs, day, means)?;
    let note = serde_json::to_vec(&made).expect("an image has text keys only");
    means.cache.note(&key, &note)?;
    Ok(made)
}

fn build_anew(
    debian: &Debian,
    debs: &[LockedFile],
    day: Date,
    means: &Means<'_>,
) -> Result<oci::Packed, SourceError> {
    let folder = means.cache.scratch()?;
    let repo = folder.path().join("repo");
    std::fs::create_dir(&repo).map_err(SourceError::io(&repo))?;
    means.watch.begin(&format!(
        "make the Debian {} image (a minute or two)",
        debian.suite
    ));
    let mut index = String::new();
    let mut names = Vec::new();
    for deb in debs {
        let path = repo.join(&deb.name);
        std::fs::copy(means.cache.path(&deb.d), &path).map_err(SourceError::io(&path))?;
        let bytes = std::fs::read(&path).map_err(SourceError::io(&path))?;
        if Digest::of(&bytes) != deb.d {
            let said = format!("{} in the cache is damaged; delete it", deb.d);
            return Err(SourceError::Refused(said));
        }
        let control = Child::new("dpkg-deb", "dpkg")
            .arg("--field")
            .arg(&path)
            .read()?;
        let control = String::from_utf8_lossy(&control);
        let (size, hash) = (deb.n, deb.d.hex());
        let control = control.trim_end();
        index += &format!(
            "{control}\nFilename: ./{}\nSize: {size}\nSHA256: {hash}\n\n",
            deb.name
        );
        names.extend(deb.name.split('_').next().map(str::to_owned));
    }
    let path = repo.join("Packages");
    std::fs::write(&path, index).map_err(SourceError::io(&path))?;
    let tree = folder.path().join("rootfs.tar");
    bootstrap(debian, &names, day, &repo, &tree)?;
    oci::pack(&tree, &debian.environment, day, means.cache)
}

fn bootstrap(
    debian: &Debian,
    names: &[String],
    day: Date,
    repo: &Path,
    tree: &Path,
) -> Result<(), SourceError> {
    let repo = std::path::absolute(repo).map_err(SourceError::io(repo))?;
    let repo = repo.display().to_string();
    if repo.contains(char::is_whitespace) {
        return Err(SourceError::Refused(format!(
            "apt takes no blank in the path {repo:?}"
        )));
    }
    let variant = if names.iter().any(|name| name == "apt") {
        "apt"
    } else {
        "essential"
    };
    let mut child = Child::new("mmdebstrap", "mmdebstrap")
        .env("SOURCE_DATE_EPOCH", epoch(day).to_string())
        .args(["--quiet", "--arch=amd64"])
        .arg(format!("--variant={variant}"))
        .arg(format!("--include={}", names.join(",")))
        .arg("--aptopt=Acquire::Languages \"none\"")
        // The repository lies in a folder that only its owner may enter.
        .arg("--aptopt=APT::Sandbox::User \"root\"");
    for path in &debian.leave_out {
        child = child.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    let clean = "rm -f \"$1\"/etc/apt/sources.list \"$1\"/etc/apt/sources.list.d/* \
         \"$1\"/etc/apt/apt.conf.d/99mmdebstrap; \
         rm -f \"$1\"/etc/resolv.conf; : > \"$1\"/etc/resolv.conf; \
         echo localhost > \"$1\"/etc/hostname";
    child
        .arg(format!("--customize-hook={clean}"))
        .arg(&debian.suite)
        .arg(tree)
        .arg(format!("deb [trusted=yes] copy://{repo} ./"))
        .read()?;
    Ok(())
}

/// The first second of a day (UTC), as `SOURCE_DATE_EPOCH` takes it.
pub(super) fn epoch(day: Date) -> i64 {
    day.to_zoned(jiff::tz::TimeZone::UTC)
        .map_or(0, |at| at.timestamp().as_second())
}

/// The files that tell this host's apt where Debian's packages are.
fn host_sources(suite: &str) -> Result<Vec<PathBuf>, SourceError> {
    let mut candidates = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        candidates.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    candidates.sort();
    let found: BTreeMap<PathBuf, ()> = candidates
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "list" || kind == "sources")
        })
        .filter(|path| std::fs::read_to_string(path).is_ok_and(|text| serves(&text, suite)))
        .map(|path| (path, ()))
        .collect();
    if found.is_empty() {
        return Err(SourceError::Refused(format!(
            "no apt source of this host serves Debian {suite}; add one under /etc/apt"
        )));
    }
    Ok(found.into_keys().collect())
}

/// Whether a sources file has an active entry for the main part of `suite`.
fn serves(text: &str, suite: &str) -> bool {
    let active = |line: &&str| !line.trim_start().starts_with('#');
    text.lines().filter(active).any(|line| {
        (line.starts_with("Suites:") || line.starts_with("deb "))
            && line.split_whitespace().any(|word| word == suite)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_source_are_understood_and_comments_are_not() {
        assert!(serves(
            "deb [signed-by=x] http://mirror bookworm main\n",
            "bookworm"
        ));
        assert!(serves(
            "Types: deb\nSuites: bookworm bookworm-updates\n",
            "bookworm"
        ));
        assert!(!serves("# deb http://mirror bookworm main\n", "bookworm"));
        assert!(!serves("deb http://mirror/apt stable main\n", "bookworm"));
    }

    #[test]
    fn a_package_is_pinned_and_asked_for_again_by_its_file() {
        let line = format!(
            "'http://m/git_2.39%2b1.deb' git_1%3a2.39+1_amd64.deb 7 SHA256:{}",
            "ab".repeat(32)
        );
        let deb = deb_of(&line).unwrap();
        assert_eq!((deb.name.as_str(), deb.n), ("git_1%3a2.39+1_amd64.deb", 7));
        assert_eq!(asked(&deb).unwrap(), "git:amd64=1:2.39+1");
        assert!(deb_of(&line.replace("git_1", "../git_1")).is_none());
        assert!(deb_of(&line.replace("SHA256", "MD5Sum")).is_none());
    }
}
