//! The id of a git object, as text.

use std::fmt;
use std::str::FromStr;

/// The id of a git object: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits, not all zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Oid(String);

/// Why a text is no object id.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not an object id; write 40 or 64 lower-case hex digits")]
pub struct OidError {
    text: String,
}

impl Oid {
    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Oid {
    type Err = OidError;

    fn from_str(text: &str) -> Result<Self, OidError> {
        let fine = matches!(text.len(), 40 | 64)
            && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && text.bytes().any(|b| b != b'0');
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(OidError {
                text: text.chars().take(70).collect(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ids_are_taken() {
        let sha1 = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(sha1.parse::<Oid>().unwrap().to_string(), sha1);
        for text in [
            "",
            "ce01",
            &"0".repeat(40),
            &"g".repeat(40),
            &"A".repeat(64),
        ] {
            assert!(text.parse::<Oid>().is_err(), "{text}");
        }
    }
}
