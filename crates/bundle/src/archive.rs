//! Reads a tar stream of an image once, in any order, handing each file to whoever keeps blobs.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use vocab::Digest;

use crate::layer::Compression;

/// The most that may stand between two files: headers, long names, attributes. The tar library
/// keeps these in memory.
const BETWEEN_BYTES: u64 = 1 << 20;

/// How much of an archive is believed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files in it.
    pub entries: usize,
    /// All files together.
    pub total_bytes: u64,
}

impl Default for Limits {
    /// 10,000 files, 64 GiB.
    fn default() -> Self {
        Self {
            entries: 10_000,
            total_bytes: 64 << 30,
        }
    }
}

/// One file as it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Of its bytes.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// Keeps the files of an archive. The error is words.
pub trait Sink {
    /// Keeps at most `limit_bytes` of `content`; `expected` is what its digest must be.
    fn keep(
        &mut self,
        content: &mut dyn Read,
        expected: Option<Digest>,
        limit_bytes: u64,
    ) -> Result<Stored, String>;
}

/// The files of an archive, by their normalised paths.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// Path to what was kept.
    pub files: BTreeMap<String, Stored>,
    /// Path to the path it is a link to, as docker-archives have it.
    pub links: BTreeMap<String, String>,
}

impl Archive {
    /// The file at `path`, through at most one link.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Stored> {
        let path = self.links.get(path).map_or(path, String::as_str);
        self.files.get(path).copied()
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no tar, or it is cut short.
    #[error("the archive is not a whole tar; copy it again")]
    NotTar(#[source] io::Error),
    /// A path that leads out, or is no text.
    #[error("the archive holds the path '{0}', which no image has; it was refused")]
    Path(String),
    /// The same path twice.
    #[error("the archive holds '{0}' twice; it was refused")]
    Twice(String),
    /// Something that is neither file, directory nor link.
    #[error("the archive holds '{0}', which is a device or another special file; it was refused")]
    Special(String),
    /// Too much.
    #[error("the archive holds more than {what}; it was refused")]
    TooMuch {
        /// Of what.
        what: String,
    },
    /// A file was refused or could not be kept.
    #[error("'{path}' of the archive: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
}

/// Reads `stream`, which may be packed with gzip or zstd, to its end. Files below `blobs/sha256/` must be what their names say.
pub fn read_archive(
    stream: impl Read,
    sink: &mut dyn Sink,
    limits: &Limits,
) -> Result<Archive, ArchiveError> {
    let mut archive = Archive::default();
    let mut left_bytes = limits.total_bytes;
    let plain = Compression::Guess
        .unpack(stream)
        .map_err(ArchiveError::NotTar)?;
    let allowed = Rc::new(Cell::new(BETWEEN_BYTES));
    let mut tar = tar::Archive::new(Metered {
        inner: plain,
        allowed: allowed.clone(),
    });
    for entry in tar.entries().map_err(ArchiveError::NotTar)? {
        let mut entry = entry.map_err(ArchiveError::NotTar)?;
        let path = normal(&entry.path_bytes())?;
        let kind = entry.header().entry_type();
        allowed.set(BETWEEN_BYTES);
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if archive.files.len() + archive.links.len() >= limits.entries {
            return Err(ArchiveError::TooMuch {
                what: format!("{} files", limits.entries),
            });
        }
        if archive.files.contains_key(&path) || archive.links.contains_key(&path) {
            return Err(ArchiveError::Twice(path));
        }
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = if kind.is_symlink() {
                beside(&path, &target)
            } else {
                target.to_vec()
            };
            archive.links.insert(path, normal(&target)?);
            continue;
        }
        if !kind.is_file() {
            return Err(ArchiveError::Special(path));
        }
        let expected = path
            .strip_prefix("blobs/sha256/")
            .map(|hex| format!("sha256:{hex}").parse::<Digest>())
            .transpose()
            .map_err(|e| ArchiveError::File {
                path: path.clone(),
                reason: e.to_string(),
            })?;
        let size = entry.size();
        if size > left_bytes {
            return Err(ArchiveError::TooMuch {
                what: format!("{} bytes", limits.total_bytes),
            });
        }
        allowed.set(u64::MAX);
        let kept = sink
            .keep(&mut entry, expected, left_bytes)
            .map_err(|reason| ArchiveError::File {
                path: path.clone(),
                reason,
            })?;
        if kept.size_bytes != size {
            let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(ArchiveError::NotTar(cut));
        }
        allowed.set(BETWEEN_BYTES);
        left_bytes -= kept.size_bytes;
        archive.files.insert(path, kept);
    }
    Ok(archive)
}

