//! Patterns of branches, tags and paths.
//!
//! `*` is anything but a slash, `**` anything, `?` and `+` repeat the character before them zero or
//! one time, and one or more times, `[]` is a set, `\` takes the next character as it is. A pattern
//! is run as a set of states, so that no pattern is slow.

use std::collections::BTreeSet;

/// The most characters of a pattern.
const MAX_LENGTH: usize = 500;

/// Why a text is no pattern.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GlobError {
    #[error("pattern '{pattern}' has a '[' without a ']'")]
    OpenSet { pattern: String },
    #[error("pattern '{pattern}' has an empty set '[]'")]
    EmptySet { pattern: String },
    #[error("pattern '{pattern}' has a set that ends before it starts: '{from}-{to}'")]
    Backwards {
        pattern: String,
        from: char,
        to: char,
    },
    #[error("pattern '{pattern}' has nothing before its '{repeat}'")]
    NothingToRepeat { pattern: String, repeat: char },
    #[error("a pattern may not be empty")]
    Empty,
    #[error("a pattern may have at most {MAX_LENGTH} characters")]
    TooLong,
}

#[derive(Clone, Debug)]
enum Atom {
    One(char),
    Set(Vec<(char, char)>),
    /// `*`: any number of characters but slashes.
    Segment,
    /// `**`: any number of any characters.
    Anything,
    /// `**/`: nothing, or anything up to a slash.
    Folders,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Repeat {
    Once,
    Optional,
    Many,
}

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    atoms: Vec<(Atom, Repeat)>,
    negated: bool,
}

impl Glob {
    pub(crate) fn parse(pattern: &str) -> Result<Self, GlobError> {
        let (negated, body) = match pattern.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, pattern),
        };
        if body.is_empty() {
            return Err(GlobError::Empty);
        }
        let chars: Vec<char> = body.chars().collect();
        if chars.len() > MAX_LENGTH {
            return Err(GlobError::TooLong);
        }
        let mut atoms: Vec<(Atom, Repeat)> = Vec::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            at += 1;
            match c {
                '*' if chars.get(at) == Some(&'*') => {
                    while chars.get(at) == Some(&'*') {
                        at += 1;
                    }
                    let at_folder =
                        atoms.is_empty() || matches!(atoms.last(), Some((Atom::One('/'), _)));
                    if at_folder && chars.get(at) == Some(&'/') {
                        at += 1;
                        atoms.push((Atom::Folders, Repeat::Once));
                    } else {
                        atoms.push((Atom::Anything, Repeat::Once));
                    }
                }
                '*' => atoms.push((Atom::Segment, Repeat::Once)),
                '?' | '+' => {
                    let repeat = if c == '?' {
                        Repeat::Optional
                    } else {
                        Repeat::Many
                    };
                    match atoms.last_mut() {
                        Some((Atom::One(_) | Atom::Set(_), last)) if *last == Repeat::Once => {
                            *last = repeat;
                        }
                        Some(_) => {}
                        None => {
                            let pattern = pattern.to_owned();
                            return Err(GlobError::NothingToRepeat { pattern, repeat: c });
                        }
                    }
                }
                '[' => {
                    let (set, end) = parse_set(pattern, &chars, at)?;
                    atoms.push((Atom::Set(set), Repeat::Once));
                    at = end;
                }
                '\\' if at < chars.len() => {
                    atoms.push((Atom::One(chars[at]), Repeat::Once));
                    at += 1;
                }
                c => atoms.push((Atom::One(c), Repeat::Once)),
            }
        }
        Ok(Self { atoms, negated })
    }

    pub(crate) fn is_negated(&self) -> bool {
        self.negated
    }

    /// Whether the whole of `text` matches, a leading `!` aside.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let mut states = BTreeSet::new();
        self.enter(
            &mut states,
            State {
                atom: 0,
                inside: false,
            },
        );
        for c in text.chars() {
            let mut next = BTreeSet::new();
            for state in &states {
                self.step(*state, c, &mut next);
            }
            if next.is_empty() {
                return false;
            }
            states = next;
        }
        states.iter().any(|state| state.atom == self.atoms.len())
    }

    /// Adds a state with all that can be reached from it without a character.
    fn enter(&self, states: &mut BTreeSet<State>, state: State) {
        if !states.insert(state) {
            return;
        }
        let Some((atom, repeat)) = self.atoms.get(state.atom) else {
            return;
        };
        let skippable = match atom {
            Atom::Segment | Atom::Anything => true,
            Atom::Folders => !state.inside,
            Atom::One(_) | Atom::Set(_) => *repeat == Repeat::Optional || state.inside,
        };
        if skippable {
            self.enter(
                states,
                State {
                    atom: state.atom + 1,
                    inside: false,
                },
            );
        }
    }

    fn step(&self, state: State, c: char, next: &mut BTreeSet<State>) {
        let Some((atom, repeat)) = self.atoms.get(state.atom) else {
            return;
        };
        let after = State {
            atom: state.atom + 1,
            inside: false,
        };
        let again = State {
            atom: state.atom,
            inside: true,
        };
        match atom {
            Atom::Segment if c != '/' => self.enter(next, again),
            Atom::Segment => {}
            Atom::Anything => self.enter(next, again),
            Atom::Folders => {
                self.enter(next, again);
                if c == '/' {
                    self.enter(next, after);
                }
            }
            Atom::One(wanted) if *wanted != c => {}
            Atom::Set(ranges) if !ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) => {}
            Atom::One(_) | Atom::Set(_) => {
                self.enter(
                    next,
                    if *repeat == Repeat::Many {
                        again
                    } else {
                        after
                    },
                );
            }
        }
    }
}

