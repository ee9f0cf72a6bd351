//! What the terminal shows: aligned tables, durations, or JSON where asked.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Prints a line to standard output. A closed pipe (`| head`) ends the program quietly.
pub(crate) fn line(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(e) = writeln!(out, "{text}") {
        if e.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        // Standard output is gone; standard error is the last place to say so.
        eprintln!("cofferdam: cannot write to standard output: {e}");
        std::process::exit(2);
    }
}

/// Prints JSON, indented for people, on one line for programs.
pub(crate) fn json(value: &Value) {
    let pretty = io::stdout().is_terminal();
    line(&if pretty {
        format!("{value:#}")
    } else {
        value.to_string()
    });
}

/// Prints rows in columns as wide as their widest cell; the last column is free.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: &[String]| {
        let mut text = String::new();
        for (i, cell) in cells.iter().enumerate() {
            text.push_str(cell);
            if i + 1 < cells.len() {
                let gap = widths[i].saturating_sub(cell.chars().count()) + 2;
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        line(text.trim_end());
    };
    show(&head.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>());
    for row in rows {
        show(row);
    }
}

/// A span of time as people say it: `38 ms`, `6.2 s`, `3 min 04 s`.
pub(crate) fn duration(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} min {:02} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// A count of bytes as people say it: `281 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ if tenths >= 1_000 => format!("{} {}", tenths / 10, UNITS[unit]),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// Fields that hold a time.
const TIMES: [&str; 6] = [
    "created",
    "expires",
    "last_used",
    "imported",
    "updated",
    "pushed",
];

/// A Unix time in milliseconds as `2026-11-23 09:31:04Z`; `–` where there is none.
pub(crate) fn time(value: &Value) -> String {
    let shown = value
        .as_i64()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    shown.map_or_else(
        || "–".to_owned(),
        |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

/// A text field of a JSON object; `–` where there is none.
pub(crate) fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(", ")
        }
        at @ Value::Number(_) if TIMES.contains(&key) => time(at),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_said_as_people_say_them() {
        assert_eq!(duration(38), "38 ms");
        assert_eq!(duration(6_249), "6.2 s");
        assert_eq!(duration(184_000), "3 min 04 s");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1 << 20), "1.0 MiB");
        assert_eq!(bytes(281 << 20), "281 MiB");
    }
}
