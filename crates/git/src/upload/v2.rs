//! Protocol v2: commands `ls-refs` and `fetch`.

use std::io::{Read, Write};

use super::lsrefs::LsRefs;
use super::send::{Answer, Framing};
use super::{Fetch, UploadError, UploadLimits, negotiate, shallow};
use crate::pktline::{self, Pkt, PktReader, protocol_error};
use crate::repo::Repository;

/// Answers commands until the client ends the stream.
pub(crate) fn serve<R: Read>(
    repo: &Repository,
    input: &mut PktReader<R>,
    out: &mut dyn Write,
    limits: &UploadLimits,
) -> Result<(), UploadError> {
    loop {
        let command = match input.read()? {
            Pkt::End | Pkt::Flush => return Ok(()),
            Pkt::Delim => return Err(protocol_error("a delimiter where a command belongs").into()),
            Pkt::Data(line) => line.strip_suffix(b"\n").unwrap_or(line).to_vec(),
        };
        let Some(command) = command.strip_prefix(b"command=") else {
            return Err(UploadError::Refused(format!(
                "'{}' is no command",
                command.escape_ascii()
            )));
        };
        let more = capabilities(repo, input)?;
        match command {
            b"ls-refs" => {
                let mut ask = LsRefs::default();
                arguments(input, more, |line| {
                    ask.take_line(line);
                    Ok(())
                })?;
                ask.answer(repo, out, limits)?;
            }
            b"fetch" => {
                let mut ask = Fetch::default();
                arguments(input, more, |line| fetch_line(repo, &mut ask, line, limits))?;
                fetch(repo, &ask, out, limits)?;
            }
            other => {
                return Err(UploadError::Refused(format!(
                    "command '{}' is not served",
                    other.escape_ascii()
                )));
            }
        }
        out.flush()?;
    }
}

/// Reads the capability lines after the command; whether arguments follow.
fn capabilities<R: Read>(repo: &Repository, input: &mut PktReader<R>) -> Result<bool, UploadError> {
    for _ in 0..100 {
        let pkt = input.read()?;
        if let Some(line) = pkt.text() {
            if let Some(format) = line.strip_prefix(b"object-format=")
                && format != repo.hash.to_string().as_bytes()
            {
                return Err(UploadError::Refused(format!(
                    "this repository's object format is {}, not {}",
                    repo.hash,
                    format.escape_ascii()
                )));
            }
            continue;
        }
        match pkt {
            Pkt::Delim => return Ok(true),
            Pkt::Flush => return Ok(false),
            _ => return Err(protocol_error("the request ends inside a command").into()),
        }
    }
    Err(protocol_error("too many capability lines").into())
}

fn arguments<R: Read>(
    input: &mut PktReader<R>,
    more: bool,
    mut take: impl FnMut(&[u8]) -> Result<(), UploadError>,
) -> Result<(), UploadError> {
    if !more {
        return Ok(());
    }
    loop {
        let pkt = input.read()?;
        let Some(line) = pkt.text() else {
            return match pkt {
                Pkt::Flush => Ok(()),
                _ => Err(protocol_error("a command's arguments end in a flush").into()),
            };
        };
        take(line)?;
    }
}

fn fetch_line(
    repo: &Repository,
    ask: &mut Fetch,
    line: &[u8],
    limits: &UploadLimits,
) -> Result<(), UploadError> {
    match line {
        b"done" => ask.done = true,
        b"wait-for-done" => ask.wait_for_done = true,
        b"include-tag" => ask.include_tag = true,
        b"no-progress" => ask.no_progress = true,
        b"thin-pack" => ask.thin_pack = true,
        // Every client reads offsets; this server writes nothing else.
        b"ofs-delta" => {}
        _ => {
            if !ask.take_line(repo, line, limits)? {
                return Err(UploadError::Refused(format!(
                    "fetch argument '{}' is not served",
                    line.escape_ascii()
                )));
            }
        }
    }
    Ok(())
}

fn fetch(
    repo: &Repository,
    ask: &Fetch,
    out: &mut dyn Write,
    limits: &UploadLimits,
) -> Result<(), UploadError> {
    let objects = repo.objects();
    if let Some(lost) = ask.wants.iter().find(|id| !objects.contains(id)) {
        return Err(UploadError::Refused(format!(
            "upload-pack: not our ref {lost}"
        )));
    }
    if ask.wants.is_empty() {
        // Stock clients that only negotiate get their acknowledgements; others get nothing.
        if ask.haves.is_empty() {
            return Ok(());
        }
    }
    let common = negotiate::common(&objects, &ask.haves);
    if !ask.done {
        let mut text = Vec::new();
        pktline::line(&mut text, "acknowledgments")?;
        for id in &common {
            pktline::line(&mut text, &format!("ACK {id}"))?;
        }
        if common.is_empty() {
            pktline::line(&mut text, "NAK")?;
        }
        let ready = !ask.wait_for_done
            && !common.is_empty()
            && negotiate::ready(&objects, &ask.wants, &common)?;
        if ready {
            pktline::line(&mut text, "ready")?;
        }
        if !ready {
            pktline::flush(&mut text)?;
            out.write_all(&text)?;
            return Ok(());
        }
        pktline::delim(&mut text)?;
        out.write_all(&text)?;
    }
    let refs = repo.refs()?;
    let plan = shallow::plan(&objects, &refs, ask, &limits.hidden_prefixes)?;
    if ask.deepens() || !plan.shallow.is_empty() {
        pktline::line(out, "shallow-info")?;
        for id in &plan.shallow {
            pktline::line(out, &format!("shallow {id}"))?;
        }
        for id in &plan.unshallow {
            pktline::line(out, &format!("unshallow {id}"))?;
        }
        pktline::delim(out)?;
    }
    pktline::line(out, "packfile")?;
    let answer = Answer {
        repo,
        objects: &objects,
        fetch: ask,
        plan: &plan,
        common: &common,
        limits,
    };
    answer.send(Framing::Bands, out)
}
