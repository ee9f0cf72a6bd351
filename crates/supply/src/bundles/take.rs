//! Takes what a walk reads into the store: one thread reads and hashes, another writes.
//!
//! Buffers go round between the two, so that memory is bounded however large a blob is. A blob
//! stands under its name once its digest was found right and its bytes are durable. A blob of
//! several chunks is hashed a second time as a whole by the thread that writes.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use bundle::Refusal;
use bundle::manifest::{Blob, CHUNK_BYTES};
use sha2::{Digest as _, Sha256};
use store::{Batch, Blobs, Fresh, Part};
use vocab::Digest;

use super::BundleError;
use super::progress::Progress;
use super::walk::{BUFFER_BYTES, Taker, Wanted};

/// Buffers between the two threads.
const BUFFERS: usize = 8;

enum Order {
    /// A new blob that fits in one chunk.
    Fresh,
    /// A blob of several chunks, taken up where it was left.
    Part(Box<Grown>),
    Bytes(u64, Vec<u8>),
    Chunk(usize, bool),
    /// The end of an entry; whether a small blob is good.
    End(Digest, bool),
}

/// A large blob: its part, and which chunks of it are good.
struct Grown {
    part: Part,
    have: Vec<bool>,
    /// The hash of all bytes from the start, and how many these are, as long as they came in
    /// order.
    whole: Sha256,
    hashed: u64,
    size: u64,
}

/// The reading side.
pub(super) struct Take<'scope, 'a> {
    blobs: &'a Blobs,
    progress: &'a Progress,
    orders: Option<SyncSender<Order>>,
    empty: Receiver<Vec<u8>>,
    writer: Option<ScopedJoinHandle<'scope, Result<BTreeSet<Digest>, BundleError>>>,
    /// The large blob that is open, with what was still missing of it when it was opened.
    open: Option<(Digest, Vec<bool>)>,
    /// Blobs that were handed over whole, so that a second volume does not bring them again.
    given: BTreeSet<Digest>,
}

impl<'scope, 'a: 'scope> Take<'scope, 'a> {
    /// Starts the writing thread.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        blobs: &'a Blobs,
        progress: &'a Progress,
    ) -> Self {
        let (orders, received) = sync_channel(BUFFERS);
        let (back, empty) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            if back.send(Vec::with_capacity(BUFFER_BYTES)).is_err() {
                break;
            }
        }
        let writer = scope.spawn(move || {
            let mut writer = Writer {
                blobs,
                batch: blobs.batch(),
                back,
                progress,
                now: Now::Nothing,
                stored: BTreeSet::new(),
            };
            let ended = writer.run(&received);
            // What is good stays, whatever ended the rest.
            let settled = writer.batch.settle().map_err(failed(blobs));
            ended.and(settled).map(|()| writer.stored)
        });
        Self {
            blobs,
            progress,
            orders: Some(orders),
            empty,
            writer: Some(writer),
            open: None,
            given: BTreeSet::new(),
        }
    }

    /// Ends the writing thread once all it was given is durable; which blobs it stored.
    pub(super) fn finish(mut self) -> Result<BTreeSet<Digest>, BundleError> {
        self.join()
    }

    fn join(&mut self) -> Result<BTreeSet<Digest>, BundleError> {
        drop(self.orders.take());
        match self.writer.take().map(ScopedJoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(BundleError::Cancelled),
        }
    }

    fn order(&mut self, order: Order) -> Result<(), BundleError> {
        let sent = self
            .orders
            .as_ref()
            .is_some_and(|to| to.send(order).is_ok());
        if sent { Ok(()) } else { Err(self.why()) }
    }

    /// Why the writing thread takes nothing more.
    fn why(&mut self) -> BundleError {
        self.join().err().unwrap_or(BundleError::Cancelled)
    }
}

impl<'scope, 'a: 'scope> Taker for Take<'scope, 'a> {
    fn wants(&mut self, blob: &Blob) -> Result<Wanted, BundleError> {
        if self.blobs.size(&blob.d) == Some(blob.n) || self.given.contains(&blob.d) {
            return Ok(Wanted::Nothing);
        }
        if blob.c.is_empty() {
            self.open = None;
            self.order(Order::Fresh)?;
            return Ok(Wanted::Whole);
        }
        if let Some((digest, have)) = &self.open
            && *digest == blob.d
        {
            return Ok(Wanted::Chunks(have.clone()));
        }
        let grown = Grown::open(self.blobs, blob, self.progress)?;
        let have = grown.have.clone();
        let kept = have.iter().filter(|h| **h).count() as u64 * CHUNK_BYTES;
        self.progress.moved(kept.min(blob.n));
        self.open = Some((blob.d, have.clone()));
        self.order(Order::Part(Box::new(grown)))?;
        Ok(Wanted::Chunks(have))
    }

    fn buffer(&mut self) -> Result<Vec<u8>, BundleError> {
        self.empty.recv().map_err(|_| self.why())
    }

    fn bytes(&mut self, offset: u64, bytes: Vec<u8>) -> Result<(), BundleError> {
        self.order(Order::Bytes(offset, bytes))
    }

    fn chunk(&mut self, index: usize, good: bool) -> Result<(), BundleError> {
        self.order(Order::Chunk(index, good))
    }

    fn end(&mut self, blob: &Blob, good: bool) -> Result<(), BundleError> {
        if good && blob.c.is_empty() {
            self.given.insert(blob.d);
        }
        self.order(Order::End(blob.d, good))
    }
}

