//! What a wheel says about itself: its `METADATA`, out of the zip file that a wheel is.
//!
//! Reads one member and no other. Refuses zip64, encryption and members of more than 4 MiB.
//! Source: PKWARE appnote 6.3.10, 4.3; PEP 427; PEP 658.

use std::io::Read;

use flate2::read::DeflateDecoder;

/// Largest `METADATA` that is read.
const METADATA_MAX_BYTES: u64 = 4 << 20;

/// How far from its end a zip file is searched for its last record: that record and its comment.
const TAIL_BYTES: usize = 22 + 65_535;

/// The bytes of `*.dist-info/METADATA` in the wheel `zip`. The error is words.
pub(super) fn metadata(zip: &[u8]) -> Result<Vec<u8>, String> {
    let cut = || "the wheel is cut short or is no zip file".to_owned();
    let from = zip.len().saturating_sub(TAIL_BYTES);
    let tail = zip.get(from..).unwrap_or_default();
    let end = tail
        .windows(4)
        .rposition(|w| w == b"PK\x05\x06")
        .ok_or_else(cut)?
        + from;
    let count = number::<2>(zip, end + 10).ok_or_else(cut)?;
    let mut at = number::<4>(zip, end + 16).ok_or_else(cut)?;
    for _ in 0..count {
        if zip.get(at..at + 4) != Some(b"PK\x01\x02") {
            return Err(cut());
        }
        let field = |offset: usize, wide: bool| {
            let found = if wide {
                number::<4>(zip, at + offset)
            } else {
                number::<2>(zip, at + offset)
            };
            found.ok_or_else(cut)
        };
        let (method, packed, size) = (field(10, false)?, field(20, true)?, field(24, true)?);
        let (name_len, extra) = (field(28, false)?, field(30, false)? + field(32, false)?);
        let place = field(42, true)?;
        let name = zip.get(at + 46..at + 46 + name_len).ok_or_else(cut)?;
        if is_metadata(name) {
            return member(zip, place, method, packed, size);
        }
        at += 46 + name_len + extra;
    }
    Err("the wheel has no .dist-info/METADATA".to_owned())
}

/// Whether a member is the wheel's own metadata: one folder deep, not that of a vendored package.
fn is_metadata(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    name.split_once('/')
        .is_some_and(|(folder, file)| folder.ends_with(".dist-info") && file == "METADATA")
}

fn member(
    zip: &[u8],
    at: usize,
    method: usize,
    packed: usize,
    size: usize,
) -> Result<Vec<u8>, String> {
    let cut = || "the wheel's METADATA is cut short".to_owned();
    if zip.get(at..at + 4) != Some(b"PK\x03\x04") {
        return Err(cut());
    }
    let name = number::<2>(zip, at + 26).ok_or_else(cut)?;
    let extra = number::<2>(zip, at + 28).ok_or_else(cut)?;
    let start = at + 30 + name + extra;
    let bytes = zip.get(start..start + packed).ok_or_else(cut)?;
    let mut out = Vec::new();
    let read = match method {
        0 => bytes.take(METADATA_MAX_BYTES).read_to_end(&mut out),
        8 => DeflateDecoder::new(bytes)
            .take(METADATA_MAX_BYTES)
            .read_to_end(&mut out),
        other => {
            return Err(format!(
                "the wheel is packed by method {other}, which is not known"
            ));
        }
    };
    if read.ok() != Some(size) {
        return Err("the wheel's METADATA has not the size that it should have".to_owned());
    }
    Ok(out)
}

/// A little-endian number of N bytes.
fn number<const N: usize>(zip: &[u8], at: usize) -> Option<usize> {
    let bytes = zip.get(at..at.checked_add(N)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    /// A zip file of these members, each deflated.
    pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
            deflate.write_all(content).unwrap();
            let packed = deflate.finish().unwrap();
            let mut crc = flate2::Crc::new();
            crc.update(content);
            let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 33, 0];
            common.extend(crc.sum().to_le_bytes());
            for size in [packed.len(), content.len()] {
                common.extend(u32::try_from(size).unwrap().to_le_bytes());
            }
            common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            common.extend([0, 0]);
            let place = u32::try_from(out.len()).unwrap();
            directory.extend(b"PK\x01\x02\x14\x00");
            directory.extend(&common);
            directory.extend([0; 10]);
            directory.extend(place.to_le_bytes());
            directory.extend(name.as_bytes());
            out.extend(b"PK\x03\x04");
            out.extend(&common);
            out.extend(name.as_bytes());
            out.extend(&packed);
        }
        let place = u32::try_from(out.len()).unwrap();
        let count = u16::try_from(members.len()).unwrap().to_le_bytes();
        out.extend(&directory);
        out.extend(b"PK\x05\x06\0\0\0\0");
        out.extend(count);
        out.extend(count);
        out.extend(u32::try_from(directory.len()).unwrap().to_le_bytes());
        out.extend(place.to_le_bytes());
        out.extend([0, 0]);
        out
    }

    #[test]
    fn the_metadata_of_the_wheel_itself_is_found() {
        let wheel = zip(&[
            ("pkg/__init__.py", b""),
            ("pkg/_vendor/other-2.dist-info/METADATA", b"Name: other\n"),
            ("pkg-1.dist-info/METADATA", b"Name: pkg\nVersion: 1\n"),
        ]);
        assert_eq!(metadata(&wheel).unwrap(), b"Name: pkg\nVersion: 1\n");
    }

    #[test]
    fn a_broken_wheel_is_refused_in_words() {
        let wheel = zip(&[("pkg-1.dist-info/METADATA", b"Name: pkg\n")]);
        assert!(metadata(&wheel[..wheel.len() - 30]).is_err());
        assert!(metadata(b"no zip").unwrap_err().contains("no zip file"));
        assert!(
            metadata(&zip(&[("a", b"b")]))
                .unwrap_err()
                .contains("METADATA")
        );
        for at in 0..wheel.len() {
            let mut broken = wheel.clone();
            broken[at] ^= 0xff;
            drop(metadata(&broken));
        }
    }
}
