//! Computes the value of a tree, within a limit of memory.

use std::cmp::Ordering;
use std::sync::Arc;

use super::compare::{equal, order};
use super::lexer::Operator;
use super::names::Function;
use super::parser::Node;
use super::value::{Array, Object, Value};
use super::{ExprError, functions};

/// The most memory the results of one expression may take, unless its host says otherwise.
const MEMORY_BYTES: usize = 1 << 20;
/// What any value counts for.
const VALUE_BYTES: usize = 24;
/// What a text counts for besides two bytes a character.
const TEXT_BYTES: usize = 26;

/// A function that asks how things went so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusFunction {
    /// Nothing failed and nothing was cancelled.
    Success,
    /// Something failed.
    Failure,
    /// True.
    Always,
    /// The run was cancelled.
    Cancelled,
}

/// What an expression sees of the world.
pub trait Host {
    /// The value of a context; `None` counts as null.
    fn context(&self, name: &str) -> Option<Value>;

    /// Answers a status function; `jobs` names the jobs asked about, all of them when empty.
    fn status(&self, function: StatusFunction, jobs: &[String]) -> Result<bool, String> {
        let answer = matches!(function, StatusFunction::Success | StatusFunction::Always);
        if jobs.is_empty() {
            Ok(answer)
        } else {
            Err("there are no jobs to ask about here".into())
        }
    }

    /// The SHA-256, in hex, over the files that match; empty when none does.
    fn hash_files(&self, _patterns: &[String]) -> Result<String, String> {
        Err("hashFiles needs a workspace; it can be used in steps only".into())
    }

    /// The most memory the results may take, in bytes.
    fn memory_bytes(&self) -> usize {
        MEMORY_BYTES
    }
}

/// Contexts as plain properties, with nothing around them.
impl Host for Object {
    fn context(&self, name: &str) -> Option<Value> {
        self.get(name).cloned()
    }
}

pub(super) fn evaluate(root: &Node, host: &dyn Host) -> Result<Value, ExprError> {
    let mut evaluation = Evaluation {
        host,
        memory: Memory {
            used: 0,
            most: host.memory_bytes(),
        },
    };
    let value = evaluation.value(root)?;
    // A filtered array leaves the expression as a plain one.
    Ok(match value {
        Value::Array(array) if array.is_filtered() => Value::array(array.items().to_vec()),
        value => value,
    })
}

/// Counts what the results that are still needed take.
pub(super) struct Memory {
    used: usize,
    most: usize,
}

impl Memory {
    /// Counts `bytes` more. Errors: they are too many.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), ExprError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.most {
            return Err(ExprError::evaluation(
                "The maximum allowed memory size was exceeded",
            ));
        }
        Ok(())
    }

    /// Counts a text that is being built.
    pub(super) fn add_text(&mut self, text: &str) -> Result<(), ExprError> {
        self.add(text.len().saturating_mul(2))
    }
}

fn size_of(value: &Value) -> usize {
    match value {
        Value::String(text) => TEXT_BYTES.saturating_add(text.len().saturating_mul(2)),
        Value::Array(array) if array.is_filtered() => VALUE_BYTES + 8 * array.items().len(),
        _ => VALUE_BYTES,
    }
}

struct Evaluation<'a> {
    host: &'a dyn Host,
    memory: Memory,
}

