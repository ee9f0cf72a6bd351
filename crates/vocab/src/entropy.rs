//! The only source of chance: the kernel's, or a scripted counter in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

/// Makes random bytes. Cloning shares the same source.
#[derive(Clone, Debug)]
pub struct Entropy(Source);

#[derive(Clone, Debug)]
enum Source {
    Kernel,
    Scripted(Arc<AtomicU64>),
}

impl Entropy {
    /// The kernel's generator (`getrandom(2)`).
    #[must_use]
    pub fn system() -> Self {
        Self(Source::Kernel)
    }

    /// Repeatable bytes derived from `seed`. For tests.
    #[must_use]
    pub fn scripted(seed: u64) -> Self {
        Self(Source::Scripted(Arc::new(AtomicU64::new(seed))))
    }

    /// Fills `out` with random bytes.
    pub fn fill(&self, out: &mut [u8]) {
        match &self.0 {
            Source::Kernel => {
                let mut rest = &mut *out;
                while !rest.is_empty() {
                    match rustix::rand::getrandom(&mut *rest, rustix::rand::GetRandomFlags::empty())
                    {
                        Ok(n) => rest = &mut rest[n..],
                        Err(rustix::io::Errno::INTR) => {}
                        // Without the kernel's generator no key or token can be made safely.
                        Err(e) => panic!("getrandom failed: {e}"),
                    }
                }
            }
            Source::Scripted(next) => {
                for chunk in out.chunks_mut(32) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let block = Sha256::digest(n.to_be_bytes());
                    chunk.copy_from_slice(&block[..chunk.len()]);
                }
            }
        }
    }

    /// `N` random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// `bytes` random bytes as lower-case hex, twice as many characters.
    #[must_use]
    pub fn hex(&self, bytes: usize) -> String {
        let mut out = vec![0; bytes];
        self.fill(&mut out);
        hex::encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_bytes_differ_and_scripted_ones_repeat() {
        assert_ne!(
            Entropy::system().bytes::<32>(),
            Entropy::system().bytes::<32>()
        );
        assert_eq!(
            Entropy::scripted(1).bytes::<40>(),
            Entropy::scripted(1).bytes::<40>()
        );
        assert_ne!(
            Entropy::scripted(1).bytes::<32>(),
            Entropy::scripted(2).bytes::<32>()
        );
    }
}
