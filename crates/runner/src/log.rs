//! The job's log on its way out: masked, counted, handed to the observer.

use std::time::SystemTime;

use vocab::{Clock, unix_ms};

use crate::mask::{Masker, Tail};
use crate::observer::{Annotation, Level, LineKind, Observer};
use crate::receipt::LogSize;

/// Annotations kept of each level in one step, as hosted runners keep them.
const PER_STEP: usize = 10;
/// Annotations kept of one job.
const PER_JOB: usize = 50;

/// Everything that a job says goes through here.
pub(crate) struct Log<'a> {
    observer: &'a dyn Observer,
    clock: &'a Clock,
    pub(crate) masker: Masker,
    pub(crate) size: LogSize,
    /// When a step of the workflow first said something.
    pub(crate) first_output: Option<SystemTime>,
    pub(crate) annotations: Vec<Annotation>,
    /// Of the step that runs: notices, warnings, errors.
    counts: [usize; 3],
}

impl<'a> Log<'a> {
    pub(crate) fn new(observer: &'a dyn Observer, clock: &'a Clock) -> Self {
        Self {
            observer,
            clock,
            masker: Masker::new(),
            size: LogSize::default(),
            first_output: None,
            annotations: Vec::new(),
            counts: [0; 3],
        }
    }

    /// The same log with the observer and clock as the caller knows them, so that it can outlive
    /// the sandbox.
    pub(crate) fn outliving<'b>(self, observer: &'b dyn Observer, clock: &'b Clock) -> Log<'b> {
        let Self {
            masker,
            size,
            first_output,
            annotations,
            counts,
            ..
        } = self;
        Log {
            observer,
            clock,
            masker,
            size,
            first_output,
            annotations,
            counts,
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        unix_ms(self.clock.now())
    }

    pub(crate) fn step_started(&mut self, step: u32, name: &str) {
        self.counts = [0; 3];
        let name = self.masker.mask_text(name);
        self.observer.step_started(step, &name, self.clock.now());
    }

    /// Says a text, however many lines it has.
    pub(crate) fn say(&mut self, step: u32, kind: LineKind, text: &str) {
        let mut tail = Tail::default();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.line(step, kind, &mut tail, line.as_bytes());
        }
    }

    /// Says one line that belongs to a stream of them.
    pub(crate) fn line(&mut self, step: u32, kind: LineKind, tail: &mut Tail, line: &[u8]) {
        let text = self.masker.mask(tail, line);
        let at = self.clock.now();
        if self.first_output.is_none() && step > 0 && matches!(kind, LineKind::Out | LineKind::Info)
        {
            self.first_output = Some(at);
        }
        self.size.lines += 1;
        self.size.bytes += u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.observer.line(step, at, kind, &text);
    }

    /// Remarks on something, in the log and, within limits, on the run's page.
    pub(crate) fn annotate(&mut self, step: u32, annotation: &Annotation) {
        let (kind, count) = match annotation.level {
            Level::Notice => (LineKind::Notice, &mut self.counts[0]),
            Level::Warning => (LineKind::Warning, &mut self.counts[1]),
            Level::Error => (LineKind::Error, &mut self.counts[2]),
        };
        *count += 1;
        let kept = *count <= PER_STEP && self.annotations.len() < PER_JOB;
        self.say(step, kind, &in_log(annotation));
        if kept {
            let masked = self.masked(annotation);
            self.observer.annotation(step, &masked);
            self.annotations.push(masked);
        }
    }

    /// An error of the runner itself.
    pub(crate) fn error(&mut self, step: u32, message: &str) {
        self.annotate(step, &Annotation::new(Level::Error, message));
    }

    /// A warning of the runner itself.
    pub(crate) fn warn(&mut self, step: u32, message: &str) {
        self.annotate(step, &Annotation::new(Level::Warning, message));
    }

    fn masked(&self, annotation: &Annotation) -> Annotation {
        let text = |text: &Option<String>| text.as_ref().map(|t| self.masker.mask_text(t));
        Annotation {
            message: self.masker.mask_text(&annotation.message),
            title: text(&annotation.title),
            file: text(&annotation.file),
            ..annotation.clone()
        }
    }
}

/// `file:line:column: title: message`, as compilers write it.
fn in_log(annotation: &Annotation) -> String {
    let mut text = String::new();
    if let Some(file) = &annotation.file {
        text.push_str(file);
        for number in [annotation.line, annotation.column].into_iter().flatten() {
            text.push_str(&format!(":{number}"));
        }
        text.push_str(": ");
    }
    if let Some(title) = &annotation.title {
        text.push_str(title);
        text.push_str(": ");
    }
    text + &annotation.message
}
