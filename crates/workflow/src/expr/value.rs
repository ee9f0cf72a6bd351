//! Values of the expression language, and their way from and to JSON.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::compare::fold;
use super::number::{format_number, parse_number};

/// One value. Cloning is cheap; arrays and objects are equal in the language only when they are
/// the same one.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing, and what a missing property gives.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// Any number, NaN and the infinities among them.
    Number(f64),
    /// Text.
    String(Arc<str>),
    /// A list.
    Array(Arc<Array>),
    /// A mapping in the order it was written.
    Object(Arc<Object>),
}

/// The items of an array.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    items: Vec<Value>,
    filtered: bool,
}

impl Array {
    /// An array of `items`.
    #[must_use]
    pub fn new(items: Vec<Value>) -> Self {
        Self {
            items,
            filtered: false,
        }
    }

    /// What `.*` yields: an index applied to it is applied to each item.
    pub(crate) fn filtered(items: Vec<Value>) -> Self {
        Self {
            items,
            filtered: true,
        }
    }

    pub(crate) fn is_filtered(&self) -> bool {
        self.filtered
    }

    /// The items in order.
    #[must_use]
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

/// The entries of an object, in order; keys are found whatever their case.
#[derive(Clone, Debug, Default)]
pub struct Object {
    entries: Vec<(Arc<str>, Value)>,
    index: HashMap<String, usize>,
    exact: bool,
}

impl Object {
    /// An empty object.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty object whose keys differ by case too, as environment variables do.
    #[must_use]
    pub fn case_sensitive() -> Self {
        Self {
            exact: true,
            ..Self::default()
        }
    }

    fn index_key(&self, key: &str) -> String {
        if self.exact {
            key.to_owned()
        } else {
            fold(key)
        }
    }

    /// Adds an entry unless the key is there already (the first one wins), and says whether it did.
    pub fn add(&mut self, key: impl Into<Arc<str>>, value: Value) -> bool {
        let key = key.into();
        let index_key = self.index_key(&key);
        if self.index.contains_key(&index_key) {
            return false;
        }
        self.index.insert(index_key, self.entries.len());
        self.entries.push((key, value));
        true
    }

    /// Sets an entry, replacing the value of an existing key in its place.
    pub fn set(&mut self, key: impl Into<Arc<str>>, value: Value) {
        let key = key.into();
        let index_key = self.index_key(&key);
        match self.index.get(&index_key) {
            Some(&at) => self.entries[at].1 = value,
            None => {
                self.index.insert(index_key, self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index
            .get(&self.index_key(key))
            .map(|&at| &self.entries[at].1)
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.index.contains_key(&self.index_key(key))
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Into<Arc<str>>> FromIterator<(K, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(entries: I) -> Self {
        let mut object = Self::new();
        for (key, value) in entries {
            object.set(key, value);
        }
        object
    }
}

impl Value {
    /// A text value.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// An array value.
    #[must_use]
    pub fn array(items: Vec<Value>) -> Self {
        Self::Array(Arc::new(Array::new(items)))
    }

    /// An object value.
    #[must_use]
    pub fn object(object: Object) -> Self {
        Self::Object(Arc::new(object))
    }

    /// The name of the value's kind: Null, Boolean, Number, String, Array or Object.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "Null",
            Self::Bool(_) => "Boolean",
            Self::Number(_) => "Number",
            Self::String(_) => "String",
            Self::Array(_) => "Array",
            Self::Object(_) => "Object",
        }
    }

    /// Whether this is neither array nor object.
    #[must_use]
    pub fn is_primitive(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// Whether a condition holds for this value: not null, false, 0, NaN or the empty text.
    #[must_use]
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(truth) => *truth,
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::String(text) => !text.is_empty(),
            Self::Array(_) | Self::Object(_) => true,
        }
    }

    /// The value as a number; arrays and objects are NaN.
    #[must_use]
    pub fn to_number(&self) -> f64 {
        match self {
            Self::Null => 0.0,
            Self::Bool(truth) => f64::from(u8::from(*truth)),
            Self::Number(number) => *number,
            Self::String(text) => parse_number(text),
            Self::Array(_) | Self::Object(_) => f64::NAN,
        }
    }

    /// The value as text; arrays and objects give the name of their kind.
    #[must_use]
    pub fn to_text(&self) -> Arc<str> {
        match self {
            Self::Null => Arc::from(""),
            Self::Bool(truth) => Arc::from(if *truth { "true" } else { "false" }),
            Self::Number(number) => Arc::from(format_number(*number)),
            Self::String(text) => Arc::clone(text),
            Self::Array(_) => Arc::from("Array"),
            Self::Object(_) => Arc::from("Object"),
        }
    }

    /// The text, if this is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The object, if this is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The items, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(array) => Some(array.items()),
            _ => None,
        }
    }

