//! YAML text into a tree in which every key and value knows its place.
//!
//! Sizes, depths and the growth through aliases are limited; of a broken text the first problem is
//! told, of duplicate keys and wrong tags every one.

mod scalar;

use std::collections::{HashMap, HashSet};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, Span, Tag};

use crate::diagnostic::{Diagnostic, Position};
use crate::expr::{Value, fold};

/// What a file may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The most bytes of a file.
    pub file_bytes: usize,
    /// The most levels of mappings and lists inside each other.
    pub depth: usize,
    /// The most values, after aliases are replaced by what they stand for.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 1 << 20,
            depth: 50,
            values: 100_000,
        }
    }
}

/// One value and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) kind: NodeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) value: Value,
    /// Whether each line of the value is one line of the file, from the one after its start.
    pub(crate) literal: bool,
    plain: bool,
}

impl Node {
    pub(crate) fn scalar(&self) -> Option<&Value> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(&scalar.value),
            NodeKind::Sequence(_) | NodeKind::Mapping(_) => None,
        }
    }

    /// What the node is, for messages.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            NodeKind::Scalar(scalar) => match &scalar.value {
                Value::Null => "nothing".to_owned(),
                value => format!("'{}'", value.to_text()),
            },
            NodeKind::Sequence(_) => "a list".to_owned(),
            NodeKind::Mapping(_) => "a mapping".to_owned(),
        }
    }

    fn count(&self) -> usize {
        match &self.kind {
            NodeKind::Scalar(_) => 1,
            NodeKind::Sequence(items) => items.iter().map(Self::count).sum::<usize>() + 1,
            NodeKind::Mapping(entries) => {
                entries
                    .iter()
                    .map(|(key, value)| key.count() + value.count())
                    .sum::<usize>()
                    + 1
            }
        }
    }

    fn height(&self) -> usize {
        match &self.kind {
            NodeKind::Scalar(_) => 0,
            NodeKind::Sequence(items) => {
                items.iter().map(Self::height).max().unwrap_or_default() + 1
            }
            NodeKind::Mapping(entries) => {
                entries
                    .iter()
                    .map(|(_, value)| value.height())
                    .max()
                    .unwrap_or_default()
                    + 1
            }
        }
    }
}

/// Reads the one document of a file; problems go to `problems`. `None` when there is no tree at
/// all to look at.
pub(crate) fn load(
    path: &str,
    bytes: &[u8],
    limits: &Limits,
    problems: &mut Vec<Diagnostic>,
) -> Option<Node> {
    match Loader::new(path, limits, problems).load(bytes) {
        Ok(node) => Some(node),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// A mapping or list that is not closed yet.
struct Open {
    position: Position,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<(Node, Node)>,
        key: Option<Node>,
    },
}

struct Loader<'a> {
    path: &'a str,
    limits: &'a Limits,
    problems: &'a mut Vec<Diagnostic>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
    root: Option<Node>,
}

