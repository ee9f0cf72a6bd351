//! Scalars of the YAML 1.2 core schema.

use crate::expr::Value;

/// The value of a plain scalar without a tag.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::from(text), Value::Number),
    }
}

/// The value of a scalar with the core tag `suffix`; `None` if the text does not fit it.
pub(super) fn resolve_as(suffix: &str, text: &str) -> Option<Value> {
    match suffix {
        "str" => Some(Value::from(text)),
        "null" => Some(Value::Null).filter(|_| resolve(text) == Value::Null),
        "bool" => Some(resolve(text)).filter(|value| matches!(value, Value::Bool(_))),
        "int" => integer(text).map(Value::Number),
        "float" => number(text).map(Value::Number),
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    integer(text).or_else(|| float(text))
}

fn integer(text: &str) -> Option<f64> {
    let radix = |digits: &str, radix: u32| {
        let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
        valid.then(|| {
            digits
                .chars()
                .filter_map(|c| c.to_digit(radix))
                .fold(0.0, |total, digit| {
                    total * f64::from(radix) + f64::from(digit)
                })
        })
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole { text.parse().ok() } else { None }
}

fn float(text: &str) -> Option<f64> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1.0, body),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match body {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    if let ".nan" | ".NaN" | ".NAN" = text {
        return Some(f64::NAN);
    }
    let shaped = body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && body.bytes().any(|byte| byte.is_ascii_digit())
        && body
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if shaped {
        body.parse::<f64>().ok().map(|number| sign * number)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("True", Value::Bool(true)),
            ("yes", Value::from("yes")),
            ("on", Value::from("on")),
            ("12", Value::Number(12.0)),
            ("-007", Value::Number(-7.0)),
            ("0x1f", Value::Number(31.0)),
            ("0o17", Value::Number(15.0)),
            ("0b11", Value::from("0b11")),
            ("1_000", Value::from("1_000")),
            ("3.10", Value::Number(3.1)),
            ("1e3", Value::Number(1000.0)),
            (".5", Value::Number(0.5)),
            ("5.", Value::Number(5.0)),
            (".", Value::from(".")),
            ("1.2.3", Value::from("1.2.3")),
            ("1e", Value::from("1e")),
            ("e3", Value::from("e3")),
            ("12:30", Value::from("12:30")),
            ("2024-01-02", Value::from("2024-01-02")),
            ("-.INF", Value::Number(f64::NEG_INFINITY)),
            ("inf", Value::from("inf")),
            ("nan", Value::from("nan")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
        assert!(matches!(resolve(".nan"), Value::Number(number) if number.is_nan()));
    }

    #[test]
    fn a_tag_must_fit() {
        assert_eq!(resolve_as("str", "12"), Some(Value::from("12")));
        assert_eq!(resolve_as("int", "12"), Some(Value::Number(12.0)));
        assert_eq!(resolve_as("int", "1.5"), None);
        assert_eq!(resolve_as("float", "test"), None);
        assert_eq!(resolve_as("bool", "true"), Some(Value::Bool(true)));
        assert_eq!(resolve_as("null", "x"), None);
        assert_eq!(resolve_as("timestamp", "2024-01-02"), None);
    }
}
