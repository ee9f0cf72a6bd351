//! A work tree and its `.git` directory as a tar stream, made from the object store alone.
//!
//! Unpacked, it is what `git clone` would have left: stock git finds it clean. Carries no
//! credential. Files stand as they were committed: no line-end conversion, no filters.
//! Refuses trees that hold `.git` or a path that leads out.

mod index;
mod metadata;
mod tree;

pub use tree::{TreeLimits, checkout_tree};

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use gix::hash::ObjectId;
use gix::objs::Kind;
use tar::{Builder, EntryType, Header};

use crate::objects::{Objects, ReadError};
use crate::pack::{self, PackError, PackPlan, Selection};
use crate::parse;
use crate::read::EntryKind;
use crate::repo::Repository;
use crate::upload::by_depth;
use crate::walk::{self, Grafts};

/// So much of the pack is held in memory before it goes to a temporary file.
const PACK_IN_MEMORY: usize = 16 << 20;

/// What a checkout is to look like.
#[derive(Clone, Debug)]
pub struct CheckoutOptions {
    /// So many commits of history; 0 for all of it, with all branches and tags.
    pub depth: u32,
    /// Where in the tar everything stands: empty, or a relative directory.
    pub path_prefix: String,
    /// The full name of the ref that is checked out: a branch, a tag, or another. Without one
    /// `HEAD` is detached.
    pub ref_name: Option<String>,
    /// The URL of `origin`. Must hold no credential.
    pub remote_url: String,
    /// The most bytes of one file.
    pub max_file_bytes: u64,
}

impl Default for CheckoutOptions {
    fn default() -> Self {
        Self {
            depth: 1,
            path_prefix: String::new(),
            ref_name: None,
            remote_url: String::new(),
            max_file_bytes: 512 << 20,
        }
    }
}

/// Why a checkout could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The stream could not be written.
    #[error("the checkout could not be written")]
    Io(#[from] io::Error),
    /// An object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The pack could not be made.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The tree holds a name that no checkout may contain.
    #[error("'{path}' cannot be checked out: {rule}")]
    Path {
        /// Where in the tree.
        path: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The tree is larger than the caller takes.
    #[error("the tree has more than {most} (at '{path}')")]
    TooLarge {
        /// Where the limit was reached.
        path: String,
        /// The limit, in words.
        most: String,
    },
    /// The prefix would lead out of the directory.
    #[error("'{prefix}' is no relative directory to check out into")]
    Prefix {
        /// What was asked for.
        prefix: String,
    },
}

/// One file of the tree.
pub(crate) struct FileEntry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) id: ObjectId,
    pub(crate) size: u64,
}

/// Writes the work tree of `commit` and its `.git` to `out` as a tar stream. Returns how many
/// files the work tree has.
pub fn checkout_tar(
    repo: &Repository,
    commit: ObjectId,
    options: &CheckoutOptions,
    out: impl Write,
) -> Result<u64, CheckoutError> {
    let objects = repo.objects();
    let links = walk::links(&objects, &commit, &mut Vec::new())?;
    let mut tree = Tar::new(out, options, links.time)?;
    let files = files_of(&objects, links.tree)?;
    let mut files = tree.work_tree(&objects, files, options)?;
    let meta = metadata::Metadata::of(repo, &objects, commit, options)?;
    for (path, contents) in &meta.files {
        tree.file(
            path.as_bytes(),
            0o644,
            contents.len() as u64,
            contents.as_slice(),
        )?;
    }
    for dir in [".git/refs/heads", ".git/refs/tags", ".git/objects/info"] {
        tree.parents(format!("{dir}/x").as_bytes())?;
    }
    tree.history(repo, &objects, commit, options, &meta)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let index = index::write(&files, repo.hash, links.time).map_err(CheckoutError::Io)?;
    tree.file(b".git/index", 0o644, index.len() as u64, index.as_slice())?;
    tree.builder.into_inner()?.flush()?;
    Ok(files.len() as u64)
}

/// All entries of a tree that are no directories, in the order of a walk.
fn files_of(objects: &Objects, root: ObjectId) -> Result<Vec<FileEntry>, CheckoutError> {
    let mut files = Vec::new();
    let mut todo = vec![(Vec::new(), root)];
    let mut buf = Vec::new();
    while let Some((prefix, tree)) = todo.pop() {
        let data = objects.find_kind(&tree, Kind::Tree, &mut buf)?;
        for entry in parse::tree_entries(data, objects.hash()) {
            let entry = entry.map_err(|what| ReadError::Damaged {
                id: tree,
                what: what.to_owned(),
            })?;
            let mut path: Vec<u8> = prefix.clone();
            path.extend_from_slice(entry.name);
            crate::receive::check_name(entry.name).map_err(|rule| CheckoutError::Path {
                path: String::from_utf8_lossy(&path).into_owned(),
                rule,
            })?;
            let id = entry.id.to_owned();
            if entry.is_tree() {
                path.push(b'/');
                todo.push((path, id));
                continue;
            }
            files.push(FileEntry {
                path,
                kind: EntryKind::of_mode(entry.mode),
                id,
                size: 0,
            });
        }
    }
    Ok(files)
}

