//! The thread that writes: bytes into parts, and parts whose digest is right into the batch.

use std::sync::mpsc::{Receiver, SyncSender};

use bundle::Refusal;
use store::{Batch, Blobs, Unsettled};
use vocab::Digest;

use super::super::BundleError;
use super::super::progress::Progress;
use super::super::walk::Buffer;
use super::grown::Growing;
use super::hashing::Deed;
use super::{Taken, failed};

/// Does what is asked until nobody asks any more, and has what is good made durable, whatever
/// ended the rest.
pub(super) fn run<'a>(
    (blobs, shares_disk): (&'a Blobs, bool),
    progress: &Progress,
    deeds: &Receiver<Deed>,
    back: &SyncSender<Buffer>,
    due: &SyncSender<Unsettled<'a>>,
) -> Result<Taken, BundleError> {
    let mut writer = Writer {
        blobs,
        shares_disk,
        batch: blobs.batch(),
        back,
        due,
        progress,
        now: None,
        taken: Taken::default(),
    };
    let ended = writer.run(deeds);
    let rest = writer.batch.rest();
    let gone = due.send(rest).is_err();
    ended?;
    match gone {
        true => Err(BundleError::Cancelled),
        false => Ok(writer.taken),
    }
}

struct Writer<'w, 'a> {
    blobs: &'a Blobs,
    shares_disk: bool,
    batch: Batch<'a>,
    back: &'w SyncSender<Buffer>,
    due: &'w SyncSender<Unsettled<'a>>,
    progress: &'w Progress,
    now: Option<Growing>,
    taken: Taken,
}

impl Writer<'_, '_> {
    fn run(&mut self, deeds: &Receiver<Deed>) -> Result<(), BundleError> {
        let io = failed(self.blobs);
        for deed in deeds {
            match (deed, &mut self.now) {
                (Deed::Open(mut growing), now) => {
                    if growing.part.is_none() {
                        growing.part = Some(self.blobs.new_part(&growing.digest).map_err(&io)?);
                    }
                    if let Some(part) = growing.part.as_mut().filter(|_| self.shares_disk) {
                        part.through_cache();
                    }
                    *now = Some(growing);
                }
                (Deed::Bytes(offset, bytes), now) => {
                    if let Some(part) = now.as_mut().and_then(|now| now.part.as_mut()) {
                        part.write(offset, &bytes).map_err(&io)?;
                        self.batch.wrote(part).map_err(&io)?;
                    }
                    // When nobody reads any more, what was read is written all the same.
                    drop(self.back.send(bytes));
                }
                (Deed::Judged(piece, got), Some(now)) => {
                    self.taken.damage.extend(now.judged(piece, got));
                }
                (Deed::Again(piece), Some(now)) => now.again(&piece),
                (Deed::End(whole), Some(_)) => self.end(whole)?,
                (_, None) => {}
            }
            if let Some(unsettled) = self.batch.due()
                && self.due.send(unsettled).is_err()
            {
                // The thread that settles has ended, and says why.
                return Err(BundleError::Cancelled);
            }
        }
        Ok(())
    }

    fn end(&mut self, whole: Option<Digest>) -> Result<(), BundleError> {
        let Some(mut now) = self.now.take() else {
            return Ok(());
        };
        if !now.is_complete() {
            return self.keep(now);
        }
        if !self.is_right(&now, whole)? {
            let damage = now.wrong().map_err(failed(self.blobs))?;
            if damage.is_empty() {
                return self.refuse(now);
            }
            self.taken.damage.extend(damage);
            return self.keep(now);
        }
        if let Some(part) = now.part.take() {
            self.batch.add(part);
        }
        self.progress.finished_blob();
        Ok(())
    }

    /// Keeps what is not complete for what comes next, or for the next try.
    fn keep(&mut self, now: Growing) -> Result<(), BundleError> {
        if now.has_chunks() {
            self.now = Some(now);
        } else if let Some(part) = now.part {
            part.discard();
        }
        Ok(())
    }

    /// Whether the whole has its digest: the chunks alone are only what the manifest says of it.
    fn is_right(&self, now: &Growing, whole: Option<Digest>) -> Result<bool, BundleError> {
        if let Some(whole) = whole {
            return Ok(whole == now.digest);
        }
        match now.part.as_ref().map_or(Ok(()), store::Part::check) {
            Ok(()) => Ok(true),
            Err(store::BlobError::Mismatch { .. }) => Ok(false),
            Err(error) => Err(BundleError::Io {
                path: self.blobs.path(&now.digest),
                source: std::io::Error::other(error),
            }),
        }
    }

    fn refuse(&mut self, now: Growing) -> Result<(), BundleError> {
        if let Some(part) = now.part {
            part.discard();
        }
        Err(Refusal::Hash {
            what: format!("blob {}", now.digest),
            reason: "its chunks are those of the manifest, the whole is not".to_owned(),
        }
        .into())
    }
}
