//! Times, spans and sizes as people read them.

use std::time::SystemTime;

use vocab::unix_ms;

/// One instant in the forms that a page shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct When {
    /// `2026-11-23T22:17:25Z`
    pub(crate) iso: String,
    /// `2026-11-23 22:17`
    pub(crate) absolute: String,
    /// `2026-11-23 22:17:25 UTC`
    pub(crate) full: String,
    /// `3 minutes ago`
    pub(crate) relative: String,
}

/// The instant `ms` as seen at `now`.
pub(crate) fn when(ms: i64, now: SystemTime) -> When {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    When {
        iso: at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        absolute: at.strftime("%Y-%m-%d %H:%M").to_string(),
        full: at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        relative: ago(unix_ms(now) - ms),
    }
}

/// The instant `seconds` after the epoch as seen at `now`.
pub(crate) fn when_s(seconds: i64, now: SystemTime) -> When {
    when(seconds.saturating_mul(1000), now)
}

fn ago(ms: i64) -> String {
    let (amount, later) = (ms.unsigned_abs() / 1000, ms < 0);
    let words = age(amount);
    match (amount, later) {
        (0..=9, _) => "just now".to_owned(),
        (_, false) => format!("{words} ago"),
        (_, true) => format!("in {words}"),
    }
}

/// `6 days`, the largest unit that fits.
pub(crate) fn age(seconds: u64) -> String {
    let (n, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..5_184_000 => (seconds / 86_400, "day"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    if n == 1 {
        format!("1 {unit}")
    } else {
        format!("{n} {unit}s")
    }
}

/// `38 ms`, `6.2 s`, `4 min 12 s`, `2 h 5 min`.
pub(crate) fn span(ms: i64) -> String {
    let ms = ms.max(0);
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// `1.5 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 || tenths >= 1_000 {
        format!("{} {}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// `1 run`, `2 runs`, `12 345 entries`.
pub(crate) fn count(n: u64, one: &str) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{2009}');
        }
        grouped.push(c);
    }
    let stem = one
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (n, stem) {
        (1, _) => format!("{grouped} {one}"),
        (_, Some(stem)) => format!("{grouped} {stem}ies"),
        (_, None) => format!("{grouped} {one}s"),
    }
}

/// Whole days from `day`, `YYYY-MM-DD`, to `now`: negative when it is still to come.
pub(crate) fn days_since(day: &str, now: SystemTime) -> Option<i32> {
    let day: jiff::civil::Date = day.parse().ok()?;
    let today = jiff::Timestamp::from_millisecond(unix_ms(now))
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    Some((today - day).get_days())
}

/// The text with everything written out that steers a terminal or turns the reading direction:
/// for names that come from a medium or from a job.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if steers {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The first digits of a digest or a commit; other values as they are, cut when long.
pub(crate) fn short(value: &str) -> String {
    let hex = value.strip_prefix("sha256:").unwrap_or(value);
    if hex.len() >= 40 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return hex[..12].to_owned();
    }
    let shown = plain(value);
    if shown.chars().count() <= 60 {
        return shown;
    }
    shown.chars().take(57).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_or_turns_the_direction_is_written_out() {
        assert_eq!(
            plain("a\u{1b}[31mred\u{202e}txt\nnext\u{2066}é"),
            "a\\u{1b}[31mred\\u{202e}txt\\u{a}next\\u{2066}é"
        );
        assert_eq!(
            short(&format!("sha256:{}", "ab".repeat(32))),
            "abababababab"
        );
        assert_eq!(short("3.12.7"), "3.12.7");
    }

    #[test]
    fn days_are_counted_by_the_calendar() {
        let now = vocab::from_unix_ms(1_795_472_245_000);
        assert_eq!(days_since("2026-11-20", now), Some(3));
        assert_eq!(days_since("2027-11-23", now), Some(-365));
        assert_eq!(days_since("soon", now), None);
    }

    #[test]
    fn spans_sizes_and_counts_carry_their_units() {
        assert_eq!(
            ["38 ms", "6.2 s", "4 min 12 s", "2 h 5 min"],
            [38, 6_240, 252_000, 7_500_000]
                .map(span)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(
            ["0 B", "1023 B", "1.5 KiB", "84.0 MiB", "512 MiB"],
            [0, 1023, 1536, 84 << 20, 512 << 20]
                .map(size)
                .each_ref()
                .map(String::as_str)
        );
        assert_eq!(count(1, "run"), "1 run");
        assert_eq!(
            count(1_204_771, "entry").replace('\u{2009}', " "),
            "1 204 771 entries"
        );
        assert_eq!(count(2, "key"), "2 keys");
    }

    #[test]
    fn an_instant_is_absolute_with_the_relative_beside_it() {
        let now = vocab::from_unix_ms(1_795_472_245_000);
        let shown = when(1_795_472_245_000 - 3 * 60_000, now);
        assert_eq!(shown.relative, "3 minutes ago");
        assert_eq!(shown.iso, "2026-11-23T22:14:25Z");
        assert_eq!(
            when(1_795_472_245_000 + 7_200_000, now).relative,
            "in 2 hours"
        );
    }
}
