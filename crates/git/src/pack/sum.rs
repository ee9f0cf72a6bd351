//! The checksum at the end of a pack.
//!
//! It guards against damage, not against attack: what it covers was written or checked here. So
//! it is computed without the search for collisions that an object's id needs.

use gix::hash::{Kind, ObjectId};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// The checksum of what was seen so far.
pub(crate) struct PackSum(Context);

impl PackSum {
    pub(crate) fn new(hash: Kind) -> Self {
        Self(Context::new(match hash {
            Kind::Sha256 => &SHA256,
            _ => &SHA1_FOR_LEGACY_USE_ONLY,
        }))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> ObjectId {
        ObjectId::from_bytes_or_panic(self.0.finish().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_that_git_knows() {
        for kind in [Kind::Sha1, Kind::Sha256] {
            let mut ours = PackSum::new(kind);
            let mut theirs = gix::hash::hasher(kind);
            for part in [&b"PACK"[..], b"", &[7; 1000]] {
                ours.update(part);
                theirs.update(part);
            }
            assert_eq!(ours.finish(), theirs.try_finalize().unwrap());
        }
    }
}
