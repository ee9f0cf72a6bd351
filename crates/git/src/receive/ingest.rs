//! Taking in a pack: streamed to disk under limits, completed where it is thin, indexed.
//!
//! Memory follows neither the size of the pack nor of an object that is refused.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Seek, SeekFrom, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use flate2::{Decompress, FlushDecompress, Status};
use gix::hash::{Hasher, Kind as HashKind, ObjectId};
use gix_pack::Bundle;
use gix_pack::data::{self, Version, entry::Header, input};

use super::quarantine::{Dir, Pack, Quarantine};
use super::{ReceiveLimits, Refusal};
use crate::objects::Handle;
use crate::pack;
use crate::repo::Repository;

/// The first bytes of a delta hold the size of what it makes: at most so many.
const DELTA_HEAD: usize = 20;

/// Stores the pack that comes next on `input` in a quarantine of its own.
pub(crate) fn ingest(
    repo: &Repository,
    main: &Handle,
    input: &mut dyn BufRead,
    limits: &ReceiveLimits,
    progress: &mut dyn FnMut(&str),
) -> Result<Quarantine, Refusal> {
    let dir = Dir::create(repo).map_err(Refusal::Disk)?;
    let incoming = dir.path().join("incoming.pack");
    let file = pack::create(&incoming).map_err(Refusal::Disk)?;
    let failure = Rc::new(RefCell::new(None));
    let mut entries = Entries::start(repo.hash, main, input, &file, limits, &failure)?;
    let total = entries.left;
    if total == 0 {
        entries.trailer()?;
        return Ok(Quarantine::none());
    }
    let index_path = dir.path().join("incoming.idx");
    let index = pack::create(&index_path).map_err(Refusal::Disk)?;
    let mut index_out = BufWriter::new(&index);
    let hash = repo.hash;
    let pack_path = incoming.clone();
    let outcome = gix_pack::index::write_data_iter_to_stream(
        gix_pack::index::Version::V2,
        move || {
            let pack = data::File::at(&pack_path, hash).map_err(io::Error::other)?;
            Ok((resolve, pack))
        },
        &mut entries,
        Some(if total < 1000 {
            1
        } else {
            limits.threads.max(1)
        }),
        &mut gix::progress::Discard,
        &mut index_out,
        &AtomicBool::new(false),
        hash,
        Some(limits.max_object_bytes.saturating_add(1 << 20)),
        Version::V2,
    );
    drop(entries);
    if let Some(refusal) = failure.take() {
        return Err(refusal);
    }
    let outcome = outcome.map_err(index_failure)?;
    index_out.flush().map_err(Refusal::Disk)?;
    drop(index_out);
    progress(&format!("Receiving objects: {total}, done.\n"));
    let name = format!("pack-{}", outcome.data_hash);
    let bundle = Bundle::at(&incoming, hash).map_err(|e| Refusal::PackDamaged(e.to_string()))?;
    let bundle = Bundle {
        pack: bundle
            .pack
            .with_alloc_limit_bytes(Some(limits.max_object_bytes.saturating_mul(2))),
        index: bundle.index,
    };
    Ok(Quarantine::new(Pack {
        dir,
        name,
        pack: file,
        index,
        bundle: Arc::new(bundle),
    }))
}

fn resolve(range: data::EntryRange, pack: &data::File<gix_pack::MMap>) -> Option<&[u8]> {
    pack.entry_slice(range)
}

/// Indexing fails by the pack's fault, or by the disk's.
fn index_failure(e: gix::Error) -> Refusal {
    let from_disk = e
        .downcast_any_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    match from_disk {
        Some(code) => Refusal::Disk(io::Error::from_raw_os_error(code)),
        None => Refusal::PackDamaged(e.probable_cause().to_string()),
    }
}

/// The pack's entries, written to `file` as they pass.
struct Entries<'a> {
    input: &'a mut dyn BufRead,
    out: BufWriter<&'a File>,
    file: &'a File,
    main: &'a Handle,
    hash: HashKind,
    hasher: Option<Hasher>,
    inflate: Decompress,
    scratch: Vec<u8>,
    limits: &'a ReceiveLimits,
    /// Where the next entry stands.
    offset: u64,
    total: u32,
    left: u32,
    /// Objects that deltas name by id, each once.
    named: std::collections::BTreeSet<ObjectId>,
    /// Those of them that are to be added from the repository.
    missing: Vec<ObjectId>,
    added: u32,
    failed: bool,
    failure: &'a RefCell<Option<Refusal>>,
}

fn cut(e: io::Error) -> Refusal {
    if e.kind() == io::ErrorKind::UnexpectedEof {
        Refusal::PackDamaged("it is cut short".to_owned())
    } else {
        Refusal::Connection(e)
    }
}

