//! One commit, with its words.

use gix::hash::ObjectId;
use gix::objs::Kind;

use crate::objects::{Objects, ReadError};
use crate::parse;

/// Who did something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name, as written.
    pub name: String,
    /// The mail address, as written.
    pub email: String,
    /// Seconds since 1970-01-01 UTC.
    pub seconds: i64,
    /// The writer's time zone, in minutes east of UTC.
    pub offset_minutes: i32,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: ObjectId,
    /// The tree of its files.
    pub tree: ObjectId,
    /// What it follows; none for a first commit, several for a merge.
    pub parents: Vec<ObjectId>,
    /// Who wrote the change.
    pub author: Signature,
    /// Who made the commit.
    pub committer: Signature,
    /// The whole message.
    pub message: String,
}

impl Commit {
    /// The message's first line.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.message.lines().next().unwrap_or("")
    }

    fn parse(id: ObjectId, data: &[u8], objects: &Objects) -> Option<Self> {
        let links = parse::commit_links(data, objects.hash())?;
        let end = data
            .windows(2)
            .position(|w| w == b"\n\n")
            .unwrap_or(data.len());
        let header = String::from_utf8_lossy(&data[..end]);
        let who = |key: &str| {
            let line = header.lines().find_map(|l| l.strip_prefix(key));
            parse_signature(line.unwrap_or(""))
        };
        let message = data.get(end + 2..).unwrap_or_default();
        Some(Self {
            id,
            tree: links.tree,
            parents: links.parents,
            author: who("author "),
            committer: who("committer "),
            message: String::from_utf8_lossy(message).into_owned(),
        })
    }
}

fn parse_signature(text: &str) -> Signature {
    let (name, rest) = text.split_once('<').unwrap_or((text, ""));
    let (email, when) = rest.rsplit_once('>').unwrap_or((rest, ""));
    let mut when = when.split_whitespace();
    let seconds = when.next().and_then(|t| t.parse().ok()).unwrap_or(0);
    let zone: i32 = when.next().and_then(|t| t.parse().ok()).unwrap_or(0);
    Signature {
        name: name.trim().to_owned(),
        email: email.trim().to_owned(),
        seconds,
        offset_minutes: (zone / 100) * 60 + zone % 100,
    }
}

impl Objects {
    /// Reads the commit `id`.
    pub fn commit(&self, id: ObjectId) -> Result<Commit, ReadError> {
        let mut buf = Vec::new();
        let data = self.find_kind(&id, Kind::Commit, &mut buf)?;
        Commit::parse(id, data, self).ok_or_else(|| ReadError::Damaged {
            id,
            what: "it does not begin like a commit".to_owned(),
        })
    }

    /// The root tree of a commit, of what a tag names, or of a tree itself.
    pub fn root_tree(&self, id: ObjectId) -> Result<ObjectId, ReadError> {
        let (id, kind) = self.peel(id)?;
        match kind {
            Kind::Tree => Ok(id),
            Kind::Commit => Ok(crate::walk::links(self, &id, &mut Vec::new())?.tree),
            is => Err(ReadError::WrongKind {
                id,
                is,
                wanted: Kind::Tree,
            }),
        }
    }

    /// Whether `old` is reachable from `new`, or is it. Both must be commits.
    pub fn is_ancestor(&self, old: ObjectId, new: ObjectId) -> Result<bool, ReadError> {
        crate::walk::is_ancestor(self, old, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_with_their_zone() {
        let who = parse_signature("A <b> U Thor <a@x> 1700000000 -0330");
        assert_eq!(who.seconds, 1_700_000_000);
        assert_eq!(who.offset_minutes, -210);
        let odd = parse_signature("nobody");
        assert_eq!(
            (odd.name.as_str(), odd.email.as_str(), odd.seconds),
            ("nobody", "", 0)
        );
    }
}
