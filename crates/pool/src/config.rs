//! What the pool is told at its start.

use std::time::Duration;

use runner::Grace;
use runner::executor::Limits;
use runner::receipt::RunnerIdentity;

/// Settings of the embedded pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// How the runner introduces itself; its labels are those it serves.
    pub identity: RunnerIdentity,
    /// Jobs at a time, at least 1.
    pub slots: usize,
    /// What one job may use.
    pub limits: Limits,
    /// How a cancelled job is asked to stop.
    pub grace: Grace,
    /// The appliance's address as links show it, without a slash at its end.
    pub server_url: String,
    /// How long a runner may keep silent before its job counts as lost.
    pub lease: Duration,
}

impl PoolConfig {
    /// A lease of 60 s, renewed every 15 s. Source: design/architecture.md, "Invariants".
    pub const LEASE: Duration = Duration::from_secs(60);

    /// How often leases are renewed and expired ones are looked for.
    pub(crate) const BEAT: Duration = Duration::from_secs(15);
}
