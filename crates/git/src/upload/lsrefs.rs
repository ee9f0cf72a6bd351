//! The `ls-refs` command of protocol v2, and which refs a client may see.

use std::io::Write;

use gix::hash::ObjectId;
use gix::objs::Kind;

use super::{UploadError, UploadLimits};
use crate::objects::Objects;
use crate::pktline;
use crate::refs::{Head, RefSnapshot};
use crate::repo::Repository;

/// Whether a ref is kept from the client.
pub(crate) fn hidden(name: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|p| name.starts_with(p.as_str()))
}

/// What the tag that a ref names finally points at; `None` where it names no tag.
pub(crate) fn peeled(objects: &Objects, name: &str, target: ObjectId) -> Option<ObjectId> {
    if name.starts_with("refs/heads/") {
        return None;
    }
    match objects.header(&target) {
        Ok((Kind::Tag, _)) => objects.peel(target).ok().map(|(id, _)| id),
        _ => None,
    }
}

/// The arguments of one `ls-refs`.
#[derive(Default, Debug)]
pub(crate) struct LsRefs {
    pub(crate) prefixes: Vec<Vec<u8>>,
    pub(crate) symrefs: bool,
    pub(crate) peel: bool,
    pub(crate) unborn: bool,
}

/// So many `ref-prefix` lines are taken; more, and all refs are sent, as stock git does it.
const MAX_PREFIXES: usize = 65_536;

impl LsRefs {
    pub(crate) fn take_line(&mut self, line: &[u8]) {
        match line {
            b"symrefs" => self.symrefs = true,
            b"peel" => self.peel = true,
            b"unborn" => self.unborn = true,
            _ => {
                if let Some(prefix) = line.strip_prefix(b"ref-prefix ")
                    && self.prefixes.len() <= MAX_PREFIXES
                {
                    self.prefixes.push(prefix.to_vec());
                }
            }
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.prefixes.is_empty()
            || self.prefixes.len() > MAX_PREFIXES
            || self.prefixes.iter().any(|p| name.as_bytes().starts_with(p))
    }

    pub(crate) fn answer(
        &self,
        repo: &Repository,
        out: &mut dyn Write,
        limits: &UploadLimits,
    ) -> Result<(), UploadError> {
        let refs = repo.refs()?;
        let head = repo.head()?;
        let objects = repo.objects();
        let mut text = Vec::new();
        self.head_line(&head, &refs, &mut text, limits)?;
        for r in refs.all() {
            if !self.matches(&r.name) || hidden(&r.name, &limits.hidden_prefixes) {
                continue;
            }
            let mut line = format!("{} {}", r.target, r.name);
            if self.peel
                && let Some(peeled) = peeled(&objects, &r.name, r.target)
            {
                line.push_str(&format!(" peeled:{peeled}"));
            }
            pktline::line(&mut text, &line)?;
        }
        pktline::flush(&mut text)?;
        out.write_all(&text)?;
        Ok(())
    }

    fn head_line(
        &self,
        head: &Head,
        refs: &RefSnapshot,
        out: &mut dyn Write,
        limits: &UploadLimits,
    ) -> Result<(), UploadError> {
        if !self.matches("HEAD") {
            return Ok(());
        }
        if head
            .branch()
            .is_some_and(|name| hidden(name, &limits.hidden_prefixes))
        {
            return Ok(());
        }
        match (head.target(refs), head) {
            (Some(id), Head::Branch(name)) if self.symrefs => {
                pktline::line(out, &format!("{id} HEAD symref-target:{name}"))?;
            }
            (Some(id), _) => pktline::line(out, &format!("{id} HEAD"))?,
            (None, Head::Branch(name)) if self.unborn && self.symrefs => {
                pktline::line(out, &format!("unborn HEAD symref-target:{name}"))?;
            }
            (None, _) => {}
        }
        Ok(())
    }
}
