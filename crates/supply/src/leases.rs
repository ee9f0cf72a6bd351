//! Which generations running jobs use: counted, so that none is collected under a job.
//!
//! Only in memory: a job does not outlive the process that leased its generation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::GenerationId;

/// The leases of one process. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Leases(Arc<Mutex<BTreeMap<GenerationId, usize>>>);

/// One user of a generation; dropping it ends the use.
#[derive(Debug)]
#[must_use = "a lease ends when it is dropped"]
pub struct Lease {
    of: Leases,
    generation: GenerationId,
}

impl Leases {
    /// Counts one more user of `generation`.
    pub fn take(&self, generation: GenerationId) -> Lease {
        *self.counts().entry(generation).or_default() += 1;
        Lease {
            of: self.clone(),
            generation,
        }
    }

    /// Every generation that somebody uses now, lowest first.
    #[must_use]
    pub fn held(&self) -> Vec<GenerationId> {
        self.counts().keys().copied().collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<GenerationId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The generation that is used.
    #[must_use]
    pub fn generation(&self) -> GenerationId {
        self.generation
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.generation) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.generation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_held_until_its_last_user_has_gone() {
        let leases = Leases::default();
        let (first, second) = (leases.take(GenerationId(2)), leases.take(GenerationId(2)));
        let other = leases.take(GenerationId(1));
        assert_eq!(leases.held(), [GenerationId(1), GenerationId(2)]);
        drop(first);
        assert_eq!(leases.held(), [GenerationId(1), GenerationId(2)]);
        drop((second, other));
        assert!(leases.held().is_empty());
    }
}
