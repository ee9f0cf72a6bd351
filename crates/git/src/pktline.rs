//! Pkt-lines: the frames of git's wire protocol, and the side bands inside them.
//!
//! Refuses frames that the protocol does not allow; never reads past the frame it was asked for.

use std::io::{self, Read, Write};

/// The longest payload of one frame.
pub(crate) const MAX_PAYLOAD: usize = 65516;

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pkt<'a> {
    Data(&'a [u8]),
    Flush,
    Delim,
    /// The stream ended between frames.
    End,
}

impl<'a> Pkt<'a> {
    /// The text of a data frame without its line end.
    pub(crate) fn text(&self) -> Option<&'a [u8]> {
        match self {
            Pkt::Data(data) => Some(data.strip_suffix(b"\n").unwrap_or(data)),
            _ => None,
        }
    }
}

/// Reads frames, one at a time.
pub(crate) struct PktReader<R> {
    pub(crate) inner: R,
    buf: Vec<u8>,
}

pub(crate) fn protocol_error(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl<R: Read> PktReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            buf: Vec::new(),
        }
    }

    pub(crate) fn read(&mut self) -> io::Result<Pkt<'_>> {
        let mut head = [0u8; 4];
        let mut got = 0;
        while got < 4 {
            match self.inner.read(&mut head[got..]) {
                Ok(0) if got == 0 => return Ok(Pkt::End),
                Ok(0) => return Err(protocol_error("the request ends inside a pkt-line length")),
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let len = std::str::from_utf8(&head)
            .ok()
            .filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|t| usize::from_str_radix(t, 16).ok())
            .ok_or_else(|| {
                protocol_error(format!("'{}' is no pkt-line length", head.escape_ascii()))
            })?;
        match len {
            0 => return Ok(Pkt::Flush),
            1 => return Ok(Pkt::Delim),
            2..=3 => {
                return Err(protocol_error(format!(
                    "pkt-line length {len} has no meaning"
                )));
            }
            _ => {}
        }
        if len - 4 > MAX_PAYLOAD {
            return Err(protocol_error(format!(
                "a pkt-line of {len} bytes is too long"
            )));
        }
        self.buf.resize(len - 4, 0);
        self.inner.read_exact(&mut self.buf).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                protocol_error("the request ends inside a pkt-line")
            } else {
                e
            }
        })?;
        Ok(Pkt::Data(&self.buf))
    }
}

/// Writes one data frame; longer payloads than a frame holds are a bug of the caller.
pub(crate) fn write(out: &mut dyn Write, payload: &[u8]) -> io::Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Err(protocol_error(
            "a line to send is too long for one pkt-line",
        ));
    }
    write!(out, "{:04x}", payload.len() + 4)?;
    out.write_all(payload)
}

/// Writes one line of text as a frame.
pub(crate) fn line(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'\n');
    write(out, &bytes)
}

pub(crate) fn flush(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"0000")
}

pub(crate) fn delim(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"0001")
}

/// Tells the client why it gets nothing (`ERR` line; every client shows it).
pub(crate) fn error(out: &mut dyn Write, text: &str) -> io::Result<()> {
    line(out, &format!("ERR {text}"))
}

/// The side bands of protocol v0's `side-band-64k` and of v2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Band {
    Data = 1,
    Progress = 2,
    Error = 3,
}

/// Writes `payload` on `band`, in as many frames as it takes.
pub(crate) fn band(out: &mut dyn Write, band: Band, payload: &[u8]) -> io::Result<()> {
    for chunk in payload.chunks(MAX_PAYLOAD - 1) {
        write!(out, "{:04x}", chunk.len() + 5)?;
        out.write_all(&[band as u8])?;
        out.write_all(chunk)?;
    }
    Ok(())
}

/// A writer whose bytes travel on the data band, in frames as long as allowed.
pub(crate) struct DataBand<'a> {
    out: &'a mut dyn Write,
    buf: Vec<u8>,
    banded: bool,
}

impl<'a> DataBand<'a> {
    /// With `banded` false the bytes go out bare, as protocol v0 without side bands has it.
    pub(crate) fn new(out: &'a mut dyn Write, banded: bool) -> Self {
        Self {
            out,
            buf: Vec::with_capacity(MAX_PAYLOAD),
            banded,
        }
    }

    /// Writes out what is buffered; without this call the end is lost.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.write_out()?;
        self.out.flush()
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.buf.is_empty() {
            return Ok(());
        }
        if self.banded {
            band(self.out, Band::Data, &self.buf)?;
        } else {
            self.out.write_all(&self.buf)?;
        }
        self.buf.clear();
        Ok(())
    }
}

impl Write for DataBand<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let all = bytes.len();
        while !bytes.is_empty() {
            let room = (MAX_PAYLOAD - 1 - self.buf.len()).min(bytes.len());
            self.buf.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            if self.buf.len() == MAX_PAYLOAD - 1 {
                self.write_out()?;
            }
        }
        Ok(all)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_written() {
        let mut wire = Vec::new();
        line(&mut wire, "want x").unwrap();
        delim(&mut wire).unwrap();
        flush(&mut wire).unwrap();
        let mut reader = PktReader::new(&wire[..]);
        assert_eq!(reader.read().unwrap().text(), Some(&b"want x"[..]));
        assert_eq!(reader.read().unwrap(), Pkt::Delim);
        assert_eq!(reader.read().unwrap(), Pkt::Flush);
        assert_eq!(reader.read().unwrap(), Pkt::End);
    }

    #[test]
    fn broken_frames_are_refused() {
        for wire in [&b"00"[..], b"0003", b"zzzz", b"0008ab", b"+004", b"ffff"] {
            assert!(PktReader::new(wire).read().is_err(), "{wire:?}");
        }
    }

    #[test]
    fn long_data_is_cut_into_frames_and_keeps_its_bytes() {
        let mut wire = Vec::new();
        let data: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut band = DataBand::new(&mut wire, true);
        band.write_all(&data).unwrap();
        band.finish().unwrap();
        let mut reader = PktReader::new(&wire[..]);
        let mut back = Vec::new();
        while let Pkt::Data(frame) = reader.read().unwrap() {
            assert_eq!(frame[0], Band::Data as u8);
            back.extend_from_slice(&frame[1..]);
        }
        assert_eq!(back, data);
    }
}
