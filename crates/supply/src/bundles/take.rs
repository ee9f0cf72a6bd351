//! Takes what a walk reads into the store: one thread reads, one hashes, one writes, one makes it
//! durable.
//!
//! Buffers go round between the first three, so that memory is bounded however large a blob is. A
//! blob stands under its name once its digest was found right and its bytes are durable. Until
//! then it grows in a part that outlives the process; whatever is found there is hashed before it
//! counts.

mod grown;
mod hashing;
mod writing;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use bundle::manifest::Blob;
use sha2::Sha256;
use store::{Blobs, Unsettled};
use vocab::Digest;

use self::grown::{Found, Growing};
use self::hashing::Hashing;
use super::BundleError;
use super::progress::Progress;
use super::walk::{BUFFER_BYTES, Buffer, Damage, Piece, Taker, Wanted};

/// Buffers between the threads.
const BUFFERS: usize = 16;

/// From the thread that reads to the one that hashes.
enum Order {
    /// A blob, new or taken up where it was left.
    Open(Box<Hashing>, Growing),
    /// The next bytes follow such as are here already, which were hashed so far.
    Resume(Sha256),
    Bytes(u64, Buffer),
    /// The bytes since the last piece are this one. Where somebody waits, it is told whether they
    /// are, and may be read once more.
    Piece(Piece, Option<SyncSender<bool>>),
    /// The end of an entry.
    End,
}

/// What a [`Take`] found out.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Pieces that are not what was signed.
    pub(super) damage: Vec<Damage>,
}

/// The reading side.
pub(super) struct Take<'scope, 'a> {
    blobs: &'a Blobs,
    progress: &'a Progress,
    orders: Option<SyncSender<Order>>,
    empty: Receiver<Buffer>,
    hasher: Option<ScopedJoinHandle<'scope, ()>>,
    writer: Option<ScopedJoinHandle<'scope, Result<Taken, BundleError>>>,
    settler: Option<ScopedJoinHandle<'scope, Result<(), BundleError>>>,
    /// Whether volumes and store are on one disk.
    shares_disk: bool,
    /// Blobs that an earlier try began.
    begun: BTreeSet<Digest>,
    /// The blob that is open, with what of it was here when it was opened.
    open: Option<(Digest, Found)>,
}

impl<'scope, 'a: 'scope> Take<'scope, 'a> {
    /// Starts the threads, for volumes that lie in `medium`.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        blobs: &'a Blobs,
        progress: &'a Progress,
        medium: &Path,
    ) -> Result<Self, BundleError> {
        let shares_disk = disk(medium).is_some_and(|it| disk(blobs.dir()) == Some(it));
        let begun = blobs.parts().map_err(failed(blobs))?;
        let (orders, read) = sync_channel(BUFFERS);
        let (judged, hashed) = sync_channel(BUFFERS);
        let (back, empty) = sync_channel(BUFFERS);
        let (due, settling) = sync_channel::<Unsettled<'a>>(1);
        for _ in 0..BUFFERS {
            if back.send(Buffer::new(BUFFER_BYTES)).is_err() {
                break;
            }
        }
        let hasher = scope.spawn(move || hashing::run(&read, &judged));
        let writer =
            scope.spawn(move || writing::run((blobs, shares_disk), progress, &hashed, &back, &due));
        let settler = scope.spawn(move || settle(blobs, &settling));
        Ok(Self {
            blobs,
            progress,
            orders: Some(orders),
            empty,
            hasher: Some(hasher),
            writer: Some(writer),
            settler: Some(settler),
            begun,
            shares_disk,
            open: None,
        })
    }

    /// Ends the threads once all they were given is durable.
    pub(super) fn finish(mut self) -> Result<Taken, BundleError> {
        self.join()
    }

    fn join(&mut self) -> Result<Taken, BundleError> {
        drop(self.orders.take());
        let hashed = self.hasher.take().map(ScopedJoinHandle::join);
        let written = self.writer.take().map(ScopedJoinHandle::join);
        let settled = self.settler.take().map(ScopedJoinHandle::join);
        match (hashed, written, settled) {
            // Where the settling failed, the writing only found nobody to settle.
            (Some(Ok(())), Some(Ok(written)), Some(Ok(settled))) => settled.and(written),
            (Some(Err(panic)), ..) | (_, Some(Err(panic)), _) | (_, _, Some(Err(panic))) => {
                std::panic::resume_unwind(panic)
            }
            _ => Err(BundleError::Cancelled),
        }
    }

    fn order(&mut self, order: Order) -> Result<(), BundleError> {
        let sent = self
            .orders
            .as_ref()
            .is_some_and(|to| to.send(order).is_ok());
        if sent { Ok(()) } else { Err(self.why()) }
    }

    /// Why the other threads take nothing more.
    fn why(&mut self) -> BundleError {
        self.join().err().unwrap_or(BundleError::Cancelled)
    }

    /// Looks what of `blob` is here, and has the other threads go on after it.
    fn take_up(&mut self, blob: &Blob) -> Result<Vec<u64>, BundleError> {
        let (found, hashing, growing) = grown::open(self.blobs, blob, self.progress)?;
        let have = found.have.clone();
        self.progress.moved(have.iter().sum());
        self.open = Some((blob.d, found));
        self.order(Order::Open(Box::new(hashing), growing))?;
        Ok(have)
    }
}

