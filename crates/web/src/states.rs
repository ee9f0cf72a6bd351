//! States of runs, jobs, steps and slots as a word and a tone.

use vocab::{JobState, Outcome, RunState};

use crate::facilities::SlotState;
use crate::view::State;

const fn state(word: &'static str, tone: &'static str) -> State {
    State { word, tone }
}

pub(crate) fn outcome(outcome: Outcome) -> State {
    match outcome {
        Outcome::Success => state("success", "ok"),
        Outcome::Failure => state("failed", "bad"),
        Outcome::Cancelled => state("cancelled", "stop"),
        Outcome::Skipped => state("skipped", "off"),
        Outcome::TimedOut => state("timed out", "bad"),
        Outcome::Lost => state("lost", "bad"),
    }
}

pub(crate) fn run(at: RunState, ended: Option<Outcome>) -> State {
    match (ended, at) {
        (Some(ended), _) => outcome(ended),
        (None, RunState::Held) => state("held", "wait"),
        (None, RunState::Waiting) => state("waiting", "wait"),
        (None, RunState::Running | RunState::Finished) => state("running", "run"),
    }
}

pub(crate) fn job(at: JobState, ended: Option<Outcome>) -> State {
    match (ended, at) {
        (Some(ended), _) => outcome(ended),
        (None, JobState::Held) => state("held", "wait"),
        (None, JobState::Blocked) => state("blocked", "wait"),
        (None, JobState::Queued) => state("queued", "wait"),
        (None, JobState::Leased) => state("starting", "run"),
        (None, JobState::Running | JobState::Finished) => state("running", "run"),
    }
}

pub(crate) fn step(ended: Option<Outcome>) -> State {
    ended.map_or(state("running", "run"), outcome)
}

pub(crate) fn slot(at: SlotState) -> State {
    match at {
        SlotState::Warm => state("warm", "ok"),
        SlotState::Idle => state("idle", "off"),
        SlotState::Busy => state("busy", "run"),
        SlotState::Down => state("down", "bad"),
    }
}
