//! One problem of a workflow file: where it is, what it is, how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most characters of a message.
const MAX_MESSAGE: usize = 1000;
/// The longest name for which a similar one is looked for.
const MAX_NAME_BYTES: usize = 100;

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The start of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A problem, shown as `path:line:column: message; mend`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file, as the repo names it.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that can be said.
    pub mend: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(
        path: &str,
        at: Position,
        message: impl Into<String>,
        mend: Option<String>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            line: at.line,
            column: at.column,
            message: shorten(message.into()),
            mend,
        }
    }
}

/// Cuts a message that quotes more than anybody reads.
fn shorten(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}: {}",
            self.path, self.line, self.column, self.message
        )?;
        match &self.mend {
            Some(mend) => write!(f, "; {mend}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// The one of `known` that is most like `text`, if any is like it at all.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > MAX_NAME_BYTES {
        return None;
    }
    let text = text.to_lowercase();
    let limit = (text.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&text, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be added, dropped, changed or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut last = None;
    for (at, c) in left.chars().enumerate() {
        let mut next = vec![at + 1];
        for (column, &d) in right.iter().enumerate() {
            let changed = row[column] + usize::from(c != d);
            let mut best = changed.min(row[column + 1] + 1).min(next[column] + 1);
            if column > 0 && last == Some(d) && right[column - 1] == c {
                best = best.min(before[column - 1] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(c);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_only_when_it_is_near() {
        let keys = [
            "branches",
            "branches-ignore",
            "tags",
            "paths",
            "steps",
            "runs-on",
        ];
        assert_eq!(nearest("branchs", keys), Some("branches"));
        assert_eq!(nearest("run-on", keys), Some("runs-on"));
        assert_eq!(nearest("Runs-On", keys), Some("runs-on"));
        assert_eq!(nearest("setps", keys), Some("steps"));
        assert_eq!(nearest("tag", keys), Some("tags"));
        assert_eq!(nearest("uses", keys), None);
        assert_eq!(nearest(&"s".repeat(1 << 20), keys), None);
    }

    #[test]
    fn a_diagnostic_reads_as_compilers_write() {
        let diagnostic = Diagnostic::new(
            ".github/workflows/ci.yml",
            Position { line: 3, column: 5 },
            "unknown key 'branchs'",
            Some("did you mean 'branches'?".to_owned()),
        );
        assert_eq!(
            diagnostic.to_string(),
            ".github/workflows/ci.yml:3:5: unknown key 'branchs'; did you mean 'branches'?"
        );
        let long = Diagnostic::new("f", Position::START, "x".repeat(5000), None);
        assert_eq!(long.message.chars().count(), 1001);
    }
}
