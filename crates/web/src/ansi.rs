//! Colours of terminal output: SGR sequences in, styled spans out.
//!
//! Every other control sequence is dropped, every character is kept. Colours come as class names
//! of the style sheet, so that no log can bring markup or style of its own.

use std::fmt::Write as _;

/// A stretch of text in one style; `class` is empty for plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) class: String,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    fore: Option<u8>,
    back: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    strike: bool,
    reverse: bool,
}

impl Style {
    fn class(self) -> String {
        let mut out = String::new();
        let mut add = |word: &str| {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(word);
        };
        if let Some(n) = self.fore {
            add(&format!("c{n}"));
        }
        if let Some(n) = self.back {
            add(&format!("b{n}"));
        }
        for (on, word) in [
            (self.bold, "sb"),
            (self.dim, "sd"),
            (self.italic, "si"),
            (self.underline, "su"),
            (self.strike, "ss"),
            (self.reverse, "sr7"),
        ] {
            if on {
                add(word);
            }
        }
        out
    }

    /// Applies the numbers of one SGR sequence. Unknown ones change nothing.
    fn apply(&mut self, codes: &[u16]) {
        let mut rest = codes.iter().copied();
        while let Some(code) = rest.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 | 21 => self.underline = true,
                7 => self.reverse = true,
                9 => self.strike = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.reverse = false,
                29 => self.strike = false,
                30..=37 => self.fore = digit(code - 30),
                39 => self.fore = None,
                40..=47 => self.back = digit(code - 40),
                49 => self.back = None,
                90..=97 => self.fore = digit(code - 90 + 8),
                100..=107 => self.back = digit(code - 100 + 8),
                38 => self.fore = extended(&mut rest).or(self.fore),
                48 => self.back = extended(&mut rest).or(self.back),
                _ => {}
            }
        }
    }
}

fn digit(code: u16) -> Option<u8> {
    u8::try_from(code).ok()
}

/// `5;n` or `2;r;g;b`, brought to the nearest of the sixteen colours.
fn extended(rest: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match rest.next()? {
        5 => {
            let n = u8::try_from(rest.next()?).ok()?;
            Some(match n {
                0..=15 => n,
                16..=231 => {
                    let cube = n - 16;
                    let level = |v: u8| if v == 0 { 0 } else { 55 + 40 * u16::from(v) };
                    nearest(level(cube / 36), level(cube / 6 % 6), level(cube % 6))
                }
                232..=255 => {
                    let grey = 8 + 10 * u16::from(n - 232);
                    nearest(grey, grey, grey)
                }
            })
        }
        2 => Some(nearest(rest.next()?, rest.next()?, rest.next()?)),
        _ => None,
    }
}

fn nearest(r: u16, g: u16, b: u16) -> u8 {
    const BASE: [[i32; 3]; 16] = [
        [0, 0, 0],
        [170, 0, 0],
        [0, 170, 0],
        [170, 85, 0],
        [0, 0, 170],
        [170, 0, 170],
        [0, 170, 170],
        [170, 170, 170],
        [85, 85, 85],
        [255, 85, 85],
        [85, 255, 85],
        [255, 255, 85],
        [85, 85, 255],
        [255, 85, 255],
        [85, 255, 255],
        [255, 255, 255],
    ];
    let far = |c: &[i32; 3]| {
        let d = |a: i32, b: u16| (a - i32::from(b.min(255))).pow(2);
        d(c[0], r) + d(c[1], g) + d(c[2], b)
    };
    (0u8..16)
        .min_by_key(|n| far(&BASE[usize::from(*n)]))
        .unwrap_or(7)
}

