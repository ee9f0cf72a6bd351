//! Hides secrets in output lines, in every encoding of `encodings`.
//!
//! Lines are assembled before they come here, so the places where a program's writes were cut do
//! not matter. A secret may be cut by line ends only (wrapped base64, a PEM file): pieces that
//! touch a line's end are recognised and followed into the next line. Terminal colours inside a
//! secret do not save it. Invariant: what is masked once stays masked for the whole job.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::encodings;

/// Shortest piece of a needle that is recognised at a line's end; also the index's key.
const PIECE: usize = 12;
/// Positions kept per key, so that `aaaa…` does not make every line slow.
const PLACES: usize = 16;
/// All needles together may take this much, so that a job cannot grow the runner by `add-mask`.
const MAX_NEEDLE_BYTES: usize = 32 << 20;

/// Secrets and masks of one job; each new one may mean building the search anew.
const MAX_SECRETS: usize = 1000;

/// More masks than one job may have.
#[derive(Debug, thiserror::Error)]
#[error(
    "too many secrets and masks: more than 1,000, or their encodings take more than 32 MiB; mask \
     fewer values"
)]
pub(crate) struct TooManyMasks;

/// All the texts to hide, ready for search.
pub(crate) struct Masker {
    known: HashSet<Vec<u8>>,
    secrets: usize,
    bytes: usize,
    short: Vec<Vec<u8>>,
    /// Finds the short ones; built when the next line comes.
    search: OnceCell<AhoCorasick>,
    long: Vec<Vec<u8>>,
    index: HashMap<[u8; PIECE], Vec<Place>>,
    filter: Box<[u64; 1024]>,
}

/// A place inside a long needle.
#[derive(Clone, Copy, Debug)]
struct Place {
    needle: u32,
    at: u32,
}

/// Where the line before was cut inside needles; one for each stream of lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail(Vec<Place>);

impl Masker {
    pub(crate) fn new() -> Self {
        Self {
            known: HashSet::new(),
            secrets: 0,
            bytes: 0,
            short: Vec::new(),
            search: OnceCell::new(),
            long: Vec::new(),
            index: HashMap::new(),
            filter: Box::new([0; 1024]),
        }
    }

    /// Hides `secret` from now on. Too short ones are left alone.
    pub(crate) fn add(&mut self, secret: &str) -> Result<(), TooManyMasks> {
        if self.known.contains(secret.as_bytes()) {
            return Ok(());
        }
        self.secrets += 1;
        if self.secrets > MAX_SECRETS {
            return Err(TooManyMasks);
        }
        let mut needles = encodings::needles(secret);
        needles.retain(|needle| !self.known.contains(needle));
        self.bytes += needles.iter().map(Vec::len).sum::<usize>();
        if self.bytes > MAX_NEEDLE_BYTES {
            return Err(TooManyMasks);
        }
        for needle in needles {
            self.known.insert(needle.clone());
            if needle.len() < PIECE {
                self.short.push(needle);
                self.search = OnceCell::new();
            } else {
                self.add_long(needle);
            }
        }
        Ok(())
    }

    fn add_long(&mut self, needle: Vec<u8>) {
        let number = u32::try_from(self.long.len()).expect("bounded by MAX_NEEDLE_BYTES");
        for (at, window) in needle.windows(PIECE).enumerate() {
            let key: [u8; PIECE] = window.try_into().expect("windows have this size");
            let places = self.index.entry(key).or_default();
            if at == 0 || places.len() < PLACES {
                let at = u32::try_from(at).expect("bounded by MAX_NEEDLE_BYTES");
                places.push(Place { needle: number, at });
            }
            let bit = filter_bit(window);
            self.filter[bit / 64] |= 1 << (bit % 64);
        }
        self.long.push(needle);
    }

