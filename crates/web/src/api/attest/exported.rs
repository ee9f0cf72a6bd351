//! The signed statements that go into an export: those that the entries of its range name.

use std::collections::VecDeque;

use audit::{ExportError, Extra, Filter, Kind, Seq, Wanted};
use evidence::attestation::Which;
use evidence::proof::Named;
use evidence::verify::{LEFT_OUT, LeftOut, STATEMENTS_KEY};
use serde_json::Value;
use store::{Db, StoreError};
use vocab::{Attempt, JobId};

use super::envelope;
use crate::api::audit::whole;
use crate::fault::Fault;
use crate::state::App;

/// Most attempts whose statements one export carries.
const ATTEMPTS_MAX: usize = 50_000;
/// Entries read at a time.
const PAGE: u32 = 200;

/// The statements that an export carries, those of the newest entries first.
pub(crate) struct Statements<'a> {
    app: &'a App,
    first: u64,
    filter: Filter,
    page: VecDeque<Named>,
    ready: VecDeque<Extra>,
    left: usize,
    /// Whether the key was written.
    keyed: bool,
}

impl<'a> Statements<'a> {
    /// Those of the entries from the first of `range` up to its second.
    pub(crate) fn new(app: &'a App, wanted: &Wanted, (first, end): (u64, u64)) -> Self {
        Self {
            app,
            first,
            filter: Filter {
                kind: Some(Kind::JobAttested.as_str().to_owned()),
                before: Some(Seq(i64::try_from(end).unwrap_or(i64::MAX))),
                ..Filter::default()
            },
            page: VecDeque::new(),
            ready: VecDeque::new(),
            left: if whole(wanted) { ATTEMPTS_MAX } else { 0 },
            keyed: false,
        }
    }

    /// Reads the entries before those that were read; whether there were any.
    fn turn(&mut self, db: &Db) -> Result<bool, StoreError> {
        let lines = audit::list(db, &self.filter, PAGE)?;
        self.filter.before = lines.last().map(|line| line.seq);
        let named = lines.iter().filter_map(|line| {
            let entry: Value = serde_json::from_str(&line.text).ok()?;
            Named::of(&entry).filter(|named| named.seq >= self.first)
        });
        self.page = named.collect();
        Ok(!self.page.is_empty())
    }

    fn load(&mut self, named: &Named) -> Result<(), Fault> {
        let (job, attempt) = (JobId(named.job), Attempt(named.attempt));
        let made = self
            .app
            .store
            .read(|db| queue::attestation(db, job, attempt))?;
        // What the entry names and is not here is missing in the export, as whoever checks it sees.
        let Some(made) = made else { return Ok(()) };
        if !std::mem::replace(&mut self.keyed, true) {
            let key = made.key.clone().into_bytes();
            self.ready.push_back((STATEMENTS_KEY.to_owned(), key));
        }
        for which in Which::ALL {
            let name = which.place(named.job, named.attempt);
            self.ready
                .push_back((name, envelope(&made, which).to_vec()));
        }
        Ok(())
    }
}

impl Iterator for Statements<'_> {
    type Item = Result<Extra, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let app = self.app;
        loop {
            if let Some(extra) = self.ready.pop_front() {
                return Some(Ok(extra));
            }
            if self.left == 0 {
                return None;
            }
            let Some(named) = self.page.pop_front() else {
                match app.store.read(|db| self.turn(db)) {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(error) => return Some(Err(error.into())),
                }
            };
            self.left -= 1;
            if self.left == 0 {
                let left = LeftOut { before: named.seq };
                let bytes = serde_json::to_vec(&left).unwrap_or_default();
                self.ready.push_back((LEFT_OUT.to_owned(), bytes));
            }
            if let Err(error) = self.load(&named) {
                tracing::error!(job = named.job, ?error, "statements were not exported");
            }
        }
    }
}
