//! Texts with `${{ }}` in them, and trees of such texts.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::expr::{self, ErrorKind, Expr, ExprError, Host, Names, Object, Value};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// A scalar of a workflow: a plain value, an expression, or text with expressions in it.
///
/// In JSON it is what was written: a plain value, or text that is parsed again when it is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// A value with no expression in it.
    Literal(Value),
    /// One expression and nothing else; it keeps the kind of its value.
    Expr(Expr),
    /// Text around expressions; its value is text.
    Mixed(Vec<Part>),
}

/// One part of a mixed text.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// An expression whose value is put in as text.
    Expr(Expr),
}

/// Why a text with expressions cannot be used, and at which byte of it.
#[derive(Debug)]
pub(crate) struct TemplateError {
    pub(crate) error: ExprError,
    pub(crate) offset: usize,
}

impl TemplateError {
    fn new(message: &str, offset: usize) -> Self {
        let error = ExprError {
            kind: ErrorKind::Parsing,
            message: message.to_owned(),
        };
        Self { error, offset }
    }
}

/// Whether `text` has an expression in it.
pub(crate) fn has_expression(text: &str) -> bool {
    text.contains(OPEN)
}

/// Where the expression that starts `text` ends: at its `}}` outside quotes.
fn find_close(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '}' if !quoted && text[at..].starts_with(CLOSE) => return Some(at),
            _ => {}
        }
    }
    None
}

impl Template {
    /// Parses a text in which only `names` may be used.
    ///
    /// Errors: an expression is not closed, empty or wrong.
    pub fn parse(text: &str, names: &Names) -> Result<Self, ExprError> {
        Self::parse_at(text, names).map_err(|failure| failure.error)
    }

    pub(crate) fn parse_at(text: &str, names: &Names) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(start) = text[at..].find(OPEN).map(|found| at + found) {
            if start > at {
                parts.push(Part::Text(text[at..start].to_owned()));
            }
            let inside = start + OPEN.len();
            let Some(end) = find_close(&text[inside..]).map(|found| inside + found) else {
                return Err(TemplateError::new(
                    "The expression is not closed. An unescaped ${{ sequence was found, but the \
                     closing }} sequence was not found.",
                    start,
                ));
            };
            let source = text[inside..end].trim();
            if source.is_empty() {
                return Err(TemplateError::new("An expression was expected", start));
            }
            let parsed = expr::parse(source, names).map_err(|error| TemplateError {
                error,
                offset: start,
            })?;
            parts.push(Part::Expr(parsed));
            at = end + CLOSE.len();
        }
        if parts.is_empty() {
            return Ok(Self::Literal(Value::from(text)));
        }
        if at < text.len() {
            parts.push(Part::Text(text[at..].to_owned()));
        }
        Ok(match <[Part; 1]>::try_from(parts) {
            Ok([Part::Expr(expr)]) => Self::Expr(expr),
            Ok([Part::Text(text)]) => Self::Literal(Value::from(text)),
            Err(parts) => Self::Mixed(parts),
        })
    }

    /// The value, if there is no expression in it.
    #[must_use]
    pub fn literal(&self) -> Option<&Value> {
        match self {
            Self::Literal(value) => Some(value),
            Self::Expr(_) | Self::Mixed(_) => None,
        }
    }

    /// What was written: the value, or the text with its expressions.
    #[must_use]
    pub fn source(&self) -> Value {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Expr(expr) => Value::from(format!("{OPEN} {} {CLOSE}", expr.source())),
            Self::Mixed(parts) => Value::from(
                parts
                    .iter()
                    .map(|part| match part {
                        Part::Text(text) => text.clone(),
                        Part::Expr(expr) => format!("{OPEN} {} {CLOSE}", expr.source()),
                    })
                    .collect::<String>(),
            ),
        }
    }

    /// Computes the value. Errors: `Evaluation`.
    pub fn eval(&self, host: &dyn Host) -> Result<Value, ExprError> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expr(expr) => expr.eval(host),
            Self::Mixed(_) => self.text(host).map(Value::from),
        }
    }

    /// Computes the value as text. Errors: `Evaluation`.
    pub fn text(&self, host: &dyn Host) -> Result<String, ExprError> {
        match self {
            Self::Literal(value) => Ok(value.to_text().to_string()),
            Self::Expr(expr) => Ok(expr.eval(host)?.to_text().to_string()),
            Self::Mixed(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(part) => text.push_str(part),
                        Part::Expr(expr) => text.push_str(&expr.eval(host)?.to_text()),
                    }
                    if text.len() > host.memory_bytes() {
                        return Err(ExprError::evaluation(
                            "The maximum allowed memory size was exceeded",
                        ));
                    }
                }
                Ok(text)
            }
        }
    }

    /// The expressions in it.
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let (one, many) = match self {
            Self::Literal(_) => (None, [].as_slice()),
            Self::Expr(expr) => (Some(expr), [].as_slice()),
            Self::Mixed(parts) => (None, parts.as_slice()),
        };
        one.into_iter()
            .chain(many.iter().filter_map(|part| match part {
                Part::Expr(expr) => Some(expr),
                Part::Text(_) => None,
            }))
    }

    fn from_value(value: Value) -> Result<Self, ExprError> {
        match value {
            Value::String(text) => Self::parse(&text, &Names::all()),
            value => Ok(Self::Literal(value)),
        }
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub enum Key {
    /// A name, perhaps with expressions in it.
    Name(Template),
    /// `${{ insert }}`: the entries of its value stand in its place.
    Insert,
}

/// A tree of scalars, as `env`, `with` and `matrix` are.
///
/// In JSON it is what was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// One scalar; an expression may give a whole tree.
    Scalar(Template),
    /// A list; an item that is an expression and gives a list is replaced by its items.
    Sequence(Vec<Data>),
    /// A mapping, in order.
    Mapping(Vec<(Key, Data)>),
}