impl<'scope, 'a: 'scope> Taker for Take<'scope, 'a> {
    fn shares_disk(&self) -> bool {
        self.shares_disk
    }

    fn wants(&mut self, blob: &Blob) -> Result<Wanted, BundleError> {
        if self.blobs.size(&blob.d) == Some(blob.n) {
            return Ok(Wanted::Nothing);
        }
        if let Some((digest, found)) = &self.open
            && *digest == blob.d
        {
            return Ok(Wanted::Chunks(found.have.clone()));
        }
        self.open = None;
        if blob.n > 0 && (self.begun.contains(&blob.d) || !blob.c.is_empty()) {
            return self.take_up(blob).map(Wanted::Chunks);
        }
        self.order(Order::Open(
            Box::new(Hashing::new(blob)),
            Growing::new(blob),
        ))?;
        Ok(Wanted::Whole)
    }

    fn buffer(&mut self) -> Result<Buffer, BundleError> {
        self.empty.recv().map_err(|_| self.why())
    }

    fn resume(&mut self) -> Result<(), BundleError> {
        let hash = self.open.as_mut().and_then(|(_, found)| found.hash.take());
        self.order(Order::Resume(hash.unwrap_or_default()))
    }

    fn bytes(&mut self, offset: u64, bytes: Buffer) -> Result<(), BundleError> {
        self.order(Order::Bytes(offset, bytes))
    }

    fn piece(&mut self, piece: Piece) -> Result<(), BundleError> {
        self.order(Order::Piece(piece, None))
    }

    fn resumed(&mut self, piece: Piece) -> Result<bool, BundleError> {
        let (told, verdict) = sync_channel(1);
        self.order(Order::Piece(piece, Some(told)))?;
        verdict.recv().map_err(|_| self.why())
    }

    fn end(&mut self, _: &Blob) -> Result<(), BundleError> {
        self.order(Order::End)
    }
}

/// The file system that `path` is on.
fn disk(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| meta.dev())
}

/// Makes durable what comes, while the next is read.
fn settle(blobs: &Blobs, due: &Receiver<Unsettled<'_>>) -> Result<(), BundleError> {
    due.iter()
        .try_for_each(|unsettled| unsettled.settle().map_err(failed(blobs)))
}

fn failed(blobs: &Blobs) -> impl Fn(std::io::Error) -> BundleError + '_ {
    |source| BundleError::io(blobs.dir())(source)
}
