//! Asks for a password on the terminal, without showing it.

use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks for `what`; the letters typed are not shown, and are shown again afterwards.
pub(super) fn password(what: &str) -> anyhow::Result<String> {
    let input = io::stdin();
    let before = tcgetattr(&input).context("cannot ask on this terminal")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&input, OptionalActions::Flush, &silent).context("cannot hide what is typed")?;
    let typed = ask(what);
    tcsetattr(&input, OptionalActions::Now, &before).context("cannot show what is typed again")?;
    eprintln!();
    let typed = typed?;
    let text = typed.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        bail!("the {what} is empty");
    }
    Ok(text.to_owned())
}

fn ask(what: &str) -> anyhow::Result<String> {
    let mut err = io::stderr().lock();
    write!(err, "{what}: ")
        .and_then(|()| err.flush())
        .context("cannot write to the terminal")?;
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot read from the terminal")?;
    Ok(line)
}
