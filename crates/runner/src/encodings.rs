//! The shapes in which a secret turns up in output: as it is, and as common tools encode it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Shorter secrets are not masked: they would blank ordinary text without hiding anything.
pub(crate) const MIN_SECRET_CHARS: usize = 3;
/// Shorter encodings and lines are not masked.
const MIN_DERIVED_BYTES: usize = 4;
/// Secrets above this size get only the encodings that people print by accident.
const MANY_ENCODINGS_BYTES: usize = 8 * 1024;

/// Every text to hide for `secret`; none holds a line break.
pub(crate) fn needles(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut out = Needles(BTreeSet::new());
    let trimmed = secret.trim();
    if trimmed.chars().count() < MIN_SECRET_CHARS {
        return out.0;
    }
    if !secret.contains(['\n', '\r']) {
        out.0.insert(secret.as_bytes().to_vec());
        out.0.insert(trimmed.as_bytes().to_vec());
    }
    for line in secret.split(['\n', '\r']).map(str::trim) {
        out.add(line);
    }
    for text in BTreeSet::from([secret, trimmed]) {
        out.base64(text.as_bytes());
        out.json(text);
        if text.len() <= MANY_ENCODINGS_BYTES {
            out.more(text);
        }
    }
    out.0.retain(|n| !n.contains(&b'\n') && !n.contains(&b'\r'));
    out.0
}

struct Needles(BTreeSet<Vec<u8>>);

impl Needles {
    fn add(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        if text.len() >= MIN_DERIVED_BYTES {
            self.0.insert(text.to_vec());
        }
    }

    fn base64(&mut self, bytes: &[u8]) {
        for first in base64_cores(bytes) {
            // A dump that was encoded twice hides the first encoding from a plain search.
            for second in base64_cores(&first) {
                self.add(second);
            }
            self.add(&first);
        }
    }

    fn json(&mut self, text: &str) {
        let Ok(quoted) = serde_json::to_string(text) else {
            return;
        };
        let inner = &quoted[1..quoted.len() - 1];
        self.add(inner);
        self.add(inner.replace('/', "\\/"));
        let html = ["<", ">", "&"].iter().fold(inner.to_owned(), |s, c| {
            s.replace(c, &format!("\\u{:04x}", u32::from(c.as_bytes()[0])))
        });
        self.add(html);
        self.add(ascii_json(inner));
        // JSON inside JSON.
        self.add(inner.replace('\\', "\\\\").replace('"', "\\\""));
    }

    fn more(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        let component = |b: u8| unreserved(b) || b"!'()*".contains(&b);
        let path = |b: u8| unreserved(b) || b == b'/';
        for keep in [&unreserved as &dyn Fn(u8) -> bool, &component, &path] {
            let upper = percent(bytes, keep);
            self.add(upper.replace("%20", "+"));
            self.add(lower_percent(&upper));
            self.add(upper);
        }
        let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        for joined in [hex.concat(), hex.join(" "), hex.join(":"), hex.join("\\x")] {
            self.add(joined.to_uppercase());
            self.add(joined);
        }
        let xml = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        self.add(xml.replace('"', "&quot;").replace('\'', "&#39;"));
        self.add(xml.replace('"', "&#34;").replace('\'', "&#39;"));
        self.add(xml.replace('"', "&quot;").replace('\'', "&#x27;"));
        self.add(xml);
        // As shells quote words (`set -x`, `printf %q`) and as C strings are written.
        self.add(text.replace('\'', "'\\''"));
        self.add(text.replace('\'', "'\"'\"'"));
        self.add(shell_backslashes(text));
        self.add(text.escape_default().to_string());
        self.add(text.replace('\\', "\\\\").replace('\'', "\\'"));
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for core in base64_cores(&utf16) {
            self.add(core);
        }
        self.add(base32(bytes));
        self.add(text.chars().rev().collect::<String>());
    }
}

/// The characters that stand in any base64 text over `bytes`, for each of the three places at
/// which they may begin in it, in both alphabets.
fn base64_cores(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for before in 0..3 {
        let mut padded = vec![0; before];
        padded.extend_from_slice(bytes);
        let from = (before * 8).div_ceil(6);
        let to = (before + bytes.len()) * 8 / 6;
        if from >= to {
            continue;
        }
        for engine in [STANDARD, URL_SAFE] {
            out.push(engine.encode(&padded).as_bytes()[from..to].to_vec());
        }
    }
    out.dedup();
    out
}

fn percent(bytes: &[u8], keep: &dyn Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(bytes.len() * 3);
    for &b in bytes {
        if keep(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// The same with the digits of its escapes in lower case.
fn lower_percent(text: &str) -> String {
    let mut escape = 0;
    text.chars()
        .map(|c| {
            escape = if c == '%' {
                3
            } else {
                usize::saturating_sub(escape, 1)
            };
            if escape > 0 {
                c.to_ascii_lowercase()
            } else {
                c
            }
        })
        .collect()
}

/// `\uXXXX` for everything beyond ASCII, as Python's `json` writes it.
fn ascii_json(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut units = [0; 2];
    for c in inner.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn shell_backslashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if !(c.is_alphanumeric() || "_-./,:@%+=".contains(c)) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// RFC 4648 base32 without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut out = String::new();
    for chunk in bytes.chunks(5) {
        let mut block = [0; 8];
        block[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(block);
        for i in 0..(chunk.len() * 8).div_ceil(5) {
            let index = usize::try_from((bits >> (35 - 5 * i)) & 31).expect("five bits fit");
            out.push(char::from(ALPHABET[index]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(secret: &str, encoded: &str) -> bool {
        needles(secret).contains(encoded.as_bytes())
    }

    #[test]
    fn base64_is_found_at_each_of_its_three_places() {
        for before in ["", "x", "xy", "xyz"] {
            let encoded = STANDARD.encode(format!("{before}correct horse battery"));
            let found = needles("correct horse battery")
                .iter()
                .any(|n| encoded.as_bytes().windows(n.len()).any(|w| w == n));
            assert!(found, "{encoded}");
        }
    }

    #[test]
    fn common_encodings_are_listed() {
        assert!(has("pa ss/w&rd", "pa%20ss%2Fw%26rd"));
        assert!(has("pa ss/w&rd", "pa%20ss%2fw%26rd"));
        assert!(has("pa ss/w&rd", "pa+ss%2Fw%26rd"));
        assert!(has("pa\"ss\\", "pa\\\"ss\\\\"));
        assert!(has("paßss", "pa\\u00dfss"));
        assert!(has("pass", "70617373"));
        assert!(has("pass", "70 61 73 73"));
        assert!(has("pa<ss", "pa&lt;ss"));
        assert!(has("foobar", "MZXW6YTBOI"));
    }

    #[test]
    fn each_line_of_a_secret_is_hidden_but_not_its_braces() {
        let all = needles("{\n  \"key\": 1\n}\n");
        assert!(all.contains("\"key\": 1".as_bytes()));
        assert!(!all.contains(&b"{"[..]) && !all.contains(&b"}"[..]));
    }

    #[test]
    fn secrets_too_short_to_hide_yield_nothing() {
        assert!(needles("ab").is_empty());
        assert!(needles(" a \n").is_empty());
        assert!(needles("abc").contains(&b"abc"[..]));
    }
}
