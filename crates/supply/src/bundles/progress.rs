//! How far an import, a scrub or a collection has come: readable while it runs, cancellable
//! between two reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use vocab::{Digest, Stopwatch};

use super::BundleError;

/// Watchers are told at most so often.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What it does now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Signatures and rules.
    Verifying,
    /// Reading the medium into the store.
    Staging,
    /// Looking whether everything is there.
    Checking,
    /// Unpacking images of the new generation.
    Unpacking,
    /// It is done.
    Done,
    /// It ended without being done.
    Failed,
}

/// Bytes or blobs: how many of how many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Bytes {
    /// So far.
    pub done: u64,
    /// Altogether.
    pub total: u64,
}

/// Which bundle it is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// Product.
    pub product: String,
    /// Channel.
    pub channel: String,
    /// Number in the channel.
    pub seq: u64,
    /// Version of the content.
    pub content: String,
    /// Digest of the manifest.
    pub manifest: Digest,
}

/// One look at it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Snapshot {
    /// Rises with each change; give it to [`Progress::wait`].
    pub version: u64,
    /// What it does now.
    pub phase: Phase,
    /// Who began it.
    pub who: String,
    /// When, unix milliseconds UTC.
    pub since_ms: i64,
    /// Which bundle, once that is known.
    pub bundle: Option<Summary>,
    /// What is being worked on, such as the volume.
    pub at: String,
    /// Bytes.
    pub bytes: Bytes,
    /// Blobs.
    pub blobs: Bytes,
    /// Bytes a second since the reading began; 0 before.
    pub rate: u64,
    /// Seconds that are left at that rate.
    pub seconds_left: Option<u64>,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// The generation that it made active, when it did.
    pub generation: Option<i64>,
    /// What it has to say at its end.
    pub notices: Vec<String>,
    /// Why it failed: the code.
    pub code: Option<String>,
    /// Why it failed, in words.
    pub error: Option<String>,
}

impl Snapshot {
    /// Whether nothing more will come.
    #[must_use]
    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Failed)
    }
}

#[derive(Debug)]
struct State {
    shown: Snapshot,
    begun: Stopwatch,
    reading: Option<Stopwatch>,
    told: Stopwatch,
}

/// What is under way.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<State>,
    woken: Condvar,
    cancelled: AtomicBool,
    bytes: AtomicU64,
    blobs: AtomicU64,
}

impl Progress {
    /// Begins.
    #[must_use]
    pub fn new(who: String, since_ms: i64) -> Self {
        Self {
            state: Mutex::new(State {
                shown: Snapshot {
                    version: 1,
                    phase: Phase::Verifying,
                    who,
                    since_ms,
                    bundle: None,
                    at: String::new(),
                    bytes: Bytes::default(),
                    blobs: Bytes::default(),
                    rate: 0,
                    seconds_left: None,
                    elapsed_ms: 0,
                    generation: None,
                    notices: Vec::new(),
                    code: None,
                    error: None,
                },
                begun: Stopwatch::start(),
                reading: None,
                told: Stopwatch::start(),
            }),
            woken: Condvar::new(),
            cancelled: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            blobs: AtomicU64::new(0),
        }
    }

    /// Asks that it end; it does so before the next read.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// An error once somebody has cancelled it.
    pub fn check(&self) -> Result<(), BundleError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(BundleError::Cancelled);
        }
        Ok(())
    }

    /// How it stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.look(&self.state())
    }

    /// How it stands, as soon as that is newer than `seen`, at the latest after `most`.
    #[must_use]
    pub fn wait(&self, seen: u64, most: Duration) -> Snapshot {
        let (state, _) = self
            .woken
            .wait_timeout_while(self.state(), most, |state| {
                state.shown.version <= seen && !state.shown.ended()
            })
            .unwrap_or_else(PoisonError::into_inner);
        self.look(&state)
    }

    fn look(&self, state: &State) -> Snapshot {
        let mut shown = state.shown.clone();
        shown.bytes.done = self.bytes.load(Ordering::Relaxed);
        shown.blobs.done = self.blobs.load(Ordering::Relaxed);
        if shown.ended() {
            return shown;
        }
        shown.elapsed_ms = millis(&state.begun);
        if let Some(reading) = &state.reading {
            shown.rate = shown.bytes.done * 1000 / millis(reading).max(1);
            let left = shown.bytes.total.saturating_sub(shown.bytes.done);
            shown.seconds_left = (shown.rate > 0).then(|| left.div_ceil(shown.rate));
        }
        shown
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, work: impl FnOnce(&mut State)) {
        let mut state = self.state();
        work(&mut state);
        state.shown.version += 1;
        state.told = Stopwatch::start();
        self.woken.notify_all();
    }

    pub(super) fn about(&self, bundle: Summary) {
        self.change(|state| state.shown.bundle = Some(bundle));
    }

    pub(super) fn phase(&self, phase: Phase, at: &str) {
        self.change(|state| {
            state.shown.phase = phase;
            at.clone_into(&mut state.shown.at);
        });
    }

    /// Begins to count towards these totals.
    pub(super) fn reads(&self, bytes: u64, blobs: u64) {
        self.bytes.store(0, Ordering::Relaxed);
        self.blobs.store(0, Ordering::Relaxed);
        self.change(|state| {
            state.shown.bytes.total = bytes;
            state.shown.blobs.total = blobs;
            state.reading = Some(Stopwatch::start());
        });
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut state = self.state();
        if state.told.elapsed() >= TELL_EVERY {
            state.shown.version += 1;
            state.told = Stopwatch::start();
            self.woken.notify_all();
        }
    }

    pub(super) fn finished_blob(&self) {
        self.blobs.fetch_add(1, Ordering::Relaxed);
    }

    /// Says something that is shown at the end.
    pub fn notice(&self, text: String) {
        self.change(|state| state.shown.notices.push(text));
    }

    /// An image is being unpacked.
    pub fn unpacking(&self, at: &crate::Unpacking<'_>) {
        let words = format!("{} ({} of {})", at.image, at.number, at.of);
        self.phase(Phase::Unpacking, &words);
    }

    pub(super) fn done(&self, generation: Option<i64>) {
        let at_end = self.snapshot();
        self.change(|state| {
            state.shown.rate = at_end.rate;
            state.shown.elapsed_ms = at_end.elapsed_ms;
            state.shown.generation = generation;
            state.shown.phase = Phase::Done;
            state.shown.at.clear();
        });
    }

    pub(super) fn failed(&self, error: &BundleError) {
        let at_end = self.snapshot();
        self.change(|state| {
            state.shown.rate = at_end.rate;
            state.shown.elapsed_ms = at_end.elapsed_ms;
            state.shown.phase = Phase::Failed;
            state.shown.code = Some(error.code().to_owned());
            state.shown.error = Some(if error.is_internal() {
                "the appliance could not do this; its log says why".to_owned()
            } else {
                told(error)
            });
        });
    }
}

/// An error with all its causes.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut at = error.source();
    while let Some(cause) = at {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = cause.source();
    }
    text
}

fn millis(watch: &Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX)
}
