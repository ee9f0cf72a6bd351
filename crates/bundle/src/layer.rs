//! A layer's tar out of its packed blob, hashed and bounded on the way.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use vocab::Digest;

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// As its first bytes say.
    Guess,
}

impl Compression {
    /// What a layer's media type says (OCI image-spec 1.1, "layer"); `None` for other types.
    #[must_use]
    pub fn from_media_type(kind: &str) -> Option<Self> {
        match kind {
            "application/vnd.oci.image.layer.v1.tar" => Some(Self::None),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Self::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd" => Some(Self::Zstd),
            "application/vnd.docker.image.rootfs.diff.tar" => Some(Self::Guess),
            _ => None,
        }
    }

    /// The plain bytes of `packed`.
    pub(crate) fn unpack<R: Read>(self, packed: R) -> io::Result<impl Read> {
        self.open(packed)
    }

    fn open<R: Read>(self, packed: R) -> io::Result<Inner<R>> {
        let mut packed = BufReader::with_capacity(256 << 10, packed);
        let compression = match self {
            Self::Guess => match packed.fill_buf()? {
                [0x1f, 0x8b, ..] => Self::Gzip,
                [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
                _ => Self::None,
            },
            known => known,
        };
        Ok(match compression {
            Self::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(packed))),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed)?;
                decoder.window_log_max(27)?;
                Inner::Zstd(Box::new(decoder))
            }
            Self::None | Self::Guess => Inner::Plain(packed),
        })
    }
}

/// Why a layer is not what it claims to be.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The tar inside is not the one that the configuration names.
    #[error("the layer unpacks to {got}, the image's configuration says {expected}")]
    Mismatch {
        /// As declared.
        expected: Digest,
        /// As read.
        got: Digest,
    },
    /// The rest of it cannot be read.
    #[error("the layer cannot be unpacked to its end")]
    Io(#[from] io::Error),
}

/// Reads the tar of one layer. After the last byte [`LayerReader::verify`] tells whether it was
/// the right one; nothing unpacked from it may be used before.
pub struct LayerReader<R: Read> {
    inner: Inner<R>,
    hash: Sha256,
    left_bytes: u64,
    limit_bytes: u64,
}

enum Inner<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<R>>>),
}

impl<R: Read> Read for Inner<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(r) => r.read(out),
            Self::Gzip(r) => r.read(out),
            Self::Zstd(r) => r.read(out),
        }
    }
}

impl<R: Read> LayerReader<R> {
    /// Reads `blob`; more than `limit_bytes` of tar is an error, however small the blob.
    pub fn open(blob: R, compression: Compression, limit_bytes: u64) -> io::Result<Self> {
        let inner = compression.open(blob)?;
        Ok(Self {
            inner,
            hash: Sha256::new(),
            left_bytes: limit_bytes,
            limit_bytes,
        })
    }

    /// Reads what is left and compares the whole with `expected`.
    pub fn verify(mut self, expected: &Digest) -> Result<(), LayerError> {
        io::copy(&mut self, &mut io::sink())?;
        let got = Digest::from_bytes(self.hash.finalize().into());
        if got == *expected {
            Ok(())
        } else {
            Err(LayerError::Mismatch {
                expected: *expected,
                got,
            })
        }
    }
}

impl<R: Read> Read for LayerReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.left_bytes = self.left_bytes.checked_sub(n as u64).ok_or_else(|| {
            io::Error::other(format!(
                "the layer is larger than {} bytes",
                self.limit_bytes
            ))
        })?;
        self.hash.update(&out[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(blob: &[u8], compression: Compression, limit: u64) -> Result<(), LayerError> {
        LayerReader::open(blob, compression, limit)?.verify(&Digest::of(&[7; 100_000]))
    }

    #[test]
    fn every_packing_gives_the_same_tar_and_a_bomb_is_stopped() {
        let plain = [7u8; 100_000];
        let zstd = zstd::encode_all(&plain[..], 3).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &plain).unwrap();
        let gzip = gzip.finish().unwrap();
        for blob in [&plain[..], &zstd, &gzip] {
            read(blob, Compression::Guess, 100_000).unwrap();
            assert!(read(blob, Compression::Guess, 99_999).is_err());
        }
        read(&gzip, Compression::Gzip, 100_000).unwrap();
        assert!(read(&gzip[..gzip.len() - 9], Compression::Gzip, 100_000).is_err());
        assert!(matches!(
            read(&[7; 99_999], Compression::None, 100_000),
            Err(LayerError::Mismatch { .. })
        ));
    }
}
