//! A valid bundle, changed at random many times over: none may be taken.

use std::path::Path;

use anyhow::{Result, bail};

use crate::shell::{cargo, run, say};

/// The test that does it; the suite runs it with fewer.
const TEST: &str = "bundles::tests::mutations::no_mutation_of_a_valid_bundle_is_taken";

/// A file system in memory: what is tried is refusal, and each of its syncs would cost a disk's
/// time.
const MEMORY: &str = "/dev/shm";

/// Runs the test with that many mutations, drawn from `seed`, with no limit of time.
pub(crate) fn run_task(root: &Path, count: u64, seed: u64) -> Result<()> {
    if count < 1000 {
        bail!("{count} mutations say too little to be told apart from none; try 1000 or more");
    }
    let mut command = cargo(root);
    command
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "supply",
            "--lib",
        ])
        .args(["--", "--exact", TEST, "--nocapture"])
        .env("COFFERDAM_MUTATIONS", count.to_string())
        .env("COFFERDAM_SEED", seed.to_string());
    if Path::new(MEMORY).is_dir() {
        command.env("TMPDIR", MEMORY);
    }
    say(&format!(
        "{count} mutations of a signed bundle, seed {seed}"
    ));
    run(&mut command)
}
