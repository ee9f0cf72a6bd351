//! `cofferdam uninstall`: everything goes but the data; with `--purge` that, too.

use std::fs;
use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::json;

use super::place::{Place, remove};
use super::record::Record;
use super::{Steps, accounts, background, confine, units};
use crate::cli::{Global, Uninstall};
use crate::output;

pub(crate) fn run(global: &Global, args: &Uninstall) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("uninstalling removes a user and units; run this as root");
    }
    let place = Place::new(&args.prefix);
    let Some(record) = Record::load(&place)? else {
        bail!(
            "nothing is installed: there is no {}",
            place.record().display()
        );
    };
    if args.purge && !args.yes {
        confirm(&record.data)?;
    }
    let mut steps = Steps {
        json: global.json,
        done: Vec::new(),
    };
    steps.run("stopped", || {
        let units = units::withdraw(&place)?;
        let process = background::stop(&place)?;
        Ok((
            (),
            match (units, process) {
                (true, _) => "units stopped and removed".to_owned(),
                (false, true) => "process ended".to_owned(),
                (false, false) => "nothing ran".to_owned(),
            },
        ))
    })?;
    steps.run("guards of the host", || {
        let told = confine::forget(&place)?;
        Ok((
            (),
            match told.is_empty() {
                true => "none knew it".to_owned(),
                false => told.join("; "),
            },
        ))
    })?;
    if args.purge {
        steps.run("data", || {
            remove_tree(&record.data)?;
            Ok(((), format!("{} removed", record.data.display())))
        })?;
    }
    steps.run("user and ids", || {
        accounts::remove(&place)?;
        Ok(((), "removed".to_owned()))
    })?;
    steps.run("program", || {
        remove_link(&place)?;
        remove_tree(&place.at("/run/cofferdam"))?;
        remove(&place.at("/var/log/cofferdam.log"))?;
        // The record goes with it, last: until then a killed uninstall can be run again.
        remove_tree(&place.opt().join("versions"))?;
        remove_tree(&place.opt())?;
        Ok(((), "removed".to_owned()))
    })?;
    if global.json {
        output::json(&json!({ "steps": steps.done, "kept": (!args.purge).then_some(record.data) }));
    } else if !args.purge {
        output::line(&format!("the data is left in {}", record.data.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of the directory must be typed: nobody means another appliance's by accident.
fn confirm(data: &Path) -> anyhow::Result<()> {
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("--purge removes {}; add --yes to mean it", data.display());
    }
    let mut out = std::io::stdout();
    write!(
        out,
        "This removes {} with every repo in it. Type the directory's name ({name}): ",
        data.display()
    )?;
    out.flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() != name {
        bail!("that was not its name; nothing was removed");
    }
    Ok(())
}

fn remove_link(place: &Place) -> anyhow::Result<()> {
    let path = place.at("/usr/local/bin/cofferdam");
    match fs::read_link(&path) {
        Ok(target) if target.starts_with("/opt/cofferdam") => {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
        }
        // Not ours.
        _ => Ok(()),
    }
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
