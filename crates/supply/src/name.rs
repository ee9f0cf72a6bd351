//! What an image is called here.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A name such as `debian-python` or `python:3.12`; unique without regard to case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(transparent)]
pub struct ImageName(String);

/// Why a name cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error(
    "'{0}' cannot be the name of an image: use 1 to 100 of a-z, A-Z, 0-9, '.', '_', ':', '-' and \
     '/', and start with a letter or digit; 'sha256:' is for digests"
)]
pub struct ImageNameError(String);

impl ImageName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-' | b'/');
        let fine = (1..=100).contains(&text.len())
            && text.bytes().all(plain)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !text.starts_with("sha256:")
            && !text.contains("..");
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(ImageNameError(text.chars().take(120).collect()))
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
