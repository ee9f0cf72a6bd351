//! Packs, objects and requests made by hand.

use std::io::Write as _;

use gix::ObjectId;
use gix::hash::Kind as HashKind;
use gix::objs::Kind;

use super::{Result, Site, pkt, post};

pub(crate) const ZERO: &str = "0000000000000000000000000000000000000000";

pub(crate) fn hash(kind: Kind, data: &[u8]) -> Result<ObjectId> {
    Ok(gix::objs::compute_hash(HashKind::Sha1, kind, data)?)
}

pub(crate) fn deflate(data: &[u8]) -> Result<Vec<u8>> {
    let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(data)?;
    Ok(out.finish()?)
}

/// An entry's header: kind number and size.
pub(crate) fn entry_head(kind: u8, mut size: u64) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = (kind << 4) | u8::try_from(size & 15)?;
    size >>= 4;
    while size > 0 {
        head.push(byte | 0x80);
        byte = u8::try_from(size & 0x7f)?;
        size >>= 7;
    }
    head.push(byte);
    Ok(head)
}

pub(crate) fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Commit => 1,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    }
}

/// A pack of ready-made entries.
pub(crate) fn pack_of_entries(entries: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(entries.len())?.to_be_bytes());
    for entry in entries {
        pack.extend_from_slice(entry);
    }
    let mut hasher = gix::hash::hasher(HashKind::Sha1);
    hasher.update(&pack);
    pack.extend_from_slice(hasher.try_finalize()?.as_slice());
    Ok(pack)
}

pub(crate) fn pack_of(objects: &[(Kind, &[u8])]) -> Result<Vec<u8>> {
    let entries: Result<Vec<_>> = objects
        .iter()
        .map(|(kind, data)| {
            let mut entry = entry_head(number(*kind), data.len() as u64)?;
            entry.extend(deflate(data)?);
            Ok(entry)
        })
        .collect();
    pack_of_entries(&entries?)
}

pub(crate) fn tree_of(entries: &[(&str, &str, ObjectId)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (mode, name, id) in entries {
        data.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        data.extend_from_slice(id.as_slice());
    }
    data
}

pub(crate) fn commit_of(tree: ObjectId, parents: &[ObjectId]) -> Vec<u8> {
    let mut text = format!("tree {tree}\n");
    for parent in parents {
        text.push_str(&format!("parent {parent}\n"));
    }
    text.push_str("author A <a@x> 1700000000 +0000\ncommitter A <a@x> 1700000000 +0000\n\nm\n");
    text.into_bytes()
}

/// Sends commands and a pack; what the server says.
pub(crate) fn push(site: &Site, commands: &[(&str, &str, &str)], pack: &[u8]) -> Result<String> {
    let mut body = Vec::new();
    for (nth, (old, new, name)) in commands.iter().enumerate() {
        let caps = if nth == 0 {
            "\0report-status side-band-64k"
        } else {
            ""
        };
        body.extend(pkt(&format!("{old} {new} {name}{caps}")));
    }
    body.extend_from_slice(b"0000");
    body.extend_from_slice(pack);
    Ok(String::from_utf8_lossy(&post(site, "git-receive-pack", &body)?).into_owned())
}

/// The three objects of a one-file history.
pub(crate) struct Small {
    pub(crate) blob: &'static [u8],
    pub(crate) tree: Vec<u8>,
    pub(crate) commit: Vec<u8>,
    pub(crate) tip: ObjectId,
}

pub(crate) fn small() -> Result<Small> {
    let blob = b"contents\n";
    let tree = tree_of(&[("100644", "file", hash(Kind::Blob, blob)?)]);
    let commit = commit_of(hash(Kind::Tree, &tree)?, &[]);
    let tip = hash(Kind::Commit, &commit)?;
    Ok(Small {
        blob,
        tree,
        commit,
        tip,
    })
}

impl Small {
    pub(crate) fn pack(&self) -> Result<Vec<u8>> {
        pack_of(&[
            (Kind::Commit, &self.commit),
            (Kind::Tree, &self.tree),
            (Kind::Blob, self.blob),
        ])
    }
}
