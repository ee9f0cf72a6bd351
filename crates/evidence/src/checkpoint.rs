//! Checkpoints: what a log signs about itself, its size and its root.
//!
//! Source: C2SP tlog-checkpoint.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{Note, NoteError, NoteKey, NoteSigner};
use crate::tree::Hash;

/// The state of a log: `size` entries under `root`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log: the name that its key signs under.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// The signed note.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.text())
    }

    /// Reads a note that `key` signed for the log of its own name.
    pub fn verify(note: &[u8], key: &NoteKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(Note::read(note)?.verified(key)?)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::Shape("it speaks of another log"));
        }
        Ok(checkpoint)
    }

    /// Reads the text of a checkpoint. Lines after the third are kept for extensions: none here.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let read = Self {
                origin: origin.to_owned(),
                size: size.parse().ok()?,
                root: STANDARD.decode(root).ok()?.try_into().ok()?,
            };
            (lines.next().is_none() && read.text() == text).then_some(read)
        };
        read().ok_or(NoteError::Shape("its text is no checkpoint"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_a_public_log_verifies_and_is_none_of_another_name() {
        // Source: the README of the addressable witness in google/trillian-examples shows this
        // checkpoint of the Go checksum database; its key stands in Go's own cmd/go.
        let key: NoteKey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
            .parse()
            .unwrap();
        let note = "go.sum database tree\n\
                    15067302\n\
                    gJyioq6dwR9n+NjEWORfYmH+ubeYm3kH42BBQ0bTpYI=\n\n\
                    — sum.golang.org Az3grp1rvWOs5NKlr/xR4GLN/CDyzzakmt1o61uSxYKpK1SerqOP2ClbX/peKUZjYnyomH5Xz7GZG3TpB7OeKn4E2ww=\n\
                    — test.example.com qTGhC/xIPQ0AXKHK6Y+9ypRfuvMZWPjRXM8NiOg5M1WREn07VQXyuIXM3NRNav3ieVFLUqDRK77PWDmL6w8w84UqeAw=\n";
        let read = Note::read(note.as_bytes()).unwrap();
        assert!(read.names().eq(["sum.golang.org", "test.example.com"]));
        let said = Checkpoint::parse(read.verified(&key).unwrap()).unwrap();
        assert_eq!(said.origin, "go.sum database tree");
        assert_eq!(said.size, 15_067_302);
        // Here a log speaks under the name of its key; that one does not.
        let refused = Checkpoint::verify(note.as_bytes(), &key).unwrap_err();
        assert_eq!(refused, NoteError::Shape("it speaks of another log"));
        let larger = note.replace("15067302", "15067303");
        let refused = Note::read(larger.as_bytes()).and_then(|n| n.verified(&key).map(drop));
        assert_eq!(refused, Err(NoteError::Wrong("sum.golang.org".into())));
    }

    #[test]
    fn a_checkpoint_comes_back_and_every_change_is_refused() {
        let signer = NoteSigner::new("lab-0001", &[1; 32]).unwrap();
        let said = Checkpoint {
            origin: "lab-0001".into(),
            size: 20_852_163,
            root: [5; 32],
        };
        let note = said.sign(&signer);
        assert_eq!(
            Checkpoint::verify(note.as_bytes(), signer.key()).unwrap(),
            said
        );
        for at in 0..note.len() {
            let mut bytes = note.as_bytes().to_vec();
            bytes[at] ^= 0x20;
            assert!(
                Checkpoint::verify(&bytes, signer.key()).is_err(),
                "byte {at}"
            );
        }
        let other = Checkpoint {
            origin: "lab-0002".into(),
            ..said
        };
        assert!(Checkpoint::verify(other.sign(&signer).as_bytes(), signer.key()).is_err());
        // The example of the specification, whose key is not published.
        let example =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let read = Checkpoint::parse(example).unwrap();
        assert_eq!((read.size, read.text().as_str()), (20_852_163, example));
        for text in ["a\n01\nAAAA\n", "a\n1\n", "a\n1\nAAAA\n\n", "a\n-1\nAA==\n"] {
            assert!(Checkpoint::parse(text).is_err(), "{text:?}");
        }
    }
}
