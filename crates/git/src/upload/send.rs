//! The pack that answers a fetch.

use std::io::Write;

use gix::hash::ObjectId;
use gix::objs::Kind;

use super::negotiate::commits_of;
use super::shallow::Plan;
use super::{Fetch, UploadError, UploadLimits, hidden};
use crate::ids::IdSet;
use crate::objects::{Objects, ReadError};
use crate::pack::{self, PackPlan, Selection};
use crate::parse;
use crate::pktline::{self, Band, DataBand};
use crate::repo::Repository;
use crate::walk;

/// How the pack travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    Bands,
    Bare,
}

/// What a pack answers.
pub(crate) struct Answer<'a> {
    pub(crate) repo: &'a Repository,
    pub(crate) objects: &'a Objects,
    pub(crate) fetch: &'a Fetch,
    pub(crate) plan: &'a Plan,
    /// What both sides have.
    pub(crate) common: &'a [ObjectId],
    pub(crate) limits: &'a UploadLimits,
}

impl Answer<'_> {
    /// Sends the pack.
    pub(crate) fn send(&self, framing: Framing, out: &mut dyn Write) -> Result<(), UploadError> {
        let talk = framing == Framing::Bands && !self.fetch.no_progress;
        let plan = self.plan()?;
        if talk {
            let text = format!("Counting objects: {}, done.\n", plan.len());
            pktline::band(out, Band::Progress, text.as_bytes())?;
        }
        let mut band = DataBand::new(out, framing == Framing::Bands);
        let sent = pack::write_pack(&plan, &mut band);
        match sent {
            Ok(_) => band.finish()?,
            Err(e) => {
                drop(band);
                if framing == Framing::Bands {
                    pktline::band(out, Band::Error, format!("{e}\n").as_bytes())?;
                }
                return Err(e.into());
            }
        }
        if framing == Framing::Bands {
            pktline::flush(out)?;
        }
        Ok(())
    }

    fn plan(&self) -> Result<PackPlan<'_>, UploadError> {
        let roots = Roots::of(self.objects, &self.fetch.wants)?;
        if let Some(plan) = self.plan_ahead(&roots)? {
            return Ok(plan);
        }
        let mut wanted = roots.commits;
        wanted.extend(&self.plan.wanted);
        let had = commits_of(self.objects, self.common);
        let commits = walk::difference(self.objects, &wanted, &had, &self.plan.grafts)?;
        let mut others = roots.others;
        if self.fetch.include_tag {
            let sent: IdSet = commits.commits.iter().map(|(id, _)| *id).collect();
            self.tags_along(&|id| sent.contains(id), &mut others)?;
        }
        let selection = Selection {
            commits: &commits,
            others: &others,
            edges: &self.plan.unshallow,
            filter: self.fetch.filter,
            threads: self.limits.threads,
        };
        let mut selected = pack::select(self.objects, &selection)?;
        // A partial clone may lack any blob of a commit that it has.
        if !self.fetch.thin_pack || self.fetch.filter.is_some() {
            selected.had.clear();
        }
        Ok(PackPlan {
            objects: self.objects,
            packs: self.repo.packs.get(&self.repo.dir, self.repo.hash)?,
            ahead: None,
            ids: selected.ids,
            had: selected.had,
        })
    }

    /// A clone of everything that a closed pack holds: the pack as it stands, and what it lacks.
    fn plan_ahead(&self, roots: &Roots) -> Result<Option<PackPlan<'_>>, UploadError> {
        let fetch = self.fetch;
        let is_clone = self.common.is_empty()
            && fetch.shallow.is_empty()
            && !fetch.deepens()
            && fetch.filter.is_none();
        if !is_clone {
            return Ok(None);
        }
        let Some(pack) = self.repo.closed_pack()? else {
            return Ok(None);
        };
        let mut others = roots.others.clone();
        let Some(commits) = pack.beyond(self.objects, &roots.commits, &others)? else {
            return Ok(None);
        };
        if fetch.include_tag {
            let new: IdSet = commits.commits.iter().map(|(id, _)| *id).collect();
            self.tags_along(&|id| new.contains(id) || pack.contains(id), &mut others)?;
        }
        others.retain(|id| !pack.contains(id));
        let selection = Selection {
            commits: &commits,
            others: &others,
            edges: &[],
            filter: None,
            threads: self.limits.threads,
        };
        let mut ids = pack::select(self.objects, &selection)?.ids;
        ids.retain(|id| !pack.contains(id));
        Ok(Some(PackPlan {
            objects: self.objects,
            packs: self.repo.packs.get(&self.repo.dir, self.repo.hash)?,
            ahead: Some(pack),
            ids,
            had: IdSet::default(),
        }))
    }

    /// Adds the annotated tags of commits that are sent.
    fn tags_along(
        &self,
        sent: &dyn Fn(&ObjectId) -> bool,
        others: &mut Vec<ObjectId>,
    ) -> Result<(), UploadError> {
        let objects = self.objects;
        let asked: IdSet = others.iter().copied().collect();
        let mut buf = Vec::new();
        for r in self.repo.refs()?.prefixed("refs/tags/") {
            if hidden(&r.name, &self.limits.hidden_prefixes) || asked.contains(&r.target) {
                continue;
            }
            let mut chain = Vec::new();
            let mut at = r.target;
            while chain.len() < 64 && objects.header(&at)?.0 == Kind::Tag {
                chain.push(at);
                let data = objects.find_kind(&at, Kind::Tag, &mut buf)?;
                match parse::tag_target(data, objects.hash()) {
                    Some(target) => at = target,
                    None => break,
                }
            }
            if sent(&at) {
                others.extend(chain);
            }
        }
        others.sort();
        others.dedup();
        Ok(())
    }
}

/// The wants, sorted by kind.
pub(crate) struct Roots {
    pub(crate) commits: Vec<ObjectId>,
    /// Tags themselves, and trees and blobs.
    pub(crate) others: Vec<ObjectId>,
}

impl Roots {
    pub(crate) fn of(objects: &Objects, wants: &[ObjectId]) -> Result<Self, ReadError> {
        let mut roots = Self {
            commits: Vec::new(),
            others: Vec::new(),
        };
        let mut buf = Vec::new();
        for want in wants {
            let mut at = *want;
            for _ in 0..64 {
                let kind = objects.header(&at)?.0;
                match kind {
                    Kind::Commit => roots.commits.push(at),
                    _ => roots.others.push(at),
                }
                if kind != Kind::Tag {
                    break;
                }
                let data = objects.find_kind(&at, Kind::Tag, &mut buf)?;
                match parse::tag_target(data, objects.hash()) {
                    Some(target) => at = target,
                    None => break,
                }
            }
        }
        roots.others.sort();
        roots.others.dedup();
        Ok(roots)
    }
}
