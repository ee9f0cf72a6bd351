//! Appends records to one attempt's log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::SystemTime;

use vocab::{Attempt, JobId, unix_ms};

use super::record::{END, Line, parse};
use super::sanitise::{cut, sanitise};
use super::{Kind, LINE_BYTES, Logs, Record};

/// What Cofferdam itself may still say after the cap: the receipt, above all.
const RESERVE_BYTES: u64 = 256 << 10;
const BUFFER_BYTES: usize = 64 << 10;

/// The one writer of one log. Readers see what has been flushed.
pub struct LogWriter {
    logs: Logs,
    job: JobId,
    attempt: Attempt,
    file: File,
    buffer: Vec<u8>,
    size_bytes: u64,
    full: bool,
    ended: bool,
}

impl Logs {
    /// Opens the log of an attempt for appending; goes on where an earlier writer ended, after
    /// removing a half-written last line.
    pub fn writer(&self, job: JobId, attempt: Attempt) -> io::Result<LogWriter> {
        let path = self.path(job, attempt);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let (size_bytes, last) = whole_lines(&mut file)?;
        file.set_len(size_bytes)?;
        file.seek(SeekFrom::Start(size_bytes))?;
        Ok(LogWriter {
            logs: self.clone(),
            job,
            attempt,
            file,
            buffer: Vec::new(),
            size_bytes,
            full: size_bytes >= self.cap_bytes,
            ended: matches!(last, Some(Line::End)),
        })
    }

    /// Closes a log whose writer died: says `reason` in it, then ends it. Fine when it has ended.
    pub fn seal(
        &self,
        job: JobId,
        attempt: Attempt,
        now: SystemTime,
        reason: &str,
    ) -> io::Result<()> {
        let mut writer = self.writer(job, attempt)?;
        if !writer.ended {
            writer.append(now, 0, Kind::System, reason)?;
        }
        writer.finish(now)
    }
}

/// The length of all whole lines, and the last of them.
fn whole_lines(file: &mut File) -> io::Result<(u64, Option<Line>)> {
    let length = file.metadata()?.len();
    let window = u64::try_from(2 * (LINE_BYTES + 256)).unwrap_or(u64::MAX);
    let start = length.saturating_sub(window);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(window).read_to_end(&mut tail)?;
    let Some(end) = tail.iter().rposition(|b| *b == b'\n') else {
        return Ok((start, None));
    };
    let line_start = tail[..end]
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    Ok((
        start + end as u64 + 1,
        Some(parse(0, &tail[line_start..end])),
    ))
}

impl LogWriter {
    /// Where the next record will start, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.size_bytes
    }

    /// Adds one line, or several when `text` holds line ends. Nothing is shown before
    /// [`LogWriter::flush`], which happens by itself every 64 KiB.
    pub fn append(&mut self, at: SystemTime, step: u32, kind: Kind, text: &str) -> io::Result<()> {
        if self.ended {
            return Err(io::Error::other("the log has ended"));
        }
        for line in text
            .split(['\n', '\r'])
            .enumerate()
            .filter_map(|(n, line)| {
                // `\r\n` is one line end; an empty text is one empty line.
                (n == 0 || !line.is_empty()).then_some(line)
            })
        {
            let line = sanitise(line);
            let mut rest = line.as_ref();
            let mut continued = false;
            loop {
                let (now, later) = rest.split_at(cut(rest, LINE_BYTES));
                self.push(unix_ms(at), step, kind, continued, now)?;
                if later.is_empty() {
                    break;
                }
                rest = later;
                continued = true;
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        at_ms: i64,
        step: u32,
        kind: Kind,
        continued: bool,
        text: &str,
    ) -> io::Result<()> {
        let record = Record {
            offset: self.size_bytes,
            at_ms,
            step,
            kind,
            continued,
            text: text.to_owned(),
        };
        let line = record.to_string();
        let own = matches!(kind, Kind::Receipt | Kind::System);
        let limit = self.logs.cap_bytes + if own { RESERVE_BYTES } else { 0 };
        let fits = self.size_bytes + line.len() as u64 <= limit;
        if fits && (own || !self.full) {
            return self.put(line.as_bytes());
        }
        if !self.full {
            self.full = true;
            let notice = Record {
                kind: Kind::System,
                continued: false,
                text: format!(
                    "this log has reached its limit of {} bytes; what the job prints from here \
                     on is not kept. Write less, or write to a file",
                    self.logs.cap_bytes
                ),
                ..record
            };
            self.put(notice.to_string().as_bytes())?;
            return self.flush();
        }
        Ok(())
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(line);
        self.size_bytes += line.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Shows everything appended so far to readers.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let from = self.size_bytes - self.buffer.len() as u64;
        if let Err(e) = self.file.write_all(&self.buffer) {
            // Whole lines only: what was half written goes, and the next flush tries again.
            self.file.set_len(from)?;
            self.file.seek(SeekFrom::Start(from))?;
            return Err(e);
        }
        self.buffer.clear();
        self.logs.grew(self.job, self.attempt);
        Ok(())
    }

    /// Ends the log for ever, durably. Fine when it has ended.
    pub fn finish(mut self, now: SystemTime) -> io::Result<()> {
        if !self.ended {
            let line = format!("{} 0 {END} \n", unix_ms(now));
            self.put(line.as_bytes())?;
            self.ended = true;
        }
        self.flush()?;
        self.file.sync_all()?;
        let path = self.logs.path(self.job, self.attempt);
        if let Some(parent) = path.parent() {
            store::sync_dir(parent)?;
        }
        store::sync_dir(&self.logs.dir)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        if let Err(e) = self.flush() {
            tracing::error!(job.id = %self.job, error = %e, "the end of a log could not be written");
        }
    }
}
