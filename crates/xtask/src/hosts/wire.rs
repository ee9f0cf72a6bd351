//! Sockets to an emulated machine: read until a mark comes, within a limit.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vocab::{Clock, Stopwatch};

/// One socket and what came from it.
pub(super) struct Wire {
    stream: UnixStream,
    come: Vec<u8>,
    what: &'static str,
}

impl Wire {
    /// Connects to the socket at `path`, which the emulator is about to make.
    pub(super) fn connect(path: &Path, what: &'static str) -> Result<Self> {
        let watch = Stopwatch::start();
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    return Ok(Self {
                        stream,
                        come: Vec::new(),
                        what,
                    });
                }
                Err(error) if watch.elapsed() > Duration::from_secs(20) => {
                    return Err(error).with_context(|| format!("the emulator made no {what}"));
                }
                Err(_) => Clock::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Sends `text` as it is.
    pub(super) fn send(&mut self, text: &str) -> Result<()> {
        self.stream
            .write_all(text.as_bytes())
            .with_context(|| format!("the {} is closed", self.what))
    }

    /// Everything up to and with `mark`.
    pub(super) fn until(&mut self, mark: &str, limit: Duration) -> Result<String> {
        let watch = Stopwatch::start();
        let mut from = 0;
        loop {
            if let Some(at) = find(&self.come[from..], mark.as_bytes()) {
                let end = from + at + mark.len();
                let said: Vec<u8> = self.come.drain(..end).collect();
                return Ok(String::from_utf8_lossy(&said).into_owned());
            }
            from = self.come.len().saturating_sub(mark.len());
            let left = limit.saturating_sub(watch.elapsed());
            if left.is_zero() {
                let said = String::from_utf8_lossy(&self.come).into_owned();
                bail!(
                    "{mark:?} did not come on the {} within {} s; it said:\n{said}",
                    self.what,
                    limit.as_secs()
                );
            }
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut piece = [0; 65_536];
            match self.stream.read(&mut piece) {
                Ok(0) => bail!(
                    "the {} was closed; it said:\n{}",
                    self.what,
                    String::from_utf8_lossy(&self.come)
                ),
                Ok(n) => self.come.extend_from_slice(&piece[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).with_context(|| format!("reading the {}", self.what)),
            }
        }
    }
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|part| part == needle)
}