    /// The line with `***` for every secret in it.
    pub(crate) fn mask(&self, tail: &mut Tail, line: &[u8]) -> String {
        let ranges = self.ranges(tail, line);
        if ranges.is_empty() {
            return String::from_utf8_lossy(line).into_owned();
        }
        let mut out = Vec::with_capacity(line.len());
        let mut from = 0;
        for range in ranges {
            out.extend_from_slice(&line[from..range.start]);
            out.extend_from_slice(b"***");
            from = range.end;
        }
        out.extend_from_slice(&line[from..]);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Masks every line of a text that is not part of a log.
    pub(crate) fn mask_text(&self, text: &str) -> String {
        let mut tail = Tail::default();
        let lines: Vec<String> = text
            .split('\n')
            .map(|line| self.mask(&mut tail, line.as_bytes()))
            .collect();
        lines.join("\n")
    }

    /// Whether a text holds a secret.
    pub(crate) fn reveals(&self, text: &str) -> bool {
        let mut tail = Tail::default();
        text.split('\n')
            .any(|line| !self.ranges(&mut tail, line.as_bytes()).is_empty())
    }

    /// Where a line that is too long may be cut: at `at` or, when a secret or a character spans
    /// that place, beside it.
    pub(crate) fn cut(&self, tail: &Tail, line: &[u8], at: usize) -> usize {
        let ranges = self.ranges(&mut tail.clone(), line);
        if let Some(range) = ranges.iter().find(|r| r.start < at && at < r.end) {
            return if range.start > 0 {
                range.start
            } else {
                range.end
            };
        }
        let back = (0..4).find(|&n| at > n && !is_continuation(line[at - n]));
        at - back.unwrap_or(0)
    }

    /// What to hide, in order and apart from each other.
    fn ranges(&self, tail: &mut Tail, line: &[u8]) -> Vec<Range<usize>> {
        if self.known.is_empty() {
            return Vec::new();
        }
        if !line.contains(&0x1b) {
            return merged(self.plain_ranges(tail, line));
        }
        let (plain, origin) = without_escapes(line);
        let found = self.plain_ranges(tail, &plain).into_iter();
        merged(
            found
                .map(|r| origin[r.start]..origin[r.end - 1] + 1)
                .collect(),
        )
    }

    fn plain_ranges(&self, tail: &mut Tail, line: &[u8]) -> Vec<Range<usize>> {
        let mut out: Vec<Range<usize>> = Vec::new();
        if !self.short.is_empty() {
            let search = self.search.get_or_init(|| search_for(&self.short));
            out.extend(search.find_iter(line).map(|m| m.range()));
        }
        let body = line.trim_ascii();
        if body.is_empty() {
            return out;
        }
        let start = line.len() - line.trim_ascii_start().len();
        let end = start + body.len();
        let mut next = Vec::new();
        let mut i = start;
        if let Some(length) = self.continued(tail, &line[start..end], &mut next) {
            out.push(start..start + length);
            i = start + length;
        }
        while i + PIECE <= end {
            match self.longest_at(line, i, start, end, &mut next) {
                Some(length) => {
                    out.push(i..i + length);
                    i += length;
                }
                None => i += 1,
            }
        }
        tail.0 = next;
        out
    }

    /// The length of what the line's start continues of a needle that the line before began.
    fn continued(&self, tail: &Tail, body: &[u8], next: &mut Vec<Place>) -> Option<usize> {
        let mut longest = None;
        for place in &tail.0 {
            let rest = &self.long[place.needle as usize][place.at as usize..];
            let length = common(rest, body);
            if length > 0 && (length == rest.len() || length == body.len()) {
                longest = longest.max(Some(length));
                note_cut(next, *place, length, rest, body);
            }
        }
        longest
    }

    /// The length of the longest needle, or piece of one cut by line ends only, that stands at
    /// `i`.
    fn longest_at(
        &self,
        line: &[u8],
        i: usize,
        start: usize,
        end: usize,
        next: &mut Vec<Place>,
    ) -> Option<usize> {
        let window = &line[i..i + PIECE];
        let bit = filter_bit(window);
        if self.filter[bit / 64] & (1 << (bit % 64)) == 0 {
            return None;
        }
        let mut longest = None;
        for place in self.index.get(window)? {
            if place.at != 0 && i != start {
                continue;
            }
            let rest = &self.long[place.needle as usize][place.at as usize..];
            let length = common(rest, &line[i..end]);
            if length == rest.len() || i + length == end {
                longest = longest.max(Some(length));
                note_cut(next, *place, length, rest, &line[i..end]);
            }
        }
        longest
    }
}

fn search_for(needles: &[Vec<u8>]) -> AhoCorasick {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(needles)
        .expect("1,000 secrets have fewer short encodings than a search can hold")
}

/// Remembers that the line's end cut a needle.
fn note_cut(next: &mut Vec<Place>, place: Place, length: usize, rest: &[u8], line: &[u8]) {
    if length == line.len() && length < rest.len() && next.len() < 64 {
        let at = place.at + u32::try_from(length).expect("within a needle");
        next.push(Place { at, ..place });
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// A cheap hash of a window's first 12 bytes to 16 bits.
fn filter_bit(window: &[u8]) -> usize {
    let mut low = [0; 8];
    low.copy_from_slice(&window[..8]);
    let mut high = [0; 8];
    high[..4].copy_from_slice(&window[8..PIECE]);
    let mixed = (u64::from_le_bytes(low) ^ u64::from_le_bytes(high).rotate_left(29))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 48).expect("16 bits fit")
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|r| r.start);
    let mut out: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// The line without terminal escapes, and where each of its bytes came from.
fn without_escapes(line: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut plain = Vec::with_capacity(line.len());
    let mut origin = Vec::with_capacity(line.len());
    let mut i = 0;
    while i < line.len() {
        if line[i] == 0x1b {
            i = escape_end(line, i);
        } else {
            plain.push(line[i]);
            origin.push(i);
            i += 1;
        }
    }
    (plain, origin)
}

/// The end of the escape sequence that begins at `i` (ECMA-48: CSI, OSC, two-byte).
fn escape_end(line: &[u8], i: usize) -> usize {
    let rest = &line[i + 1..];
    let length = match rest.first() {
        Some(b'[') => rest[1..]
            .iter()
            .position(|b| (0x40..=0x7e).contains(b))
            .map_or(rest.len(), |n| n + 2),
        Some(b']') => rest
            .iter()
            .position(|&b| b == 0x07)
            .map(|n| n + 1)
            .or_else(|| rest.windows(2).position(|w| w == b"\x1b\\").map(|n| n + 2))
            .unwrap_or(1),
        Some(b'(' | b')') => rest.len().min(2),
        Some(_) => 1,
        None => 0,
    };
    i + 1 + length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{Line, Lines, Sink};

    const SECRET: &str = "s3cr3t/Pa<ss>w\"ör'd&42\\n%x";

    fn masker(secrets: &[&str]) -> Masker {
        let mut masker = Masker::new();
        for secret in secrets {
            masker.add(secret).unwrap();
        }
        masker
    }

    /// The way of a program's output to the log: lines, then masks.
    struct Log<'a> {
        masker: &'a Masker,
        tail: Tail,
        text: String,
    }

    impl Sink for Log<'_> {
        fn line(&mut self, line: Line<'_>) {
            self.text
                .push_str(&self.masker.mask(&mut self.tail, line.bytes));
            self.text.push('\n');
        }

        fn cut(&self, start: &[u8], at: usize) -> usize {
            self.masker.cut(&self.tail, start, at)
        }
    }

