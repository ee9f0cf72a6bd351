//! What the client of a push is told: lines for the user's terminal, then each ref's fate.

use std::io::{self, Write};

use super::{Capabilities, RefCommand, Refusal};
use crate::pktline::{self, Band};

/// The report of a push that was taken, as far as its refs were.
pub(crate) fn success(
    commands: &[RefCommand],
    caps: Capabilities,
    messages: &[String],
    out: &mut dyn Write,
) -> io::Result<()> {
    let fate = |c: &RefCommand| c.refused.clone();
    report("ok", commands, &fate, caps, messages, out)
}

/// The report of a push that was refused as a whole.
pub(crate) fn failure(
    refusal: &Refusal,
    commands: &[RefCommand],
    caps: Capabilities,
    out: &mut dyn Write,
) -> io::Result<()> {
    if matches!(refusal, Refusal::Connection(_)) {
        return Ok(());
    }
    if commands.is_empty() && !caps.report_status && !caps.report_status_v2 {
        pktline::error(out, &refusal.to_string())?;
        return out.flush();
    }
    let (unpack, reason) = match refusal {
        Refusal::BadObject { .. } | Refusal::Incomplete(_) => ("ok", refusal.to_string()),
        _ => ("", "the pack was refused".to_owned()),
    };
    let text = refusal.to_string();
    let unpack = if unpack.is_empty() { &text } else { unpack };
    let fate = |c: &RefCommand| Some(c.refused.clone().unwrap_or_else(|| reason.clone()));
    let message = format!("refused: {refusal}");
    report(unpack, commands, &fate, caps, &[message], out)
}

fn report(
    unpack: &str,
    commands: &[RefCommand],
    fate: &dyn Fn(&RefCommand) -> Option<String>,
    caps: Capabilities,
    messages: &[String],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut lines = Vec::new();
    if caps.report_status || caps.report_status_v2 {
        pktline::line(&mut lines, &format!("unpack {}", one_line(unpack)))?;
        for command in commands {
            let line = match fate(command) {
                None => format!("ok {}", command.name),
                Some(why) => format!("ng {} {}", command.name, one_line(&why)),
            };
            pktline::line(&mut lines, &line)?;
        }
        pktline::flush(&mut lines)?;
    }
    let mut wire = Vec::new();
    if caps.side_band {
        for message in messages {
            for line in message.lines() {
                pktline::band(&mut wire, Band::Progress, format!("{line}\n").as_bytes())?;
            }
        }
        if !lines.is_empty() {
            pktline::band(&mut wire, Band::Data, &lines)?;
        }
        pktline::flush(&mut wire)?;
    } else {
        wire = lines;
    }
    out.write_all(&wire)?;
    out.flush()
}

/// Reports are lines; a reason must not end one early, nor be longer than a frame.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(1000)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_cannot_forge_another_line() {
        assert_eq!(one_line("a\nok refs/heads/main"), "a ok refs/heads/main");
    }
}
