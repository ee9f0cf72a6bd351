//! What requests to the index say, as text in and types out: addresses of images, names and
//! versions of packages, forms that are liked, parts of a blob.
//!
//! Looks at nothing but its arguments, so that the fuzzer can be let loose on it alone.

/// The forms in which an index of packages is served.
pub(super) const JSON: &str = "application/vnd.pypi.simple.v1+json";
pub(super) const HTML: &str = "application/vnd.pypi.simple.v1+html";
pub(super) const PLAIN_HTML: &str = "text/html; charset=utf-8";

/// What an address below `/v2/` names.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Asked<'a> {
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Referrers(&'a str, &'a str),
}

/// Reads what follows `/v2/`; `None` for what names nothing there.
pub(super) fn parse(rest: &str) -> Option<Asked<'_>> {
    if rest == "_catalog" {
        return Some(Asked::Catalog);
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return is_name(name).then_some(Asked::Tags(name));
    }
    let (before, last) = rest.rsplit_once('/')?;
    let (name, what) = before.rsplit_once('/')?;
    if !is_name(name) || last.is_empty() || last.len() > 200 {
        return None;
    }
    match what {
        "manifests" => Some(Asked::Manifest(name, last)),
        "blobs" => Some(Asked::Blob(name, last)),
        "referrers" => Some(Asked::Referrers(name, last)),
        _ => None,
    }
}

/// Whether it could be the name of an image at all.
fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    name.len() <= 200
        && name.split('/').all(|part| {
            part.bytes().all(plain)
                && part.bytes().any(|b| b.is_ascii_alphanumeric())
                && !part.contains("..")
        })
}

/// A project's name as addresses have it (PEP 503): lower case, runs of `-`, `_` and `.` as `-`.
/// `None` for what cannot be a name (PEP 508).
pub(super) fn normal(name: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let end = |c: char| c.is_ascii_alphanumeric();
    let fine = (1..=200).contains(&name.len())
        && name.bytes().all(plain)
        && name.starts_with(end)
        && name.ends_with(end);
    if !fine {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    Some(out)
}

/// The version in a file's name: the second part of a wheel's, what follows the project's name
/// in another's.
pub(crate) fn version(filename: &str, project: &str) -> Option<String> {
    if let Some(wheel) = filename.strip_suffix(".whl") {
        return wheel.split('-').nth(1).map(str::to_owned);
    }
    let stem = [".tar.gz", ".zip", ".tar.bz2", ".tgz"]
        .iter()
        .find_map(|end| filename.strip_suffix(end))?;
    stem.match_indices('-')
        .find(|(at, _)| normal(&stem[..*at]).as_deref() == Some(project))
        .map(|(at, _)| stem[at + 1..].to_owned())
}

/// The form that the caller likes best, by the values of its `Accept`; HTML when it does not say.
pub(super) fn form<'a>(accept: impl Iterator<Item = &'a str>) -> &'static str {
    let mut best = (PLAIN_HTML, 0.0);
    for word in accept.flat_map(|text| text.split(',')) {
        let mut parts = word.split(';').map(str::trim);
        let kind = match parts.next() {
            Some(
                "application/vnd.pypi.simple.v1+json" | "application/vnd.pypi.simple.latest+json",
            ) => JSON,
            Some(
                "application/vnd.pypi.simple.v1+html" | "application/vnd.pypi.simple.latest+html",
            ) => HTML,
            Some("text/html" | "text/*" | "*/*") => PLAIN_HTML,
            _ => continue,
        };
        let weight: f32 = parts
            .find_map(|p| p.strip_prefix("q=")?.trim().parse().ok())
            .unwrap_or(1.0);
        if weight > best.1 {
            best = (kind, weight);
        }
    }
    best.0
}

/// Whether a list of ETags has this one.
pub(super) fn lists(tags: &str, own: &str) -> bool {
    tags.split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == own || tag == "*")
}

/// The part of a blob that a `Range` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// All of it: no part that is served alone was asked for.
    Whole,
    Bytes {
        from: u64,
        length: u64,
    },
    Beyond,
}

