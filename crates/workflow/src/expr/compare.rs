//! Comparison of values: text without regard to case, other kinds by coercion to numbers.

use std::cmp::Ordering;
use std::sync::Arc;

use super::value::Value;

/// Maps one character to its upper case, where that is one character again.
///
/// Characters outside ASCII never become ASCII, so the dotless `ı` stays apart from `I`.
fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(only), None) if !only.is_ascii() => only,
        _ => c,
    }
}

/// The form of a text under which texts that differ only by case are the same.
pub(crate) fn fold(text: &str) -> String {
    text.chars().map(fold_char).collect()
}

fn compare_text(left: &str, right: &str) -> Ordering {
    left.chars()
        .map(fold_char)
        .cmp(right.chars().map(fold_char))
}

/// Whether two texts are the same but for case.
pub(crate) fn same_text(left: &str, right: &str) -> bool {
    compare_text(left, right) == Ordering::Equal
}

/// Two values after coercion: of one kind that can be compared, or not comparable.
enum Pair {
    Numbers(f64, f64),
    Texts(Arc<str>, Arc<str>),
    Nulls,
    Bools(bool, bool),
    Same(bool),
    Unlike,
}

fn coerce(left: &Value, right: &Value) -> Pair {
    match (left, right) {
        (Value::Null, Value::Null) => Pair::Nulls,
        (Value::Bool(left), Value::Bool(right)) => Pair::Bools(*left, *right),
        (Value::String(left), Value::String(right)) => {
            Pair::Texts(Arc::clone(left), Arc::clone(right))
        }
        (Value::Array(left), Value::Array(right)) => Pair::Same(Arc::ptr_eq(left, right)),
        (Value::Object(left), Value::Object(right)) => Pair::Same(Arc::ptr_eq(left, right)),
        (left, right) if left.is_primitive() && right.is_primitive() => {
            Pair::Numbers(left.to_number(), right.to_number())
        }
        _ => Pair::Unlike,
    }
}

/// `==` of the language.
pub(crate) fn equal(left: &Value, right: &Value) -> bool {
    match coerce(left, right) {
        Pair::Numbers(left, right) => left == right,
        Pair::Texts(left, right) => same_text(&left, &right),
        Pair::Nulls => true,
        Pair::Bools(left, right) => left == right,
        Pair::Same(same) => same,
        Pair::Unlike => false,
    }
}

/// `<` and `>` of the language; `None` when the values cannot be ordered.
pub(crate) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match coerce(left, right) {
        Pair::Numbers(left, right) => left.partial_cmp(&right),
        Pair::Texts(left, right) => Some(compare_text(&left, &right)),
        Pair::Bools(left, right) => Some(left.cmp(&right)),
        Pair::Nulls | Pair::Same(_) | Pair::Unlike => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_compares_without_regard_to_case() {
        assert!(same_text("Größe", "GRÖßE"));
        assert!(same_text("λόγος", "ΛΌΓΟΣ"));
        assert!(!same_text("ß", "ss"));
        assert!(!same_text("ı", "i"));
        assert!(!same_text("ſ", "s"));
        assert_eq!(compare_text("b", "C"), Ordering::Less);
        assert_eq!(compare_text("Z", "_"), Ordering::Less);
    }

    #[test]
    fn kinds_meet_as_numbers() {
        assert!(equal(&Value::from("0x10"), &Value::from(16.0)));
        assert!(equal(&Value::Null, &Value::from("")));
        assert!(equal(&Value::from(true), &Value::from("1")));
        assert!(!equal(&Value::from("true"), &Value::from(true)));
        assert_eq!(order(&Value::from("x"), &Value::from(1.0)), None);
    }

    #[test]
    fn collections_are_equal_only_to_themselves() {
        let list = Value::array(vec![Value::Null]);
        assert!(equal(&list, &list.clone()));
        assert!(!equal(&list, &Value::array(vec![Value::Null])));
        assert!(!equal(&list, &Value::from("Array")));
        assert_eq!(order(&list, &list), None);
    }
}
