//! The only clock: the system's, or one that a test moves by hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time. Cloning shares the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Scripted(Arc<Mutex<SystemTime>>),
}

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it. For tests.
    #[must_use]
    pub fn scripted(start: SystemTime) -> Self {
        Self(Source::Scripted(Arc::new(Mutex::new(start))))
    }

    /// The present instant (UTC).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Source::System => SystemTime::now(),
            Source::Scripted(at) => *at.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Moves a scripted clock forward; a system clock does not move for anybody.
    pub fn advance(&self, by: Duration) {
        if let Source::Scripted(at) = &self.0 {
            *at.lock().unwrap_or_else(PoisonError::into_inner) += by;
        }
    }

    /// Blocks this thread for `time`. Only for waits that no event can end (a back-off between
    /// two tries at a resource of another program); everything else awaits an event.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn sleep(time: Duration) {
        std::thread::sleep(time);
    }
}

/// Measures an elapsed span by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// The monotonic instant of the start, for deadlines (`wait_timeout`, poll).
    #[must_use]
    pub fn instant(&self) -> Instant {
        self.0
    }
}

/// Milliseconds since 1970-01-01 UTC, as every timestamp is stored. Instants before that are 0.
#[must_use]
pub fn unix_ms(at: SystemTime) -> i64 {
    let ms = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The instant `ms` milliseconds after 1970-01-01 UTC; negative values are the epoch itself.
#[must_use]
pub fn from_unix_ms(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripted_clock_moves_only_by_hand() {
        let clock = Clock::scripted(from_unix_ms(5_000));
        assert_eq!(unix_ms(clock.now()), 5_000);
        clock.clone().advance(Duration::from_secs(1));
        assert_eq!(unix_ms(clock.now()), 6_000);
    }
}