impl Data {
    /// Computes the value of the whole tree. Errors: `Evaluation`.
    pub fn eval(&self, host: &dyn Host) -> Result<Value, ExprError> {
        match self {
            Self::Scalar(template) => template.eval(host),
            Self::Sequence(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    let value = item.eval(host)?;
                    match (item, value.as_array()) {
                        (Self::Scalar(Template::Expr(_)), Some(inner)) => {
                            values.extend(inner.iter().cloned());
                        }
                        _ => values.push(value),
                    }
                }
                Ok(Value::array(values))
            }
            Self::Mapping(entries) => {
                let mut object = Object::new();
                for (key, data) in entries {
                    add_entry(&mut object, key, data, host)?;
                }
                Ok(Value::object(object))
            }
        }
    }

    /// The scalar, if this is one.
    #[must_use]
    pub fn as_scalar(&self) -> Option<&Template> {
        match self {
            Self::Scalar(template) => Some(template),
            Self::Sequence(_) | Self::Mapping(_) => None,
        }
    }

    /// What was written.
    #[must_use]
    pub fn source(&self) -> Value {
        match self {
            Self::Scalar(template) => template.source(),
            Self::Sequence(items) => Value::array(items.iter().map(Self::source).collect()),
            Self::Mapping(entries) => Value::object(
                entries
                    .iter()
                    .map(|(key, data)| match key {
                        Key::Name(name) => (name.source().to_text(), data.source()),
                        Key::Insert => (INSERT.into(), data.source()),
                    })
                    .collect(),
            ),
        }
    }

    /// Whether an expression in it satisfies `test`.
    pub fn any_expr(&self, test: &dyn Fn(&Expr) -> bool) -> bool {
        match self {
            Self::Scalar(template) => template.exprs().any(test),
            Self::Sequence(items) => items.iter().any(|item| item.any_expr(test)),
            Self::Mapping(entries) => entries.iter().any(|(key, data)| {
                data.any_expr(test) || matches!(key, Key::Name(name) if name.exprs().any(test))
            }),
        }
    }

    fn from_value(value: &Value) -> Result<Self, ExprError> {
        Ok(match value {
            Value::Array(array) => Self::Sequence(
                array
                    .items()
                    .iter()
                    .map(Self::from_value)
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(object) => {
                let mut entries = Vec::new();
                for (key, value) in object.iter() {
                    let key = if key == INSERT {
                        Key::Insert
                    } else {
                        Key::Name(Template::parse(key, &Names::all())?)
                    };
                    entries.push((key, Self::from_value(value)?));
                }
                Self::Mapping(entries)
            }
            scalar => Self::Scalar(Template::from_value(scalar.clone())?),
        })
    }
}

