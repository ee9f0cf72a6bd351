//! Workflow commands: the lines by which a step talks to its runner (`::error file=…::…`).
//!
//! Only reads them; what they do is decided where they are obeyed.

/// A command that the runner knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) name: Name,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) message: String,
}

/// The commands of the dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    AddMask,
    AddMatcher,
    AddPath,
    Debug,
    Echo,
    Endgroup,
    Error,
    Group,
    Notice,
    RemoveMatcher,
    SaveState,
    SetEnv,
    SetOutput,
    StopCommands,
    Warning,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "add-mask" => Self::AddMask,
            "add-matcher" => Self::AddMatcher,
            "add-path" => Self::AddPath,
            "debug" => Self::Debug,
            "echo" => Self::Echo,
            "endgroup" => Self::Endgroup,
            "error" => Self::Error,
            "group" => Self::Group,
            "notice" => Self::Notice,
            "remove-matcher" => Self::RemoveMatcher,
            "save-state" => Self::SaveState,
            "set-env" => Self::SetEnv,
            "set-output" => Self::SetOutput,
            "stop-commands" => Self::StopCommands,
            "warning" => Self::Warning,
            _ => return None,
        })
    }
}

impl Command {
    /// The value of a property, without regard to its case; `None` when absent or empty.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        let found = self
            .properties
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Reads a line; `None` when it is ordinary output.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let trimmed = line.trim_start();
        match trimmed.strip_prefix("::") {
            Some(rest) => Self::parse_current(rest),
            None => Self::parse_legacy(line),
        }
    }

    /// `name key=value,key=value::message`
    fn parse_current(rest: &str) -> Option<Self> {
        let (head, message) = rest.split_once("::")?;
        let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
        Some(Self {
            name: Name::parse(name)?,
            properties: read_properties(properties, ',', unescape_property),
            message: unescape_message(message),
        })
    }

    /// `##[name key=value;key=value]message`, anywhere in the line.
    fn parse_legacy(line: &str) -> Option<Self> {
        let rest = &line[line.find("##[")? + 3..];
        let (head, message) = rest.split_once(']')?;
        let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
        Some(Self {
            name: Name::parse(name)?,
            properties: read_properties(properties, ';', unescape_legacy),
            message: unescape_legacy(message),
        })
    }
}

/// Whether a line is `::TOKEN::`, which lets commands work again after `stop-commands`.
pub(crate) fn is_resume(line: &str, token: &str) -> bool {
    line.trim_start()
        .strip_prefix("::")
        .and_then(|rest| rest.split_once("::"))
        .is_some_and(|(head, _)| head.trim().eq_ignore_ascii_case(token))
}

/// Whether a word may be the token of `stop-commands`.
pub(crate) fn is_stop_token(token: &str) -> bool {
    !token.is_empty()
        && Name::parse(token).is_none()
        && !token.eq_ignore_ascii_case("pause-logging")
}

fn read_properties(
    text: &str,
    between: char,
    unescape: fn(&str) -> String,
) -> Vec<(String, String)> {
    text.split(between)
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), unescape(value)))
        .filter(|(name, _)| !name.is_empty())
        .take(32)
        .collect()
}

fn unescape_message(text: &str) -> String {
    unescape(text, &[("%0D", "\r"), ("%0A", "\n"), ("%25", "%")])
}

fn unescape_property(text: &str) -> String {
    let escapes = [
        ("%0D", "\r"),
        ("%0A", "\n"),
        ("%3A", ":"),
        ("%2C", ","),
        ("%25", "%"),
    ];
    unescape(text, &escapes)
}

fn unescape_legacy(text: &str) -> String {
    unescape(
        text,
        &[
            ("%3B", ";"),
            ("%0D", "\r"),
            ("%0A", "\n"),
            ("%5D", "]"),
            ("%25", "%"),
        ],
    )
}

/// `%25` comes last, so that `%250A` is the text `%0A`.
fn unescape(text: &str, escapes: &[(&str, &str)]) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    escapes.iter().fold(text.to_owned(), |text, (from, to)| {
        text.replace(from, to)
            .replace(&from.to_ascii_lowercase(), to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Command {
        Command::parse(line).unwrap()
    }

    #[test]
    fn properties_and_escapes_are_read() {
        let c =
            parse("  ::error file=app%2Cone.js,line=10,endColumn=7,title=a%3Ab::bad%0Athing %25");
        assert_eq!(c.name, Name::Error);
        assert_eq!(c.property("FILE"), Some("app,one.js"));
        assert_eq!(c.property("line"), Some("10"));
        assert_eq!(c.property("title"), Some("a:b"));
        assert_eq!(c.message, "bad\nthing %");
        assert_eq!(c.property("col"), None);
    }

    #[test]
    fn an_escaped_percent_does_not_make_another_escape() {
        assert_eq!(parse("::debug::%250A").message, "%0A");
    }

    #[test]
    fn messages_may_hold_colons() {
        assert_eq!(parse("::add-mask::a::b").message, "a::b");
        assert_eq!(parse("::set-output name=x::y::z").message, "y::z");
    }

    #[test]
    fn legacy_commands_are_found_anywhere_in_a_line() {
        let c = parse("12:00 ##[error file=a.c;line=3]oh%5D no");
        assert_eq!((c.name, c.property("line")), (Name::Error, Some("3")));
        assert_eq!(c.message, "oh] no");
        assert_eq!(parse("##[group]Build").name, Name::Group);
    }

    #[test]
    fn ordinary_output_is_no_command() {
        for line in [
            "",
            "::",
            "hello",
            "::nope::x",
            "std::vec::Vec",
            "x ::error::y",
            "##[nope]x",
            "::error",
        ] {
            assert_eq!(Command::parse(line), None, "{line}");
        }
    }

    #[test]
    fn only_the_token_resumes_and_no_command_can_be_one() {
        assert!(is_resume("::tok-1::", "tok-1"));
        assert!(!is_resume("::tok-2::", "tok-1"));
        assert!(is_stop_token("tok-1"));
        assert!(!is_stop_token("") && !is_stop_token("error"));
    }
}
