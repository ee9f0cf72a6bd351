//! The Merkle tree over the log: roots, inclusion proofs, consistency proofs.
//!
//! Nothing here reads or keeps a whole tree: hashes of whole subtrees come from a [`Nodes`], and a
//! [`Frontier`] grows leaf by leaf in logarithmic memory. Source: RFC 6962, 2.1; RFC 9162, 2.1.3
//! and 2.1.4, for the checks.

use sha2::{Digest as _, Sha256};

/// A hash of the tree: SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf: SHA-256(0x00 || data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new()
        .chain_update([0])
        .chain_update(data)
        .finalize()
        .into()
}

/// The hash of a node above two others: SHA-256(0x01 || left || right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Hashes of whole subtrees.
pub trait Nodes {
    /// Why one cannot be had.
    type Error;

    /// The hash over the leaves from `index << level` to `(index + 1) << level`.
    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// Bits of a level: trees have fewer than 2^64 leaves.
fn level_of(width: u64) -> u8 {
    u8::try_from(width.trailing_zeros()).unwrap_or(63)
}

/// The root over the leaves from `from` to `to`, a range that the recursion of RFC 6962 makes.
fn range_root<N: Nodes>(nodes: &mut N, from: u64, to: u64) -> Result<Hash, N::Error> {
    let width = to - from;
    if width.is_power_of_two() {
        let level = level_of(width);
        return nodes.node(level, from >> level);
    }
    let middle = from + split(width);
    let left = range_root(nodes, from, middle)?;
    Ok(node_hash(&left, &range_root(nodes, middle, to)?))
}

/// The root of the tree of the first `size` leaves.
pub fn root<N: Nodes>(nodes: &mut N, size: u64) -> Result<Hash, N::Error> {
    match size {
        0 => Ok(empty_root()),
        _ => range_root(nodes, 0, size),
    }
}

/// Proves that leaf `index` is in the tree of `size` leaves; `index` must be below `size`.
pub fn inclusion<N: Nodes>(nodes: &mut N, index: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of `size` leaves begins with the tree of `old`; `old` is at most `size`.
pub fn consistency<N: Nodes>(nodes: &mut N, old: u64, size: u64) -> Result<Vec<Hash>, N::Error> {
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let (mut from, mut to) = (0, size);
    let mut proof = Vec::new();
    let mut whole = true;
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range_root(nodes, from, middle)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(range_root(nodes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// One step up the tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The hash beside, from the proof.
    pub beside: Hash,
    /// Whether it stands on the left.
    pub left: bool,
    /// The hash above both.
    pub above: Hash,
}

/// The way of `leaf` up the tree of `size` leaves by `proof`, lowest step first; the last one has
/// the root. None where the proof is not one for leaf `index`.
#[must_use]
pub fn climb(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Vec<Step>> {
    let (mut at, mut last, mut hash) = (index, size.checked_sub(1)?, *leaf);
    if index > last {
        return None;
    }
    let mut steps = Vec::new();
    for beside in proof {
        if last == 0 {
            return None;
        }
        let left = at & 1 == 1 || at == last;
        hash = match left {
            true => node_hash(beside, &hash),
            false => node_hash(&hash, beside),
        };
        while left && at & 1 == 0 && at != 0 {
            at >>= 1;
            last >>= 1;
        }
        steps.push(Step {
            beside: *beside,
            left,
            above: hash,
        });
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(steps)
}

/// Whether `proof` shows `leaf` to be leaf `index` of the tree of `size` leaves with `root`.
#[must_use]
pub fn includes(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    climb(leaf, index, size, proof)
        .is_some_and(|steps| steps.last().map_or(leaf, |step| &step.above) == root)
}

/// Whether `proof` shows that the tree of `size` leaves with `root` begins with that of `old`
/// leaves with `old_root`.
#[must_use]
pub fn extends(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old > size {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let mut steps = proof.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        steps.next()
    };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for step in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            of_old = node_hash(step, &of_old);
            of_new = node_hash(step, &of_new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            of_new = node_hash(&of_new, step);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && of_old == *old_root && of_new == *root
}

/// The tree so far: the roots of its whole subtrees, widest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<(u8, Hash)>,
}

impl Frontier {
    /// The frontier of a tree of `size` leaves.
    pub fn at<N: Nodes>(nodes: &mut N, size: u64) -> Result<Self, N::Error> {
        let mut frontier = Self::default();
        frontier.extend(nodes, size)?;
        Ok(frontier)
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds one leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        self.append(0, leaf);
    }

    /// Adds a whole subtree of `1 << level` leaves; the size must be a multiple of that.
    fn append(&mut self, level: u8, hash: Hash) {
        self.size += 1 << level;
        let (mut level, mut hash) = (level, hash);
        while let Some((below, left)) = self.roots.last()
            && *below == level
        {
            hash = node_hash(left, &hash);
            level += 1;
            self.roots.pop();
        }
        self.roots.push((level, hash));
    }

    /// Adds all leaves up to `size`, in the largest steps that there are.
    pub fn extend<N: Nodes>(&mut self, nodes: &mut N, size: u64) -> Result<(), N::Error> {
        while self.size < size {
            let level = widest(self.size, size);
            let hash = nodes.node(level, self.size >> level)?;
            self.append(level, hash);
        }
        Ok(())
    }

    /// The root of the tree so far.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some((_, last)) = roots.next() else {
            return empty_root();
        };
        roots.fold(*last, |right, (_, left)| node_hash(left, &right))
    }
}

/// The level of the largest subtree that begins at leaf `from` and does not go beyond `to`.
fn widest(from: u64, to: u64) -> u8 {
    let fits = u8::try_from(63 - (to - from).leading_zeros()).unwrap_or(63);
    match from {
        0 => fits,
        _ => fits.min(level_of(from)),
    }
}

#[cfg(test)]
mod tests;
