//! Shows on a terminal how far a lock or a build is; tells nothing elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that says what is done, and a bar where there are bytes.
pub(super) struct Progress {
    line: Option<ProgressBar>,
}

impl Progress {
    /// Shows on standard error when that is a terminal and `quiet` is not asked for.
    pub(super) fn new(quiet: bool) -> Self {
        let shown = !quiet && std::io::stderr().is_terminal();
        Self {
            line: shown.then(|| {
                let line = ProgressBar::new_spinner();
                line.enable_steady_tick(Duration::from_millis(120));
                line
            }),
        }
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }

    fn style(&self, template: &str) {
        if let Some(line) = &self.line
            && let Ok(style) = ProgressStyle::with_template(template)
        {
            line.set_style(style);
        }
    }
}

impl builder::Watch for Progress {
    fn begin(&self, what: &str) {
        self.style("{spinner} {msg}");
        if let Some(line) = &self.line {
            line.set_message(what.to_owned());
        }
    }

    fn bytes(&self, done: u64, total: u64) {
        let Some(line) = &self.line else { return };
        if line.length() != Some(total) {
            line.set_length(total);
            line.reset_eta();
            self.style(
                "{spinner} {msg} {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            );
        }
        line.set_position(done);
    }

    fn note(&self, text: &str) {
        match &self.line {
            Some(line) => line.println(text),
            None => eprintln!("{text}"),
        }
    }
}