impl<'a> Entries<'a> {
    fn start(
        hash: HashKind,
        main: &'a Handle,
        input: &'a mut dyn BufRead,
        file: &'a File,
        limits: &'a ReceiveLimits,
        failure: &'a RefCell<Option<Refusal>>,
    ) -> Result<Self, Refusal> {
        let mut head = [0; 12];
        input.read_exact(&mut head).map_err(cut)?;
        let (version, total) =
            data::header::decode(&head).map_err(|e| Refusal::PackDamaged(e.to_string()))?;
        if version != Version::V2 {
            return Err(Refusal::PackDamaged(
                "only packs of version 2 are taken".to_owned(),
            ));
        }
        if total > limits.max_objects {
            return Err(Refusal::TooManyObjects {
                objects: total,
                limit: limits.max_objects,
            });
        }
        let mut hasher = gix::hash::hasher(hash);
        hasher.update(&head);
        let mut out = BufWriter::with_capacity(64 << 10, file);
        out.write_all(&head).map_err(Refusal::Disk)?;
        Ok(Self {
            input,
            out,
            file,
            main,
            hash,
            hasher: Some(hasher),
            inflate: Decompress::new(true),
            scratch: vec![0; 32 << 10],
            limits,
            offset: 12,
            total,
            left: total,
            named: std::collections::BTreeSet::new(),
            missing: Vec::new(),
            added: 0,
            failed: false,
            failure,
        })
    }

    fn put(&mut self, bytes: &[u8], crc: &mut flate2::Crc) -> Result<(), Refusal> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        crc.update(bytes);
        self.offset += bytes.len() as u64;
        if self.offset > self.limits.max_pack_bytes {
            return Err(Refusal::PackTooLarge {
                limit_bytes: self.limits.max_pack_bytes,
            });
        }
        self.out.write_all(bytes).map_err(Refusal::Disk)
    }

    fn check_size(&self, size_bytes: u64) -> Result<(), Refusal> {
        if size_bytes > self.limits.max_object_bytes as u64 {
            return Err(Refusal::ObjectTooLarge {
                nth: self.total - self.left + 1,
                size_bytes,
                limit_bytes: self.limits.max_object_bytes,
            });
        }
        Ok(())
    }

    fn take_entry(&mut self) -> Result<input::Entry, Refusal> {
        let pack_offset = self.offset;
        let mut head = Vec::with_capacity(32);
        let entry = data::Entry::from_read(
            &mut Tee {
                input: self.input,
                seen: &mut head,
            },
            pack_offset,
            self.hash.len_in_bytes(),
        )
        .map_err(|e| match e.kind() {
            io::ErrorKind::Other | io::ErrorKind::InvalidData => {
                Refusal::PackDamaged(e.to_string())
            }
            _ => cut(e),
        })?;
        self.check_size(entry.decompressed_size)?;
        if let Header::RefDelta { base_id } = entry.header {
            self.named.insert(base_id);
        }
        let mut crc = flate2::Crc::new();
        self.put(&head, &mut crc)?;
        let compressed_size = self.take_stream(&entry, &mut crc)?;
        Ok(input::Entry {
            header: entry.header,
            header_size: entry.encoded_header_size,
            pack_offset,
            compressed: None,
            compressed_size,
            crc32: Some(crc.sum()),
            decompressed_size: entry.decompressed_size,
            trailer: None,
        })
    }

    /// Copies one zlib stream, inflating it to find its end; its length.
    fn take_stream(&mut self, entry: &data::Entry, crc: &mut flate2::Crc) -> Result<u64, Refusal> {
        self.inflate.reset(true);
        let mut first = Vec::new();
        loop {
            let chunk = self.input.fill_buf().map_err(cut)?;
            if chunk.is_empty() {
                return Err(Refusal::PackDamaged("it is cut short".to_owned()));
            }
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self
                .inflate
                .decompress(chunk, &mut self.scratch, FlushDecompress::None)
                .map_err(|e| Refusal::PackDamaged(e.to_string()))?;
            let used = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(chunk.len());
            let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(0);
            let taken = chunk[..used].to_vec();
            self.input.consume(used);
            self.put(&taken, crc)?;
            if entry.header.is_delta() && first.len() < DELTA_HEAD {
                let room = (DELTA_HEAD - first.len()).min(made);
                first.extend_from_slice(&self.scratch[..room]);
            }
            if self.inflate.total_out() > entry.decompressed_size {
                return Err(Refusal::PackDamaged(
                    "an object is larger than it says".to_owned(),
                ));
            }
            match status {
                Status::StreamEnd => break,
                _ if used == 0 && made == 0 => {
                    return Err(Refusal::PackDamaged(
                        "an object does not inflate".to_owned(),
                    ));
                }
                _ => {}
            }
        }
        if self.inflate.total_out() != entry.decompressed_size {
            return Err(Refusal::PackDamaged(
                "an object is smaller than it says".to_owned(),
            ));
        }
        if entry.header.is_delta() {
            self.check_size(delta_result_size(&first))?;
        }
        Ok(self.inflate.total_in())
    }

    /// Reads and compares the checksum at the end.
    fn trailer(&mut self) -> Result<ObjectId, Refusal> {
        let mut bytes = vec![0; self.hash.len_in_bytes()];
        self.input.read_exact(&mut bytes).map_err(cut)?;
        let hasher = self
            .hasher
            .take()
            .unwrap_or_else(|| gix::hash::hasher(self.hash));
        let computed = hasher
            .try_finalize()
            .map_err(|e| Refusal::PackDamaged(e.to_string()))?;
        if computed.as_slice() != bytes {
            return Err(Refusal::PackDamaged("its checksum is wrong".to_owned()));
        }
        Ok(computed)
    }

    fn advance(&mut self) -> Result<Option<input::Entry>, Refusal> {
        if self.left > 0 {
            let mut entry = self.take_entry()?;
            self.left -= 1;
            if self.left == 0 {
                let trailer = self.trailer()?;
                let main = self.main;
                self.missing = std::mem::take(&mut self.named)
                    .into_iter()
                    .filter(|id| gix::objs::Exists::exists(main, id))
                    .collect();
                if self.missing.is_empty() {
                    self.out
                        .write_all(trailer.as_slice())
                        .map_err(Refusal::Disk)?;
                    self.out.flush().map_err(Refusal::Disk)?;
                    entry.trailer = Some(trailer);
                }
            }
            return Ok(Some(entry));
        }
        let Some(id) = self.missing.pop() else {
            return Ok(None);
        };
        let mut entry = self.add_base(&id)?;
        if self.missing.is_empty() {
            entry.trailer = Some(self.complete()?);
        }
        Ok(Some(entry))
    }

    /// Appends an object of the repository on which deltas of a thin pack stand.
    fn add_base(&mut self, id: &ObjectId) -> Result<input::Entry, Refusal> {
        let mut buf = Vec::new();
        let damaged = |e: gix::Error| Refusal::PackDamaged(e.to_string());
        let base = gix::objs::Find::try_find(self.main, id, &mut buf)
            .map_err(damaged)?
            .ok_or_else(|| Refusal::PackDamaged(format!("delta base {id} is missing")))?;
        let mut entry =
            input::Entry::from_data_obj(&base, self.offset, gix::zlib::Compression::BEST_SPEED)
                .map_err(damaged)?;
        let mut bytes = Vec::new();
        entry
            .header
            .write_to(entry.decompressed_size, &mut bytes)
            .map_err(Refusal::Disk)?;
        bytes.extend_from_slice(entry.compressed.as_deref().unwrap_or_default());
        entry.compressed = None;
        self.put(&bytes, &mut flate2::Crc::new())?;
        self.added += 1;
        Ok(entry)
    }

    /// Corrects the count in the header of a completed pack and gives it its new checksum.
    fn complete(&mut self) -> Result<ObjectId, Refusal> {
        let mut fix = || -> io::Result<ObjectId> {
            self.out.flush()?;
            let mut file = self.file;
            let head = data::header::encode(Version::V2, self.total.saturating_add(self.added));
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&head)?;
            file.seek(SeekFrom::Start(0))?;
            let mut hasher = gix::hash::hasher(self.hash);
            loop {
                let n = file.read(&mut self.scratch)?;
                if n == 0 {
                    break;
                }
                hasher.update(&self.scratch[..n]);
            }
            let checksum = hasher.try_finalize().map_err(io::Error::other)?;
            file.write_all(checksum.as_slice())?;
            Ok(checksum)
        };
        fix().map_err(Refusal::Disk)
    }
}

