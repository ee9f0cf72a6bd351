//! Runs, jobs, attempts, leases.
