//! The proof of one entry as a text that other tools read.
//!
//! Source: C2SP tlog-proof, version 1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::Checkpoint;
use crate::note::{NoteError, NoteKey};
use crate::tree::{Hash, includes};

const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// More hashes than any tree is high.
const HASHES_MAX: usize = 64;

/// The proof that an entry stands at `index` under the root that `note` signs, as a text.
#[must_use]
pub fn write(index: u64, hashes: &[Hash], note: &str) -> String {
    let mut text = format!("{HEAD}\nindex {index}\n");
    for hash in hashes {
        text.push_str(&STANDARD.encode(hash));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(note);
    text
}

/// Reads such a text and checks that `leaf` stands where it says, in the log of `key`; where.
pub fn verify(text: &str, leaf: &Hash, key: &NoteKey) -> Result<(u64, Checkpoint), NoteError> {
    let shape = NoteError::Shape("it is no tlog-proof");
    let (proof, note) = text.split_once("\n\n").ok_or(shape.clone())?;
    let mut lines = proof.split('\n');
    let index = (lines.next() == Some(HEAD))
        .then(|| lines.next()?.strip_prefix("index ")?.parse::<u64>().ok())
        .flatten()
        .filter(|index| proof.starts_with(&format!("{HEAD}\nindex {index}")))
        .ok_or(shape.clone())?;
    let hashes = lines
        .take(HASHES_MAX + 1)
        .map(|line| STANDARD.decode(line).ok()?.try_into().ok())
        .collect::<Option<Vec<Hash>>>()
        .filter(|hashes| hashes.len() <= HASHES_MAX)
        .ok_or(shape)?;
    let checkpoint = Checkpoint::verify(note.as_bytes(), key)?;
    match includes(leaf, index, checkpoint.size, &hashes, &checkpoint.root) {
        true => Ok((index, checkpoint)),
        false => Err(NoteError::Shape("its hashes do not lead to the root")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::NoteSigner;
    use crate::tree::{leaf_hash, node_hash};

    #[test]
    fn a_proof_comes_back_and_every_change_is_refused() {
        let signer = NoteSigner::new("lab-0001", &[1; 32]).unwrap();
        let leaves = [leaf_hash(b"a"), leaf_hash(b"b"), leaf_hash(b"c")];
        let pair = node_hash(&leaves[0], &leaves[1]);
        let said = Checkpoint {
            origin: "lab-0001".into(),
            size: 3,
            root: node_hash(&pair, &leaves[2]),
        };
        let text = write(1, &[leaves[0], leaves[2]], &said.sign(&signer));
        assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n"));
        let read = |text: &str, leaf| verify(text, leaf, signer.key());
        assert_eq!(read(&text, &leaves[1]).unwrap(), (1, said.clone()));
        assert!(read(&text, &leaves[0]).is_err());
        let last = write(2, &[pair], &said.sign(&signer));
        assert_eq!(read(&last, &leaves[2]).unwrap(), (2, said));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes);
            assert!(read(&changed, &leaves[1]).is_err(), "byte {at}");
        }
    }
}
