//! Reads every blob again from time to time, at a priority that nobody notices.
//!
//! When one is due, and that none runs beside an import, is `supply`'s to say. A failure is told,
//! and what was read counts.

use std::sync::Arc;
use std::time::Duration;

use supply::bundles::Intake;
use vocab::Clock;

/// How often it is asked whether one is due.
const LOOK: Duration = Duration::from_secs(3600);

/// The lowest priority there is.
const NICE: i32 = 19;

/// Starts the thread, which ends with the process; with 0 days there is none.
pub(crate) fn start(intake: &Arc<Intake>, days: u32) -> std::io::Result<()> {
    if days == 0 {
        return Ok(());
    }
    let intake = intake.clone();
    let work = move || {
        // Of this thread alone, on Linux; the disk's share follows it.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::debug!(%error, "scrubs run at the usual priority");
        }
        loop {
            look(&intake, days);
            Clock::sleep(LOOK);
        }
    };
    std::thread::Builder::new()
        .name("scrub".into())
        .spawn(work)
        .map(drop)
}

fn look(intake: &Arc<Intake>, days: u32) {
    let ended = match intake.scrub_that_is_due(days) {
        Ok(Some(scrub)) => scrub.run(),
        Ok(None) => return,
        Err(error) => Err(error),
    };
    match ended {
        Ok(done) => tracing::info!(blobs = done.blobs, bad = done.bad, "every blob was read"),
        Err(error) => tracing::warn!(%error, "not every blob was read again"),
    }
}