impl Evaluation<'_> {
    /// The value of a node; what its operands took is free again afterwards.
    fn value(&mut self, node: &Node) -> Result<Value, ExprError> {
        let before = self.memory.used;
        let value = self.compute(node)?;
        self.memory.used = before;
        self.memory.add(size_of(&value))?;
        Ok(value)
    }

    fn compute(&mut self, node: &Node) -> Result<Value, ExprError> {
        match node {
            Node::Literal(value) => Ok(value.clone()),
            Node::Context(name) => Ok(self.host.context(name).unwrap_or_default()),
            Node::Index(of, key) => {
                let of = self.value(of)?;
                let key = self.value(key)?;
                Ok(index(&of, &key))
            }
            Node::Every(of) => {
                let of = self.value(of)?;
                Ok(Value::Array(Arc::new(Array::filtered(every(&of)))))
            }
            Node::Not(of) => Ok(Value::Bool(!self.value(of)?.is_truthy())),
            Node::All(nodes) => self.first(nodes, |value| !value.is_truthy()),
            Node::Any(nodes) => self.first(nodes, Value::is_truthy),
            Node::Compare(operator, left, right) => {
                let left = self.value(left)?;
                let right = self.value(right)?;
                Ok(Value::Bool(compare(*operator, &left, &right)))
            }
            Node::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    /// The first value that decides, or the last one.
    fn first(&mut self, nodes: &[Node], decides: fn(&Value) -> bool) -> Result<Value, ExprError> {
        let mut last = Value::Null;
        for node in nodes {
            last = self.value(node)?;
            if decides(&last) {
                break;
            }
        }
        Ok(last)
    }

    fn call(&mut self, function: Function, nodes: &[Node]) -> Result<Value, ExprError> {
        let status = match function {
            Function::Case => return self.case(nodes),
            Function::Success => Some(StatusFunction::Success),
            Function::Failure => Some(StatusFunction::Failure),
            Function::Always => Some(StatusFunction::Always),
            Function::Cancelled => Some(StatusFunction::Cancelled),
            _ => None,
        };
        let mut arguments = Vec::with_capacity(nodes.len());
        for node in nodes {
            arguments.push(self.value(node)?);
        }
        let texts = || {
            arguments
                .iter()
                .map(|value| value.to_text().to_string())
                .collect::<Vec<_>>()
        };
        if let Some(status) = status {
            let answer = self.host.status(status, &texts());
            return answer.map(Value::Bool).map_err(ExprError::evaluation);
        }
        if function == Function::HashFiles {
            return self
                .host
                .hash_files(&texts())
                .map(Value::from)
                .map_err(ExprError::evaluation);
        }
        functions::call(function, &arguments, &mut self.memory)
    }

    fn case(&mut self, nodes: &[Node]) -> Result<Value, ExprError> {
        let Some((otherwise, pairs)) = nodes.split_last() else {
            return Ok(Value::Null);
        };
        for pair in pairs.chunks_exact(2) {
            match self.value(&pair[0])? {
                Value::Bool(true) => return self.value(&pair[1]),
                Value::Bool(false) => {}
                _ => {
                    return Err(ExprError::evaluation(
                        "case predicate must evaluate to a boolean value",
                    ));
                }
            }
        }
        self.value(otherwise)
    }
}

fn compare(operator: Operator, left: &Value, right: &Value) -> bool {
    match operator {
        Operator::Equal => equal(left, right),
        Operator::NotEqual => !equal(left, right),
        Operator::Less => order(left, right) == Some(Ordering::Less),
        Operator::Greater => order(left, right) == Some(Ordering::Greater),
        Operator::LessOrEqual => equal(left, right) || order(left, right) == Some(Ordering::Less),
        Operator::GreaterOrEqual => {
            equal(left, right) || order(left, right) == Some(Ordering::Greater)
        }
        Operator::And | Operator::Or => unreachable!("the parser makes chains of these"),
    }
}

/// The items or values of a collection; none of anything else. A filtered array gives those of its
/// items.
fn every(of: &Value) -> Vec<Value> {
    match of {
        Value::Array(array) if array.is_filtered() => {
            array.items().iter().flat_map(members).collect()
        }
        other => members(other),
    }
}

fn members(of: &Value) -> Vec<Value> {
    match of {
        Value::Array(array) => array.items().to_vec(),
        Value::Object(object) => object.iter().map(|(_, value)| value.clone()).collect(),
        _ => Vec::new(),
    }
}

fn index(of: &Value, key: &Value) -> Value {
    match of {
        Value::Array(array) if array.is_filtered() => {
            let found = array
                .items()
                .iter()
                .filter_map(|item| member(item, key))
                .collect();
            Value::Array(Arc::new(Array::filtered(found)))
        }
        other => member(other, key).unwrap_or_default(),
    }
}

/// The member of a collection that `key` names after coercion, if there is one.
fn member(of: &Value, key: &Value) -> Option<Value> {
    match of {
        Value::Object(object) if key.is_primitive() => object.get(&key.to_text()).cloned(),
        Value::Array(array) => {
            let at = key.to_number().floor();
            if at.is_nan() || at < 0.0 || at > f64::from(i32::MAX) {
                return None;
            }
            // Within these bounds the text of a whole number is that of an index.
            let at: usize = format!("{at:.0}").parse().ok()?;
            array.items().get(at).cloned()
        }
        _ => None,
    }
}
