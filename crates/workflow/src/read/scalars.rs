//! Reads single values and trees of values, with or without expressions.

use super::{Reader, key_text};
use crate::availability::Place;
use crate::condition::Condition;
use crate::diagnostic::{Position, nearest};
use crate::expr::Value;
use crate::template::{Data, Key, Template, TemplateError, has_expression, is_insert};
use crate::yaml::{Node, NodeKind};

/// What kind of value a scalar must be where it is no expression.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Any scalar, taken as text.
    Text,
    /// The same, but not empty.
    NonEmpty,
    Number,
    Bool,
    /// Any scalar, of its own kind.
    Any,
}

impl Reader<'_> {
    /// Text without expressions.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let template = self.scalar(node, what, Kind::Text, Place::Plain)?;
        template.literal().map(|value| value.to_text().to_string())
    }

    /// Text without expressions that is not empty.
    pub(super) fn non_empty(&mut self, node: &Node, what: &str) -> Option<String> {
        let template = self.scalar(node, what, Kind::NonEmpty, Place::Plain)?;
        template.literal().map(|value| value.to_text().to_string())
    }

    /// True or false, without expressions.
    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match self.scalar(node, what, Kind::Bool, Place::Plain)?.literal() {
            Some(Value::Bool(truth)) => Some(*truth),
            _ => None,
        }
    }

    /// One text or a list of texts, without expressions.
    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        match &node.kind {
            NodeKind::Sequence(items) => Some(
                items
                    .iter()
                    .filter_map(|item| self.non_empty(item, what))
                    .collect(),
            ),
            _ => Some(vec![self.non_empty(node, what)?]),
        }
    }

    /// One of a few words.
    pub(super) fn word(&mut self, node: &Node, what: &str, known: &[&str]) -> Option<String> {
        let text = self.text(node, what)?;
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        let message = format!("{what} cannot be {}", node.describe());
        let mend = match nearest(&text, known.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("it can be {}", known.join(", ")),
        };
        self.problem_mend(node.position, message, mend);
        None
    }

    /// A scalar in which expressions may stand as `place` allows.
    pub(super) fn scalar(
        &mut self,
        node: &Node,
        what: &str,
        kind: Kind,
        place: Place,
    ) -> Option<Template> {
        let NodeKind::Scalar(scalar) = &node.kind else {
            self.problem(
                node.position,
                format!("{what} must be {}, not {}", wanted(kind), node.describe()),
            );
            return None;
        };
        if let Some(text) = scalar.value.as_str().filter(|text| has_expression(text)) {
            if !place.allows_expressions() {
                self.forbids_expression(node);
                return None;
            }
            let parsed = Template::parse_at(text, place.names());
            return self.parsed(parsed, node, place);
        }
        let value = match (kind, &scalar.value) {
            (Kind::Any, value) => value.clone(),
            (Kind::Text, value) => Value::String(value.to_text()),
            (Kind::NonEmpty, value) if !value.to_text().is_empty() => {
                Value::String(value.to_text())
            }
            (Kind::Number, Value::Number(_)) | (Kind::Bool, Value::Bool(_)) => scalar.value.clone(),
            _ => {
                self.problem(
                    node.position,
                    format!("{what} must be {}, not {}", wanted(kind), node.describe()),
                );
                return None;
            }
        };
        Some(Template::Literal(value))
    }

    /// A condition; `${{ }}` may be left out.
    pub(super) fn condition(&mut self, node: &Node, what: &str, place: Place) -> Option<Condition> {
        let template = match &node.kind {
            NodeKind::Scalar(scalar) => scalar.value.to_text(),
            _ => {
                self.problem(
                    node.position,
                    format!("{what} must be text, not {}", node.describe()),
                );
                return None;
            }
        };
        let parsed = Condition::parse_at(&template, place.names());
        let condition = self.parsed(parsed, node, place)?;
        if condition.is_mixed() {
            self.warning(
                node.position,
                format!("{what} is always true: text stands around its ${{{{ }}}}"),
                "put all of it into one ${{ }}, or leave ${{ }} out",
            );
        }
        Some(condition)
    }

    /// Tells why a text with expressions could not be parsed, and on which line of a long text.
    fn parsed<T>(
        &mut self,
        parsed: Result<T, TemplateError>,
        node: &Node,
        place: Place,
    ) -> Option<T> {
        let failure = match parsed {
            Ok(parsed) => return Some(parsed),
            Err(failure) => failure,
        };
        let mut message = failure.error.message;
        if let NodeKind::Scalar(scalar) = &node.kind
            && scalar.literal
            && let Some(text) = scalar.value.as_str()
        {
            let before = text.get(..failure.offset).unwrap_or_default();
            let line = node.position.line + 1 + before.matches('\n').count();
            message = format!("{message} (on line {line})");
        }
        if message.starts_with("Unrecognized named-value") {
            self.problem_mend(node.position, message, place.hint());
        } else {
            self.problem(node.position, message);
        }
        None
    }

    /// A mapping of names to scalars, or one expression that gives it.
    pub(super) fn flat_data(
        &mut self,
        node: &Node,
        what: &str,
        kind: Kind,
        place: Place,
    ) -> Option<Data> {
        let entries = match &node.kind {
            NodeKind::Mapping(entries) => entries,
            NodeKind::Scalar(scalar) if scalar.value == Value::Null => {
                return Some(Data::Mapping(Vec::new()));
            }
            NodeKind::Scalar(scalar)
                if place.allows_expressions()
                    && scalar.value.as_str().is_some_and(has_expression) =>
            {
                return Some(Data::Scalar(self.scalar(node, what, kind, place)?));
            }
            _ => {
                self.unexpected(node, what, "a mapping");
                return None;
            }
        };
        let mut data = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let inner = format!("'{}' in {what}", key_text(key));
            let key = self.key(key, what, place);
            let value = self.scalar(value, &inner, kind, place);
            if let (Some(key), Some(value)) = (key, value) {
                data.push((key, Data::Scalar(value)));
            }
        }
        Some(Data::Mapping(data))
    }

    /// A tree of any shape.
    pub(super) fn data(&mut self, node: &Node, what: &str, place: Place) -> Option<Data> {
        match &node.kind {
            NodeKind::Scalar(_) => Some(Data::Scalar(self.scalar(node, what, Kind::Any, place)?)),
            NodeKind::Sequence(items) => Some(Data::Sequence(
                items
                    .iter()
                    .filter_map(|item| self.data(item, what, place))
                    .collect(),
            )),
            NodeKind::Mapping(entries) => {
                let mut data = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = self.key(key, what, place);
                    let value = self.data(value, what, place);
                    if let (Some(key), Some(value)) = (key, value) {
                        data.push((key, value));
                    }
                }
                Some(Data::Mapping(data))
            }
        }
    }

    fn key(&mut self, node: &Node, what: &str, place: Place) -> Option<Key> {
        if place.allows_expressions() && is_insert(&key_text(node)) {
            return Some(Key::Insert);
        }
        let what = format!("a key of {what}");
        self.scalar(node, &what, Kind::NonEmpty, place)
            .map(Key::Name)
    }

    /// Checks the id of a job or step.
    pub(super) fn identifier(&mut self, text: &str, at: Position) -> bool {
        let fits = text.chars().count() < 100
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && crate::expr::is_word(text);
        if !fits {
            self.problem_mend(
                at,
                format!("the identifier '{text}' is invalid"),
                "use letters, digits, '-' and '_', a letter or '_' first, fewer than 100 in all",
            );
        } else if text.starts_with("__") {
            self.problem_mend(
                at,
                format!("the identifier '{text}' is reserved"),
                "identifiers must not start with '__'",
            );
            return false;
        }
        fits
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Any => "text",
        Kind::NonEmpty => "text that is not empty",
        Kind::Number => "a number",
        Kind::Bool => "true or false",
    }
}
