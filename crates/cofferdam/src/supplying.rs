//! What an appliance does about its supply beside serving it: images of the active generation are
//! unpacked, what is asked for in vain is written down, loopbacks of jobs are served.

use std::net::TcpListener;
use std::time::Duration;

use audit::Who;
use pool::{JobEndpoint, JobSeat};
use supply::generation;
use vocab::{Clock, Stopwatch, unix_ms};
use web::{App, JobDoor, Seat};

/// Wants are written down at most this often, besides at the end of each job.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a thread without work sleeps.
const HOUR: Duration = Duration::from_secs(3600);

/// Starts the threads; they end with the process, and may do so at any moment.
pub(crate) fn start(app: &App, clock: &Clock) -> std::io::Result<()> {
    let unpacking = app.clone();
    std::thread::Builder::new()
        .name("unpacking".into())
        .spawn(move || unpack_active(&unpacking))?;
    let (app, clock) = (app.clone(), clock.clone());
    std::thread::Builder::new()
        .name("wants".into())
        .spawn(move || write_wants(&app, &clock))
        .map(drop)
}

/// Unpacks what an earlier process had no time for.
fn unpack_active(app: &App) {
    let active = match app.store.read(generation::active) {
        Ok(Some(active)) => active,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(%error, "the active generation cannot be read");
            return;
        }
    };
    let done = supply::unpack_images(
        &app.store,
        &app.auditor,
        &Who::system(),
        &*app.unpack,
        active,
        &mut |at| {
            tracing::info!(
                image = at.image,
                number = at.number,
                of = at.of,
                "unpacking"
            )
        },
    );
    match done {
        Ok(done) => tracing::debug!(images = ?done.images, "unpacked"),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("images of the active generation were not unpacked: {error:#}");
        }
    }
}

fn write_wants(app: &App, clock: &Clock) {
    let mut last: Option<Stopwatch> = None;
    loop {
        if !app.wants.wait(HOUR) {
            continue;
        }
        if let Some(last) = &last {
            Clock::sleep(PAUSE.saturating_sub(last.elapsed()));
        }
        last = Some(Stopwatch::start());
        if let Err(error) = app.wants.flush(&app.store, unix_ms(clock.now())) {
            tracing::error!(%error, "what was asked for in vain was not written down");
        }
    }
}

/// Serves the loopbacks of jobs by the web server's own handlers.
pub(crate) struct Loopbacks(pub(crate) JobDoor);

impl JobEndpoint for Loopbacks {
    fn serve(&self, seat: JobSeat, listener: TcpListener) -> Result<Box<dyn Send>, String> {
        let seat = Seat {
            fence: seat.fence,
            repo: seat.repo,
            generation: seat.generation,
        };
        match self.0.serve(seat, listener) {
            Ok(serving) => Ok(Box::new(serving)),
            Err(error) => Err(error.to_string()),
        }
    }
}
