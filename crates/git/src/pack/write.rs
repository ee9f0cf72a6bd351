//! Writing a pack: entries copied as they stand, deltas and all, where the base goes along or the
//! reader has it; everything else deflated anew.
//!
//! Of several copies of an object the one that is a delta is preferred, as pushes bring whole
//! copies of what their deltas stand on. A base is always written before its deltas. A closed pack
//! can go ahead of everything else, byte for byte.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use gix::hash::ObjectId;
use gix::objs::Kind;
use gix_pack::data::{Version, entry::Header, header};

use super::set::{PackSet, Place, RawHeader};
use super::sum::PackSum;
use super::{ClosedPack, IndexEntry};
use crate::ids::{IdMap, IdSet};
use crate::objects::{Objects, ReadError};

/// Chains of deltas are not made longer than this; the next object is written whole.
const MAX_CHAIN: u32 = 200;

/// From so many objects on, the packs' objects are gathered before they are sought.
const MANY: usize = 4096;

/// So many bytes of a pack that goes ahead are copied at a time.
const COPIED: usize = 256 << 10;

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The other end went away, or the disk failed.
    #[error("the pack could not be written out")]
    Io(#[from] io::Error),
    /// An object could not be read.
    #[error("the repository is damaged: {0}")]
    Read(#[from] ReadError),
    /// A pack is not what was once written.
    #[error("the repository is damaged: {0} does not have its checksum any more")]
    Checksum(PathBuf),
    /// There is no branch and no tag.
    #[error("the repository has no branch and no tag yet; there is nothing to write")]
    Nothing,
    /// More objects than the format can count.
    #[error("more objects than one pack can hold")]
    TooMany,
}

/// A pack to be written.
pub(crate) struct PackPlan<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) packs: Arc<PackSet>,
    /// A pack whose objects all go in, as it stands.
    pub(crate) ahead: Option<Arc<ClosedPack>>,
    /// What else goes in, each once.
    pub(crate) ids: Vec<ObjectId>,
    /// What the reader has, for deltas of a thin pack; empty for a pack at rest.
    pub(crate) had: IdSet,
}

impl PackPlan<'_> {
    /// How many objects go in.
    pub(crate) fn len(&self) -> usize {
        self.ids.len() + self.ahead.as_ref().map_or(0, |pack| pack.len())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Begun,
    Written { offset: u64, chain: u32 },
}

struct Writer<'a> {
    plan: &'a PackPlan<'a>,
    slots: IdMap<u32>,
    states: Vec<State>,
    out: &'a mut dyn Write,
    sum: PackSum,
    written: u64,
    placed: Vec<IndexEntry>,
    head: Vec<u8>,
    buf: Vec<u8>,
}

/// Writes the pack to `out` and returns its checksum and where each object stands.
pub(crate) fn write_pack(
    plan: &PackPlan<'_>,
    out: &mut dyn Write,
) -> Result<(ObjectId, Vec<IndexEntry>), PackError> {
    let all = u32::try_from(plan.len()).map_err(|_| PackError::TooMany)?;
    let num = u32::try_from(plan.ids.len()).map_err(|_| PackError::TooMany)?;
    let mut writer = Writer {
        plan,
        slots: plan.ids.iter().copied().zip(0..num).collect(),
        states: vec![State::Waiting; plan.ids.len()],
        out,
        sum: PackSum::new(plan.objects.hash()),
        written: 0,
        placed: Vec::with_capacity(plan.ids.len()),
        head: Vec::with_capacity(64),
        buf: Vec::new(),
    };
    writer.put(&header::encode(Version::V2, all))?;
    if let Some(pack) = &plan.ahead {
        writer.put_ahead(pack)?;
    }
    for slot in 0..num {
        writer.write_chain(slot)?;
    }
    let checksum = writer.sum.finish();
    writer.out.write_all(checksum.as_slice())?;
    Ok((checksum, writer.placed))
}

/// How one object will be written.
enum Form {
    Whole(Place),
    OnSlot(Place, u32),
    OnHad(Place, ObjectId),
    /// On the object that begins there in the pack that went ahead.
    OnAhead(Place, u64),
    Anew,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Copies a pack without its head and its checksum, which must be that of what was copied.
    fn put_ahead(&mut self, pack: &ClosedPack) -> Result<(), PackError> {
        let file = &pack.file;
        let damaged = || PackError::Checksum(file.path.with_extension("pack"));
        let head = usize::try_from(self.written).map_err(|_| PackError::TooMany)?;
        let end = file.bundle.pack.pack_end() as u64;
        let bytes = file.bundle.pack.entry_slice(0..end).ok_or_else(damaged)?;
        let (start, entries) = bytes.split_at_checked(head).ok_or_else(damaged)?;
        let mut sum = PackSum::new(self.plan.objects.hash());
        sum.update(start);
        for part in entries.chunks(COPIED) {
            sum.update(part);
            self.put(part)?;
        }
        if sum.finish() == file.bundle.pack.checksum() {
            Ok(())
        } else {
            Err(damaged())
        }
    }

