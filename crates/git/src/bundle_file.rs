//! A repository as one file, and back: git's own bundle format.
//!
//! `git clone FILE` reads what [`Repository::write_bundle`] writes. Reading takes a file apart
//! into a push, so that whatever it holds passes the checks of every push.
//! Source: git's `gitformat-bundle`, versions 2 and 3.

use std::io::{self, BufRead, Cursor, Read, Write};

use gix::hash::{Kind, ObjectId};

use crate::pack::{self, PackError, PackPlan, is_public};
use crate::pktline;
use crate::refname;
use crate::refs::parse_id;
use crate::repo::Repository;

/// The longest head of a bundle.
const MAX_HEAD_BYTES: usize = 64 << 20;

/// Why a file is not taken for a bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It could not be read.
    #[error("the file could not be read")]
    Io(#[from] io::Error),
    /// It does not begin like one.
    #[error(
        "this is no git bundle of version 2 or 3; make one with `git bundle create FILE --all`"
    )]
    NoBundle,
    /// It asks for what is not served.
    #[error("the bundle uses '{0}', which is not served")]
    Capability(String),
    /// A line of its head cannot be read.
    #[error("line {line} of the bundle's head is damaged: {what}")]
    Head {
        /// Counts from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is a part of a history.
    #[error(
        "the bundle stands on commit {0}, which it does not hold; make a whole one with `git bundle create FILE --all`"
    )]
    Partial(ObjectId),
    /// Its ids are of another kind than the repository's.
    #[error("the bundle's object format is {bundle}, the repository's {repository}")]
    Format {
        /// Of the file.
        bundle: Kind,
        /// Of the repository.
        repository: Kind,
    },
    /// It was cut off or changed.
    #[error("the file does not end in its own checksum: it was cut off or changed")]
    Checksum,
    /// There is nothing in it to take over.
    #[error("the bundle names no branch and no tag")]
    Empty,
}

/// What a bundle begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleHead {
    /// Which function names its objects.
    pub format: Kind,
    /// Its branches and tags by their full names, as they are to be made.
    pub refs: Vec<(String, ObjectId)>,
    /// Refs of other kinds and such as no repository may have: left out.
    pub left_out: Vec<String>,
    /// What its `HEAD` names, when it has one.
    pub head: Option<ObjectId>,
}

impl BundleHead {
    /// Reads the head; what is left of `input` is the pack.
    ///
    /// # Errors
    /// When the file is no whole bundle.
    pub fn read(input: &mut dyn BufRead) -> Result<Self, BundleError> {
        let mut lines = Lines {
            input,
            number: 0,
            left: MAX_HEAD_BYTES,
        };
        let version = match lines.next()?.as_slice() {
            b"# v2 git bundle" => 2,
            b"# v3 git bundle" => 3,
            _ => return Err(BundleError::NoBundle),
        };
        let mut head = Self {
            format: Kind::Sha1,
            refs: Vec::new(),
            left_out: Vec::new(),
            head: None,
        };
        loop {
            let line = lines.next()?;
            if line.is_empty() {
                break;
            }
            if version == 3 && line.starts_with(b"@") {
                head.format = match line.as_slice() {
                    b"@object-format=sha1" => Kind::Sha1,
                    b"@object-format=sha256" => Kind::Sha256,
                    other => {
                        return Err(BundleError::Capability(
                            String::from_utf8_lossy(&other[1..]).into_owned(),
                        ));
                    }
                };
                continue;
            }
            let damaged = |what| BundleError::Head {
                line: lines.number,
                what,
            };
            let (partial, line) = match line.strip_prefix(b"-") {
                Some(rest) => (true, rest),
                None => (false, line.as_slice()),
            };
            let digits = head.format.len_in_hex().min(line.len());
            let id = parse_id(&line[..digits], head.format).ok_or(damaged("it has no id"))?;
            if partial {
                return Err(BundleError::Partial(id));
            }
            let name = line[digits..]
                .strip_prefix(b" ")
                .ok_or(damaged("it names no ref"))?;
            head.take(&String::from_utf8_lossy(name), id);
        }
        if head.refs.is_empty() {
            return Err(BundleError::Empty);
        }
        Ok(head)
    }

    fn take(&mut self, name: &str, id: ObjectId) {
        if name == "HEAD" {
            self.head = Some(id);
        } else if is_public(name) && refname::problem(name).is_none() {
            self.refs.push((name.to_owned(), id));
        } else {
            self.left_out.push(name.chars().take(200).collect());
        }
    }

