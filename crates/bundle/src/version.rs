//! Versions of the program: `MAJOR.MINOR.PATCH`, compared as numbers.

use std::cmp::Ordering;
use std::fmt;

/// A version of the program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `1.4.0`; anything else is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| part.parse::<u32>().ok()).flatten()
        });
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Compares versions of content as people mean them: runs of digits as numbers, the rest as text.
#[must_use]
pub fn compare_content(a: &str, b: &str) -> Ordering {
    let mut left = pieces(a).into_iter();
    let mut right = pieces(b).into_iter();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(l), Some(r)) => match l.cmp(&r) {
                Ordering::Equal => {}
                other => return other,
            },
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    Text(&'a str),
    Number(u128),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .bytes()
            .position(|b| b.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        found.push(if digits {
            Piece::Number(piece.parse().unwrap_or(u128::MAX))
        } else {
            Piece::Text(piece)
        });
        rest = tail;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(Version::parse("1.10.0") > Version::parse("1.9.9"));
        for text in ["1.2", "1.2.3.4", "1.2.x", "", "1..2", "+1.2.3"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert_eq!(compare_content("2026.11.2", "2026.9.30"), Ordering::Greater);
        assert_eq!(compare_content("1.2", "1.2.1"), Ordering::Less);
        assert_eq!(compare_content("1.2", "1.2"), Ordering::Equal);
    }
}