    /// Writes an object after the objects it stands on.
    fn write_chain(&mut self, slot: u32) -> Result<(), PackError> {
        let mut todo = vec![slot];
        while let Some(slot) = todo.last().copied() {
            if let State::Written { .. } = self.states[slot as usize] {
                todo.pop();
                continue;
            }
            let form = self.form(slot);
            if let Form::OnSlot(_, base) = form
                && self.states[base as usize] == State::Waiting
            {
                self.states[slot as usize] = State::Begun;
                todo.push(base);
                continue;
            }
            self.write(slot, form)?;
            todo.pop();
        }
        Ok(())
    }

    fn form(&self, slot: u32) -> Form {
        let id = self.plan.ids[slot as usize];
        let mut whole = None;
        for place in self.plan.packs.places(&id, self.plan.ids.len() > MANY) {
            let Some(entry) = self.plan.packs.entry(place) else {
                continue;
            };
            match entry.header {
                RawHeader::Whole(_) => whole = Some(place),
                RawHeader::DeltaOn(base) => {
                    if let Some(base_slot) = self.slots.get(&base) {
                        let fits = match self.states[*base_slot as usize] {
                            State::Waiting => true,
                            // It stands, in the end, on this very object.
                            State::Begun => false,
                            State::Written { chain, .. } => chain < MAX_CHAIN,
                        };
                        if fits {
                            return Form::OnSlot(place, *base_slot);
                        }
                    } else if let Some(pack) = &self.plan.ahead
                        && let Some(offset) = pack.offset(&base)
                    {
                        return Form::OnAhead(place, offset);
                    } else if self.plan.had.contains(&base) {
                        return Form::OnHad(place, base);
                    }
                }
            }
        }
        whole.map_or(Form::Anew, Form::Whole)
    }

    fn write(&mut self, slot: u32, form: Form) -> Result<(), PackError> {
        let id = self.plan.ids[slot as usize];
        let offset = self.written;
        let packs = Arc::clone(&self.plan.packs);
        let copied = match form {
            Form::Whole(place) => packs.entry(place).and_then(|entry| match entry.header {
                RawHeader::Whole(header) => Some((entry, header, 0)),
                RawHeader::DeltaOn(_) => None,
            }),
            Form::OnHad(place, base_id) => packs
                .entry(place)
                .map(|entry| (entry, Header::RefDelta { base_id }, 1)),
            Form::OnAhead(place, base_offset) => packs.entry(place).map(|entry| {
                let base_distance = offset - base_offset;
                (entry, Header::OfsDelta { base_distance }, MAX_CHAIN / 2)
            }),
            Form::OnSlot(place, base) => match self.states[base as usize] {
                State::Written {
                    offset: base_offset,
                    chain,
                } => packs.entry(place).map(|entry| {
                    let base_distance = offset - base_offset;
                    (entry, Header::OfsDelta { base_distance }, chain + 1)
                }),
                State::Waiting | State::Begun => None,
            },
            Form::Anew => None,
        };
        self.head.clear();
        let mut crc = flate2::Crc::new();
        let chain = if let Some((entry, header, chain)) = copied {
            header.write_to(entry.size, &mut self.head)?;
            crc.update(&self.head);
            crc.update(entry.deflated);
            let head = std::mem::take(&mut self.head);
            self.put(&head)?;
            self.head = head;
            self.put(entry.deflated)?;
            chain
        } else {
            let bytes = self.deflate_anew(&id)?;
            crc.update(&bytes);
            self.put(&bytes)?;
            0
        };
        self.states[slot as usize] = State::Written { offset, chain };
        self.placed.push(IndexEntry {
            id,
            offset,
            crc32: crc.sum(),
        });
        Ok(())
    }

    fn deflate_anew(&mut self, id: &ObjectId) -> Result<Vec<u8>, PackError> {
        let mut buf = std::mem::take(&mut self.buf);
        let found = self.plan.objects.find(id, &mut buf)?;
        let header = match found.kind {
            Kind::Tree => Header::Tree,
            Kind::Blob => Header::Blob,
            Kind::Commit => Header::Commit,
            Kind::Tag => Header::Tag,
        };
        let mut bytes = Vec::with_capacity(found.data.len() / 2 + 64);
        header.write_to(found.data.len() as u64, &mut bytes)?;
        let mut deflate = flate2::write::ZlibEncoder::new(bytes, flate2::Compression::default());
        deflate.write_all(found.data)?;
        let bytes = deflate.finish()?;
        self.buf = buf;
        Ok(bytes)
    }
}
