//! Which Python versions a `python-version` accepts, and which of those present is the best.

/// A released version, `3.11.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) patch: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a `python-version` accepts: any of some alternatives, each a list of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec(Vec<Vec<Bound>>);

/// `from ≤ version < below`, or everything outside of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    from: Version,
    below: Version,
    inside: bool,
}

/// Why a `python-version` cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "python-version '{text}' is not understood; write a version such as 3.11, 3.x or 3.11.2, or a \
     range such as '>=3.9 <3.13'"
)]
pub(crate) struct SpecError {
    text: String,
}

const LAST: u32 = u32::MAX;

impl Version {
    pub(crate) fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads `3.11.2`, or `3.11.2+` and `3.11.2rc1` as that release.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        let (major, minor, patch) = (parts.next()??, parts.next()??, parts.next()??);
        Some(Self::new(major, minor, patch))
    }
}

impl Spec {
    /// Reads one line of `python-version`: a version, a wildcard or a range as npm writes them.
    pub(crate) fn parse(text: &str) -> Result<Self, SpecError> {
        let error = || SpecError {
            text: text.chars().take(80).collect(),
        };
        let text = text.trim();
        let text = text.strip_prefix("python").unwrap_or(text);
        if text.is_empty() || text.len() > 200 {
            return Err(error());
        }
        let alternatives: Option<Vec<_>> =
            text.split("||").map(|a| alternative(a.trim())).collect();
        Ok(Self(alternatives.ok_or_else(error)?))
    }

    /// Reads the `requires-python` of a project (PEP 440): commas, `~=`, `==3.11.*`.
    pub(crate) fn parse_pep440(text: &str) -> Result<Self, SpecError> {
        let error = || SpecError {
            text: text.chars().take(80).collect(),
        };
        let bounds: Option<Vec<Vec<Bound>>> = text
            .split(',')
            .map(|clause| clause.split_whitespace().collect::<String>())
            .filter(|clause| !clause.is_empty())
            .map(|clause| match clause.strip_prefix("~=") {
                Some(rest) => compatible(rest).map(|b| vec![b]),
                None => alternative(clause.strip_prefix("==").unwrap_or(&clause)),
            })
            .collect();
        let bounds = bounds.filter(|b| !b.is_empty()).ok_or_else(error)?;
        Ok(Self(vec![bounds.concat()]))
    }

    pub(crate) fn accepts(&self, version: Version) -> bool {
        self.0.iter().any(|bounds| {
            bounds
                .iter()
                .all(|b| (b.from <= version && version < b.below) == b.inside)
        })
    }
}

/// Space-separated bounds, all of which must hold, or `a - b`.
fn alternative(text: &str) -> Option<Vec<Bound>> {
    if let Some((from, to)) = text.split_once(" - ") {
        let (from, to) = (partial(from.trim())?, partial(to.trim())?);
        return Some(vec![Bound {
            from: from.from,
            below: to.below,
            inside: true,
        }]);
    }
    // `>= 3.9` is `>=3.9`.
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(last) if last.bytes().all(|b| b"<>=~^!".contains(&b)) => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    if words.is_empty() {
        return None;
    }
    words.iter().map(|word| bound(word)).collect()
}

fn bound(word: &str) -> Option<Bound> {
    let digits = word.trim_start_matches(|c: char| "<>=~^!".contains(c));
    let sign = &word[..word.len() - digits.len()];
    let p = partial(digits)?;
    let all = Bound {
        from: Version::new(0, 0, 0),
        below: Version::new(LAST, LAST, LAST),
        inside: true,
    };
    Some(match sign {
        "" | "=" | "==" => p,
        ">=" => Bound {
            from: p.from,
            ..all
        },
        ">" => Bound {
            from: p.below,
            ..all
        },
        "<" => Bound {
            below: p.from,
            ..all
        },
        "<=" => Bound {
            below: p.below,
            ..all
        },
        "!=" => Bound { inside: false, ..p },
        "~" | "~=" => {
            let minor = digits.split('.').count() > 1;
            let v = p.from;
            let below = if minor { next_minor(v) } else { next_major(v) };
            Bound {
                from: v,
                below,
                inside: true,
            }
        }
        "^" => Bound {
            from: p.from,
            below: next_major(p.from),
            inside: true,
        },
        _ => return None,
    })
}

/// PEP 440's `~=`: `~=3.8` is `>=3.8, <4`; `~=3.8.1` is `>=3.8.1, <3.9`.
fn compatible(text: &str) -> Option<Bound> {
    let from = partial(text)?.from;
    let below = match text.split('.').count() {
        2 => next_major(from),
        3 => next_minor(from),
        _ => return None,
    };
    Some(Bound {
        from,
        below,
        inside: true,
    })
}

