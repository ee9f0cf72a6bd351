//! What a request to the index says: addresses of images, names of packages, forms, parts.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../crates/web/src/registry/asked.rs"]
mod asked;

use asked::{Asked, Part};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    address(text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if let Some(name) = asked::normal(first) {
        assert_eq!(asked::normal(&name).as_ref(), Some(&name), "one way only");
        assert!(!name.contains("--") && !name.contains(['/', '.', '_']), "{name}");
    }
    if let Some(version) = asked::version(first, rest) {
        assert!(first.contains(&version));
    }
    let form = asked::form(text.lines());
    assert!([asked::JSON, asked::HTML, asked::PLAIN_HTML].contains(&form));
    let size = rest.parse().unwrap_or(bytes.len() as u64);
    if let Part::Bytes { from, length } = asked::part(first, size) {
        let end = from.checked_add(length);
        assert!(length > 0 && end.is_some_and(|end| end <= size), "{from} {length} of {size}");
    }
    assert!(asked::lists(&format!("{}, \"own\"", first.replace(',', "")), "\"own\""));
});

/// What was read of an address says the same address again, and its name leads nowhere else.
fn address(text: &str) {
    let (name, again) = match asked::parse(text) {
        None => return,
        Some(Asked::Catalog) => return assert_eq!(text, "_catalog"),
        Some(Asked::Tags(name)) => (name, format!("{name}/tags/list")),
        Some(Asked::Manifest(name, last)) => (name, format!("{name}/manifests/{last}")),
        Some(Asked::Blob(name, last)) => (name, format!("{name}/blobs/{last}")),
    };
    assert_eq!(text, again);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    assert!(name.chars().all(plain) && name.len() <= 200, "{name:?}");
    assert!(name.split('/').all(|part| !part.is_empty() && !part.contains("..")), "{name:?}");
}
