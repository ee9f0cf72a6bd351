//! Programs of other people: pip, npm, git, apt, mmdebstrap, curl. Run to their end, heard out.
//!
//! They get the user's own settings (indexes, proxies, certificates), a fixed time zone, locale
//! and umask, and no standard input. What they print is kept, bounded.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

/// How much of each stream is kept.
const KEPT_BYTES: u64 = 64 << 20;

/// Why a program of somebody else did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Not there.
    #[error("the program `{program}` is missing; install it (Debian package {package})")]
    Missing {
        /// Its name.
        program: String,
        /// Where it comes from.
        package: &'static str,
    },
    /// It cannot be started or heard.
    #[error("`{program}` cannot be run")]
    Run {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It failed.
    #[error("`{program}` failed: {said}")]
    Failed {
        /// Its name.
        program: String,
        /// What it said last, in one line.
        said: String,
    },
}

/// A program that is to be run.
pub(crate) struct Child {
    name: String,
    package: &'static str,
    command: Command,
}

impl Child {
    /// `name` from the PATH; `package` is where Debian keeps it.
    pub(crate) fn new(name: &str, package: &'static str) -> Self {
        // The shell sets the umask, which is a property of the process, not of a thread.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "umask 022; exec \"$0\" \"$@\"", name]);
        command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8");
        Self {
            name: name.to_owned(),
            package,
            command,
        }
    }

    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.command.arg(word);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.command.args(words);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it to its end; gives its standard output.
    pub(crate) fn read(self) -> Result<Vec<u8>, ChildError> {
        self.feed(None)
    }

    /// Runs it with `input` on its standard input.
    pub(crate) fn feed(mut self, input: Option<&Path>) -> Result<Vec<u8>, ChildError> {
        let failed = |source| ChildError::Run {
            program: self.name.clone(),
            source,
        };
        let input = match input {
            Some(path) => Stdio::from(std::fs::File::open(path).map_err(failed)?),
            None => Stdio::null(),
        };
        self.command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(failed)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let hear = |stream: Option<Box<dyn Read + Send>>| -> std::io::Result<Vec<u8>> {
            let mut kept = Vec::new();
            if let Some(mut stream) = stream {
                (&mut stream).take(KEPT_BYTES).read_to_end(&mut kept)?;
                std::io::copy(&mut stream, &mut std::io::sink())?;
            }
            Ok(kept)
        };
        let (out, err) = std::thread::scope(|scope| {
            let errors = scope.spawn(|| hear(err.map(|e| Box::new(e) as Box<dyn Read + Send>)));
            let out = hear(out.map(|o| Box::new(o) as Box<dyn Read + Send>));
            let err = errors.join().expect("reading a stream does not panic");
            (out, err)
        });
        let status = child.wait().map_err(failed)?;
        let (out, err) = (out.map_err(failed)?, err.map_err(failed)?);
        match status.code() {
            Some(0) => Ok(out),
            // The shell's own answer when there is no such program.
            Some(127) => Err(ChildError::Missing {
                program: self.name,
                package: self.package,
            }),
            _ => Err(ChildError::Failed {
                said: gist(&err, &out, &status.to_string()),
                program: self.name,
            }),
        }
    }
}

/// The line that says why, out of everything that was printed.
fn gist(err: &[u8], out: &[u8], status: &str) -> String {
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    );
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let marks = ["ERROR:", "E:", "fatal:", "npm error", "curl:", "error:"];
    let telling = |line: &&&str| marks.iter().any(|mark| line.starts_with(mark));
    let noise = |line: &&&str| {
        line.contains("A complete log of this run") || line.starts_with("npm error code")
    };
    let mut kept: Vec<&str> = lines
        .iter()
        .filter(|line| telling(line) && !noise(line))
        .copied()
        .collect();
    kept.dedup();
    if kept.len() > 3 {
        kept.truncate(3);
    }
    if kept.is_empty() {
        kept.extend(lines.last());
    }
    let said = if kept.is_empty() {
        status.to_owned()
    } else {
        kept.join("; ")
    };
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    said.chars().map(clean).take(600).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_and_a_failing_one_are_told_apart() {
        let missing = Child::new("no-such-program", "nothing").read().unwrap_err();
        assert!(
            missing.to_string().contains("Debian package nothing"),
            "{missing}"
        );
        let script = "echo working; echo 'E: no such suite' >&2; exit 3";
        let failed = Child::new("sh", "dash")
            .args(["-c", script])
            .read()
            .unwrap_err();
        assert_eq!(failed.to_string(), "`sh` failed: E: no such suite");
    }

    #[test]
    fn a_child_has_one_umask_and_time_zone_whatever_ours_are() {
        let said = Child::new("sh", "dash")
            .args(["-c", "umask; echo $TZ"])
            .read()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&said), "0022\nUTC\n");
    }

    #[test]
    fn much_on_both_streams_does_not_hang() {
        let script = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2";
        let said = Child::new("sh", "dash")
            .args(["-c", script])
            .read()
            .unwrap();
        assert_eq!(said.len(), 1_000_000);
    }
}