impl Grown {
    /// Opens what is there of `blob` and looks which chunks of it are good: our own file is read,
    /// never the medium.
    fn open(blobs: &Blobs, blob: &Blob, progress: &Progress) -> Result<Self, BundleError> {
        let io = failed(blobs);
        let part = blobs.part(&blob.d).map_err(&io)?;
        if part.len().map_err(&io)? > blob.n {
            part.truncate(blob.n).map_err(&io)?;
        }
        let mut grown = Self {
            part,
            have: vec![false; blob.c.len()],
            whole: Sha256::new(),
            hashed: 0,
            size: blob.n,
        };
        let mut buffer = vec![0; BUFFER_BYTES];
        for (index, expected) in blob.c.iter().enumerate() {
            progress.check()?;
            let begin = index as u64 * CHUNK_BYTES;
            let size = CHUNK_BYTES.min(blob.n - begin);
            if !grown.part.has_data(begin, size) {
                continue;
            }
            let before = grown.whole.clone();
            let in_order = grown.hashed == begin;
            let good = grown
                .check_chunk(begin, size, in_order, &mut buffer)
                .map_err(&io)?
                .is_some_and(|got| got == *expected);
            grown.have[index] = good;
            if !good {
                grown.whole = before;
            } else if in_order {
                grown.hashed = begin + size;
            }
        }
        Ok(grown)
    }

    fn check_chunk(
        &mut self,
        begin: u64,
        size: u64,
        in_order: bool,
        buffer: &mut [u8],
    ) -> std::io::Result<Option<Digest>> {
        let mut hash = Sha256::new();
        let mut done = 0;
        while done < size {
            let most = usize::try_from(size - done).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            let n = self.part.read(begin + done, &mut buffer[..most])?;
            if n == 0 {
                return Ok(None);
            }
            hash.update(&buffer[..n]);
            if in_order {
                self.whole.update(&buffer[..n]);
            }
            done += n as u64;
        }
        Ok(Some(Digest::from_bytes(hash.finalize().into())))
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.part.write(offset, bytes)?;
        if self.hashed == offset {
            self.whole.update(bytes);
            self.hashed += bytes.len() as u64;
        }
        Ok(())
    }

    fn chunk(&mut self, index: usize, good: bool) {
        if let Some(have) = self.have.get_mut(index) {
            *have = good;
        }
        if !good {
            // What was hashed from here on is not the blob; the whole is read once more at the end.
            self.hashed = u64::MAX;
        }
    }

    fn is_complete(&self) -> bool {
        self.have.iter().all(|have| *have)
    }

    /// Whether the whole has its digest: the chunks alone are only what the manifest says of it.
    fn is_right(&mut self) -> Result<bool, store::BlobError> {
        if self.hashed == self.size {
            let whole = std::mem::take(&mut self.whole);
            return Ok(Digest::from_bytes(whole.finalize().into()) == *self.part.digest());
        }
        match self.part.check() {
            Err(store::BlobError::Mismatch { .. }) => Ok(false),
            other => other.map(|()| true),
        }
    }
}

enum Now {
    Nothing,
    Fresh(Fresh),
    Part(Box<Grown>),
}

struct Writer<'a> {
    blobs: &'a Blobs,
    batch: Batch<'a>,
    back: SyncSender<Vec<u8>>,
    progress: &'a Progress,
    now: Now,
    stored: BTreeSet<Digest>,
}

impl Writer<'_> {
    fn run(&mut self, orders: &Receiver<Order>) -> Result<(), BundleError> {
        let done = self.obey(orders);
        if let Now::Fresh(fresh) = std::mem::replace(&mut self.now, Now::Nothing) {
            fresh.discard();
        }
        done
    }

    fn obey(&mut self, orders: &Receiver<Order>) -> Result<(), BundleError> {
        let io = failed(self.blobs);
        for order in orders {
            match order {
                Order::Fresh => self.now = Now::Fresh(self.batch.fresh().map_err(&io)?),
                Order::Part(grown) => self.now = Now::Part(grown),
                Order::Bytes(offset, mut bytes) => {
                    match &mut self.now {
                        Now::Fresh(fresh) => fresh.write(&bytes).map_err(&io)?,
                        Now::Part(grown) => {
                            grown.write(offset, &bytes).map_err(&io)?;
                            self.batch.wrote(&mut grown.part).map_err(&io)?;
                        }
                        Now::Nothing => {}
                    }
                    bytes.clear();
                    if self.back.send(bytes).is_err() {
                        break;
                    }
                }
                Order::Chunk(index, good) => {
                    if let Now::Part(grown) = &mut self.now {
                        grown.chunk(index, good);
                    }
                }
                Order::End(digest, good) => self.end(digest, good)?,
            }
        }
        Ok(())
    }

    fn end(&mut self, digest: Digest, good: bool) -> Result<(), BundleError> {
        let io = failed(self.blobs);
        match std::mem::replace(&mut self.now, Now::Nothing) {
            Now::Fresh(fresh) if good => self.batch.add(fresh, digest).map_err(&io)?,
            Now::Fresh(fresh) => {
                fresh.discard();
                return Ok(());
            }
            Now::Part(grown) if !grown.is_complete() => {
                self.now = Now::Part(grown);
                return Ok(());
            }
            Now::Part(mut grown) => {
                let right = grown.is_right().map_err(|e| BundleError::Io {
                    path: self.blobs.path(&digest),
                    source: std::io::Error::other(e),
                })?;
                if !right {
                    grown.part.discard();
                    return Err(Refusal::Hash {
                        what: format!("blob {digest}"),
                        reason: "its chunks are those of the manifest, the whole is not".to_owned(),
                    }
                    .into());
                }
                self.batch.add_part(grown.part).map_err(&io)?;
            }
            Now::Nothing => return Ok(()),
        }
        self.stored.insert(digest);
        self.progress.finished_blob();
        Ok(())
    }
}

fn failed(blobs: &Blobs) -> impl Fn(std::io::Error) -> BundleError + '_ {
    |source| BundleError::io(blobs.dir())(source)
}
