//! Obeys the lines that a step prints: commands are carried out, the rest is logged.

use crate::commands::{self, Command, Name};
use crate::lines::{Line, Lines, Sink};
use crate::log::Log;
use crate::mask::Tail;
use crate::observer::{Annotation, Level, LineKind};

/// Most values of each sort that one step may hand over by commands.
const MOST_VALUES: usize = 10_000;

/// What a step asked for while it printed.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) outputs: Vec<(String, String)>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) path: Vec<String>,
    /// What the program of an action keeps for those that run later.
    pub(crate) state: Vec<(String, String)>,
    /// What went wrong with a command; fails the step.
    pub(crate) errors: Vec<String>,
}

/// The output of one program.
#[derive(Debug)]
pub(crate) struct Stream {
    step: u32,
    lines: Lines,
    tail: Tail,
    /// Commands are off until this token comes.
    stopped: Option<String>,
    echo: bool,
    debug: bool,
    /// `ACTIONS_ALLOW_UNSECURE_COMMANDS`.
    unsecure: bool,
    pub(crate) asked: Asked,
}

impl Stream {
    pub(crate) fn new(step: u32, debug: bool, unsecure: bool) -> Self {
        Self {
            step,
            lines: Lines::default(),
            tail: Tail::default(),
            stopped: None,
            echo: debug,
            debug,
            unsecure,
            asked: Asked::default(),
        }
    }

    /// A stream that has ended.
    pub(crate) fn closed() -> Self {
        Self {
            step: u32::MAX,
            ..Self::new(0, false, false)
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.step == u32::MAX
    }

    /// Takes what the program printed next.
    pub(crate) fn push(&mut self, chunk: &[u8], log: &mut Log<'_>) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.push(chunk, &mut Obey { stream: self, log });
        self.lines = lines;
    }

    /// The program has closed its output.
    pub(crate) fn finish(&mut self, log: &mut Log<'_>) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(&mut Obey { stream: self, log });
    }
}

struct Obey<'a, 'b> {
    stream: &'a mut Stream,
    log: &'a mut Log<'b>,
}

impl Sink for Obey<'_, '_> {
    fn line(&mut self, line: Line<'_>) {
        // Only a line with one of these two marks can be a command.
        let marked = line.whole
            && (line.bytes.trim_ascii_start().starts_with(b"::")
                || memchr::memmem::find(line.bytes, b"##[").is_some());
        if marked {
            let text = String::from_utf8_lossy(line.bytes).into_owned();
            if self.command(&text) {
                return;
            }
        }
        self.log.line(
            self.stream.step,
            LineKind::Out,
            &mut self.stream.tail,
            line.bytes,
        );
    }

    fn cut(&self, start: &[u8], at: usize) -> usize {
        self.log.masker.cut(&self.stream.tail, start, at)
    }
}

impl Obey<'_, '_> {
    /// Carries out a command; false when the line is ordinary output.
    fn command(&mut self, line: &str) -> bool {
        if let Some(token) = &self.stream.stopped {
            if commands::is_resume(line, token) {
                self.stream.stopped = None;
                return true;
            }
            return false;
        }
        let Some(command) = Command::parse(line) else {
            return false;
        };
        if command.name == Name::AddMask {
            self.add_mask(&command.message);
        }
        self.obey(&command);
        if self.stream.echo && is_silent(command.name) {
            let tail = &mut Tail::default();
            self.log
                .line(self.stream.step, LineKind::Debug, tail, line.as_bytes());
        }
        true
    }

    fn add_mask(&mut self, secret: &str) {
        if secret.trim().is_empty() {
            let message = "add-mask was given nothing to hide; is the variable empty?";
            self.log.warn(self.stream.step, message);
        } else if let Err(error) = self.log.masker.add(secret) {
            self.stream.asked.errors.push(error.to_string());
        } else if secret.trim().chars().count() < crate::encodings::MIN_SECRET_CHARS {
            let message =
                "a value given to add-mask is shorter than 3 characters and stays visible";
            self.log.warn(self.stream.step, message);
        }
    }

    fn obey(&mut self, command: &Command) {
        let step = self.stream.step;
        match command.name {
            Name::Error => self.annotate(Level::Error, command),
            Name::Warning => self.annotate(Level::Warning, command),
            Name::Notice => self.annotate(Level::Notice, command),
            Name::Group => self
                .log
                .say(step, LineKind::Group, &one_line(&command.message)),
            Name::Endgroup => self.log.say(step, LineKind::Endgroup, ""),
            Name::Debug => {
                if self.stream.debug {
                    self.log.say(step, LineKind::Debug, &command.message);
                }
            }
            Name::Echo => match command.message.trim().to_ascii_lowercase().as_str() {
                "on" => self.stream.echo = true,
                "off" => self.stream.echo = false,
                other => self.refuse(format!("echo understands on and off, not '{other}'")),
            },
            Name::StopCommands => self.stop(&command.message),
            Name::SetOutput => self.named(command, |asked| &mut asked.outputs),
            Name::SetEnv if self.unsecure("set-env", "GITHUB_ENV") => {
                self.named(command, |asked| &mut asked.env);
            }
            Name::AddPath if self.unsecure("add-path", "GITHUB_PATH") => {
                if self.stream.asked.path.len() < MOST_VALUES {
                    self.stream.asked.path.push(command.message.clone());
                }
            }
            Name::SaveState => self.named(command, |asked| &mut asked.state),
            // Problem matchers are not served: they are accepted and unused.
            Name::AddMask
            | Name::AddMatcher
            | Name::RemoveMatcher
            | Name::SetEnv
            | Name::AddPath => {}
        }
    }