struct Tar<W: Write> {
    builder: Builder<W>,
    prefix: Vec<u8>,
    time: u64,
    dirs: std::collections::HashSet<Vec<u8>>,
}

impl<W: Write> Tar<W> {
    fn new(out: W, options: &CheckoutOptions, time: i64) -> Result<Self, CheckoutError> {
        let prefix = options.path_prefix.trim_end_matches('/');
        let inside = |part: &str| !matches!(part, "" | "." | "..");
        if !prefix.is_empty() && !prefix.split('/').all(inside) {
            return Err(CheckoutError::Prefix {
                prefix: options.path_prefix.clone(),
            });
        }
        let mut prefix = prefix.as_bytes().to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        Ok(Self {
            builder: Builder::new(out),
            prefix,
            time: u64::try_from(time).unwrap_or(0),
            dirs: std::collections::HashSet::new(),
        })
    }

    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.time);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    /// Makes the directories above `path`, once.
    fn parents(&mut self, path: &[u8]) -> io::Result<()> {
        let full = [self.prefix.as_slice(), path].concat();
        let slashes = full.iter().enumerate().filter(|(_, b)| **b == b'/');
        for dir in slashes
            .map(|(at, _)| full[..=at].to_vec())
            .collect::<Vec<_>>()
        {
            if self.dirs.insert(dir.clone()) {
                let mut header = self.header(EntryType::Directory, 0o755, 0);
                let path = Path::new(std::ffi::OsStr::from_bytes(&dir)).to_owned();
                self.builder.append_data(&mut header, path, io::empty())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &[u8], mode: u32, size: u64, data: impl Read) -> io::Result<()> {
        self.parents(path)?;
        let mut header = self.header(EntryType::Regular, mode, size);
        let full = [self.prefix.as_slice(), path].concat();
        let full = Path::new(std::ffi::OsStr::from_bytes(&full));
        self.builder.append_data(&mut header, full, data)
    }

    fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        let mut header = self.header(EntryType::Symlink, 0o777, 0);
        let full = [self.prefix.as_slice(), path].concat();
        let full = Path::new(std::ffi::OsStr::from_bytes(&full));
        let target = Path::new(std::ffi::OsStr::from_bytes(target));
        self.builder.append_link(&mut header, full, target)
    }

    fn work_tree(
        &mut self,
        objects: &Objects,
        files: Vec<FileEntry>,
        options: &CheckoutOptions,
    ) -> Result<Vec<FileEntry>, CheckoutError> {
        let mut done = Vec::with_capacity(files.len());
        for mut file in files {
            if file.kind == EntryKind::Submodule {
                self.parents(&[file.path.as_slice(), b"/x"].concat())?;
            } else {
                let data = objects.blob(file.id, options.max_file_bytes)?;
                file.size = data.len() as u64;
                match file.kind {
                    EntryKind::Symlink => self.symlink(&file.path, &data)?,
                    EntryKind::Executable => {
                        self.file(&file.path, 0o755, file.size, data.as_slice())?;
                    }
                    _ => self.file(&file.path, 0o644, file.size, data.as_slice())?,
                }
            }
            done.push(file);
        }
        Ok(done)
    }

    /// The objects, as one pack, and where they are cut.
    fn history(
        &mut self,
        repo: &Repository,
        objects: &Objects,
        commit: ObjectId,
        options: &CheckoutOptions,
        meta: &metadata::Metadata,
    ) -> Result<(), CheckoutError> {
        let mut grafts = Grafts::default();
        let mut tips = vec![commit];
        if options.depth == 0 {
            tips.extend(&meta.commits);
        } else {
            grafts.wanted = by_depth(objects, &[commit], options.depth)?.1;
        }
        let mut ends: Vec<String> = grafts.wanted.iter().map(|id| format!("{id}\n")).collect();
        ends.sort();
        if !ends.is_empty() {
            let text = ends.concat();
            self.file(b".git/shallow", 0o644, text.len() as u64, text.as_bytes())?;
        }
        let commits = walk::difference(objects, &tips, &[], &grafts)?;
        let selection = Selection {
            commits: &commits,
            others: &meta.tags,
            edges: &[],
            filter: None,
            threads: 2,
        };
        let plan = PackPlan {
            ahead: None,
            objects,
            packs: repo.packs.get(&repo.dir, repo.hash)?,
            ids: pack::select(objects, &selection)?.ids,
            had: crate::ids::IdSet::default(),
        };
        let mut pack = tempfile::spooled_tempfile_in(PACK_IN_MEMORY, repo.dir.join("objects"));
        let (checksum, placed) = {
            let mut buffered = io::BufWriter::with_capacity(64 << 10, &mut pack);
            let written = pack::write_pack(&plan, &mut buffered)?;
            buffered.flush()?;
            written
        };
        let size = pack.stream_position()?;
        pack.seek(SeekFrom::Start(0))?;
        let name = format!(".git/objects/pack/pack-{checksum}");
        self.file(format!("{name}.pack").as_bytes(), 0o444, size, &mut pack)?;
        let mut index = Vec::new();
        pack::write_index(placed, checksum, repo.hash, &mut index)?;
        self.file(
            format!("{name}.idx").as_bytes(),
            0o444,
            index.len() as u64,
            index.as_slice(),
        )?;
        Ok(())
    }
}
