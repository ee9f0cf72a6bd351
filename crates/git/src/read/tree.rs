//! Directories and files of a commit.

use gix::hash::ObjectId;
use gix::objs::Kind;

use crate::objects::{Objects, ReadError};
use crate::parse;

/// What a tree entry is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A commit of another repository.
    Submodule,
    /// A file.
    File,
    /// A file that can be run.
    Executable,
    /// A symbolic link; its blob is the target.
    Symlink,
}

impl EntryKind {
    pub(crate) fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Directory,
            0o160_000 => Self::Submodule,
            0o120_000 => Self::Symlink,
            _ if mode & 0o100 != 0 => Self::Executable,
            _ => Self::File,
        }
    }

    /// Whether its object is a blob.
    #[must_use]
    pub fn is_blob(self) -> bool {
        matches!(self, Self::File | Self::Executable | Self::Symlink)
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Its name in that directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its blob or tree, or the submodule's commit.
    pub id: ObjectId,
}

impl Objects {
    /// The directory at `path` (slashes; empty for the root) of a commit, tag or tree, in the
    /// order git keeps. `None` where no directory is.
    pub fn tree(&self, root: ObjectId, path: &str) -> Result<Option<Vec<TreeEntry>>, ReadError> {
        let id = if path.trim_matches('/').is_empty() {
            self.root_tree(root)?
        } else {
            match self.entry(root, path)? {
                Some(entry) if entry.kind == EntryKind::Directory => entry.id,
                _ => return Ok(None),
            }
        };
        self.tree_by_id(id).map(Some)
    }

    pub(crate) fn tree_by_id(&self, id: ObjectId) -> Result<Vec<TreeEntry>, ReadError> {
        let mut buf = Vec::new();
        let data = self.find_kind(&id, Kind::Tree, &mut buf)?;
        parse::tree_entries(data, self.hash())
            .map(|entry| {
                let entry = entry.map_err(|what| ReadError::Damaged {
                    id,
                    what: what.to_owned(),
                })?;
                Ok(TreeEntry {
                    name: String::from_utf8_lossy(entry.name).into_owned(),
                    kind: EntryKind::of_mode(entry.mode),
                    id: entry.id.to_owned(),
                })
            })
            .collect()
    }

    /// What stands at `path` (slashes) of a commit, tag or tree. `None` where nothing does.
    pub fn entry(&self, root: ObjectId, path: &str) -> Result<Option<TreeEntry>, ReadError> {
        let tree = self.root_tree(root)?;
        self.entry_in(tree, path)
    }

    pub(crate) fn entry_in(
        &self,
        tree: ObjectId,
        path: &str,
    ) -> Result<Option<TreeEntry>, ReadError> {
        let mut at = tree;
        let mut buf = Vec::new();
        let mut parts = path.split('/').filter(|p| !p.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let data = self.find_kind(&at, Kind::Tree, &mut buf)?;
            let found = parse::tree_entries(data, self.hash())
                .flatten()
                .find(|e| e.name == part.as_bytes());
            let Some(found) = found else {
                return Ok(None);
            };
            if parts.peek().is_none() {
                return Ok(Some(TreeEntry {
                    name: part.to_owned(),
                    kind: EntryKind::of_mode(found.mode),
                    id: found.id.to_owned(),
                }));
            }
            if !found.is_tree() {
                return Ok(None);
            }
            at = found.id.to_owned();
        }
        Ok(None)
    }

    /// A blob's bytes, at most `limit_bytes` of them (`TooLarge` otherwise, without reading it).
    pub fn blob(&self, id: ObjectId, limit_bytes: u64) -> Result<Vec<u8>, ReadError> {
        let (kind, size_bytes) = self.header(&id)?;
        if kind == Kind::Blob && size_bytes > limit_bytes {
            return Err(ReadError::TooLarge {
                id,
                size_bytes,
                limit_bytes,
            });
        }
        let mut buf = Vec::new();
        self.find_kind(&id, Kind::Blob, &mut buf)?;
        Ok(buf)
    }

    /// The file at `path` of a commit, tag or tree. `None` where none is.
    pub fn file(
        &self,
        root: ObjectId,
        path: &str,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        match self.entry(root, path)? {
            Some(entry) if entry.kind.is_blob() => self.blob(entry.id, limit_bytes).map(Some),
            _ => Ok(None),
        }
    }
}
