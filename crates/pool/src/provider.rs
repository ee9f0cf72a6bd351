//! What a job needs from outside its sandbox, behind one seam: image, source, secrets, supply.

use std::net::TcpListener;
use std::sync::Arc;

use queue::Claimed;
use runner::executor::ImageFacts;
use runner::{CarriedAction, Source, Supply};
use store::{StoreError, Tx};
use supply::{GenerationId, Lease, Served};
use vocab::{Fence, RepoId};

/// What a job that is claimed now will see until it ends, whatever is imported meanwhile.
#[derive(Debug, Default)]
pub struct Held(Option<Lease>);

impl Held {
    /// Holds a generation.
    #[must_use]
    pub fn new(lease: Option<Lease>) -> Self {
        Self(lease)
    }

    /// The generation; none when nothing was imported.
    #[must_use]
    pub fn generation(&self) -> Option<GenerationId> {
        self.0.as_ref().map(Lease::generation)
    }
}

/// Gives a claimed job what it may have. A refusal is words for the job's log and page.
pub trait Provider: Send + Sync {
    /// Fixes what the next job will see.
    fn hold(&self) -> Result<Held, String> {
        Ok(Held::default())
    }

    /// Every label that jobs may ask for now, or why none can be served.
    fn labels(&self, held: &Held) -> Result<Served, String>;

    /// The image that the job's labels mean; `Ok(None)` is the host's own read-only `/usr`.
    fn image(&self, claimed: &Claimed, held: &Held) -> Result<Option<ImageFacts>, String>;

    /// Where its checkouts come from.
    fn source(&self, claimed: &Claimed) -> Result<Arc<dyn Source>, String>;

    /// The secrets it may read; none for untrusted code, whatever the workflow says.
    fn secrets(&self, claimed: &Claimed) -> Result<Vec<(String, runner::Secret)>, String>;

    /// The image that a job of the pool's own runs in; `Ok(None)` is the host's own `/usr`.
    fn own_image(&self) -> Result<Option<ImageFacts>, String> {
        Ok(None)
    }

    /// What it may use of the generation that it sees.
    fn supply(&self, _claimed: &Claimed, _held: &Held) -> Result<Option<Arc<dyn Supply>>, String> {
        Ok(None)
    }

    /// The actions of that generation that its steps need.
    fn actions(&self, _claimed: &Claimed, _held: &Held) -> Result<Vec<CarriedAction>, String> {
        Ok(Vec::new())
    }

    /// A job ends: what it was given is written down in the transaction of its end.
    fn ending(&self, _tx: &mut Tx<'_>, _fence: Fence) -> Result<(), StoreError> {
        Ok(())
    }

    /// The job of `fence` has ended, or is lost: what was held in memory of it goes.
    fn forget(&self, _fence: Fence) {}

    /// A job has ended: what it asked for in vain is written down.
    fn ended(&self) {}
}

/// Whose loopback is to be served, and with what.
#[derive(Clone, Copy, Debug)]
pub struct JobSeat {
    /// The job, and by which hand-out it runs.
    pub fence: Fence,
    /// Its repo.
    pub repo: RepoId,
    /// The generation that it sees.
    pub generation: Option<GenerationId>,
}

/// Serves the loopbacks of running jobs.
pub trait JobEndpoint: Send + Sync {
    /// Serves `seat` on `listener` until what it gives is dropped. The error is words.
    fn serve(&self, seat: JobSeat, listener: TcpListener) -> Result<Box<dyn Send>, String>;
}