impl Iterator for Entries<'_> {
    type Item = gix::error::Result<input::Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.advance() {
            Ok(entry) => entry.map(Ok),
            Err(refusal) => {
                self.failed = true;
                let text = refusal.to_string();
                *self.failure.borrow_mut() = Some(refusal);
                Some(Err(gix::Error::from_error(io::Error::other(text))))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Only what has come so far is believed: the header may claim any number.
        (0, Some(self.left.min(1 << 16) as usize))
    }
}

/// The size of what a delta makes, from its first bytes; 0 where they are no delta.
fn delta_result_size(first: &[u8]) -> u64 {
    let mut at = 0;
    let mut size = 0;
    for _ in 0..2 {
        size = 0u64;
        let mut shift = 0u32;
        loop {
            let Some(byte) = first.get(at) else {
                return 0;
            };
            at += 1;
            size |= u64::from(byte & 0x7f)
                .checked_shl(shift)
                .unwrap_or(u64::MAX);
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    size
}

struct Tee<'a, 'b> {
    input: &'a mut (dyn BufRead + 'b),
    seen: &'a mut Vec<u8>,
}

impl Read for Tee<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buf)?;
        if self.seen.len() + n > 128 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an object's header does not end",
            ));
        }
        self.seen.extend_from_slice(&buf[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::delta_result_size;

    #[test]
    fn the_size_that_a_delta_makes_is_read_from_its_head() {
        assert_eq!(delta_result_size(&[0x05, 0x90, 0x01, 0x00]), 0x90);
        assert_eq!(delta_result_size(&[0x80, 0x01, 0x80, 0x80, 0x04]), 1 << 16);
        assert_eq!(delta_result_size(&[]), 0);
        assert!(delta_result_size(&[0xff; 20]) == 0);
    }
}
