//! What a job needs from outside its sandbox, behind one seam: image, source, secrets.

use std::sync::Arc;

use queue::Claimed;
use runner::Source;
use runner::executor::ImageFacts;

/// Gives a claimed job what it may have. A refusal is words for the job's log and page.
pub trait Provider: Send + Sync {
    /// Every label that jobs may ask for now, or why none can be served.
    fn labels(&self) -> Result<Vec<String>, String>;

    /// The image that the job's labels mean; `Ok(None)` is the host's own read-only `/usr`.
    fn image(&self, claimed: &Claimed) -> Result<Option<ImageFacts>, String>;

    /// Where its checkouts come from.
    fn source(&self, claimed: &Claimed) -> Result<Arc<dyn Source>, String>;

    /// The secrets it may read; none for untrusted code, whatever the workflow says.
    fn secrets(&self, claimed: &Claimed) -> Result<Vec<(String, runner::Secret)>, String>;

    /// The image that a job of the pool's own runs in; `Ok(None)` is the host's own `/usr`.
    fn own_image(&self) -> Result<Option<ImageFacts>, String> {
        Ok(None)
    }
}
