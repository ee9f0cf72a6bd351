//! One line of a log file, to text and back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// What a log record is.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum Kind {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Kind {
            /// The word in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl FromStr for Kind {
            type Err = UnknownKind;

            fn from_str(text: &str) -> Result<Self, UnknownKind> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(UnknownKind) }
            }
        }
    };
}

kinds! {
    /// Printed by the step.
    Out = "out",
    /// The runner's own words.
    Info = "info",
    /// The command that the step runs, echoed.
    Command = "command",
    /// Opens a group that may be folded.
    Group = "group",
    /// Closes it; the text is empty.
    Endgroup = "endgroup",
    /// An error annotation.
    Error = "error",
    /// A warning annotation.
    Warning = "warning",
    /// A notice annotation.
    Notice = "notice",
    /// Only of interest when debugging.
    Debug = "debug",
    /// One line of the receipt.
    Receipt = "receipt",
    /// Cofferdam's own words about this log or job.
    System = "system",
}

/// The word names no kind of record.
#[derive(Debug, thiserror::Error)]
#[error("not a kind of log record")]
pub struct UnknownKind;

/// The word of the record that closes a log.
pub(super) const END: &str = "end";

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it starts in the file, in bytes.
    pub offset: u64,
    /// Unix milliseconds, UTC.
    pub at_ms: i64,
    /// The step's number.
    pub step: u32,
    /// What it is.
    pub kind: Kind,
    /// Whether it goes on with the line of the record before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    /// The text, without its line end. Its only control characters are tabs and ANSI colours.
    pub text: String,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plus = if self.continued { "+" } else { "" };
        let kind = self.kind.as_str();
        writeln!(f, "{} {} {kind}{plus} {}", self.at_ms, self.step, self.text)
    }
}

/// A line as found in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Record(Record),
    End,
    Unreadable,
}

/// Reads one line, given without its line end.
pub(super) fn parse(offset: u64, line: &[u8]) -> Line {
    parse_fields(offset, line).unwrap_or(Line::Unreadable)
}

fn parse_fields(offset: u64, line: &[u8]) -> Option<Line> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.splitn(4, ' ');
    let at_ms = fields.next()?.parse().ok()?;
    let step = fields.next()?.parse().ok()?;
    let kind = fields.next()?;
    let text = fields.next()?;
    if kind == END {
        return Some(Line::End);
    }
    let (kind, continued) = match kind.strip_suffix('+') {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    Some(Line::Record(Record {
        offset,
        at_ms,
        step,
        kind: kind.parse().ok()?,
        continued,
        text: text.to_owned(),
    }))
}
