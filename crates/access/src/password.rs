//! Passwords as argon2id hashes.

use std::sync::{Mutex, PoisonError};

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, SaltString};
use vocab::Entropy;

/// The shortest password, in characters.
const CHARS_MIN: usize = 10;
/// The longest password, in bytes.
const BYTES_MAX: usize = 1_024;

/// One at a time: each takes 19 MiB and some hundredths of a second, and a flood of sign-ins
/// must not take all memory.
static TURN: Mutex<()> = Mutex::new(());

/// A hash of a password (argon2id, 19 MiB, 2 passes, salted), in the PHC text form.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// Why a password cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short.
    #[error("a password has at least {} characters", CHARS_MIN)]
    Short,
    /// It is too long.
    #[error("a password has at most {} bytes", BYTES_MAX)]
    Long,
    /// The hash could not be made.
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl PasswordHash {
    /// Hashes a password. Slow on purpose: not inside a transaction.
    pub fn of(password: &str, entropy: &Entropy) -> Result<Self, PasswordError> {
        if password.chars().count() < CHARS_MIN {
            return Err(PasswordError::Short);
        }
        if password.len() > BYTES_MAX {
            return Err(PasswordError::Long);
        }
        let salt = SaltString::encode_b64(&entropy.bytes::<16>()).map_err(PasswordError::Hash)?;
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map_err(PasswordError::Hash)?;
        Ok(Self(hash.to_string()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `password` is the one whose hash is `stored`. With nothing stored it takes as long
/// and says no, so that the answer's time does not tell whether a user exists.
pub(crate) fn matches(password: &str, stored: Option<&str>) -> bool {
    /// The hash of bytes that were thrown away; its parameters are those of every other.
    const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5\
                          $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let known = stored.is_some();
    let Ok(hash) = argon2::PasswordHash::new(stored.unwrap_or(NOBODY)) else {
        return false;
    };
    if password.len() > BYTES_MAX {
        return false;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok();
    fits && known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_matches() {
        let hash = PasswordHash::of("correct horse", &Entropy::scripted(1)).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(matches("correct horse", Some(hash.as_str())));
        assert!(!matches("correct horsf", Some(hash.as_str())));
        assert!(!matches("correct horse", None));
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn an_unknown_user_costs_a_whole_hash() {
        let nobody = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5\
                      $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let parsed = argon2::PasswordHash::new(nobody).unwrap();
        let made = PasswordHash::of("correct horse", &Entropy::scripted(1)).unwrap();
        let real = argon2::PasswordHash::new(made.as_str()).unwrap();
        assert_eq!(parsed.params, real.params);
        assert_eq!(parsed.algorithm, real.algorithm);
        assert_eq!(
            parsed.hash.unwrap().len(),
            real.hash.unwrap().len(),
            "both are computed in full"
        );
    }

    #[test]
    fn short_and_long_passwords_are_refused() {
        let entropy = Entropy::scripted(1);
        assert!(PasswordHash::of("123456789", &entropy).is_err());
        assert!(PasswordHash::of(&"x".repeat(1_025), &entropy).is_err());
    }
}