/// The spans of one log line. What a carriage return overwrote is gone, as on a terminal.
pub(crate) fn spans(line: &str) -> Vec<Span> {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut out: Vec<Span> = Vec::new();
    let mut style = Style::default();
    let mut text = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' && c != '\u{9b}' {
            if !c.is_control() || c == '\t' {
                text.push(c);
            }
            continue;
        }
        let csi = c == '\u{9b}' || chars.next_if_eq(&'[').is_some();
        if csi {
            if let Some(codes) = sequence(&mut chars) {
                let mut next = style;
                next.apply(&codes);
                if next != style {
                    flush(&mut out, &mut text, style);
                    style = next;
                }
            }
        } else if chars.next_if_eq(&']').is_some() {
            skip_string(&mut chars);
        } else {
            chars.next();
        }
    }
    flush(&mut out, &mut text, style);
    out
}

fn flush(out: &mut Vec<Span>, text: &mut String, style: Style) {
    if !text.is_empty() {
        out.push(Span {
            class: style.class(),
            text: std::mem::take(text),
        });
    }
}

/// The parameters of a control sequence if it is SGR; the sequence is taken either way.
fn sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Vec<u16>> {
    let mut body = String::new();
    while let Some(c) = chars.next_if(|c| !('\u{40}'..='\u{7e}').contains(c)) {
        if body.len() < 128 {
            body.push(c);
        }
    }
    let last = chars.next()?;
    if last != 'm' || body.starts_with(['?', '>', '<', '=']) {
        return None;
    }
    if body.is_empty() {
        return Some(vec![0]);
    }
    Some(
        body.split([';', ':'])
            .map(|n| {
                if n.is_empty() {
                    0
                } else {
                    n.parse().unwrap_or(u16::MAX)
                }
            })
            .collect(),
    )
}

/// An operating system command runs to BEL or ESC backslash.
fn skip_string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next() {
        if c == '\u{7}' {
            return;
        }
        if c == '\u{1b}' {
            chars.next_if_eq(&'\\');
            return;
        }
    }
}

/// The spans as HTML, all text escaped.
pub(crate) fn html(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        if span.class.is_empty() {
            out.push_str(&escape(&span.text));
        } else {
            // A write to a String cannot fail.
            write!(
                out,
                "<span class=\"{}\">{}</span>",
                span.class,
                escape(&span.text)
            )
            .expect("a String takes every write");
        }
    }
    out
}

/// Text made safe for HTML, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(line: &str) -> Vec<(String, String)> {
        spans(line).into_iter().map(|s| (s.class, s.text)).collect()
    }

    fn pair(class: &str, text: &str) -> (String, String) {
        (class.to_owned(), text.to_owned())
    }

    #[test]
    fn colours_become_classes_and_end_with_reset() {
        assert_eq!(
            flat("a \u{1b}[1;31mbad\u{1b}[0m \u{1b}[92mgood\u{1b}[39m!"),
            [
                pair("", "a "),
                pair("c1 sb", "bad"),
                pair("", " "),
                pair("c10", "good"),
                pair("", "!")
            ]
        );
        assert_eq!(
            flat("\u{1b}[38;5;196mx\u{1b}[m"),
            [pair("c1", "x")].map(|_| pair(&flat("\u{1b}[38;2;255;0;0mx")[0].0, "x"))
        );
        assert_eq!(flat("\u{1b}[48;5;4mx"), [pair("b4", "x")]);
    }

    #[test]
    fn other_sequences_vanish_and_text_stays() {
        assert_eq!(flat("\u{1b}[2K\u{1b}[1Gdone\u{7}"), [pair("", "done")]);
        assert_eq!(
            flat("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}"),
            [pair("", "link")]
        );
        assert_eq!(flat("10%\r50%\r100%"), [pair("", "100%")]);
        assert_eq!(flat("\u{1b}["), []);
        assert_eq!(flat("\u{1b}[999999999999mx"), [pair("", "x")]);
        assert_eq!(flat(&format!("\u{1b}[{}mx", "1;".repeat(10_000)))[0].1, "x");
    }

    #[test]
    fn markup_in_a_log_is_only_text() {
        let made = html(&spans("\u{1b}[31m<script>alert('x')</script>\" & more"));
        assert!(!made.contains("<script"), "{made}");
        assert!(made.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; &amp; more"));
    }
}
