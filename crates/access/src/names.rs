//! Rules for the names and values of secrets and variables.

/// The longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 48 << 10;
/// The shortest value of a secret, in characters: shorter ones cannot be masked in logs.
pub const VALUE_CHARS_MIN: usize = 4;
/// How many secrets, and how many variables, a repo or the instance may have.
pub const NAMED_VALUES_MAX: i64 = 500;

/// Why a name or value cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// The name breaks the rule.
    #[error(
        "'{name}' cannot be the name: use A-Z, 0-9 and '_', at most 255 characters, not a digit \
         first"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The name is kept for the system.
    #[error("'{name}' cannot be the name: names that begin with GITHUB_ are set by the runner")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The value cannot be masked in logs.
    #[error(
        "the value of {name} has fewer than {} characters: it could not be masked in logs \
         without hiding half of every line",
        VALUE_CHARS_MIN
    )]
    Short {
        /// The name.
        name: String,
    },
    /// The value is too long.
    #[error(
        "the value of {name} has {size_bytes} bytes; at most {} are kept",
        VALUE_BYTES_MAX
    )]
    Long {
        /// The name.
        name: String,
        /// How long it is.
        size_bytes: usize,
    },
    /// The value cannot stand in an environment.
    #[error("the value of {name} has a zero byte in it, which no environment can hold")]
    Zero {
        /// The name.
        name: String,
    },
    /// There are too many.
    #[error("there are {} already; remove one first", NAMED_VALUES_MAX)]
    TooMany,
}

pub(crate) fn check_name(name: &str) -> Result<(), ValueError> {
    let shown = || name.chars().take(60).collect::<String>();
    let fine = name.len() <= 255
        && name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !fine {
        Err(ValueError::Name { name: shown() })
    } else if name.starts_with("GITHUB_") {
        Err(ValueError::Reserved { name: shown() })
    } else {
        Ok(())
    }
}

pub(crate) fn check_value(name: &str, value: &str) -> Result<(), ValueError> {
    let name = || name.to_owned();
    if value.len() > VALUE_BYTES_MAX {
        Err(ValueError::Long {
            name: name(),
            size_bytes: value.len(),
        })
    } else if value.contains('\0') {
        Err(ValueError::Zero { name: name() })
    } else {
        Ok(())
    }
}

pub(crate) fn check_secret_value(name: &str, value: &str) -> Result<(), ValueError> {
    check_value(name, value)?;
    if value.trim().chars().count() < VALUE_CHARS_MIN {
        return Err(ValueError::Short {
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_environments_have_them() {
        for name in ["A", "_X", "PYPI_TOKEN_2"] {
            check_name(name).unwrap();
        }
        let long = "A".repeat(256);
        for name in [
            "",
            "a",
            "2X",
            "A-B",
            "A B",
            "GITHUB_TOKEN",
            "É",
            long.as_str(),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn values_that_cannot_be_masked_or_held_are_refused() {
        check_secret_value("A", "four").unwrap();
        check_secret_value("A", &"x".repeat(VALUE_BYTES_MAX)).unwrap();
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        for value in ["", "abc", "abc\n", "a\0bcd", long.as_str()] {
            assert!(check_secret_value("A", value).is_err());
        }
    }
}
