//! Makes a line of output harmless to show: no control characters but tabs and ANSI colours.

use std::borrow::Cow;

/// `line` without escape sequences other than colours (SGR); stray control characters become
/// U+FFFD, so that what was there stays visible.
pub(super) fn sanitise(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_control) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if first == '\u{1b}' {
            let (length, keep) = escape(rest);
            if keep {
                out.push_str(&rest[..length]);
            }
            rest = &rest[length..];
        } else {
            out.push(if is_control(first) { '\u{fffd}' } else { first });
            rest = &rest[first.len_utf8()..];
        }
    }
    Cow::Owned(out)
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// The length in bytes of the escape sequence that `text` begins with, and whether it is a colour.
fn escape(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'[') => {
            let body = &bytes[2..];
            let parameters = body.iter().take_while(|b| matches!(b, 0x20..=0x3f)).count();
            let colour = parameters <= 64
                && body[..parameters]
                    .iter()
                    .all(|b| matches!(b, b'0'..=b'9' | b';' | b':'));
            match body.get(parameters) {
                Some(b'm') => (3 + parameters, colour),
                Some(0x40..=0x7e) => (3 + parameters, false),
                _ => (2 + parameters, false),
            }
        }
        // Operating system commands (titles, links) and strings run to BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = bytes[2..].iter().position(|b| matches!(b, 0x07 | 0x1b));
            match end.map(|at| at + 2) {
                Some(at) if bytes[at] == 0x07 => (at + 1, false),
                Some(at) if bytes.get(at + 1) == Some(&b'\\') => (at + 2, false),
                Some(at) => (at, false),
                None => (text.len(), false),
            }
        }
        Some(0x20..=0x7e) => (2, false),
        _ => (1, false),
    }
}

/// Where to cut `text` so that at most `limit` bytes come before: never inside a character or a
/// colour sequence.
pub(super) fn cut(text: &str, limit: usize) -> usize {
    if text.len() <= limit {
        return text.len();
    }
    let mut at = limit;
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let near = at.saturating_sub(70);
    if let Some(escape_at) = text.as_bytes()[near..at].iter().rposition(|b| *b == 0x1b) {
        let start = near + escape_at;
        if start > 0 && !text.as_bytes()[start..at].contains(&b'm') {
            return start;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_and_everything_that_moves_a_cursor_goes() {
        let cases = [
            ("plain ütf\t8", "plain ütf\t8"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}[2J\u{1b}[Hgone", "gone"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://a\u{1b}\\link", "link"),
            ("\u{1b}]0;never ends", ""),
            ("\u{1b}[?25lhide", "hide"),
            ("\u{1b}[>4;2m", ""),
            ("a\u{8}b\0c\u{7f}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}ü", "ü"),
            ("\u{1b}cfull reset", "full reset"),
        ];
        for (given, wanted) in cases {
            assert_eq!(sanitise(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn a_cut_keeps_characters_and_colours_whole() {
        assert_eq!(cut("abc", 3), 3);
        assert_eq!(cut("abü", 3), 2);
        assert_eq!(cut("ab\u{1b}[31mred", 5), 2);
        assert_eq!(cut("\u{1b}[31mred", 6), 6);
    }
}