/// How an insertion is written in JSON.
const INSERT: &str = "${{ insert }}";

/// Whether a key is an insertion.
pub(crate) fn is_insert(key: &str) -> bool {
    key.trim()
        .strip_prefix(OPEN)
        .and_then(|key| key.strip_suffix(CLOSE))
        .is_some_and(|inside| inside.trim() == "insert")
}

fn add_entry(
    object: &mut Object,
    key: &Key,
    data: &Data,
    host: &dyn Host,
) -> Result<(), ExprError> {
    let value = data.eval(host)?;
    match key {
        Key::Name(name) => object.set(name.text(host)?, value),
        Key::Insert => match value.as_object() {
            Some(inner) => {
                for (key, value) in inner.iter() {
                    object.set(key, value.clone());
                }
            }
            None => {
                return Err(ExprError::evaluation(format!(
                    "an inserted value must be an object; this one is of kind {}",
                    value.kind()
                )));
            }
        },
    }
    Ok(())
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.source().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(&Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Object {
        let json = serde_json::json!({
            "github": { "sha": "abc", "labels": ["a", "b"] },
            "matrix": { "extra": { "k": 1, "l": "two" } },
        });
        Value::from_json(&json).as_object().unwrap().clone()
    }

    fn eval(text: &str) -> Value {
        Template::parse(text, &Names::all())
            .unwrap()
            .eval(&host())
            .unwrap()
    }

    #[test]
    fn a_whole_expression_keeps_its_kind_and_a_mixed_text_is_text() {
        assert_eq!(eval("plain }} text"), Value::from("plain }} text"));
        assert_eq!(eval("${{ 1 }}"), Value::from(1.0));
        assert_eq!(eval("${{1}}${{ 2 }}"), Value::from("12"));
        assert_eq!(eval("v${{ 1.50 }}\n"), Value::from("v1.5\n"));
        assert_eq!(eval("${{ github.labels }}").as_array().unwrap().len(), 2);
        assert_eq!(eval("is ${{ github.labels }}"), Value::from("is Array"));
        assert_eq!(eval("${{ '}}' }}"), Value::from("}}"));
        assert_eq!(
            eval("${{ 'it''s ${{ x }}' }}"),
            Value::from("it's ${{ x }}")
        );
    }

    #[test]
    fn broken_expressions_are_told() {
        let error = |text| Template::parse(text, &Names::all()).unwrap_err().message;
        assert!(error("a ${{ github.sha").contains("is not closed"));
        assert!(error("${{ 'open }}").contains("is not closed"));
        assert!(error("${{  }}").contains("An expression was expected"));
        assert!(error("${{ 1 1 }}").contains("Unexpected symbol: '1'"));
        let failure = Template::parse_at("ab${{ 1 }}cd${{ ] }}", &Names::all()).unwrap_err();
        assert_eq!(failure.offset, 12);
    }

    #[test]
    fn trees_splice_lists_and_insert_mappings() {
        let data: Data = serde_json::from_str(
            r#"{"list":["x","${{ github.labels }}",["${{ github.labels }}"]],
                "${{ insert }}":"${{ matrix.extra }}","n-${{ github.sha }}":2.0}"#,
        )
        .unwrap();
        assert_eq!(
            data.eval(&host()).unwrap().to_json(),
            serde_json::json!({"list":["x","a","b",["a","b"]],"k":1,"l":"two","n-abc":2})
        );
    }

    #[test]
    fn trees_survive_json() {
        let text = r#"{"a":["${{ x }}",1,null,true],"${{ insert }}":"${{ y }}","b-${{ z }}":{}}"#;
        let data: Data = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
        assert!(data.any_expr(&|expr| expr.uses_context("y")));
        assert!(data.any_expr(&|expr| expr.uses_context("z")));
        assert!(!data.any_expr(&|expr| expr.uses_context("needs")));
    }
}
