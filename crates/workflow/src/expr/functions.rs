//! The functions that need nothing but their arguments.

use super::ExprError;
use super::compare::{equal, fold};
use super::eval::Memory;
use super::names::Function;
use super::value::Value;

pub(super) fn call(
    function: Function,
    arguments: &[Value],
    memory: &mut Memory,
) -> Result<Value, ExprError> {
    match (function, arguments) {
        (Function::Contains, [search, item]) => Ok(Value::Bool(contains(search, item))),
        (Function::StartsWith, [text, start]) => {
            Ok(Value::Bool(both_texts(text, start, |text, start| {
                text.starts_with(start)
            })))
        }
        (Function::EndsWith, [text, end]) => Ok(Value::Bool(both_texts(text, end, |text, end| {
            text.ends_with(end)
        }))),
        (Function::Format, [pattern, values @ ..]) => {
            format(&pattern.to_text(), values, memory).map(Value::from)
        }
        (Function::Join, [items, rest @ ..]) => join(items, rest.first(), memory).map(Value::from),
        (Function::ToJson, [value]) => {
            let mut text = String::new();
            write_json(value, 0, &mut text, memory)?;
            Ok(Value::from(text))
        }
        (Function::FromJson, [text]) => from_json(&text.to_text()),
        _ => Err(ExprError::evaluation(
            "the function was called with the wrong arguments",
        )),
    }
}

/// Tests two primitive values as texts without regard to case; others never match.
fn both_texts(left: &Value, right: &Value, test: fn(&str, &str) -> bool) -> bool {
    left.is_primitive()
        && right.is_primitive()
        && test(&fold(&left.to_text()), &fold(&right.to_text()))
}

fn contains(search: &Value, item: &Value) -> bool {
    match search {
        Value::Array(array) => array.items().iter().any(|candidate| equal(candidate, item)),
        other => both_texts(other, item, |text, part| text.contains(part)),
    }
}

fn join(
    items: &Value,
    separator: Option<&Value>,
    memory: &mut Memory,
) -> Result<String, ExprError> {
    let items = match items {
        Value::Array(array) => array.items(),
        Value::Object(_) => return Ok(String::new()),
        primitive => return Ok(primitive.to_text().to_string()),
    };
    let separator = match separator {
        Some(separator) if separator.is_primitive() => separator.to_text(),
        _ => ",".into(),
    };
    let mut text = String::new();
    for (at, item) in items.iter().enumerate() {
        let item = item.to_text();
        if at > 0 {
            memory.add_text(&separator)?;
            text.push_str(&separator);
        }
        memory.add_text(&item)?;
        text.push_str(&item);
    }
    Ok(text)
}

/// Replaces `{N}` in `pattern`; doubled braces stand for single ones.
fn format(pattern: &str, values: &[Value], memory: &mut Memory) -> Result<String, ExprError> {
    let invalid =
        || ExprError::evaluation(format!("The following format string is invalid: {pattern}"));
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        memory.add_text(&rest[..at])?;
        text.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return Err(invalid());
        }
        let (number, after) = after.split_once('}').ok_or_else(invalid)?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let at: u8 = number[..digits].parse().map_err(|_| invalid())?;
        let specifier = &number[digits..];
        if !specifier.is_empty() && !specifier.starts_with(':') {
            return Err(invalid());
        }
        let value = values.get(usize::from(at)).ok_or_else(|| {
            ExprError::evaluation(format!(
                "The following format string references more arguments than were supplied: {pattern}"
            ))
        })?;
        if specifier.len() > 1 {
            return Err(ExprError::evaluation(format!(
                "The format specifiers '{}' are not valid for objects of type '{}'",
                &specifier[1..],
                value.kind()
            )));
        }
        let value = value.to_text();
        memory.add_text(&value)?;
        text.push_str(&value);
        rest = after;
    }
    memory.add_text(rest)?;
    text.push_str(rest);
    Ok(text)
}

fn from_json(text: &str) -> Result<Value, ExprError> {
    serde_json::from_str(text)
        .map_err(|error| ExprError::evaluation(format!("Error parsing fromJson: {error}")))
}

/// Writes a value as JSON, two spaces a level. Numbers are written as they print.
fn write_json(
    value: &Value,
    level: usize,
    text: &mut String,
    memory: &mut Memory,
) -> Result<(), ExprError> {
    let before = text.len();
    match value {
        Value::Null => text.push_str("null"),
        Value::String(string) => text.push_str(&quote(string)),
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_text()),
        Value::Array(array) if array.items().is_empty() => text.push_str("[]"),
        Value::Object(object) if object.is_empty() => text.push_str("{}"),
        Value::Array(array) => {
            memory.add(2 * (array.items().len() + 1) * (2 * level + 4))?;
            for (at, item) in array.items().iter().enumerate() {
                text.push_str(if at == 0 { "[" } else { "," });
                new_line(level + 1, text);
                write_json(item, level + 1, text, memory)?;
            }
            new_line(level, text);
            text.push(']');
            return Ok(());
        }
        Value::Object(object) => {
            memory.add(2 * (object.len() + 1) * (2 * level + 6))?;
            for (at, (key, item)) in object.iter().enumerate() {
                text.push_str(if at == 0 { "{" } else { "," });
                new_line(level + 1, text);
                let key = quote(key);
                memory.add_text(&key)?;
                text.push_str(&key);
                text.push_str(": ");
                write_json(item, level + 1, text, memory)?;
            }
            new_line(level, text);
            text.push('}');
            return Ok(());
        }
    }
    memory.add(2 * (text.len() - before))
}

fn new_line(level: usize, text: &mut String) {
    text.push('\n');
    for _ in 0..level {
        text.push_str("  ");
    }
}

fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
