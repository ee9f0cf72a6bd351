//! Turns the tree of a file into a workflow and tells every problem on the way.

mod action;
mod container;
mod graph;
mod job;
mod scalars;
mod step;
mod triggers;
mod workflow;

use crate::action::Action;
use crate::availability::Place;
use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::model::Workflow;
use crate::template::has_expression;
use crate::yaml::{Limits, Node, NodeKind, load};

/// The most problems that are told of one file.
const MAX_PROBLEMS: usize = 100;

/// Reads one workflow file; `path` is how messages name it.
///
/// Errors: every problem found, in the order of the file.
pub fn parse(path: &str, bytes: &[u8], limits: &Limits) -> Result<Workflow, Vec<Diagnostic>> {
    let reader = Reader::new(path, Place::StepIf, Place::Step);
    let (mut workflow, warnings) =
        reader.read(bytes, limits, |reader, root| reader.workflow(root))?;
    workflow.warnings = warnings;
    Ok(workflow)
}

/// Reads one `action.yml`; `path` is how messages name it.
///
/// Errors: every problem found, in the order of the file.
pub fn parse_action(path: &str, bytes: &[u8], limits: &Limits) -> Result<Action, Vec<Diagnostic>> {
    let reader = Reader::new(path, Place::ActionIf, Place::ActionStep);
    let (mut action, warnings) =
        reader.read(bytes, limits, |reader, root| reader.action_file(root))?;
    action.warnings = warnings;
    Ok(action)
}

/// In the order of the file, each once.
fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    diagnostics.dedup();
    diagnostics
}

struct Reader<'a> {
    path: &'a str,
    /// What the `if` of a step may use.
    step_if: Place,
    /// What its other keys may use.
    step: Place,
    problems: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

/// The entries of a mapping with known keys.
#[derive(Clone, Copy)]
struct Fields<'n> {
    position: Position,
    entries: &'n [(Node, Node)],
}

impl<'n> Fields<'n> {
    /// The key and value named `name`.
    fn entry(&self, name: &str) -> Option<(&'n Node, &'n Node)> {
        self.entries
            .iter()
            .find(|(key, _)| is_key(key, name))
            .map(|(key, value)| (key, value))
    }

    fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, value)| value)
    }
}

fn is_key(key: &Node, name: &str) -> bool {
    key.scalar().is_some_and(|value| &*value.to_text() == name)
}

fn key_text(key: &Node) -> String {
    key.scalar()
        .map(|value| value.to_text().to_string())
        .unwrap_or_default()
}

impl<'a> Reader<'a> {
    fn new(path: &'a str, step_if: Place, step: Place) -> Self {
        Self {
            path,
            step_if,
            step,
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What `look` makes of the file, with the warnings on it.
    fn read<T>(
        mut self,
        bytes: &[u8],
        limits: &Limits,
        look: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) -> Result<(T, Vec<Diagnostic>), Vec<Diagnostic>> {
        let root = load(self.path, bytes, limits, &mut self.problems);
        let read = root.and_then(|root| look(&mut self, &root));
        let mut problems = sorted(self.problems);
        match read {
            Some(read) if problems.is_empty() => Ok((read, sorted(self.warnings))),
            _ => {
                problems.truncate(MAX_PROBLEMS);
                Err(problems)
            }
        }
    }
}

impl Reader<'_> {
    fn problem(&mut self, at: Position, message: impl Into<String>) {
        self.tell(Diagnostic::new(self.path, at, message, None));
    }

    /// Keeps a problem, unless there are far more than anybody reads.
    fn tell(&mut self, problem: Diagnostic) {
        if !self.is_full() {
            self.problems.push(problem);
        }
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= 10 * MAX_PROBLEMS
    }

    fn problem_mend(&mut self, at: Position, message: impl Into<String>, mend: impl Into<String>) {
        self.tell(Diagnostic::new(self.path, at, message, Some(mend.into())));
    }

    fn warning(&mut self, at: Position, message: impl Into<String>, mend: impl Into<String>) {
        self.warnings
            .push(Diagnostic::new(self.path, at, message, Some(mend.into())));
    }

    /// The entries of a mapping; anything else is a problem.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Node, Node)]> {
        if let NodeKind::Mapping(entries) = &node.kind {
            return Some(entries);
        }
        self.unexpected(node, what, "a mapping");
        None
    }

    /// The items of a list; anything else is a problem.
    fn sequence<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        if let NodeKind::Sequence(items) = &node.kind {
            return Some(items);
        }
        self.unexpected(node, what, "a list");
        None
    }

    fn unexpected(&mut self, node: &Node, what: &str, wanted: &str) {
        if self.forbids_expression(node) {
            return;
        }
        self.problem(
            node.position,
            format!("{what} must be {wanted}, not {}", node.describe()),
        );
    }

    /// Tells an expression where none may stand.
    fn forbids_expression(&mut self, node: &Node) -> bool {
        let found = node
            .scalar()
            .and_then(|value| value.as_str())
            .is_some_and(has_expression);
        if found {
            self.problem_mend(
                node.position,
                "an expression is not allowed here",
                "write the value itself",
            );
        }
        found
    }

    /// The entries of a mapping of which every key must be one of `known`.
    fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Fields<'n>> {
        let entries = self.mapping(node, what)?;
        for (key, _) in entries {
            let name = key_text(key);
            if !known.contains(&name.as_str()) && !self.forbids_expression(key) {
                self.unknown_key(key.position, &name, what, known);
            }
        }
        Some(Fields {
            position: node.position,
            entries,
        })
    }

    fn unknown_key(&mut self, at: Position, name: &str, what: &str, known: &[&str]) {
        let message = format!("unknown key '{name}' in {what}");
        match nearest(name, known.iter().copied()) {
            Some(near) => self.problem_mend(at, message, format!("did you mean '{near}'?")),
            None => self.problem_mend(at, message, format!("known here: {}", known.join(", "))),
        }
    }

    /// The value of a key that must be there.
    fn required<'n>(&mut self, fields: &Fields<'n>, name: &str, what: &str) -> Option<&'n Node> {
        let found = fields.get(name);
        if found.is_none() {
            self.problem(
                fields.position,
                format!("{what} has no '{name}'; it is required"),
            );
        }
        found
    }

    /// Tells that a key is understood but not served.
    fn not_served(&mut self, key: &Node, what: &str) {
        let name = key_text(key);
        self.problem_mend(
            key.position,
            format!("'{name}' of {what} is not served yet"),
            "remove it to run this workflow here",
        );
    }
}

impl Place {
    /// What may be used here, as a hint after a name that may not.
    fn hint(self) -> String {
        format!(
            "contexts that can be used here: {}",
            self.contexts().join(", ")
        )
    }
}

#[cfg(test)]
mod tests;
