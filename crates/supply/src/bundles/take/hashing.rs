//! The thread that hashes: every byte once where that is enough.
//!
//! A blob whose bytes come in order is hashed as a whole, which tells of all its chunks; only what
//! comes out of order, or follows bytes that an earlier try left, is hashed as a chunk. So no byte
//! goes unhashed, and few are hashed twice.

use std::sync::mpsc::{Receiver, SyncSender};

use bundle::manifest::Blob;
use sha2::{Digest as _, Sha256};
use vocab::Digest;

use super::super::walk::{Buffer, Piece};
use super::Order;
use super::grown::Growing;

/// From the thread that hashes to the one that writes.
pub(super) enum Deed {
    Open(Growing),
    Bytes(u64, Buffer),
    /// The last piece hashes to this; nothing where the whole blob's hash will tell.
    Judged(Piece, Option<Digest>),
    /// The last piece is bad, and comes once more.
    Again(Piece),
    /// The end of an entry, with the whole blob's hash once it is known.
    End(Option<Digest>),
}

/// How far a blob is hashed.
pub(super) struct Hashing {
    /// Of all bytes from the start, and how many these are, as long as they came in order.
    pub(super) whole: Sha256,
    pub(super) hashed: u64,
    size: u64,
    /// Of the piece that is being read, where it needs one of its own.
    piece: Option<Sha256>,
}

impl Hashing {
    /// Nothing of `blob` yet.
    pub(super) fn new(blob: &Blob) -> Self {
        Self {
            whole: Sha256::new(),
            hashed: 0,
            size: blob.n,
            piece: None,
        }
    }

    fn bytes(&mut self, offset: u64, bytes: &[u8]) {
        if self.hashed == offset {
            self.whole.update(bytes);
            self.hashed += bytes.len() as u64;
        } else if self.piece.is_none() {
            self.piece = Some(Sha256::new());
        }
        if let Some(piece) = &mut self.piece {
            piece.update(bytes);
        }
    }

    /// The last piece's own hash, where it has one.
    fn piece(&mut self, expected: &Digest) -> Option<Digest> {
        let got = digest(self.piece.take()?);
        if got != *expected {
            // What follows is not the blob's; the whole is read once more at the end.
            self.hashed = u64::MAX;
        }
        Some(got)
    }

    fn end(&mut self) -> Option<Digest> {
        (self.hashed == self.size).then(|| digest(std::mem::take(&mut self.whole)))
    }
}

fn digest(hash: Sha256) -> Digest {
    Digest::from_bytes(hash.finalize().into())
}

/// Hashes what passes.
pub(super) fn run(read: &Receiver<Order>, judged: &SyncSender<Deed>) {
    let mut now: Option<Hashing> = None;
    for order in read {
        let deed = match (order, &mut now) {
            (Order::Open(hashing, growing), now) => {
                *now = Some(*hashing);
                Deed::Open(growing)
            }
            (_, None) => continue,
            (Order::Resume(hash), Some(now)) => {
                now.piece = Some(hash);
                continue;
            }
            (Order::Bytes(offset, bytes), Some(now)) => {
                now.bytes(offset, &bytes);
                Deed::Bytes(offset, bytes)
            }
            (Order::Piece(piece, told), Some(now)) => {
                let got = now.piece(&piece.expected);
                let good = got.is_none_or(|got| got == piece.expected);
                // Whoever waited may be gone; then the orders end, too.
                let waits = told.is_some_and(|told| told.send(good).is_ok());
                if waits && !good {
                    Deed::Again(piece)
                } else {
                    Deed::Judged(piece, got)
                }
            }
            (Order::End, Some(now)) => Deed::End(now.end()),
        };
        if judged.send(deed).is_err() {
            // The thread that writes has ended, and says why.
            break;
        }
    }
}
