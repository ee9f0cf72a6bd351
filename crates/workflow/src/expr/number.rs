//! Numbers as text: the language's one number grammar, and how numbers are printed.

/// The most significant digits a printed number carries.
const DIGITS: usize = 15;

/// Reads a number as the language does: JavaScript's `Number()` without its oddities.
///
/// Empty text is 0; decimal, exponent, `0x` and `0o` forms, `Infinity` and its signed forms are
/// numbers; all else is NaN.
pub(crate) fn parse_number(text: &str) -> f64 {
    let text = text.trim();
    if text.is_empty() {
        return 0.0;
    }
    if is_decimal(text) {
        return text.parse().unwrap_or(f64::NAN);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return parse_radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return parse_radix(digits, 8);
    }
    match text {
        "Infinity" | "+Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => f64::NAN,
    }
}

/// Whether `text` is a sign, digits with an optional point, and an optional exponent.
fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    exponent_ok
        && all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
}

fn parse_radix(digits: &str, radix: u32) -> f64 {
    if digits.is_empty() {
        return f64::NAN;
    }
    let mut total = 0.0;
    for c in digits.chars() {
        match c.to_digit(radix) {
            Some(digit) => total = total * f64::from(radix) + f64::from(digit),
            None => return f64::NAN,
        }
    }
    total
}

/// Prints a number: at most 15 significant digits, no trailing zeros, and an exponent only from
/// 1E+15 up and from 1E-05 down. Negative zero prints as 0.
pub(crate) fn format_number(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.*e}", DIGITS - 1, number.abs());
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("`{:e}` always prints an e");
    let exponent: i32 = exponent.parse().expect("`{:e}` prints a decimal exponent");
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let sign = if number < 0.0 { "-" } else { "" };
    format!("{sign}{}", place_point(digits, exponent))
}

/// Puts the point (or the exponent) into significant `digits`, of which the first counts
/// 10 to the power of `exponent`.
fn place_point(digits: &str, exponent: i32) -> String {
    let Ok(shift) = usize::try_from(exponent.unsigned_abs()) else {
        return digits.to_owned();
    };
    if exponent >= 0 && shift < DIGITS {
        if digits.len() <= shift + 1 {
            return format!("{digits}{}", "0".repeat(shift + 1 - digits.len()));
        }
        return format!("{}.{}", &digits[..=shift], &digits[shift + 1..]);
    }
    if exponent < 0 && shift < 5 {
        return format!("0.{}{digits}", "0".repeat(shift - 1));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let point = if digits.len() > 1 { "." } else { "" };
    format!("{}{point}{}E{sign}{shift:02}", &digits[..1], &digits[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_with_fifteen_digits_and_no_noise() {
        for (number, text) in [
            (7.0, "7"),
            (-12.5, "-12.5"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333333333333"),
            (2.0 / 3.0, "0.666666666666667"),
            (100.0, "100"),
            (10_203_040.0, "10203040"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1E+15"),
            (1_234_567_890_123_456_789.0, "1.23456789012346E+18"),
            (0.0001, "0.0001"),
            (0.00025, "0.00025"),
            (0.00001, "1E-05"),
            (2.5e-7, "2.5E-07"),
            (1e100, "1E+100"),
            (-0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(format_number(number), text);
        }
    }

    #[test]
    fn text_that_is_a_number_is_read_as_one() {
        for (text, number) in [
            ("", 0.0),
            ("  \t", 0.0),
            ("42", 42.0),
            (" -4.25 ", -4.25),
            ("+3", 3.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("6e2", 600.0),
            ("6E-2", 0.06),
            ("0x1F", 31.0),
            ("0o17", 15.0),
            ("007", 7.0),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
        ] {
            assert!(
                parse_number(text) == number,
                "{text:?} is {}",
                parse_number(text)
            );
        }
    }

    #[test]
    fn text_that_is_no_number_is_nan() {
        for text in [
            ".", "+", "-", "e5", "1e", "1e+", "1.2.3", "0x", "0xg", "0o8", "-0x1", "0X1", "0b1",
            "inf", "infinity", "nan", "1_000", "1 2", "abc", "NaN", "--1",
        ] {
            assert!(
                parse_number(text).is_nan(),
                "{text:?} is {}",
                parse_number(text)
            );
        }
    }
}
