//! Protocol v0 (and v1): wants with capabilities, then rounds of haves, then the pack.

use std::collections::HashSet;
use std::io::{Read, Write};

use gix::hash::ObjectId;

use super::send::{Answer, Framing};
use super::{Fetch, UploadError, UploadLimits, hidden, negotiate, shallow};
use crate::objects::Objects;
use crate::pktline::{self, Pkt, PktReader, protocol_error};
use crate::repo::Repository;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Acks {
    #[default]
    Single,
    Multi,
    Detailed,
}

#[derive(Default, Debug)]
struct Options {
    acks: Acks,
    no_done: bool,
    bands: bool,
}

/// Answers one request (HTTP) or the whole conversation.
pub(crate) fn serve<R: Read>(
    repo: &Repository,
    input: &mut PktReader<R>,
    out: &mut dyn Write,
    limits: &UploadLimits,
) -> Result<(), UploadError> {
    let mut ask = Fetch::default();
    let mut options = Options::default();
    if !wants(repo, input, &mut ask, &mut options, limits)? {
        return Ok(());
    }
    let objects = repo.objects();
    check_wants(repo, &objects, &ask, limits)?;
    let refs = repo.refs()?;
    let plan = shallow::plan(&objects, &refs, &ask, &limits.hidden_prefixes)?;
    if ask.deepens() {
        for id in &plan.shallow {
            pktline::line(out, &format!("shallow {id}"))?;
        }
        for id in &plan.unshallow {
            pktline::line(out, &format!("unshallow {id}"))?;
        }
        pktline::flush(out)?;
        out.flush()?;
    }
    let Some(common) = haves(repo, &objects, input, &mut ask, &options, out, limits)? else {
        return Ok(());
    };
    let framing = if options.bands {
        Framing::Bands
    } else {
        Framing::Bare
    };
    let answer = Answer {
        repo,
        objects: &objects,
        fetch: &ask,
        plan: &plan,
        common: &common,
        limits,
    };
    answer.send(framing, out)
}

/// Reads up to the first flush; `false` where the client wants nothing.
fn wants<R: Read>(
    repo: &Repository,
    input: &mut PktReader<R>,
    ask: &mut Fetch,
    options: &mut Options,
    limits: &UploadLimits,
) -> Result<bool, UploadError> {
    loop {
        let pkt = input.read()?;
        let Some(line) = pkt.text() else {
            return match pkt {
                Pkt::Flush => Ok(!ask.wants.is_empty()),
                Pkt::End if ask.wants.is_empty() => Ok(false),
                _ => Err(protocol_error("the wants end in a flush").into()),
            };
        };
        let mut line = line;
        if ask.wants.is_empty() && line.starts_with(b"want ") {
            let id_end = 5 + repo.hash.len_in_hex();
            if let Some(caps) = line.get(id_end..) {
                take_capabilities(repo, caps, ask, options)?;
                line = &line[..id_end];
            }
        }
        if !ask.take_line(repo, line, limits)? {
            return Err(protocol_error(format!("'{}' is no want", line.escape_ascii())).into());
        }
    }
}

fn take_capabilities(
    repo: &Repository,
    caps: &[u8],
    ask: &mut Fetch,
    options: &mut Options,
) -> Result<(), UploadError> {
    for cap in caps.split(|b| *b == b' ').filter(|c| !c.is_empty()) {
        match cap {
            b"multi_ack" => options.acks = Acks::Multi,
            b"multi_ack_detailed" => options.acks = Acks::Detailed,
            b"no-done" => options.no_done = true,
            b"side-band-64k" => options.bands = true,
            b"no-progress" => ask.no_progress = true,
            b"include-tag" => ask.include_tag = true,
            b"thin-pack" => ask.thin_pack = true,
            b"deepen-relative" => ask.deepen.relative = true,
            _ => {
                if let Some(format) = cap.strip_prefix(b"object-format=")
                    && format != repo.hash.to_string().as_bytes()
                {
                    return Err(UploadError::Refused(format!(
                        "this repository's object format is {}",
                        repo.hash
                    )));
                }
            }
        }
    }
    Ok(())
}

/// v0 clients may want only what was advertised.
fn check_wants(
    repo: &Repository,
    objects: &Objects,
    ask: &Fetch,
    limits: &UploadLimits,
) -> Result<(), UploadError> {
    let refs = repo.refs()?;
    let shown = || {
        refs.all()
            .iter()
            .filter(|r| !hidden(&r.name, &limits.hidden_prefixes))
    };
    let mut offered: HashSet<ObjectId> = shown().map(|r| r.target).collect();
    offered.extend(repo.head()?.target(&refs));
    if ask.wants.iter().any(|id| !offered.contains(id)) {
        offered.extend(shown().filter_map(|r| super::lsrefs::peeled(objects, &r.name, r.target)));
    }
    match ask.wants.iter().find(|id| !offered.contains(*id)) {
        Some(id) => Err(UploadError::Refused(format!(
            "upload-pack: not our ref {id}"
        ))),
        None => Ok(()),
    }
}

/// Negotiates; what both sides have once a pack is due, `None` when the client left.
fn haves<R: Read>(
    repo: &Repository,
    objects: &Objects,
    input: &mut PktReader<R>,
    ask: &mut Fetch,
    options: &Options,
    out: &mut dyn Write,
    limits: &UploadLimits,
) -> Result<Option<Vec<ObjectId>>, UploadError> {
    let mut common: Vec<ObjectId> = Vec::new();
    let mut known: HashSet<ObjectId> = HashSet::new();
    let mut sent_ready = false;
    objects.look_for_packs();
    loop {
        let pkt = input.read()?;
        let Some(line) = pkt.text() else {
            match pkt {
                Pkt::Flush => {
                    if options.acks == Acks::Detailed
                        && !sent_ready
                        && !common.is_empty()
                        && negotiate::ready(objects, &ask.wants, &common)?
                    {
                        sent_ready = true;
                        let last = common[common.len() - 1];
                        pktline::line(out, &format!("ACK {last} ready"))?;
                    }
                    if common.is_empty() || options.acks != Acks::Single {
                        pktline::line(out, "NAK")?;
                    }
                    if options.no_done && sent_ready {
                        let last = common[common.len() - 1];
                        pktline::line(out, &format!("ACK {last}"))?;
                        return Ok(Some(common));
                    }
                    out.flush()?;
                    continue;
                }
                Pkt::End => return Ok(None),
                _ => return Err(protocol_error("a delimiter among the haves").into()),
            }
        };
        if line == b"done" {
            match common.last() {
                Some(last) if options.acks != Acks::Single => {
                    pktline::line(out, &format!("ACK {last}"))?;
                }
                Some(_) => {}
                None => pktline::line(out, "NAK")?,
            }
            return Ok(Some(common));
        }
        if !line.starts_with(b"have ") || !ask.take_line(repo, line, limits)? {
            return Err(protocol_error(format!("'{}' is no have", line.escape_ascii())).into());
        }
        let Some(id) = ask.haves.last().copied() else {
            continue;
        };
        if !objects.contains_as_seen(&id) {
            continue;
        }
        let first = common.is_empty();
        if known.insert(id) {
            common.push(id);
        }
        match options.acks {
            Acks::Single if first => pktline::line(out, &format!("ACK {id}"))?,
            Acks::Single => {}
            Acks::Multi => pktline::line(out, &format!("ACK {id} continue"))?,
            Acks::Detailed => pktline::line(out, &format!("ACK {id} common"))?,
        }
    }
}
