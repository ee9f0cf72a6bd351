//! Witnesses: who has seen a log grow signs what it says now, and never another history of it.
//!
//! Source: docs/audit.md, "Witnesses"; C2SP tlog-witness and tlog-cosignature.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::manifest::{self, Growth};
use crate::note::{NoteError, NoteKey};
use crate::tree;

/// What a log hands to its witnesses: a checkpoint, and proofs that it grew to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Growing {
    /// The signed checkpoint.
    pub note: String,
    /// From sizes that a witness may have seen last.
    pub growth: Vec<Growth>,
}

/// What a witness remembers of a log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The log's key.
    pub key: String,
    /// Entries of the last checkpoint that was signed.
    pub size: u64,
    /// Its root, in hex.
    pub root: String,
}

/// Why a witness does not sign.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WitnessError {
    /// The checkpoint is not one of this log.
    #[error("the checkpoint is not signed by the log's key {key}: {why}")]
    Foreign {
        /// The key that was expected.
        key: String,
        /// What is wrong.
        #[source]
        why: NoteError,
    },
    /// It has fewer entries than were signed before.
    #[error(
        "the log of {origin} was rolled back: it has {got} entries, and {seen} were signed before"
    )]
    RolledBack {
        /// The log.
        origin: String,
        /// Its entries now.
        got: u64,
        /// Its entries then.
        seen: u64,
    },
    /// It is another history.
    #[error(
        "the log of {origin} was forked: it does not begin with the {seen} entries that were \
         signed before"
    )]
    Forked {
        /// The log.
        origin: String,
        /// Its entries then.
        seen: u64,
    },
    /// Nothing proves that it grew.
    #[error(
        "nothing proves that the log of {origin} grew from the {seen} entries that were signed \
         before; bring a slip that the appliance wrote after it took the last cosignature"
    )]
    Unproved {
        /// The log.
        origin: String,
        /// Its entries then.
        seen: u64,
    },
    /// What is remembered cannot be read.
    #[error("what was remembered of the log cannot be read; restore the state file")]
    State,
}

/// The checkpoint in `growing`, once it is one of the log of `key` that goes on from what was
/// `seen`; without that it is the first of this log.
pub fn consistent(
    growing: &Growing,
    key: &NoteKey,
    seen: Option<&Seen>,
) -> Result<Checkpoint, WitnessError> {
    let now = Checkpoint::verify(growing.note.as_bytes(), key).map_err(|why| {
        let key = key.to_string();
        WitnessError::Foreign { key, why }
    })?;
    let Some(seen) = seen else { return Ok(now) };
    let root = manifest::hash(&seen.root).ok_or(WitnessError::State)?;
    grew(&now, seen.size, &root, &growing.growth)?;
    Ok(now)
}

/// Whether `now` goes on from `old` entries under `root`, by one of `growth`.
pub fn grew(
    now: &Checkpoint,
    old: u64,
    root: &tree::Hash,
    growth: &[Growth],
) -> Result<(), WitnessError> {
    let (origin, seen, got) = (now.origin.clone(), old, now.size);
    if got < seen {
        return Err(WitnessError::RolledBack { origin, got, seen });
    }
    let proof = growth.iter().find(|growth| growth.from == seen);
    let hashes = match proof {
        Some(proof) => proof.hashes.iter().map(|h| manifest::hash(h)).collect(),
        // None is needed where nothing was added, or nothing was there.
        None if seen == got || seen == 0 => Some(Vec::new()),
        None => return Err(WitnessError::Unproved { origin, seen }),
    };
    let grew = hashes
        .is_some_and(|hashes: Vec<tree::Hash>| tree::extends(seen, root, got, &now.root, &hashes));
    match grew {
        true => Ok(()),
        false => Err(WitnessError::Forked { origin, seen }),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::note::NoteSigner;
    use crate::tree::{Hash, Nodes, leaf_hash, node_hash};

    /// A log in memory: entry n says n, but from `fork` on it says something else.
    struct Log {
        fork: u64,
    }

    impl Nodes for Log {
        type Error = Infallible;

        fn node(&mut self, level: u8, index: u64) -> Result<Hash, Infallible> {
            if level == 0 {
                let other = if index >= self.fork { "not " } else { "" };
                return Ok(leaf_hash(format!("{other}{index}").as_bytes()));
            }
            let left = self.node(level - 1, index * 2)?;
            Ok(node_hash(&left, &self.node(level - 1, index * 2 + 1)?))
        }
    }

    fn growing(signer: &NoteSigner, fork: u64, size: u64, from: &[u64]) -> Growing {
        let mut log = Log { fork };
        let root = tree::root(&mut log, size).unwrap();
        let origin = signer.key().name().to_owned();
        let proof = |from: &u64| Growth {
            from: *from,
            hashes: tree::consistency(&mut Log { fork }, *from, size)
                .unwrap()
                .iter()
                .map(hex::encode)
                .collect(),
        };
        Growing {
            note: Checkpoint { origin, size, root }.sign(signer),
            growth: from
                .iter()
                .filter(|from| **from <= size)
                .map(proof)
                .collect(),
        }
    }

    #[test]
    fn a_witness_signs_growth_alone() {
        let signer = NoteSigner::new("lab-0001", &[1; 32]).unwrap();
        let key = signer.key();
        let first = consistent(&growing(&signer, 99, 7, &[]), key, None).unwrap();
        let seen = Seen {
            key: key.to_string(),
            size: 7,
            root: hex::encode(first.root),
        };
        let judged = |growing: &Growing| consistent(growing, key, Some(&seen)).map(|now| now.size);
        assert_eq!(judged(&growing(&signer, 99, 20, &[3, 7])), Ok(20));
        assert_eq!(judged(&growing(&signer, 99, 7, &[])), Ok(7));
        let of = |error: Result<u64, WitnessError>| error.unwrap_err();
        assert!(matches!(
            of(judged(&growing(&signer, 99, 6, &[]))),
            WitnessError::RolledBack {
                got: 6,
                seen: 7,
                ..
            }
        ));
        for (fork, size) in [(5, 20), (5, 7), (0, 7)] {
            let forked = of(judged(&growing(&signer, fork, size, &[7])));
            assert!(
                matches!(forked, WitnessError::Forked { seen: 7, .. }),
                "{forked}"
            );
        }
        // A fork behind what was seen is growth: the witness never saw that the log was longer.
        assert_eq!(judged(&growing(&signer, 7, 20, &[7])), Ok(20));
        let unproved = of(judged(&growing(&signer, 99, 20, &[6])));
        assert!(matches!(unproved, WitnessError::Unproved { seen: 7, .. }));
        let other = NoteSigner::new("lab-0001", &[2; 32]).unwrap();
        let foreign = of(judged(&growing(&other, 99, 20, &[7])));
        assert!(matches!(foreign, WitnessError::Foreign { .. }), "{foreign}");
    }
}
