//! Reads whole records of one attempt's log, from any record on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use serde::Serialize;
use vocab::{Attempt, JobId};

use super::record::{Line, parse};
use super::{Kind, LINE_BYTES, Logs, Record};

/// Some records in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chunk {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Where the first one starts, in bytes.
    pub first_offset: u64,
    /// Where to read on.
    pub next_offset: u64,
    /// Whether there will never be more after `next_offset`.
    pub finished: bool,
    /// The size of the whole log at this moment.
    pub size_bytes: u64,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No record starts there.
    #[error(
        "no record starts at byte {offset} of the log of {size_bytes} bytes; use an offset that \
         was given out, or 0"
    )]
    NoSuchOffset {
        /// As asked.
        offset: u64,
        /// The size now.
        size_bytes: u64,
    },
    /// The file cannot be read.
    #[error("the log cannot be read")]
    Io(#[from] io::Error),
}

/// No line is longer: text, and room for the fields before it.
const WINDOW_BYTES: u64 = LINE_BYTES as u64 + 256;

impl Logs {
    /// Reads records from `from` on, about `max_bytes` of them but at least one if there is one.
    ///
    /// A log that does not exist yet is empty and not finished.
    pub fn read(
        &self,
        job: JobId,
        attempt: Attempt,
        from: u64,
        max_bytes: u64,
    ) -> Result<Chunk, LogError> {
        let Some(mut file) = self.existing(job, attempt)? else {
            return if from == 0 {
                Ok(empty())
            } else {
                Err(LogError::NoSuchOffset {
                    offset: from,
                    size_bytes: 0,
                })
            };
        };
        let size_bytes = file.metadata()?.len();
        let wrong = LogError::NoSuchOffset {
            offset: from,
            size_bytes,
        };
        if from > size_bytes {
            return Err(wrong);
        }
        let before = from.saturating_sub(1);
        if from == size_bytes && from > 0 {
            return at_end(&mut file, size_bytes)?.ok_or(wrong);
        }
        file.seek(SeekFrom::Start(before))?;
        let mut bytes = Vec::new();
        let window = max_bytes.max(WINDOW_BYTES).saturating_add(1);
        file.take(window.min(size_bytes - before))
            .read_to_end(&mut bytes)?;
        let start = usize::from(from > 0);
        if from > 0 && bytes.first() != Some(&b'\n') {
            return Err(wrong);
        }
        Ok(chunk(&bytes[start..], from, size_bytes))
    }

    /// Reads the last records, about `max_bytes` of them.
    pub fn tail(&self, job: JobId, attempt: Attempt, max_bytes: u64) -> Result<Chunk, LogError> {
        let Some(mut file) = self.existing(job, attempt)? else {
            return Ok(empty());
        };
        let size_bytes = file.metadata()?.len();
        let start = size_bytes.saturating_sub(max_bytes.max(WINDOW_BYTES));
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(size_bytes - start).read_to_end(&mut bytes)?;
        let skip = if start == 0 {
            0
        } else {
            bytes
                .iter()
                .position(|b| *b == b'\n')
                .map_or(bytes.len(), |at| at + 1)
        };
        Ok(chunk(&bytes[skip..], start + skip as u64, size_bytes))
    }

    fn existing(&self, job: JobId, attempt: Attempt) -> Result<Option<File>, LogError> {
        match File::open(self.path(job, attempt)) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

/// The empty chunk at the end of a log of `size_bytes`, `None` when that is within a line.
///
/// What was appended since the size was read is not looked at: the next read is told of it.
pub(super) fn at_end(file: &mut File, size_bytes: u64) -> io::Result<Option<Chunk>> {
    let start = size_bytes.saturating_sub(64);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(size_bytes - start).read_to_end(&mut bytes)?;
    let Some(text) = bytes.strip_suffix(b"\n") else {
        return Ok(None);
    };
    let last = text.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    Ok(Some(Chunk {
        first_offset: size_bytes,
        next_offset: size_bytes,
        finished: matches!(parse(0, last), Line::End),
        size_bytes,
        ..empty()
    }))
}

fn empty() -> Chunk {
    Chunk {
        records: Vec::new(),
        first_offset: 0,
        next_offset: 0,
        finished: false,
        size_bytes: 0,
    }
}

fn chunk(bytes: &[u8], first_offset: u64, size_bytes: u64) -> Chunk {
    let mut out = Chunk {
        records: Vec::new(),
        first_offset,
        next_offset: first_offset,
        finished: false,
        size_bytes,
    };
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            break;
        };
        let offset = out.next_offset;
        match parse(offset, text) {
            Line::Record(record) => out.records.push(record),
            Line::End => out.finished = true,
            Line::Unreadable => out.records.push(Record {
                offset,
                at_ms: 0,
                step: 0,
                kind: Kind::System,
                continued: false,
                text: "this line of the log cannot be read; the file was damaged".to_owned(),
            }),
        }
        out.next_offset += line.len() as u64;
    }
    out
}
