//! Which names a ref may have: the rules of `git check-ref-format`, only under `refs/`, only UTF-8.

/// The longest ref name taken, in bytes: with `.lock` a component must fit a file name.
const MAX_NAME: usize = 1024;
const MAX_COMPONENT: usize = 240;

/// Why a ref name is refused, in words for the one who chose it.
pub(crate) fn problem(name: &str) -> Option<&'static str> {
    let Some(rest) = name.strip_prefix("refs/") else {
        return Some("a ref name must start with refs/");
    };
    if !rest.contains('/') {
        return Some("a ref name needs a kind, as in refs/heads/name");
    }
    if name.len() > MAX_NAME {
        return Some("the ref name is too long");
    }
    if name.contains("..") || name.contains("@{") || name.ends_with('.') {
        return Some("a ref name must not contain '..' or '@{' or end in '.'");
    }
    let odd = |c: char| c.is_ascii_control() || " ~^:?*[\\\u{7f}".contains(c);
    if name.chars().any(odd) {
        return Some("a ref name must not contain spaces, control characters or any of ~^:?*[\\");
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Some("a ref name must not contain '//' or end in '/'");
        }
        if part.starts_with('.') {
            return Some("no part of a ref name may start with '.'");
        }
        if part.to_ascii_lowercase().ends_with(".lock") {
            return Some("no part of a ref name may end in '.lock'");
        }
        if part.len() > MAX_COMPONENT {
            return Some("a part of the ref name is too long");
        }
    }
    if name.starts_with("refs/heads/-") || name == "refs/heads/HEAD" {
        return Some("a branch must not be called HEAD or start with '-'");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn ordinary_names_are_taken() {
        for name in [
            "refs/heads/main",
            "refs/heads/feature/x-1",
            "refs/tags/v1.0",
            "refs/heads/größe",
            "refs/heads/@",
        ] {
            assert_eq!(problem(name), None, "{name}");
        }
    }

    #[test]
    fn odd_names_are_refused() {
        for name in [
            "HEAD",
            "refs/heads",
            "refs/x",
            "refs/heads/",
            "refs/heads//a",
            "refs/heads/a..b",
            "refs/heads/.a",
            "refs/heads/a.lock",
            "refs/heads/a.LOCK/b",
            "refs/heads/a b",
            "refs/heads/a~1",
            "refs/heads/a^",
            "refs/heads/a:b",
            "refs/heads/a?",
            "refs/heads/a*",
            "refs/heads/[a",
            "refs/heads/a\\b",
            "refs/heads/a\u{1}",
            "refs/heads/a\u{7f}",
            "refs/heads/a.",
            "refs/heads/a@{b",
            "refs/heads/../../config",
            "../refs/heads/x",
            "refs/heads/-x",
            "refs/heads/HEAD",
            "",
        ] {
            assert!(problem(name).is_some(), "{name}");
        }
        assert!(problem(&format!("refs/heads/{}", "x".repeat(300))).is_some());
    }
}