/// One range of bytes (RFC 9110, 14.1.2); several at once are answered with the whole.
pub(super) fn part(text: &str, size: u64) -> Part {
    let Some(spec) = text.strip_prefix("bytes=").map(str::trim) else {
        return Part::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else {
        return Part::Whole;
    };
    let (first, last) = (first.trim(), last.trim());
    if first.is_empty() {
        return match last.parse::<u64>() {
            Ok(0) => Part::Beyond,
            Ok(n) if size > 0 => Part::Bytes {
                from: size - n.min(size),
                length: n.min(size),
            },
            Ok(_) => Part::Beyond,
            Err(_) => Part::Whole,
        };
    }
    let Ok(from) = first.parse::<u64>() else {
        return Part::Whole;
    };
    let to = match last {
        "" => size.saturating_sub(1),
        last => match last.parse::<u64>() {
            Ok(to) => to.min(size.saturating_sub(1)),
            Err(_) => return Part::Whole,
        },
    };
    if from >= size {
        Part::Beyond
    } else if to < from {
        Part::Whole
    } else {
        Part::Bytes {
            from,
            length: to - from + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_told_from_what_is_asked_of_them() {
        assert_eq!(parse("_catalog"), Some(Asked::Catalog));
        assert_eq!(parse("a/b/tags/list"), Some(Asked::Tags("a/b")));
        let debian = "docker.io/library/debian";
        assert_eq!(
            parse("docker.io/library/debian/manifests/12"),
            Some(Asked::Manifest(debian, "12"))
        );
        assert_eq!(
            parse("manifests/manifests/blobs/sha256:0"),
            Some(Asked::Blob("manifests/manifests", "sha256:0"))
        );
        for odd in [
            "",
            "a",
            "a/b",
            "../manifests/x",
            "a/../b/manifests/x",
            "A/manifests/x",
            "a//b/manifests/x",
            "/manifests/x",
            "a/manifests/",
            "a/uploads/x",
            "a\u{0}/manifests/x",
        ] {
            assert_eq!(parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn names_are_normal_in_one_way() {
        for odd in ["Foo.Bar", "foo__bar", "FOO-_.bar"] {
            assert_eq!(normal(odd).as_deref(), Some("foo-bar"), "{odd}");
        }
        for odd in ["", "../x", "a/b", "-a", "a.", "a\u{0}", "ä"] {
            assert_eq!(normal(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn versions_are_read_from_names() {
        let of = |filename| version(filename, "zope-interface");
        assert_eq!(
            of("zope.interface-7.0-cp312-cp312-linux_x86_64.whl").unwrap(),
            "7.0"
        );
        assert_eq!(of("zope_interface-7.0.post1.tar.gz").unwrap(), "7.0.post1");
        assert_eq!(of("zope-interface-7.0.zip").unwrap(), "7.0");
        assert_eq!(of("other-1.0.tar.gz"), None);
        assert_eq!(of("README"), None);
    }

    #[test]
    fn the_form_follows_what_the_caller_likes() {
        let of = |accept| form(std::iter::once(accept));
        let pip = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01";
        assert_eq!(of(pip), JSON);
        assert_eq!(
            of("text/html, application/vnd.pypi.simple.v1+json;q=0.5"),
            PLAIN_HTML
        );
        assert_eq!(of(HTML), HTML);
        assert_eq!(of("*/*"), PLAIN_HTML);
        assert_eq!(of("image/png"), PLAIN_HTML);
        assert_eq!(form(std::iter::empty()), PLAIN_HTML);
    }

    #[test]
    fn ranges_are_cut_to_the_blob_and_odd_ones_are_ignored() {
        let bytes = |from, length| Part::Bytes { from, length };
        assert_eq!(part("bytes=0-9", 100), bytes(0, 10));
        assert_eq!(part("bytes=90-", 100), bytes(90, 10));
        assert_eq!(part("bytes=-10", 100), bytes(90, 10));
        assert_eq!(part("bytes=-500", 100), bytes(0, 100));
        assert_eq!(part("bytes=50-500", 100), bytes(50, 50));
        for beyond in ["bytes=100-", "bytes=-0"] {
            assert_eq!(part(beyond, 100), Part::Beyond, "{beyond}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
        for odd in [
            "items=0-9",
            "bytes=9-0",
            "bytes=0-1,5-6",
            "bytes=x-1",
            "bytes=5",
        ] {
            assert_eq!(part(odd, 100), Part::Whole, "{odd}");
        }
    }

    #[test]
    fn an_etag_is_found_in_a_list() {
        assert!(lists("\"a\", W/\"b\"", "\"b\"") && lists("*", "\"b\""));
        assert!(!lists("\"a\"", "\"b\""));
    }
}
