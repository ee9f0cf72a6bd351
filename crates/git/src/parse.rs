//! What the walkers need from commits, tags and trees, read straight from their bytes.
//!
//! Lenient where old histories are odd: the strict rules stand in `fsck`.

use gix::hash::{Kind as HashKind, ObjectId, oid};

/// The part of a commit that walks need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitLinks {
    pub(crate) tree: ObjectId,
    pub(crate) parents: Vec<ObjectId>,
    /// Committer time in seconds; 0 where it is unreadable.
    pub(crate) time: i64,
}

fn hex_line<'a>(data: &'a [u8], key: &[u8], hash: HashKind) -> Option<(ObjectId, &'a [u8])> {
    let rest = data.strip_prefix(key)?;
    let len = hash.len_in_hex();
    let hex = rest.get(..len)?;
    if rest.get(len) != Some(&b'\n') {
        return None;
    }
    Some((ObjectId::from_hex(hex).ok()?, &rest[len + 1..]))
}

/// A commit's links, or `None` where its first lines are not those of a commit.
pub(crate) fn commit_links(data: &[u8], hash: HashKind) -> Option<CommitLinks> {
    let (tree, mut rest) = hex_line(data, b"tree ", hash)?;
    let mut parents = Vec::with_capacity(1);
    while let Some((parent, after)) = hex_line(rest, b"parent ", hash) {
        parents.push(parent);
        rest = after;
    }
    let mut time = 0;
    for line in rest.split(|b| *b == b'\n') {
        if line.is_empty() {
            break;
        }
        if let Some(who) = line.strip_prefix(b"committer ") {
            time = signature_time(who).unwrap_or(0);
            break;
        }
    }
    Some(CommitLinks {
        tree,
        parents,
        time,
    })
}

/// The seconds in `Name <mail> SECONDS ZONE`.
fn signature_time(who: &[u8]) -> Option<i64> {
    let end = who.iter().rposition(|b| *b == b'>')?;
    let text = std::str::from_utf8(&who[end + 1..]).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The object that a tag names.
pub(crate) fn tag_target(data: &[u8], hash: HashKind) -> Option<ObjectId> {
    Some(hex_line(data, b"object ", hash)?.0)
}

/// One entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawEntry<'a> {
    /// The mode's digits as they stand.
    pub(crate) mode_text: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) id: &'a oid,
}

impl RawEntry<'_> {
    pub(crate) fn is_tree(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// A submodule's commit, which is no object of this repository.
    pub(crate) fn is_commit(&self) -> bool {
        self.mode & 0o170_000 == 0o160_000
    }
}

/// The entries of a tree in the order they stand; an `Err` ends a tree that is no tree.
pub(crate) fn tree_entries(
    data: &[u8],
    hash: HashKind,
) -> impl Iterator<Item = Result<RawEntry<'_>, &'static str>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = split_entry(rest, hash.len_in_bytes());
        match entry {
            Ok((entry, after)) => {
                rest = after;
                Some(Ok(entry))
            }
            Err(e) => {
                rest = &[];
                Some(Err(e))
            }
        }
    })
}

fn split_entry(data: &[u8], id_len: usize) -> Result<(RawEntry<'_>, &[u8]), &'static str> {
    let space = data
        .iter()
        .take(8)
        .position(|b| *b == b' ')
        .ok_or("a tree entry has no mode")?;
    let mode_text = &data[..space];
    let mut mode = 0u32;
    for digit in mode_text {
        if !(b'0'..=b'7').contains(digit) {
            return Err("a tree entry's mode is not octal");
        }
        mode = (mode << 3) | u32::from(digit - b'0');
    }
    if mode_text.is_empty() {
        return Err("a tree entry has no mode");
    }
    let rest = &data[space + 1..];
    let nul = rest
        .iter()
        .position(|b| *b == 0)
        .ok_or("a tree entry's name does not end")?;
    let id = rest
        .get(nul + 1..nul + 1 + id_len)
        .ok_or("a tree ends inside an entry")?;
    let entry = RawEntry {
        mode_text,
        mode,
        name: &rest[..nul],
        id: oid::from_bytes_unchecked(id),
    };
    Ok((entry, &rest[nul + 1 + id_len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_from_a_commit() {
        let a = "1".repeat(40);
        let b = "2".repeat(40);
        let text = format!(
            "tree {a}\nparent {b}\nparent {a}\nauthor A <a@x> 5 +0000\ncommitter B <b@x> 77 +0200\n\nhi\n"
        );
        let links = commit_links(text.as_bytes(), HashKind::Sha1).unwrap();
        assert_eq!(links.parents.len(), 2);
        assert_eq!(links.time, 77);
        assert!(commit_links(b"tree xyz\n", HashKind::Sha1).is_none());
    }

    #[test]
    fn a_cut_tree_is_an_error_and_ends() {
        let mut data = b"100644 a\0".to_vec();
        data.extend_from_slice(&[7; 20]);
        data.extend_from_slice(b"40000 b\0short");
        let entries: Vec<_> = tree_entries(&data, HashKind::Sha1).collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].unwrap().name, b"a");
        assert!(entries[1].is_err());
    }
}