    fn log(masker: &Masker, chunks: &[&[u8]]) -> String {
        let mut log = Log {
            masker,
            tail: Tail::default(),
            text: String::new(),
        };
        let mut lines = Lines::default();
        for chunk in chunks {
            lines.push(chunk, &mut log);
        }
        lines.finish(&mut log);
        log.text
    }

    #[test]
    fn every_encoding_is_hidden_wherever_the_writes_are_cut() {
        let masker = masker(&[SECRET]);
        let needles = encodings::needles(SECRET);
        assert!(needles.len() >= 40, "{}", needles.len());
        for needle in &needles {
            let mut line = b"value: ".to_vec();
            line.extend_from_slice(needle);
            line.extend_from_slice(b" end");
            for at in 1..line.len() {
                let text = log(&masker, &[&line[..at], &line[at..]]);
                let shown = String::from_utf8_lossy(needle);
                assert!(!text.contains(&*shown), "{shown} cut at {at}: {text}");
                assert!(text.contains("***"), "{shown}: {text}");
            }
        }
    }

    #[test]
    fn text_without_secrets_is_left_as_it_is() {
        let masker = masker(&[SECRET, "ab", "x"]);
        let text = "s3cr3t/P is not it, nor is Pa<ss>; ab x\nvalue\n";
        assert_eq!(log(&masker, &[text.as_bytes()]), text);
    }

