//! Addresses of pages, their parts percent-encoded.

use std::fmt::Write as _;

/// `text` as one or more path segments: everything but slashes and plain characters is encoded.
pub(crate) fn path(text: &str) -> String {
    encode(text, b"/")
}

/// `text` as a value in a query.
pub(crate) fn value(text: &str) -> String {
    encode(text, b"")
}

fn encode(text: &str, keep: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if plain || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes every write");
        }
    }
    out
}

/// Whether `next` is an address on this site, so that a sign-in cannot lead away from it.
pub(crate) fn is_local(next: &str) -> bool {
    next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains(['\\', '\r', '\n', '\t'])
        && next.len() < 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_survive_in_addresses() {
        assert_eq!(path("a b/c#d?.md"), "a%20b/c%23d%3F.md");
        assert_eq!(value("a/b&c"), "a%2Fb%26c");
    }

    #[test]
    fn a_sign_in_leads_nowhere_else() {
        assert!(is_local("/lab/app?x=1"));
        for away in [
            "",
            "//evil",
            "/\\evil",
            "https://evil",
            "javascript:x",
            "/a\nb",
        ] {
            assert!(!is_local(away), "{away:?}");
        }
    }
}
