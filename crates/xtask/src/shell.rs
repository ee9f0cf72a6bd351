//! Running other programs and saying what is being done.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use vocab::Stopwatch;

/// The folder of the workspace, which holds `crates/`.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("the folder of xtask has no workspace above it")
}

thread_local! {
    /// In whose name this thread speaks; empty where there is only one.
    static NAME: Cell<&'static str> = const { Cell::new("") };
}

/// Has this thread begin each line with `name`: several speak at once.
pub(crate) fn speak_as(name: &'static str) {
    NAME.set(name);
}

/// Prints what somebody else said, line by line.
pub(crate) fn relay(text: &str) {
    let name = NAME.get();
    let mut all = String::new();
    for line in text.lines() {
        if !name.is_empty() {
            all.push_str(name);
            all.push_str(" | ");
        }
        all.push_str(line);
        all.push('\n');
    }
    let mut out = std::io::stdout().lock();
    drop(out.write_all(all.as_bytes()).and_then(|()| out.flush()));
}

/// Prints one progress line.
pub(crate) fn say(text: &str) {
    let name = NAME.get();
    let text = match name {
        "" => text.to_owned(),
        name => format!("{name}: {text}"),
    };
    let mut out = std::io::stdout().lock();
    let line = if out.is_terminal() {
        format!("\x1b[1;36m==>\x1b[0m {text}\n")
    } else {
        format!("==> {text}\n")
    };
    // A closed standard output must not end a task half-way.
    drop(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
}

/// Does `work` between a line that names it and one that tells how long it took.
pub(crate) fn part<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(name);
    let watch = Stopwatch::start();
    let done = work().with_context(|| format!("failed: {name}"))?;
    let seconds = watch.elapsed().as_secs_f64();
    if seconds >= 1.0 {
        say(&format!("done in {seconds:.1} s: {name}"));
    }
    Ok(done)
}

/// Runs a program to its end with this terminal; a failure is an error that names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a program and gives its standard output; a failure carries its standard error.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` ended with {}: {}", output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no text"))
}

/// The command line as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

/// The cargo that runs this task.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Whether a program of this name is on the PATH.
pub(crate) fn has_program(name: &str) -> bool {
    find_program(name).is_some()
}

/// Where a program of this name is on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether continuous integration runs this.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}
