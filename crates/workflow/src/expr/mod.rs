//! The expression language: text in, tree, and values out.

mod compare;
mod eval;
mod functions;
mod lexer;
mod names;
mod number;
mod parser;
mod value;

use std::fmt;

pub(crate) use compare::{equal, fold, same_text};
pub use eval::{Host, StatusFunction};
pub(crate) use lexer::is_word;
pub use names::{Function, Names};
pub use value::{Array, Object, Value};

use parser::Node;

/// At which stage an expression failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// A piece of the text is no token.
    Lexing,
    /// The tokens make no expression, or name what does not exist here.
    Parsing,
    /// The expression cannot be computed with these values.
    Evaluation,
}

impl ErrorKind {
    /// The word for the stage: lexing, parsing or evaluation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lexing => "lexing",
            Self::Parsing => "parsing",
            Self::Evaluation => "evaluation",
        }
    }
}

/// Why an expression failed. The wording is the dialect's own, as users search for it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// The stage.
    pub kind: ErrorKind,
    /// What is wrong, where.
    pub message: String,
}

impl ExprError {
    fn at(kind: ErrorKind, problem: &str, text: &str, position: usize, source: &str) -> Self {
        let message = format!(
            "{problem}: '{text}'. Located at position {position} within expression: {source}"
        );
        Self { kind, message }
    }

    /// A failure of evaluation.
    pub(crate) fn evaluation(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Evaluation,
            message: message.into(),
        }
    }
}

/// A parsed expression.
#[derive(Clone)]
pub struct Expr {
    source: String,
    root: Option<Node>,
}

/// Parses an expression in which only `names` may be used.
///
/// Errors: `Lexing` and `Parsing`, with the position in characters from 1.
pub fn parse(source: &str, names: &Names) -> Result<Expr, ExprError> {
    let root = parser::parse(source, names)?;
    Ok(Expr {
        source: source.to_owned(),
        root,
    })
}

impl Expr {
    /// The text it was parsed from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression holds nothing but space; its value is null.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Computes the value. Errors: `Evaluation`.
    pub fn eval(&self, host: &dyn Host) -> Result<Value, ExprError> {
        match &self.root {
            Some(root) => eval::evaluate(root, host),
            None => Ok(Value::Null),
        }
    }

    /// Whether it calls `success`, `failure`, `always` or `cancelled`.
    #[must_use]
    pub fn uses_status(&self) -> bool {
        self.any(&|node| matches!(node, Node::Call(function, _) if function.is_status()))
    }

    /// Whether it uses the context `name`.
    #[must_use]
    pub fn uses_context(&self, name: &str) -> bool {
        self.any(&|node| matches!(node, Node::Context(context) if same_text(context, name)))
    }

    fn any(&self, test: &dyn Fn(&Node) -> bool) -> bool {
        fn visit(node: &Node, test: &dyn Fn(&Node) -> bool) -> bool {
            test(node)
                || match node {
                    Node::Literal(_) | Node::Context(_) => false,
                    Node::Index(of, key) => visit(of, test) || visit(key, test),
                    Node::Compare(_, left, right) => visit(left, test) || visit(right, test),
                    Node::Every(of) | Node::Not(of) => visit(of, test),
                    Node::Call(_, nodes) | Node::All(nodes) | Node::Any(nodes) => {
                        nodes.iter().any(|node| visit(node, test))
                    }
                }
        }
        self.root.as_ref().is_some_and(|root| visit(root, test))
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({:?})", self.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// Parses and computes `source` with the contexts given as a JSON object, and returns
/// `{"kind": …, "value": …}`.
///
/// Every function may be used; with no job around it, `success()` and `always()` are true,
/// `failure()` and `cancelled()` are false, and `hashFiles` fails. Numbers that JSON cannot write
/// are given as text: `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub fn eval_to_json(
    source: &str,
    contexts: &serde_json::Value,
) -> Result<serde_json::Value, ExprError> {
    let contexts = Value::from_json(contexts);
    let empty = Object::new();
    let object = contexts.as_object().unwrap_or(&empty);
    let names = Names::new(object.iter().map(|(name, _)| name)).with_all_functions();
    let value = parse(source, &names)?.eval(object)?;
    Ok(serde_json::json!({ "kind": value.kind(), "value": value.to_json() }))
}

#[cfg(test)]
mod tests;