    #[test]
    fn colours_inside_a_secret_do_not_save_it() {
        let masker = masker(&["hunter2", "correct-horse-battery"]);
        let text = "a \x1b[01;31mhun\x1b[mter2\x1b[K b\ncorrect-\x1b]8;;x\x07horse-battery\n";
        let out = log(&masker, &[text.as_bytes()]);
        assert!(!out.contains("ter2") && !out.contains("horse"), "{out:?}");
        assert!(out.starts_with("a ") && out.contains(" b\n"), "{out:?}");
    }

    #[test]
    fn every_line_of_a_pem_file_is_hidden() {
        let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\nAgEAAoIBAQC7VJTUt9Us8cKj\nshort=\n-----END KEY-----\n";
        let masker = masker(&[pem]);
        let out = log(&masker, &[pem.as_bytes()]);
        assert_eq!(out, "***\n***\n***\n***\n***\n");
        let indented = pem.replace('\n', "\r\n  ");
        let out = log(&masker, &[indented.as_bytes()]);
        assert!(!out.contains("MII") && !out.contains("short"), "{out}");
    }

    #[test]
    fn wrapped_base64_is_hidden_to_its_last_line() {
        use base64::Engine as _;
        let secret = "a long secret that takes more than one line of seventy-six characters when encoded, \
                      as the tool does by default";
        let masker = masker(&[secret]);
        for before in ["", "x", "user:"] {
            let encoded =
                base64::engine::general_purpose::STANDARD.encode(format!("{before}{secret}\n"));
            for width in [40, 60, 64, 76] {
                let wrapped: Vec<&str> = encoded
                    .as_bytes()
                    .chunks(width)
                    .map(|c| std::str::from_utf8(c).unwrap())
                    .collect();
                let out = log(&masker, &[wrapped.join("\n").as_bytes()]);
                for (i, line) in out.lines().enumerate() {
                    let plain = line.replace("***", "").len();
                    assert!(plain <= before.len() * 2 + 4, "line {i} of {width}: {out}");
                }
            }
        }
    }

    #[test]
    fn a_secret_where_a_long_line_is_cut_stays_hidden() {
        let masker = masker(&["hunter2", "correct-horse-battery"]);
        for secret in ["hunter2", "correct-horse-battery"] {
            for before in 0..=secret.len() {
                let mut line = vec![b'.'; crate::lines::LINE_BYTES - before];
                line.extend_from_slice(secret.as_bytes());
                line.extend_from_slice(&vec![b'.'; 20_000]);
                let out = log(&masker, &line.chunks(5000).collect::<Vec<_>>());
                assert_eq!(out.matches("***").count(), 1, "{secret} {before}");
                assert_eq!(
                    out.bytes().filter(|b| *b == b'.').count(),
                    line.len() - secret.len()
                );
            }
        }
    }

    #[test]
    fn repeated_characters_are_hidden_whole() {
        let masker = masker(&[&"a".repeat(1000)]);
        let out = log(&masker, &[format!("[{}]", "a".repeat(1000)).as_bytes()]);
        assert_eq!(out, "[***]\n");
    }

    #[test]
    fn masks_have_a_limit() {
        assert!(
            Masker::new()
                .add(&"0123456789abcdef".repeat(200_000))
                .is_err()
        );
        let mut masker = Masker::new();
        let mut add = |i: u32| masker.add(&format!("{i:03}"));
        assert!((0..1000).all(|i| add(i).is_ok()));
        assert!(add(5).is_ok(), "known already");
        assert!(add(1000).is_err());
    }

    #[test]
    fn a_text_that_reveals_is_known() {
        let masker = masker(&["hunter2"]);
        assert!(masker.reveals("x\nhunter2\n") && !masker.reveals("hunter3"));
        assert_eq!(masker.mask_text("a\nhunter2 b\n"), "a\n*** b\n");
    }
}
