//! Canonical JSON (RFC 8785) for the values that entries may hold.

use serde_json::Value;

/// The longest text kept in a line, in characters.
const TEXT_CHARS: usize = 4_096;
/// The largest integer that every JSON reader keeps exactly.
const SAFE: i64 = 1 << 53;

/// Writes `value` with sorted keys and no spaces. Numbers that JSON readers disagree about
/// (fractions, integers beyond ±2^53) become texts, as RFC 8785 advises; long texts are cut.
pub(crate) fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => match number.as_i64() {
            Some(n) if (-SAFE..=SAFE).contains(&n) => out.push_str(&n.to_string()),
            _ => text(&number.to_string(), out),
        },
        Value::String(words) => text(words, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<(&String, &Value)> = map.iter().collect();
            keys.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (i, (key, item)) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                text(key, out);
                out.push(':');
                write(item, out);
            }
            out.push('}');
        }
    }
}

fn text(words: &str, out: &mut String) {
    let cut = words
        .char_indices()
        .nth(TEXT_CHARS)
        .map_or(words, |(at, _)| &words[..at]);
    out.push('"');
    for c in cut.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    if cut.len() < words.len() {
        out.push('…');
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canonical(value: &Value) -> String {
        let mut out = String::new();
        write(value, &mut out);
        out
    }

    #[test]
    fn keys_sort_by_utf16_units_as_in_rfc_8785() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet",
            "1": "One", "\u{1f600}": "Emoji", "\u{80}": "Control", "\u{f6}": "Latin"
        });
        assert_eq!(
            canonical(&value),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"\u{f6}\":\"Latin\",\
             \"\u{20ac}\":\"Euro Sign\",\"\u{1f600}\":\"Emoji\",\"\u{fb33}\":\"Hebrew Letter Dalet\"}"
        );
    }

    #[test]
    fn a_line_stays_one_line_and_reads_back() {
        let value = json!({"a": "x\ny\u{1}\u{7f}\"\\", "n": [1, -5, true, null]});
        let out = canonical(&value);
        assert!(!out.contains('\n'));
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), value);
    }

    #[test]
    fn numbers_that_readers_disagree_about_become_texts() {
        let out = canonical(&json!([
            1.5,
            9_007_199_254_740_993_i64,
            u64::MAX,
            1_i64 << 53
        ]));
        assert_eq!(
            out,
            r#"["1.5","9007199254740993","18446744073709551615",9007199254740992]"#
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let out = canonical(&json!("ß".repeat(5_000)));
        assert_eq!(out.chars().count(), TEXT_CHARS + 3);
    }
}
