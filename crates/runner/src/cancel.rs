//! The wish that a running job should stop, given from another thread.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// Asks a job to stop. Cloning shares the same wish.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Reports end-of-file once the writer is gone, so that a poll wakes up.
    reader: PipeReader,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    writer: Option<PipeWriter>,
    reason: String,
}

impl Cancel {
    /// Nothing is asked yet.
    ///
    /// Errors: when the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self(Arc::new(Shared {
            reader,
            state: Mutex::new(State {
                writer: Some(writer),
                reason: String::new(),
            }),
        })))
    }

    /// Asks the job to stop, with a reason that its log and its report show, such as
    /// `cancelled by dev`. The first reason stays.
    pub fn request(&self, reason: &str) {
        let mut state = self.state();
        if state.writer.take().is_some() {
            reason.clone_into(&mut state.reason);
        }
    }

    /// The reason, once asked.
    #[must_use]
    pub fn requested(&self) -> Option<String> {
        let state = self.state();
        state.writer.is_none().then(|| state.reason.clone())
    }

    /// Polls readable once asked.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.reader.as_fd()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_first_reason_stays_and_the_descriptor_reports_it() {
        let cancel = Cancel::new().unwrap();
        assert_eq!(cancel.requested(), None);
        cancel.clone().request("cancelled by dev");
        cancel.request("again");
        assert_eq!(cancel.requested().unwrap(), "cancelled by dev");
        assert_eq!((&cancel.0.reader).read(&mut [0]).unwrap(), 0);
    }
}
