//! The commands of a push and the capabilities of its client.

use std::io::Read;

use gix::hash::{Kind as HashKind, ObjectId};

use super::{ReceiveError, ReceiveLimits, Refusal};
use crate::pktline::{Pkt, PktReader};
use crate::refs::parse_id;

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandKind {
    /// Makes a ref.
    Create,
    /// Moves a ref.
    Update,
    /// Removes a ref.
    Delete,
}

/// One ref of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefCommand {
    /// Its full name.
    pub name: String,
    /// The value the client saw; `None`: no such ref.
    pub old: Option<ObjectId>,
    /// The value it is to have; `None` deletes it.
    pub new: Option<ObjectId>,
    /// What that amounts to.
    pub kind: CommandKind,
    /// A branch update that drops commits, or any move of another ref.
    pub forced: bool,
    /// Why it will not be done, in words for the user.
    pub refused: Option<String>,
}

/// What the client of a push can do.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Wants to hear what became of each ref.
    pub report_status: bool,
    /// Wants it in the second version's words.
    pub report_status_v2: bool,
    /// Takes reports and messages on side bands.
    pub side_band: bool,
    /// Wants all or nothing.
    pub atomic: bool,
    /// Wants no progress.
    pub quiet: bool,
}

/// Reads up to the flush that ends the commands.
pub(crate) fn read<R: Read>(
    input: &mut PktReader<R>,
    hash: HashKind,
    limits: &ReceiveLimits,
) -> Result<(Vec<RefCommand>, Capabilities), ReceiveError> {
    let mut commands: Vec<RefCommand> = Vec::new();
    let mut capabilities = Capabilities::default();
    let refuse = |refusal, commands: Vec<RefCommand>, capabilities| ReceiveError {
        refusal,
        commands,
        capabilities,
    };
    loop {
        let pkt = input.read().map_err(|e| ReceiveError::new(from_io(e)))?;
        let Some(line) = pkt.text() else {
            return match pkt {
                Pkt::Flush => Ok((commands, capabilities)),
                Pkt::End if commands.is_empty() => Ok((commands, capabilities)),
                _ => Err(refuse(
                    Refusal::Protocol("the commands end in a flush".to_owned()),
                    commands,
                    capabilities,
                )),
            };
        };
        // Where a shallow client's history ends; the connectivity check finds out by itself.
        if line.starts_with(b"shallow ") {
            continue;
        }
        let mut line = line;
        if commands.is_empty()
            && let Some(nul) = line.iter().position(|b| *b == 0)
        {
            match parse_capabilities(&line[nul + 1..], hash) {
                Ok(read) => capabilities = read,
                Err(refusal) => return Err(refuse(refusal, commands, capabilities)),
            }
            line = &line[..nul];
        }
        if commands.len() >= limits.max_refs {
            let limit = limits.max_refs;
            return Err(refuse(
                Refusal::TooManyRefs { limit },
                commands,
                capabilities,
            ));
        }
        match parse(line, hash) {
            Ok(command) => commands.push(command),
            Err(refusal) => return Err(refuse(refusal, commands, capabilities)),
        }
    }
}

fn from_io(e: std::io::Error) -> Refusal {
    if e.kind() == std::io::ErrorKind::InvalidData {
        Refusal::Protocol(e.to_string())
    } else {
        Refusal::Connection(e)
    }
}

fn parse_capabilities(text: &[u8], hash: HashKind) -> Result<Capabilities, Refusal> {
    let mut caps = Capabilities::default();
    for cap in text.split(|b| *b == b' ') {
        match cap {
            b"report-status" => caps.report_status = true,
            b"report-status-v2" => caps.report_status_v2 = true,
            b"side-band-64k" => caps.side_band = true,
            b"atomic" => caps.atomic = true,
            b"quiet" => caps.quiet = true,
            b"push-options" | b"push-cert" => {
                return Err(Refusal::Protocol(format!(
                    "'{}' is not served",
                    cap.escape_ascii()
                )));
            }
            _ => {
                if let Some(format) = cap.strip_prefix(b"object-format=")
                    && format != hash.to_string().as_bytes()
                {
                    return Err(Refusal::Protocol(format!(
                        "this repository's object format is {hash}, not {}",
                        format.escape_ascii()
                    )));
                }
            }
        }
    }
    Ok(caps)
}

fn parse(line: &[u8], hash: HashKind) -> Result<RefCommand, Refusal> {
    let bad = || {
        let shown: Vec<u8> = line.iter().copied().take(200).collect();
        Refusal::Protocol(format!("'{}' is no command", shown.escape_ascii()))
    };
    let len = hash.len_in_hex();
    let old = line
        .get(..len)
        .and_then(|t| parse_id(t, hash))
        .ok_or_else(bad)?;
    let new = line
        .get(len + 1..2 * len + 1)
        .and_then(|t| parse_id(t, hash))
        .ok_or_else(bad)?;
    if line.get(len) != Some(&b' ') || line.get(2 * len + 1) != Some(&b' ') {
        return Err(bad());
    }
    let name = &line[2 * len + 2..];
    let mut refused = None;
    let name = match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => {
            refused = Some("a ref name must be UTF-8".to_owned());
            name.escape_ascii().to_string()
        }
    };
    let some = |id: ObjectId| (!id.is_null()).then_some(id);
    let kind = match (some(old), some(new)) {
        (None, Some(_)) => CommandKind::Create,
        (Some(_), Some(_)) => CommandKind::Update,
        (_, None) => CommandKind::Delete,
    };
    Ok(RefCommand {
        name,
        old: some(old),
        new: some(new),
        kind,
        forced: false,
        refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pktline;

    fn read_lines(lines: &[String]) -> Result<(Vec<RefCommand>, Capabilities), ReceiveError> {
        let mut wire = Vec::new();
        for line in lines {
            pktline::line(&mut wire, line).unwrap();
        }
        pktline::flush(&mut wire).unwrap();
        read(
            &mut PktReader::new(&wire[..]),
            HashKind::Sha1,
            &ReceiveLimits::default(),
        )
    }

    #[test]
    fn commands_and_capabilities_are_read() {
        let (zero, a) = ("0".repeat(40), "a".repeat(40));
        let (commands, caps) = read_lines(&[
            format!("shallow {a}"),
            format!("{zero} {a} refs/heads/x\0 report-status atomic agent=git/2"),
            format!("{a} {zero} refs/heads/y"),
        ])
        .unwrap();
        assert!(caps.report_status && caps.atomic && !caps.side_band);
        assert_eq!(commands[0].kind, CommandKind::Create);
        assert_eq!(commands[1].kind, CommandKind::Delete);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let a = "a".repeat(40);
        for line in [
            "",
            "x",
            "refs/heads/a",
            &a,
            &format!("{a} {a}"),
            &format!("{a}  {a} refs/x"),
        ] {
            assert!(read_lines(&[line.to_owned()]).is_err(), "{line:?}");
        }
        let options = format!("{a} {a} refs/heads/x\0push-options");
        assert!(read_lines(&[options]).is_err());
    }
}
