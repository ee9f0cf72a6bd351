//! Which contexts and functions an expression may use where it stands.

use std::collections::BTreeSet;

use super::compare::{fold, same_text};

/// A function of the language.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Function {
    /// `contains(search, item)`
    Contains,
    /// `startsWith(text, start)`
    StartsWith,
    /// `endsWith(text, end)`
    EndsWith,
    /// `format(pattern, …)`
    Format,
    /// `join(array, separator)`
    Join,
    /// `toJSON(value)`
    ToJson,
    /// `fromJSON(text)`
    FromJson,
    /// `case(condition, value, …, otherwise)`
    Case,
    /// `hashFiles(pattern, …)`
    HashFiles,
    /// `success()`
    Success,
    /// `failure()`
    Failure,
    /// `always()`
    Always,
    /// `cancelled()`
    Cancelled,
}

/// Every function with its name, the fewest and the most arguments, and whether it may be used
/// everywhere.
const FUNCTIONS: [(Function, &str, usize, usize, bool); 13] = [
    (Function::Contains, "contains", 2, 2, true),
    (Function::StartsWith, "startsWith", 2, 2, true),
    (Function::EndsWith, "endsWith", 2, 2, true),
    (Function::Format, "format", 1, 255, true),
    (Function::Join, "join", 1, 2, true),
    (Function::ToJson, "toJSON", 1, 1, true),
    (Function::FromJson, "fromJSON", 1, 1, true),
    (Function::Case, "case", 3, 255, true),
    (Function::HashFiles, "hashFiles", 1, 255, false),
    (Function::Success, "success", 0, 0, false),
    (Function::Failure, "failure", 0, 0, false),
    (Function::Always, "always", 0, 0, false),
    (Function::Cancelled, "cancelled", 0, 0, false),
];

impl Function {
    pub(super) fn is_status(self) -> bool {
        matches!(
            self,
            Self::Success | Self::Failure | Self::Always | Self::Cancelled
        )
    }
}

/// The names that may be used; case does not matter.
#[derive(Clone, Debug, Default)]
pub struct Names {
    contexts: BTreeSet<String>,
    any_context: bool,
    extra: Vec<Function>,
    job_ids: bool,
}

impl Names {
    /// The given contexts, and the functions that need nothing around them.
    pub fn new<'a>(contexts: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            contexts: contexts.into_iter().map(fold).collect(),
            ..Self::default()
        }
    }

    /// Every context and every function: for texts that were checked before.
    #[must_use]
    pub fn all() -> Self {
        Self {
            any_context: true,
            ..Self::default()
        }
        .with_all_functions()
    }

    /// Allows `hashFiles` too.
    #[must_use]
    pub fn with_hash_files(mut self) -> Self {
        self.extra.push(Function::HashFiles);
        self
    }

    /// Allows the status functions too; with `job_ids`, `success` and `failure` take names of jobs.
    #[must_use]
    pub fn with_status(mut self, job_ids: bool) -> Self {
        self.job_ids = job_ids;
        self.extra.extend([
            Function::Success,
            Function::Failure,
            Function::Always,
            Function::Cancelled,
        ]);
        self
    }

    /// Allows every function.
    #[must_use]
    pub fn with_all_functions(self) -> Self {
        self.with_hash_files().with_status(true)
    }

    pub(super) fn has_context(&self, name: &str) -> bool {
        self.any_context || self.contexts.contains(&fold(name))
    }

    pub(super) fn function(&self, name: &str) -> Option<Function> {
        FUNCTIONS
            .iter()
            .find(|(function, known, _, _, everywhere)| {
                same_text(known, name) && (*everywhere || self.extra.contains(function))
            })
            .map(|(function, ..)| *function)
    }

    /// The fewest and the most arguments of a function.
    pub(super) fn arity(&self, function: Function) -> (usize, usize) {
        if self.job_ids && matches!(function, Function::Success | Function::Failure) {
            return (0, 255);
        }
        FUNCTIONS
            .iter()
            .find(|(known, ..)| *known == function)
            .map_or((0, 255), |(_, _, least, most, _)| (*least, *most))
    }
}
