//! Holding the pool: no further job starts, those that run are waited for, until it is let go.
//!
//! Invariant: a job that is stopped by a hold ends as lost, with the hold's own reason.

use std::time::Duration;

use vocab::Stopwatch;

use crate::Pool;

/// What became of the jobs that ran when the pool was held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct AfterHold {
    /// Ended by themselves.
    pub ended: usize,
    /// Were stopped when patience was over.
    pub lost: usize,
}

impl Pool {
    /// Takes no further job (`why` is what waiting jobs say), gives running ones `patience` to
    /// end, then ends them as lost with the reason `lost`. Returns when none runs any more.
    pub fn hold(&self, patience: Duration, why: &str, lost: &str) -> AfterHold {
        let watch = Stopwatch::start();
        let mut state = self.shared.state();
        state.held = Some(why.to_owned());
        let ran = state.running.len();
        self.shared.wake.notify_all();
        while !state.running.is_empty() && state.held.is_some() && watch.elapsed() < patience {
            let left = patience.saturating_sub(watch.elapsed());
            state = self.shared.wait(state, left);
        }
        if state.held.is_none() {
            return AfterHold {
                ended: ran.saturating_sub(state.running.len()),
                lost: 0,
            };
        }
        let left = state.running.len();
        state.lost = Some(lost.to_owned());
        for running in state.running.values() {
            running.cancel.request(lost);
        }
        while !state.running.is_empty() {
            // A job that was asked to stop is killed when its grace is over.
            state = self.shared.wait(state, Duration::from_secs(1));
        }
        state.lost = None;
        AfterHold {
            ended: ran.saturating_sub(left),
            lost: left,
        }
    }

    /// Takes jobs again.
    pub fn let_go(&self) {
        let mut state = self.shared.state();
        state.held = None;
        state.look = true;
        self.shared.wake.notify_all();
    }

    /// Why no job is taken for now, if none is.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.shared.state().held.clone()
    }
}
