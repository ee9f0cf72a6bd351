//! What is written comes back; whatever else is there, or never ends, is refused.

use std::io::Cursor;

use super::*;

fn two() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.file("README", b"read me").unwrap();
    writer.file("events/0000.jsonl", &[b'x'; 1024]).unwrap();
    writer.finish().unwrap()
}

fn listed(bytes: &[u8]) -> Result<Vec<Place>, ArchiveError> {
    list(&mut Cursor::new(bytes), bytes.len() as u64)
}

#[test]
fn files_come_back() {
    let bytes = two();
    let places = listed(&bytes).unwrap();
    assert_eq!(places.len(), 2);
    let read = content(&mut Cursor::new(&bytes), &places[0], 100).unwrap();
    assert_eq!(read, b"read me");
    assert!(content(&mut Cursor::new(&bytes), &places[1], 1023).is_err());
}

#[test]
fn every_byte_outside_of_contents_is_held_to_the_format() {
    let bytes = two();
    let places = listed(&bytes).unwrap();
    for at in 0..bytes.len() {
        let here = at as u64;
        let inside = |p: &Place| p.offset <= here && here < p.offset + p.size;
        // A name is not this module's to know.
        let name = |p: &Place| p.offset - 512 <= here && here < p.offset - 412;
        if places.iter().any(|p| inside(p) || name(p)) {
            continue;
        }
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(listed(&changed).is_err(), "byte {at}");
    }
    for cut in 0..bytes.len() {
        assert!(listed(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert!(listed(&[&bytes[..], &[0; 512]].concat()).is_err());
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    for name in ["../a", "/a", "a//b", "a/./b", "", "a b", "ä"] {
        assert!(Writer::new(Vec::new()).file(name, b"").is_err(), "{name}");
    }
}

/// An archive that never ends: the same empty file again and again, said to be `1 << 60` bytes
/// long. Counts what is taken from it.
struct Endless {
    block: [u8; BLOCK],
    at: u64,
    taken: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let within = usize::try_from(self.at % BLOCK as u64).unwrap();
        let n = buffer.len().min(BLOCK - within);
        buffer[..n].copy_from_slice(&self.block[within..within + n]);
        self.at += n as u64;
        self.taken += n as u64;
        Ok(n)
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        self.at = at;
        Ok(at)
    }
}

#[test]
fn files_without_number_are_refused_once_there_are_too_many() {
    let mut endless = Endless {
        block: header("a", 0),
        at: 0,
        taken: 0,
    };
    let most = (FILES_MAX * BLOCK) as u64;
    let refused = list(&mut endless, 1 << 60).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("byte {most} of the export: it has too many files")
    );
    assert_eq!(endless.taken, most + BLOCK as u64);
    // The control: some of them and an end are taken.
    let some = [&endless.block.repeat(9)[..], &[0; 2 * BLOCK]].concat();
    assert_eq!(listed(&some).unwrap().len(), 9);
}

#[test]
fn a_size_that_no_file_has_is_refused_where_it_stands() {
    let refused = |block: [u8; BLOCK]| {
        let words = listed(&[&two()[..1024], &block, &[0; 4 * BLOCK]].concat());
        words.unwrap_err().to_string()
    };
    // The control: the next file may well be empty.
    let ended = [&two()[..1024], &header("a", 0), &[0; 2 * BLOCK]].concat();
    assert_eq!(listed(&ended).unwrap().len(), 2);
    // 2^60 bytes, in the way that other programs write what eleven digits cannot say.
    let mut block = header("a", 0);
    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert_eq!(
        refused(block),
        "byte 1024 of the export: this is no header of a file, as this format writes them"
    );
    assert_eq!(
        refused(header("a", SIZE_MAX)),
        "byte 1024 of the export: a goes beyond its end"
    );
}

#[test]
fn a_name_of_a_mebibyte_is_refused_where_it_stands() {
    let name = "a/".repeat(512 << 10);
    assert!(Writer::new(Vec::new()).file(&name, b"").is_err());
    // As GNU tar writes it: a file of another kind, whose content is the next one's name.
    let mut block = header("a", name.len() as u64);
    block[..100].fill(0);
    block[..13].copy_from_slice(b"././@LongLink");
    block[156] = b'L';
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let bytes = [&block, name.as_bytes(), &two()].concat();
    assert_eq!(
        listed(&bytes).unwrap_err().to_string(),
        "byte 0 of the export: this is no header of a file, as this format writes them"
    );
}
