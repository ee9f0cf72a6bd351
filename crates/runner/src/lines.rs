//! Cuts a program's output into lines, in bounded memory, whatever it prints.
//!
//! A line ends at LF, CR LF or a lone CR (progress bars). Longer lines than the limit are cut
//! where no secret and no character is cut.

/// Longest line that a log holds.
pub(crate) const LINE_BYTES: usize = 64 * 1024;
/// Longest workflow command, values in it included.
pub(crate) const COMMAND_BYTES: usize = 1 << 20;
/// How far beyond a cut the search for secrets looks.
const AHEAD: usize = 8 * 1024;

/// Assembles the lines of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// The last byte was a CR that ended a line: a LF right after it belongs to it.
    after_cr: bool,
    /// The start of the line that is being read has been handed out already.
    within: bool,
}

/// A line, or a part of one that was too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) bytes: &'a [u8],
    /// All of it, from its start to its end: only such a line can be a command.
    pub(crate) whole: bool,
}

/// Who gets the lines.
pub(crate) trait Sink {
    /// Takes a line.
    fn line(&mut self, line: Line<'_>);

    /// Where to cut the start of a line that is too long: at `at`, or nearby when that would cut
    /// something in two.
    fn cut(&self, start: &[u8], at: usize) -> usize;
}

impl Lines {
    /// Takes the next bytes and hands out every line that they complete.
    pub(crate) fn push(&mut self, mut chunk: &[u8], sink: &mut dyn Sink) {
        while !chunk.is_empty() {
            if std::mem::take(&mut self.after_cr) && chunk[0] == b'\n' {
                chunk = &chunk[1..];
                continue;
            }
            let Some(at) = memchr::memchr2(b'\n', b'\r', chunk) else {
                self.buffer.extend_from_slice(chunk);
                self.shorten(AHEAD, sink);
                return;
            };
            self.after_cr = chunk[at] == b'\r';
            if self.buffer.is_empty() && at <= LINE_BYTES {
                self.hand_out(&chunk[..at], sink);
            } else {
                self.buffer.extend_from_slice(&chunk[..at]);
                self.end(sink);
            }
            self.within = false;
            chunk = &chunk[at + 1..];
        }
    }

    /// The stream has ended: hands out what was left without a line end.
    pub(crate) fn finish(&mut self, sink: &mut dyn Sink) {
        if !self.buffer.is_empty() {
            self.end(sink);
        }
        *self = Self::default();
    }

    fn hand_out(&self, bytes: &[u8], sink: &mut dyn Sink) {
        let whole = !self.within;
        if whole || !bytes.is_empty() {
            sink.line(Line { bytes, whole });
        }
    }

    fn limit(&self) -> usize {
        let command = !self.within && self.buffer.starts_with(b"::");
        if command { COMMAND_BYTES } else { LINE_BYTES }
    }

    fn shorten(&mut self, ahead: usize, sink: &mut dyn Sink) {
        while self.buffer.len() > self.limit() + ahead {
            let window = self.buffer.len().min(LINE_BYTES + AHEAD);
            let at = sink
                .cut(&self.buffer[..window], LINE_BYTES)
                .clamp(1, window);
            let bytes = &self.buffer[..at];
            sink.line(Line {
                bytes,
                whole: false,
            });
            self.buffer.drain(..at);
            self.within = true;
        }
    }

    fn end(&mut self, sink: &mut dyn Sink) {
        self.shorten(0, sink);
        self.hand_out(&self.buffer, sink);
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Vec<(Vec<u8>, bool)>);

    impl Sink for Kept {
        fn line(&mut self, line: Line<'_>) {
            self.0.push((line.bytes.to_vec(), line.whole));
        }

        fn cut(&self, _: &[u8], at: usize) -> usize {
            at
        }
    }

    fn split(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let mut kept = Kept::default();
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.push(chunk, &mut kept);
        }
        lines.finish(&mut kept);
        kept.0
    }

    fn texts(chunks: &[&[u8]]) -> Vec<String> {
        split(chunks)
            .into_iter()
            .map(|(l, _)| String::from_utf8(l).unwrap())
            .collect()
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line_once() {
        assert_eq!(texts(&[b"a\nb\r\nc\rd"]), ["a", "b", "c", "d"]);
        assert_eq!(texts(&[b"a\r", b"\nb\r", b"c"]), ["a", "b", "c"]);
        assert_eq!(texts(&[b"a\n\nb"]), ["a", "", "b"]);
        assert_eq!(texts(&[b"a\r\r\nb\n"]), ["a", "", "b"]);
    }

    #[test]
    fn the_places_where_writes_were_cut_do_not_show() {
        let text = b"one\ntwo\r\nthree\rfour";
        for size in 1..text.len() {
            let chunks: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(texts(&chunks), ["one", "two", "three", "four"], "{size}");
        }
    }

    #[test]
    fn a_long_line_comes_in_parts_and_nothing_is_lost() {
        let long = vec![b'x'; 3 * LINE_BYTES + 17];
        for size in [1000, 65_536, 1 << 20] {
            let mut input = long.clone();
            input.extend_from_slice(b"\nshort\n");
            let parts = split(&input.chunks(size).collect::<Vec<_>>());
            let (last, parts) = parts.split_last().unwrap();
            assert_eq!(*last, (b"short".to_vec(), true));
            assert!(
                parts
                    .iter()
                    .all(|(p, whole)| p.len() <= LINE_BYTES && !whole)
            );
            assert_eq!(
                parts.iter().map(|(p, _)| p.len()).sum::<usize>(),
                long.len()
            );
        }
    }

    #[test]
    fn a_long_command_stays_whole_up_to_its_own_limit() {
        let mut input = b"::add-mask::".to_vec();
        input.resize(300_000, b'k');
        let lines = split(&input.chunks(9000).collect::<Vec<_>>());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].1);
    }
}