/// `3`, `3.x`, `3.11`, `3.11.*`, `3.11.2`, `*`, and `3.13t` or `3.13-dev` as plain 3.13.
fn partial(text: &str) -> Option<Bound> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = text.strip_suffix("-dev").unwrap_or(text);
    let mut numbers = [None; 3];
    let mut open = false;
    let mut count = 0;
    for (i, part) in text.split('.').enumerate() {
        let slot = numbers.get_mut(i)?;
        count += 1;
        if matches!(part, "x" | "X" | "*") {
            open = true;
        } else if open {
            return None;
        } else {
            *slot = Some(part.parse::<u32>().ok().filter(|n| *n < 1_000_000)?);
        }
    }
    if count == 0 {
        return None;
    }
    let (from, below) = match numbers {
        [None, ..] => (Version::new(0, 0, 0), Version::new(LAST, LAST, LAST)),
        [Some(a), None, _] => (Version::new(a, 0, 0), Version::new(a + 1, 0, 0)),
        [Some(a), Some(b), None] => (Version::new(a, b, 0), Version::new(a, b + 1, 0)),
        [Some(a), Some(b), Some(c)] => (Version::new(a, b, c), Version::new(a, b, c + 1)),
    };
    Some(Bound {
        from,
        below,
        inside: true,
    })
}

fn next_minor(v: Version) -> Version {
    Version::new(v.major, v.minor + 1, 0)
}

fn next_major(v: Version) -> Version {
    Version::new(v.major + 1, 0, 0)
}

/// The `requires-python` in a `pyproject.toml`, found without reading the rest of it.
pub(crate) fn requires_python(pyproject: &str) -> Option<String> {
    let mut in_project = false;
    for line in pyproject.lines().map(str::trim) {
        if line.starts_with('[') {
            in_project = line == "[project]";
        } else if in_project
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "requires-python"
        {
            let value = value.trim();
            let quote = value.chars().next().filter(|c| "\"'".contains(*c))?;
            return value[1..].split(quote).next().map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(spec: &str, version: &str) -> bool {
        let version = Version::parse(version).unwrap();
        Spec::parse(spec)
            .unwrap_or_else(|e| panic!("{e}"))
            .accepts(version)
    }

    #[test]
    fn every_shape_of_a_version_is_understood() {
        let yes = [
            ("3.x", "3.12.1"),
            ("3", "3.11.2"),
            ("3.11", "3.11.2"),
            ("3.11.x", "3.11.9"),
            ("3.11.2", "3.11.2"),
            (">=3.9 <3.13", "3.11.2"),
            (">= 3.9 < 3.13", "3.9.0"),
            ("3.9 - 3.12", "3.12.9"),
            ("~3.11", "3.11.7"),
            ("^3.8", "3.11.2"),
            ("*", "3.11.2"),
            (">3.10", "3.11.0"),
            ("<=3.11", "3.11.9"),
            ("3.9 || 3.11", "3.11.2"),
            ("x", "3.1.0"),
            ("3.12-dev", "3.12.0"),
            ("~3.11.1", "3.11.7"),
            ("==3.11.*", "3.11.4"),
        ];
        for (spec, version) in yes {
            assert!(accepts(spec, version), "{spec} {version}");
        }
        let no = [
            ("3.x", "2.7.18"),
            ("3.11", "3.1.1"),
            ("3.11.2", "3.11.3"),
            (">=3.9 <3.13", "3.13.0"),
            ("3.9 - 3.12", "3.13.0"),
            ("~3.11", "3.12.0"),
            ("^3.8", "4.0.0"),
            (">3.10", "3.10.9"),
            ("<3.11", "3.11.0"),
            ("3.9 || 3.10", "3.11.2"),
            ("^3.8", "3.7.9"),
            ("!=3.11", "3.11.1"),
        ];
        for (spec, version) in no {
            assert!(!accepts(spec, version), "{spec} {version}");
        }
    }

    #[test]
    fn what_is_not_a_version_is_refused() {
        for spec in [
            "",
            "latest",
            "3.11.2.1",
            "pypy3.10",
            "3..1",
            ">=",
            "3.x.1",
            "=>3",
            "3.99999999999",
        ] {
            assert!(Spec::parse(spec).is_err(), "{spec}");
        }
    }

    #[test]
    fn project_files_are_read_as_their_own_rules_say() {
        let text = "[tool.x]\nrequires-python = \"1\"\n[project]\nname = \"a\"\nrequires-python = \">=3.9, <4\" # note\n";
        assert_eq!(requires_python(text).unwrap(), ">=3.9, <4");
        assert_eq!(requires_python("[project]\nname = 'a'\n"), None);
        let v = |t: &str| Version::parse(t).unwrap();
        let spec = Spec::parse_pep440(">=3.9, !=3.10.*, <4").unwrap();
        assert!(
            spec.accepts(v("3.11.2")) && !spec.accepts(v("3.10.1")) && !spec.accepts(v("4.0.0"))
        );
        let spec = Spec::parse_pep440("~=3.8").unwrap();
        assert!(spec.accepts(v("3.11.2")) && !spec.accepts(v("3.7.0")));
        assert!(!Spec::parse_pep440("~=3.8.1").unwrap().accepts(v("3.9.0")));
    }
}
