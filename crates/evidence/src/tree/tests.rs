//! The tree against the definition in RFC 6962, and proofs that must not pass.

use std::convert::Infallible;

use super::*;

/// Leaves in memory; nodes by the definition.
struct Plain(Vec<Hash>);

impl Nodes for Plain {
    type Error = Infallible;

    fn node(&mut self, level: u8, index: u64) -> Result<Hash, Infallible> {
        let from = usize::try_from(index << level).unwrap();
        Ok(defined(&self.0[from..from + (1 << level)]))
    }
}

/// MTH as RFC 6962, 2.1 writes it down.
fn defined(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            node_hash(&defined(&leaves[..k]), &defined(&leaves[k..]))
        }
    }
}

fn plain(n: u64) -> Plain {
    Plain((0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect())
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    // The published examples of RFC 6962's reference implementations.
    let inputs = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let leaves = inputs.map(|text| leaf_hash(&hex::decode(text).unwrap()));
    assert_eq!(
        hex::encode(empty_root()),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(
        hex::encode(leaves[0]),
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    );
    let root = root(&mut Plain(leaves.to_vec()), 8).unwrap();
    assert_eq!(
        hex::encode(root),
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    );
}

#[test]
fn a_frontier_has_the_root_of_the_definition_however_it_grew() {
    for n in 0..34 {
        let mut tree = plain(n);
        let mut grown = Frontier::default();
        tree.0.iter().for_each(|leaf| grown.push(*leaf));
        assert_eq!(grown.root(), defined(&tree.0));
        assert_eq!(root(&mut tree, n).unwrap(), defined(&tree.0));
        for from in 0..=n {
            for to in from..=n {
                let mut part = Frontier::at(&mut tree, from).unwrap();
                (from..to).for_each(|i| part.push(tree.0[usize::try_from(i).unwrap()]));
                part.extend(&mut tree, n).unwrap();
                assert_eq!(part, grown);
            }
        }
    }
}

#[test]
fn inclusion_holds_for_the_leaf_and_its_place_alone() {
    for n in 1..40 {
        let mut tree = plain(n);
        let root = defined(&tree.0);
        for i in 0..n {
            let proof = inclusion(&mut tree, i, n).unwrap();
            let leaf = tree.0[usize::try_from(i).unwrap()];
            assert!(includes(&leaf, i, n, &proof, &root));
            for other in 0..n + 2 {
                assert_eq!(includes(&leaf, other, n, &proof, &root), other == i);
            }
            assert!(!includes(&leaf_hash(b"x"), i, n, &proof, &root));
            let mut longer = proof.clone();
            longer.push(root);
            assert!(!includes(&leaf, i, n, &longer, &root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!includes(&leaf, i, n, shorter, &root));
            }
            for step in 0..proof.len() {
                let mut bad = proof.clone();
                bad[step][0] ^= 1;
                assert!(!includes(&leaf, i, n, &bad, &root));
            }
        }
    }
}

#[test]
fn consistency_holds_for_a_tree_that_grew_alone() {
    for n in 0..40 {
        let mut tree = plain(n);
        let new = defined(&tree.0);
        for old in 0..=n {
            let before = defined(&tree.0[..usize::try_from(old).unwrap()]);
            let proof = consistency(&mut tree, old, n).unwrap();
            assert!(extends(old, &before, n, &new, &proof), "{old} of {n}");
            let mut forked = before;
            forked[0] ^= 1;
            assert!(!extends(old, &forked, n, &new, &proof));
            assert!(!extends(n + 1, &before, n, &new, &proof));
            let mut longer = proof.clone();
            longer.push(new);
            assert!(!extends(old, &before, n, &new, &longer));
            for step in 0..proof.len() {
                let mut bad = proof.clone();
                bad[step][31] ^= 1;
                assert!(!extends(old, &before, n, &new, &bad));
            }
        }
    }
}
