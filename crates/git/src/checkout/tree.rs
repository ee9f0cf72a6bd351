//! The bare work tree of a commit in a directory of the host, to be shown to others read-only.
//!
//! Every directory is made anew and every file is created, so that no link of the tree is ever
//! followed here. Invariant: the directory appears under its name only when it is whole and durable.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use gix::hash::ObjectId;
use gix::objs::Kind;

use super::CheckoutError;
use crate::durable::Durability;
use crate::objects::{Objects, ReadError};
use crate::parse;
use crate::read::EntryKind;
use crate::repo::Repository;

/// How much a tree may hold.
#[derive(Clone, Copy, Debug)]
pub struct TreeLimits {
    /// The most entries, directories included.
    pub entries: u64,
    /// The most bytes of all files together.
    pub bytes: u64,
    /// The most directories inside each other.
    pub depth: usize,
}

impl Default for TreeLimits {
    /// 100,000 entries, 1 GiB, 100 directories deep.
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 1 << 30,
            depth: 100,
        }
    }
}

/// Writes the work tree of `commit` to the directory `dir`, which must not exist. Submodules are
/// empty directories; symbolic links stay links, wherever they point. One caller at a time.
///
/// Errors: the tree is larger than `limits`, holds a name that no checkout may contain, or cannot
/// be read or written; nothing stands under the name then.
pub fn checkout_tree(
    repo: &Repository,
    commit: ObjectId,
    dir: &Path,
    limits: &TreeLimits,
    durability: Durability,
) -> Result<(), CheckoutError> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let tmp = dir.with_file_name(format!("tmp-{name}"));
    let parent = dir.parent().unwrap_or(dir);
    fs::create_dir_all(parent)?;
    // What an earlier process left half-made is nobody's.
    discard(&tmp)?;
    let objects = repo.objects();
    let root = objects.root_tree(commit)?;
    let mut writer = Writer {
        objects: &objects,
        left: *limits,
        most: *limits,
        path: Vec::new(),
    };
    let made = writer.directory(root, &tmp, limits.depth);
    let whole = made.and_then(|()| Ok(sync(&tmp, durability)?));
    if let Err(error) = whole {
        discard(&tmp)?;
        return Err(error);
    }
    fs::rename(&tmp, dir)?;
    Ok(durability.dir(parent)?)
}

fn discard(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A new directory that everybody may read, whatever the umask; fails where a link stands.
fn folder(at: &Path) -> io::Result<()> {
    fs::create_dir(at)?;
    fs::set_permissions(at, Permissions::from_mode(0o755))
}

/// One call for all files: there may be tens of thousands of them.
fn sync(dir: &Path, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Full => Ok(rustix::fs::syncfs(File::open(dir)?)?),
        Durability::SkipForTest => Ok(()),
    }
}

struct Writer<'a> {
    objects: &'a Objects,
    left: TreeLimits,
    most: TreeLimits,
    /// Where in the tree, for messages.
    path: Vec<u8>,
}

impl Writer<'_> {
    fn directory(&mut self, tree: ObjectId, at: &Path, depth: usize) -> Result<(), CheckoutError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.too_large(format!("{} directories deep", self.most.depth)));
        };
        folder(at)?;
        let mut buf = Vec::new();
        let data = self.objects.find_kind(&tree, Kind::Tree, &mut buf)?;
        for entry in parse::tree_entries(data, self.objects.hash()) {
            let entry = entry.map_err(|what| ReadError::Damaged {
                id: tree,
                what: what.to_owned(),
            })?;
            self.left.entries = match self.left.entries.checked_sub(1) {
                Some(left) => left,
                None => return Err(self.too_large(format!("{} entries", self.most.entries))),
            };
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(entry.name);
            crate::receive::check_name(entry.name).map_err(|rule| CheckoutError::Path {
                path: self.shown(),
                rule,
            })?;
            let to = at.join(std::ffi::OsStr::from_bytes(entry.name));
            let id = entry.id.to_owned();
            if entry.is_tree() {
                self.directory(id, &to, depth)?;
            } else {
                self.leaf(id, EntryKind::of_mode(entry.mode), &to)?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn leaf(&mut self, id: ObjectId, kind: EntryKind, to: &Path) -> Result<(), CheckoutError> {
        if kind == EntryKind::Submodule {
            return Ok(folder(to)?);
        }
        let data = match self.objects.blob(id, self.left.bytes) {
            Ok(data) => data,
            Err(ReadError::TooLarge { .. }) => {
                return Err(self.too_large(format!("{} bytes", self.most.bytes)));
            }
            Err(error) => return Err(error.into()),
        };
        self.left.bytes -= data.len() as u64;
        if kind == EntryKind::Symlink {
            return Ok(symlink(std::ffi::OsStr::from_bytes(&data), to)?);
        }
        let mode = match kind {
            EntryKind::Executable => 0o755,
            _ => 0o644,
        };
        let mut file = File::create_new(to)?;
        file.write_all(&data)?;
        Ok(file.set_permissions(Permissions::from_mode(mode))?)
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    fn too_large(&self, most: String) -> CheckoutError {
        CheckoutError::TooLarge {
            path: self.shown(),
            most,
        }
    }
}