    fn annotate(&mut self, level: Level, command: &Command) {
        let text = |name: &str| command.property(name).map(str::to_owned);
        let number = |name: &str| command.property(name).and_then(|n| n.trim().parse().ok());
        let annotation = Annotation {
            level,
            message: command.message.clone(),
            title: text("title"),
            file: text("file"),
            line: number("line"),
            end_line: number("endLine"),
            column: number("col"),
            end_column: number("endColumn"),
        };
        self.log.annotate(self.stream.step, &annotation);
    }

    fn stop(&mut self, token: &str) {
        let token = token.trim();
        if commands::is_stop_token(token) {
            self.stream.stopped = Some(token.to_owned());
        } else {
            self.refuse(format!(
                "stop-commands cannot use '{token}' as its token; use a random word"
            ));
        }
    }

    fn named(&mut self, command: &Command, place: fn(&mut Asked) -> &mut Vec<(String, String)>) {
        match command.property("name") {
            Some(name) => {
                let values = place(&mut self.stream.asked);
                if values.len() < MOST_VALUES {
                    values.push((name.to_owned(), command.message.clone()));
                }
            }
            None => self.refuse("a command needs name=… and has none".to_owned()),
        }
    }

    /// Whether a command that lets printed text change the environment may be used.
    fn unsecure(&mut self, name: &str, file: &str) -> bool {
        if !self.stream.unsecure {
            self.refuse(format!(
                "the command {name} is refused, because printed text could change later steps; \
                 append to the file ${file} instead"
            ));
        }
        self.stream.unsecure
    }

    fn refuse(&mut self, message: String) {
        self.log.error(self.stream.step, &message);
        if self.stream.asked.errors.len() < 10 {
            self.stream.asked.errors.push(message);
        }
    }
}

/// Commands that leave no line of their own.
fn is_silent(name: Name) -> bool {
    !matches!(
        name,
        Name::Error | Name::Warning | Name::Notice | Name::Group | Name::Endgroup | Name::Debug
    )
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seen;

    fn run(input: &str, debug: bool, unsecure: bool) -> (Vec<String>, Asked, Vec<Annotation>) {
        let seen = Seen::default();
        let clock = vocab::Clock::system();
        let mut log = Log::new(&seen, &clock);
        let mut stream = Stream::new(1, debug, unsecure);
        stream.push(input.as_bytes(), &mut log);
        stream.finish(&mut log);
        let annotations = log.annotations;
        (seen.lines(), stream.asked, annotations)
    }

    #[test]
    fn commands_are_obeyed_and_not_printed() {
        let text = "hi\n::set-output name=a::1\n::save-state name=s::2\n::group::Build\nx\n::endgroup::\n\
                    ::add-matcher::m.json\n::debug::no\nlast";
        let (lines, asked, _) = run(text, false, false);
        assert_eq!(
            lines,
            [
                "1 out hi",
                "1 group Build",
                "1 out x",
                "1 endgroup ",
                "1 out last"
            ]
        );
        assert_eq!(asked.outputs, [("a".to_owned(), "1".to_owned())]);
        assert!(asked.errors.is_empty());
    }

    #[test]
    fn a_mask_hides_from_the_next_line_on() {
        let (lines, ..) = run(
            "::add-mask::hunter22\nx hunter22 y\naHVudGVyMjI=\n",
            false,
            false,
        );
        assert_eq!(lines[0], "1 out x *** y");
        assert!(!lines[1].contains("aHVudGVy"), "{lines:?}");
    }

    #[test]
    fn stopped_commands_are_text_until_their_token_comes() {
        let text = "::stop-commands::t0k\n::error::no\n::other::\n::t0k::\n::error::yes\n";
        let (lines, _, annotations) = run(text, false, false);
        assert_eq!(
            lines,
            ["1 out ::error::no", "1 out ::other::", "1 error yes"]
        );
        assert_eq!(annotations.len(), 1);
        assert_eq!(
            run("::stop-commands::error\n", false, false).1.errors.len(),
            1
        );
    }

    #[test]
    fn printed_text_cannot_change_the_environment_unless_allowed() {
        let text = "::set-env name=PATH::/evil\n::add-path::/evil\n";
        let (_, asked, _) = run(text, false, false);
        assert!(asked.env.is_empty() && asked.path.is_empty());
        assert_eq!(asked.errors.len(), 2);
        let (_, asked, _) = run(text, false, true);
        assert_eq!(
            (asked.env.len(), asked.path.len(), asked.errors.len()),
            (1, 1, 0)
        );
    }

    #[test]
    fn annotations_carry_their_place_and_are_masked_and_bounded() {
        let mut text =
            "::add-mask::hunter22\n::warning file=a.c,line=3,col=4,title=T::b hunter22\n"
                .to_owned();
        text.push_str(&"::error::e\n".repeat(30));
        let (lines, _, annotations) = run(&text, false, false);
        assert_eq!(lines[0], "1 warning a.c:3:4: T: b ***");
        assert_eq!(annotations[0].message, "b ***");
        assert_eq!(
            (annotations[0].line, annotations[0].column),
            (Some(3), Some(4))
        );
        assert_eq!((lines.len(), annotations.len()), (31, 11));
    }

    #[test]
    fn debug_and_echo_show_what_is_usually_silent() {
        let (lines, ..) = run("::debug::d\n::set-output name=a::1\n", true, false);
        assert_eq!(lines, ["1 debug d", "1 debug ::set-output name=a::1"]);
        let (lines, ..) = run(
            "::echo::on\n::save-state name=a::1\n::echo::off\n::save-state name=a::1\n",
            false,
            false,
        );
        assert_eq!(
            lines,
            ["1 debug ::echo::on", "1 debug ::save-state name=a::1"]
        );
    }
}