    /// The branch, by its short name, that a clone of the bundle would check out.
    #[must_use]
    pub fn default_branch(&self) -> Option<&str> {
        let branches = || {
            self.refs
                .iter()
                .filter_map(|(name, id)| Some((name.strip_prefix("refs/heads/")?, id)))
        };
        let is_head = |id: &ObjectId| self.head.is_none_or(|head| head == *id);
        ["main", "master"]
            .into_iter()
            .find(|usual| branches().any(|(name, id)| name == *usual && is_head(id)))
            .or_else(|| branches().find(|(_, id)| is_head(id)).map(|(name, _)| name))
            .or_else(|| branches().next().map(|(name, _)| name))
    }

    /// The rest of the file as a push that makes all refs or none, for
    /// [`receive_pack`](crate::receive_pack) on an empty repository.
    ///
    /// # Errors
    /// When the repository names its objects in another way.
    pub fn as_push<'a>(
        &self,
        repo: &Repository,
        pack: impl Read + 'a,
    ) -> Result<impl Read + 'a, BundleError> {
        if self.format != repo.hash {
            return Err(BundleError::Format {
                bundle: self.format,
                repository: repo.hash,
            });
        }
        let mut text = Vec::new();
        let none = repo.hash.null();
        for (nth, (name, id)) in self.refs.iter().enumerate() {
            let capabilities = match nth {
                0 => format!("\0atomic object-format={}", repo.hash),
                _ => String::new(),
            };
            pktline::line(&mut text, &format!("{none} {id} {name}{capabilities}"))?;
        }
        pktline::flush(&mut text)?;
        Ok(Cursor::new(text).chain(pack))
    }
}

/// Reads a whole bundle file and compares its pack with the checksum at its end.
///
/// # Errors
/// When it cannot be read, is no bundle, or was cut off or changed.
pub fn check_bundle(path: &std::path::Path) -> Result<BundleHead, BundleError> {
    let mut input = io::BufReader::with_capacity(256 << 10, std::fs::File::open(path)?);
    let head = BundleHead::read(&mut input)?;
    let length = head.format.len_in_bytes();
    let mut sum = pack::PackSum::new(head.format);
    // What may be the checksum is not part of what it is made of.
    let mut held: Vec<u8> = Vec::new();
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        held.extend_from_slice(bytes);
        let read = bytes.len();
        input.consume(read);
        let sure = held.len().saturating_sub(length);
        sum.update(&held[..sure]);
        held.drain(..sure);
    }
    if held == sum.finish().as_slice() {
        Ok(head)
    } else {
        Err(BundleError::Checksum)
    }
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    number: usize,
    left: usize,
}

impl Lines<'_> {
    /// The next line without its end.
    fn next(&mut self) -> Result<Vec<u8>, BundleError> {
        let mut line = Vec::new();
        let most = u64::try_from(self.left).unwrap_or(u64::MAX);
        (&mut *self.input).take(most).read_until(b'\n', &mut line)?;
        self.number += 1;
        self.left -= line.len();
        if line.pop() != Some(b'\n') {
            return Err(match self.number {
                1 => BundleError::NoBundle,
                line => BundleError::Head {
                    line,
                    what: "the file ends in it, or it is too long",
                },
            });
        }
        Ok(line)
    }
}

impl Repository {
    /// Writes branches, tags and all that they reach as one bundle; how many objects it holds.
    ///
    /// # Errors
    /// When there is nothing to write, `out` fails, or an object is missing or damaged.
    pub fn write_bundle(&self, out: &mut dyn Write) -> Result<usize, PackError> {
        let refs = self.refs()?;
        let public: Vec<_> = refs.all().iter().filter(|r| is_public(&r.name)).collect();
        if public.is_empty() {
            return Err(PackError::Nothing);
        }
        let head = self.head()?.target(&refs);
        let mut text = match self.hash {
            Kind::Sha256 => "# v3 git bundle\n@object-format=sha256\n".to_owned(),
            _ => "# v2 git bundle\n".to_owned(),
        };
        for r in &public {
            text.push_str(&format!("{} {}\n", r.target, r.name));
        }
        if let Some(id) = head {
            text.push_str(&format!("{id} HEAD\n"));
        }
        text.push('\n');
        let tips: Vec<ObjectId> = public.iter().map(|r| r.target).collect();
        let ids = self.reachable(&tips)?;
        let objects = self.objects();
        let plan = PackPlan {
            objects: &objects,
            packs: self.packs.get(&self.dir, self.hash)?,
            ahead: None,
            ids,
            had: crate::ids::IdSet::default(),
        };
        out.write_all(text.as_bytes())?;
        pack::write_pack(&plan, out)?;
        out.flush()?;
        Ok(plan.len())
    }
}