/// Where matching stands: before an atom, or inside one that goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct State {
    atom: usize,
    inside: bool,
}

/// Reads the set that starts at `start`; returns its ranges and where it ends.
fn parse_set(
    pattern: &str,
    chars: &[char],
    start: usize,
) -> Result<(Vec<(char, char)>, usize), GlobError> {
    let open = || GlobError::OpenSet {
        pattern: pattern.to_owned(),
    };
    let end = start
        + chars[start..]
            .iter()
            .position(|&c| c == ']')
            .ok_or_else(open)?;
    let mut ranges = Vec::new();
    let mut at = start;
    while at < end {
        let from = chars[at];
        let to = if at + 2 < end && chars[at + 1] == '-' {
            at += 2;
            chars[at]
        } else {
            from
        };
        if to < from {
            return Err(GlobError::Backwards {
                pattern: pattern.to_owned(),
                from,
                to,
            });
        }
        ranges.push((from, to));
        at += 1;
    }
    if ranges.is_empty() {
        return Err(GlobError::EmptySet {
            pattern: pattern.to_owned(),
        });
    }
    Ok((ranges, end + 1))
}

/// Whether a list of patterns picks `text`: the last one that matches decides, and `!` takes back.
pub(crate) fn picks(patterns: &[String], text: &str) -> bool {
    let mut picked = false;
    for glob in patterns
        .iter()
        .filter_map(|pattern| Glob::parse(pattern).ok())
    {
        if glob.is_negated() == picked && glob.matches(text) {
            picked = !picked;
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::parse(pattern).unwrap().matches(text)
    }

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        for (pattern, yes, no) in [
            ("main", &["main"][..], &["mai", "main2", "x/main"][..]),
            ("*", &["main", "v1.0"], &["a/b"]),
            ("**", &["main", "a/b/c", ""], &[]),
            ("feature/*", &["feature/a"], &["feature/a/b", "feature"]),
            ("feature/**", &["feature/a", "feature/a/b"], &["feature"]),
            ("*-rc", &["1-rc", "-rc"], &["a/1-rc", "1-rc2"]),
            ("**.py", &["a.py", "src/b/c.py"], &["a.pyc"]),
            ("*.py", &["a.py"], &["src/a.py"]),
            (
                "**/*.md",
                &["README.md", "docs/x.md", "a/b/c.md"],
                &["README.mdx"],
            ),
            (
                "docs/**/*.md",
                &["docs/x.md", "docs/a/b.md"],
                &["x.md", "adocs/x.md"],
            ),
            (
                "**/docs/**",
                &["docs/x", "a/docs/y/z"],
                &["docs", "mydocs/x"],
            ),
            ("a**/b", &["a/b", "ax/y/b"], &["b", "xa/b"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn repeats_and_sets_apply_to_one_character() {
        for (pattern, yes, no) in [
            (
                "v[12].[0-9]+.[0-9]+",
                &["v1.10.1", "v2.0.0"][..],
                &["v3.0.0", "v1..1", "v1.1."][..],
            ),
            ("*.jsx?", &["a.js", "a.jsx"], &["a.jsxx", "a.jxx"]),
            ("a+b", &["ab", "aaab"], &["b", "a+b"]),
            (r"a\+b", &["a+b"], &["ab"]),
            (r"\*", &["*"], &["x"]),
            ("[a-z]", &["m"], &["M", "mm", "-"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("x[CB]?", &["x", "xC"], &["xCB"]),
            ("[0-9a-f]+", &["00ff"], &["", "g"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn the_last_match_decides() {
        let patterns = [
            "**".to_owned(),
            "!docs/**".to_owned(),
            "docs/api/**".to_owned(),
        ];
        assert!(picks(&patterns, "src/a"));
        assert!(!picks(&patterns, "docs/a"));
        assert!(picks(&patterns, "docs/api/a"));
        assert!(!picks(&["!main".to_owned()], "dev"));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for pattern in ["", "!", "[abc", "[]", "[z-a]", "+a", "?"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
        assert_eq!(
            Glob::parse(&"a?".repeat(300)).unwrap_err(),
            GlobError::TooLong
        );
    }

    #[test]
    fn no_pattern_is_slow() {
        let pattern = "**a".repeat(40);
        assert!(!matches(&pattern, &"a".repeat(39)));
        assert!(matches(&pattern, &"ab".repeat(39).replace('b', "aa")));
    }
}