    /// The property `key` of an object; null when there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> Value {
        self.as_object()
            .and_then(|object| object.get(key))
            .cloned()
            .unwrap_or_default()
    }

    /// Takes a value over from JSON.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(truth) => Self::Bool(*truth),
            serde_json::Value::Number(number) => Self::Number(number.as_f64().unwrap_or(f64::NAN)),
            serde_json::Value::String(text) => Self::string(text.as_str()),
            serde_json::Value::Array(items) => {
                Self::array(items.iter().map(Self::from_json).collect())
            }
            serde_json::Value::Object(entries) => {
                let mut object = Object::new();
                for (key, value) in entries {
                    object.add(key.as_str(), Self::from_json(value));
                }
                Self::object(object)
            }
        }
    }

    /// The value as JSON. JSON has no NaN and no infinities; they become their names as text.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(truth) => serde_json::Value::Bool(*truth),
            Self::Number(number) => number_to_json(*number),
            Self::String(text) => serde_json::Value::String(text.to_string()),
            Self::Array(array) => array.items().iter().map(Self::to_json).collect(),
            Self::Object(object) => serde_json::Value::Object(
                object
                    .iter()
                    .map(|(key, value)| (key.to_owned(), value.to_json()))
                    .collect(),
            ),
        }
    }
}

/// Whole numbers without a point, as people write them.
fn number_to_json(number: f64) -> serde_json::Value {
    let whole = number.fract() == 0.0 && !(number == 0.0 && number.is_sign_negative());
    if whole && let Ok(integer) = format!("{number:.0}").parse::<i64>() {
        return serde_json::Value::from(integer);
    }
    match serde_json::Number::from_f64(number) {
        Some(number) => serde_json::Value::Number(number),
        None => serde_json::Value::String(format_number(number)),
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::string(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::object(object)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// Reads a value straight from a JSON text, so that of two keys that differ only by case the first
/// wins and order is kept.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(parse_number(&number.to_string())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(parse_number(&number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::string(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some((key, value)) = access.next_entry::<String, Value>()? {
            object.add(key, value);
        }
        Ok(Value::object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_whatever_their_case_and_the_first_wins() {
        let value: Value = serde_json::from_str(r#"{"Name":1,"NAME":2,"other":3}"#).unwrap();
        assert_eq!(value.get("nAmE"), Value::Number(1.0));
        assert_eq!(value.as_object().unwrap().len(), 2);
        assert_eq!(value.to_json().to_string(), r#"{"Name":1,"other":3}"#);
    }

    #[test]
    fn a_case_sensitive_object_keeps_keys_apart() {
        let mut object = Object::case_sensitive();
        object.set("Path", Value::from("a"));
        object.set("PATH", Value::from("b"));
        assert_eq!(object.get("PATH").unwrap().as_str(), Some("b"));
        assert_eq!(object.get("path"), None);
        assert_eq!(object.len(), 2);
    }

    #[test]
    fn json_keeps_whole_numbers_whole() {
        for text in [
            "1",
            "-7",
            "0",
            "2.5",
            "9007199254740992",
            "[1,{\"a\":null}]",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        assert_eq!(Value::Number(f64::INFINITY).to_json(), "Infinity");
    }

    #[test]
    fn truth_follows_emptiness() {
        for falsy in [
            Value::Null,
            Value::from(""),
            Value::from(0.0),
            Value::from(f64::NAN),
        ] {
            assert!(!falsy.is_truthy(), "{falsy:?}");
        }
        for truthy in [
            Value::from("0"),
            Value::from(-1.0),
            Value::array(Vec::new()),
        ] {
            assert!(truthy.is_truthy(), "{truthy:?}");
        }
    }
}