/// Ends the stream with an error when more is read than was allowed.
struct Metered<R> {
    inner: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        let left = self.allowed.get().checked_sub(n as u64).ok_or_else(|| {
            io::Error::other(format!(
                "more than {BETWEEN_BYTES} bytes stand between two files"
            ))
        })?;
        self.allowed.set(left);
        Ok(n)
    }
}

/// A path without `./`, refused when it is absolute, leads upward or is no UTF-8.
fn normal(path: &[u8]) -> Result<String, ArchiveError> {
    let wrong = || ArchiveError::Path(String::from_utf8_lossy(path).chars().take(200).collect());
    let text = std::str::from_utf8(path).map_err(|_| wrong())?;
    if text.starts_with('/') || text.contains('\0') {
        return Err(wrong());
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.pop() {
                Some(_) => {}
                None => return Err(wrong()),
            },
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// A link's target, which is relative to the directory that the link is in.
fn beside(path: &str, target: &[u8]) -> Vec<u8> {
    match path.rsplit_once('/') {
        Some((parent, _)) if !target.starts_with(b"/") => {
            [parent.as_bytes(), b"/", target].concat()
        }
        _ => target.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counting(u64);

    impl Sink for Counting {
        fn keep(
            &mut self,
            content: &mut dyn Read,
            expected: Option<Digest>,
            _limit_bytes: u64,
        ) -> Result<Stored, String> {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            self.0 += bytes.len() as u64;
            let digest = Digest::of(&bytes);
            if expected.is_some_and(|e| e != digest) {
                return Err("wrong digest".to_owned());
            }
            Ok(Stored {
                digest,
                size_bytes: bytes.len() as u64,
            })
        }
    }

    fn tar_of(entries: &[(&str, tar::EntryType, &[u8], &str)]) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (path, kind, content, link) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            if !link.is_empty() {
                header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            }
            header.set_cksum();
            out.append(&header, *content).unwrap();
        }
        out.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Archive, ArchiveError> {
        read_archive(
            bytes,
            &mut Counting::default(),
            &Limits {
                entries: 3,
                total_bytes: 100,
            },
        )
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;

    #[test]
    fn a_packed_archive_is_read_as_it_is() {
        let plain = tar_of(&[("a", FILE, b"one", "")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &plain).unwrap();
        for packed in [
            gzip.finish().unwrap(),
            zstd::encode_all(&plain[..], 1).unwrap(),
        ] {
            assert_eq!(
                read(&packed).unwrap().file("a").unwrap().digest,
                Digest::of(b"one")
            );
        }
    }

    /// A stream of a header and then zeros without end: only what bounds memory can stop it.
    #[test]
    fn a_long_name_without_end_is_stopped() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let endless = header.as_bytes().chain(io::repeat(b'a'));
        let said = read_archive(endless, &mut Counting::default(), &Limits::default()).unwrap_err();
        let cause = std::error::Error::source(&said).unwrap().to_string();
        assert!(cause.contains("between two files"), "{cause}");
    }

    #[test]
    fn files_and_links_are_found_by_their_normal_paths() {
        let bytes = tar_of(&[
            ("./a/layer.tar", FILE, b"one", ""),
            (
                "b/layer.tar",
                tar::EntryType::Symlink,
                b"",
                "../a/layer.tar",
            ),
        ]);
        let archive = read(&bytes).unwrap();
        assert_eq!(
            archive.file("b/layer.tar").unwrap().digest,
            Digest::of(b"one")
        );
    }

    #[test]
    fn hostile_archives_are_refused_by_name() {
        let wrong = format!("blobs/sha256/{}", Digest::of(b"x").hex());
        for (entries, words) in [
            (
                vec![("../etc/passwd", FILE, &b"x"[..], "")],
                "'../etc/passwd'",
            ),
            (vec![("/etc/passwd", FILE, b"x", "")], "'/etc/passwd'"),
            (
                vec![("a", FILE, b"x", ""), ("./a", FILE, b"y", "")],
                "'a' twice",
            ),
            (vec![("dev", tar::EntryType::Char, b"", "")], "special file"),
            (
                vec![("l", tar::EntryType::Symlink, b"", "../../x")],
                "'../../x'",
            ),
            (vec![(wrong.as_str(), FILE, b"y", "")], "wrong digest"),
            (vec![("blobs/sha256/zz", FILE, b"y", "")], "not a digest"),
            (vec![("big", FILE, &[0; 101], "")], "100 bytes"),
            (
                vec![
                    ("a", FILE, b"", ""),
                    ("b", FILE, b"", ""),
                    ("c", FILE, b"", ""),
                    ("d", FILE, b"", ""),
                ],
                "3 files",
            ),
        ] {
            let said = read(&tar_of(&entries)).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        let whole = tar_of(&[("a", FILE, &[1; 90], "")]);
        assert!(matches!(
            read(&whole[..550]),
            Err(ArchiveError::File { .. } | ArchiveError::NotTar(_))
        ));
    }
}