fn position(marker: Marker) -> Position {
    Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

/// Where a node starts, its tag included.
fn start(span: &Span) -> Position {
    let content = position(span.start);
    span.tag_start()
        .map(position)
        .filter(|tag| *tag < content)
        .unwrap_or(content)
}

/// Where the `|` or `>` of a block scalar stands, of which the span covers only the lines after it.
fn block_start(span: &Span, source: &str) -> Option<Position> {
    let before = source.get(..span.start.byte_offset()?)?;
    let mut lines = before.rsplit('\n').enumerate().skip(1);
    let (back, line) = lines.find(|(_, line)| !line.trim().is_empty())?;
    let header = line.find(" #").map_or(line, |comment| &line[..comment]);
    let column = header.rfind(['|', '>'])?;
    Some(Position {
        line: span.start.line().checked_sub(back)?,
        column: header[..column].chars().count() + 1,
    })
}

/// Where a value that is left out would start: after its `:` or `-`.
fn absent_start(span: &Span, source: &str) -> Position {
    let at = start(span);
    let mark = span
        .start
        .byte_offset()
        .and_then(|offset| source.as_bytes().get(offset));
    match mark {
        Some(b':' | b'-') => Position {
            column: at.column + 1,
            ..at
        },
        _ => at,
    }
}

impl<'a> Loader<'a> {
    fn new(path: &'a str, limits: &'a Limits, problems: &'a mut Vec<Diagnostic>) -> Self {
        Self {
            path,
            limits,
            problems,
            open: Vec::new(),
            anchors: HashMap::new(),
            values: 0,
            root: None,
        }
    }

    fn problem(&self, at: Position, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.path, at, message, None)
    }

    fn load(mut self, bytes: &[u8]) -> Result<Node, Diagnostic> {
        let most = self.limits.file_bytes;
        if bytes.len() > most {
            let message = format!(
                "the file has {} bytes; a workflow may have at most {most}",
                bytes.len()
            );
            return Err(self.problem(Position::START, message));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]).into_owned();
            let line = before.matches('\n').count() + 1;
            let column = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .chars()
                .count()
                + 1;
            self.problem(Position { line, column }, "the file is not UTF-8 text")
        })?;
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: self.limits.depth,
            block_nesting_limit: self.limits.depth,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| match error.kind() {
                ErrorKind::RecursionLimitExceeded => self.too_deep(position(*error.marker())),
                _ => self.problem(
                    position(*error.marker()),
                    format!("not YAML: {}", error.info()),
                ),
            })?;
            self.event(event, &span, text)?;
        }
        self.root
            .take()
            .ok_or_else(|| self.problem(Position::START, "the file is empty"))
    }

    fn event(&mut self, event: Event<'_>, span: &Span, source: &str) -> Result<(), Diagnostic> {
        let at = match &event {
            Event::Scalar(_, ScalarStyle::Literal | ScalarStyle::Folded, ..) => {
                block_start(span, source).unwrap_or_else(|| start(span))
            }
            // The parser writes `~` for a value that is left out.
            Event::Scalar(_, ScalarStyle::Plain, ..) if span.is_empty() => {
                absent_start(span, source)
            }
            _ => start(span),
        };
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(self.problem(at, "a workflow file holds one document; remove the second"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), at);
                self.add(node, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", at);
                self.open(OpenKind::Sequence(Vec::new()), at, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", at);
                self.open(
                    OpenKind::Mapping {
                        entries: Vec::new(),
                        key: None,
                    },
                    at,
                    anchor,
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(self.problem(at, "an alias stands inside what it stands for"));
                };
                if self.open.len() + node.height() > self.limits.depth {
                    return Err(self.too_deep(at));
                }
                let (node, count) = (node.clone(), node.count());
                self.values += count.saturating_sub(1);
                self.add(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Node {
        let plain = style == ScalarStyle::Plain && tag.is_none();
        let value = match tag {
            None if plain => scalar::resolve(text),
            None => Value::from(text),
            // `!` alone makes any scalar text.
            Some(tag) if tag.handle().is_empty() && tag.suffix() == "!" => Value::from(text),
            Some(tag) => match tag.core_suffix() {
                None => {
                    self.unknown_tag(tag, at);
                    Value::from(text)
                }
                Some(suffix) => scalar::resolve_as(suffix, text).unwrap_or_else(|| {
                    let message = format!("'{text}' does not fit its tag '!!{suffix}'");
                    self.problems.push(self.problem(at, message));
                    Value::from(text)
                }),
            },
        };
        let literal = style == ScalarStyle::Literal;
        Node {
            position: at,
            kind: NodeKind::Scalar(Scalar {
                value,
                literal,
                plain,
            }),
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, at: Position) {
        let message = format!(
            "unexpected tag '{}{}'; remove it",
            tag.handle(),
            tag.suffix()
        );
        self.problems.push(self.problem(at, message));
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, expected: &str, at: Position) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(expected)
        {
            self.unknown_tag(tag, at);
        }
    }

    fn too_deep(&self, at: Position) -> Diagnostic {
        let message = format!("values are nested deeper than {} levels", self.limits.depth);
        self.problem(at, message)
    }

    fn open(
        &mut self,
        kind: OpenKind,
        position: Position,
        anchor: usize,
    ) -> Result<(), Diagnostic> {
        if self.open.len() >= self.limits.depth {
            return Err(self.too_deep(position));
        }
        self.open.push(Open {
            position,
            anchor,
            kind,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let open = self
            .open
            .pop()
            .expect("the parser closes only what it opened");
        let kind = match open.kind {
            OpenKind::Sequence(items) => NodeKind::Sequence(items),
            OpenKind::Mapping { entries, .. } => NodeKind::Mapping(self.merge(entries)),
        };
        self.add(
            Node {
                position: open.position,
                kind,
            },
            open.anchor,
        )
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        self.values += 1;
        if self.values > self.limits.values {
            let message = format!("the file has more than {} values", self.limits.values);
            return Err(self.problem(node.position, message));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::Sequence(items)) => items.push(node),
            Some(OpenKind::Mapping { entries, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    /// Puts the entries of `<<` keys in, under the mapping's own, and tells duplicate keys.
    fn merge(&mut self, entries: Vec<(Node, Node)>) -> Vec<(Node, Node)> {
        let mut seen = HashSet::new();
        let mut own = Vec::with_capacity(entries.len());
        let mut sources = Vec::new();
        for (key, value) in entries {
            let NodeKind::Scalar(scalar) = &key.kind else {
                let message = format!("a key must be text, not {}", key.describe());
                self.problems.push(self.problem(key.position, message));
                continue;
            };
            let name = scalar.value.to_text();
            if &*name == "<<" && scalar.plain {
                sources.push(value);
            } else if seen.insert(fold(&name)) {
                own.push((key, value));
            } else {
                let message = format!("'{name}' is already defined");
                let mend = Some("remove one of the two; case does not matter".to_owned());
                self.problems
                    .push(Diagnostic::new(self.path, key.position, message, mend));
            }
        }
        for source in sources {
            let merged = match source.kind {
                NodeKind::Sequence(items) => items,
                _ => vec![source],
            };
            for node in merged {
                let NodeKind::Mapping(entries) = node.kind else {
                    let message = format!("'<<' needs a mapping, not {}", node.describe());
                    self.problems.push(self.problem(node.position, message));
                    continue;
                };
                for (key, value) in entries {
                    let name = key.scalar().map(|value| fold(&value.to_text()));
                    if name.is_some_and(|name| seen.insert(name)) {
                        own.push((key, value));
                    }
                }
            }
        }
        own
    }
}

#[cfg(test)]
mod tests;
