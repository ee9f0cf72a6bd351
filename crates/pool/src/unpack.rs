//! Image layers, unpacked inside a sandbox of their own.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use sandbox::{Launcher, LayerLimits};
use supply::Unpack;

/// Has the launcher unpack layers: the bytes of an image are as little trusted as a job.
pub struct LayerUnpacker(Result<Arc<Launcher>, String>);

impl LayerUnpacker {
    /// Layers go through this launcher; without one every image is refused with the reason.
    #[must_use]
    pub fn new(launcher: Result<Arc<Launcher>, String>) -> Self {
        Self(launcher)
    }
}

impl Unpack for LayerUnpacker {
    fn unpack(
        &self,
        parent: &Path,
        name: &str,
        tar: &mut (dyn Read + Send),
    ) -> Result<Vec<String>, String> {
        let launcher = self.0.as_ref().map_err(Clone::clone)?;
        let (from, to) = io::pipe().map_err(|e| e.to_string())?;
        std::thread::scope(|scope| {
            let feeding = scope.spawn(move || feed(tar, to));
            let limits = LayerLimits::default();
            let unpacked = launcher.unpack_layer(parent, name, OwnedFd::from(from), limits);
            let fed = feeding
                .join()
                .map_err(|_| "reading the layer failed".to_owned())?;
            // What the archive itself says is nearer to the cause than what its reader missed.
            fed.map_err(|e| e.to_string())?;
            unpacked
                .map(|facts| facts.skipped)
                .map_err(|e| crate::dispatcher::chain(&e))
        })
    }
}

fn feed(tar: &mut (dyn Read + Send), mut to: io::PipeWriter) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = match tar.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        match to.write_all(&buffer[..n]) {
            // The unpacker stopped, and says why itself.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}
