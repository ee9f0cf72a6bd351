//! The small files of a checkout's `.git`: `HEAD`, `config`, refs.

use gix::hash::{Kind as HashKind, ObjectId};
use gix::objs::Kind;

use super::{CheckoutError, CheckoutOptions};
use crate::objects::{Objects, ReadError};
use crate::parse;
use crate::repo::Repository;

/// Refs that only the server has a use for.
const INTERNAL: &str = "refs/pull/";

#[derive(Default)]
pub(crate) struct Metadata {
    /// Paths and contents.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Commits whose history goes along when all of it does.
    pub(crate) commits: Vec<ObjectId>,
    /// Tag objects (and what else tags name) that go along.
    pub(crate) tags: Vec<ObjectId>,
}

impl Metadata {
    pub(crate) fn of(
        repo: &Repository,
        objects: &Objects,
        commit: ObjectId,
        options: &CheckoutOptions,
    ) -> Result<Self, CheckoutError> {
        let mut meta = Self::default();
        let refs = repo.refs()?;
        let name = options.ref_name.as_deref().unwrap_or("");
        let branch = name.strip_prefix("refs/heads/");
        let mut packed: Vec<(String, ObjectId)> = Vec::new();
        if options.depth == 0 {
            for r in refs.all() {
                if let Some(short) = r.branch() {
                    packed.push((format!("refs/remotes/origin/{short}"), r.target));
                    meta.commits.push(r.target);
                } else if r.tag().is_some() {
                    meta.follow_tag(objects, r.target)?;
                    packed.push((r.name.clone(), r.target));
                }
            }
        } else if name.starts_with("refs/tags/")
            && let Some(target) = refs.get(name)
            && objects.peel(target)?.0 == commit
        {
            meta.follow_tag(objects, target)?;
            packed.push((name.to_owned(), target));
        }
        if let Some(short) = branch {
            let remote = format!("refs/remotes/origin/{short}");
            packed.retain(|(name, _)| *name != remote);
            packed.push((remote, commit));
            packed.push((format!("refs/heads/{short}"), commit));
            meta.text(".git/HEAD", format!("ref: refs/heads/{short}\n"));
        } else {
            if let Some(rest) = name.strip_prefix(INTERNAL) {
                packed.push((format!("refs/remotes/pull/{rest}"), commit));
            }
            meta.text(".git/HEAD", format!("{commit}\n"));
        }
        packed.sort();
        let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for (name, id) in packed {
            text.push_str(&format!("{id} {name}\n"));
            if let Some(peeled) = crate::upload::peeled(objects, &name, id) {
                text.push_str(&format!("^{peeled}\n"));
            }
        }
        meta.text(".git/packed-refs", text);
        meta.text(
            ".git/config",
            config(repo.hash, branch, &options.remote_url),
        );
        Ok(meta)
    }

    fn text(&mut self, path: &str, text: String) {
        self.files.push((path.to_owned(), text.into_bytes()));
    }

    fn follow_tag(&mut self, objects: &Objects, target: ObjectId) -> Result<(), CheckoutError> {
        let mut at = target;
        let mut buf = Vec::new();
        for _ in 0..64 {
            match objects.header(&at)?.0 {
                Kind::Commit => {
                    self.commits.push(at);
                    return Ok(());
                }
                Kind::Tag => {
                    self.tags.push(at);
                    let data = objects.find_kind(&at, Kind::Tag, &mut buf)?;
                    at = parse::tag_target(data, objects.hash()).ok_or_else(|| {
                        ReadError::Damaged {
                            id: at,
                            what: "the tag names no object".to_owned(),
                        }
                    })?;
                }
                Kind::Tree | Kind::Blob => {
                    self.tags.push(at);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A value in git's config syntax.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '\n' => text.push_str("\\n"),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn config(hash: HashKind, branch: Option<&str>, remote_url: &str) -> String {
    let version = u8::from(hash == HashKind::Sha256);
    let mut text = format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = false\n\
         \tlogallrefupdates = true\n"
    );
    if hash == HashKind::Sha256 {
        text.push_str("[extensions]\n\tobjectformat = sha256\n");
    }
    text.push_str(&format!(
        "[remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        quoted(remote_url)
    ));
    if let Some(branch) = branch {
        text.push_str(&format!(
            "[branch {}]\n\tremote = origin\n\tmerge = {}\n",
            quoted(branch),
            quoted(&format!("refs/heads/{branch}"))
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_line() {
        assert_eq!(quoted("a\"b\\c\n[x]"), "\"a\\\"b\\\\c\\n[x]\"");
    }
}
