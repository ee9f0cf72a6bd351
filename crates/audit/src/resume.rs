//! The end of a block: what was refused and what went on is told by the entry that resumes the log.
//!
//! Whoever watches the disk and the seal calls [`Auditor::settle`] now and then. Invariant: a block
//! that could be noted ends with `audit.append_resumed`, also when the process was killed in
//! between.

use serde_json::{Value, json};
use store::{Store, StoreError, Tx};
use vocab::from_unix_ms;

use crate::state::{Block, Counts};
use crate::{AppendError, Auditor, Cause, Entry, Kind, Who, sql};

/// Why a block could not be noted or ended.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The log still takes nothing.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Auditor {
    /// Takes up a block that an earlier process began and did not end.
    pub fn recall(&self, store: &Store) -> Result<(), StoreError> {
        let last = |kind: Kind| {
            store.read(|db| -> Result<_, StoreError> {
                let line = sql::details_of(db, kind.as_str(), 1)?.pop();
                Ok(line.and_then(|line| serde_json::from_str::<Value>(&line).ok()))
            })
        };
        let (begun, ended) = (
            last(Kind::AuditAppendBlocked)?,
            last(Kind::AuditAppendResumed)?,
        );
        let seq = |line: &Option<Value>| line.as_ref().and_then(|line| line["seq"].as_i64());
        if seq(&begun) <= seq(&ended) {
            return Ok(());
        }
        let told = begun.map_or(Value::Null, |line| line["d"].clone());
        let since = told["since_ms"].as_i64().map_or(self.now(), from_unix_ms);
        self.0.gate.close(Block {
            cause: Cause::Space,
            what: told["what"].as_str().unwrap_or("not told").to_owned(),
            since,
            noted: true,
            inherited: true,
            counts: Counts::default(),
        });
        Ok(())
    }

    /// Takes in what was `found` by whoever watches: begins a block and notes it, or ends it when
    /// nothing is in the way any more. Whether something has begun or ended by this.
    ///
    /// Errors: the log still takes nothing; call again later.
    pub fn settle(&self, store: &Store, found: Option<(Cause, &str)>) -> Result<bool, SettleError> {
        if let Some((cause, what)) = found {
            let news = self.block(cause, what);
            self.note(store)?;
            return Ok(news);
        }
        match self.0.gate.block() {
            Some(block) if matches!(block.cause, Cause::Space | Cause::Unsealed) => {
                self.resume(store, &block)
            }
            _ => Ok(false),
        }
    }

    fn note(&self, store: &Store) -> Result<(), SettleError> {
        match self.0.gate.block() {
            Some(block) if !block.noted && block.cause != Cause::Tampered => {
                store.write(|tx| self.tell_begin(tx, &block))?;
                self.0.gate.noted();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tell_begin(&self, tx: &mut Tx<'_>, block: &Block) -> Result<(), SettleError> {
        let entry = Entry::failure(Kind::AuditAppendBlocked, "E_AUDIT_BLOCKED")
            .detail("cause", json!(block.cause))
            .detail("what", block.what.as_str())
            .detail("since_ms", vocab::unix_ms(block.since));
        self.append(tx, &Who::system(), entry)?;
        Ok(())
    }

    fn resume(&self, store: &Store, seen: &Block) -> Result<bool, SettleError> {
        let resumed = store.write(|tx| -> Result<(), SettleError> {
            if !seen.noted {
                self.tell_begin(tx, seen)?;
            }
            // No other entry is appended in between, since all of them are in a transaction.
            let Some(block) = self.0.gate.block() else {
                return Ok(());
            };
            let entry = Entry::success(Kind::AuditAppendResumed)
                .detail("cause", json!(block.cause))
                .detail("since_ms", vocab::unix_ms(block.since))
                .detail("refused", block.counts.refused.values().sum::<u64>())
                .detail("refused_kinds", json!(block.counts.refused))
                .detail("went_on", block.counts.went_on.values().sum::<u64>())
                .detail("went_on_kinds", json!(block.counts.went_on))
                .detail("restarted", block.inherited);
            self.append(tx, &Who::system(), entry)?;
            self.0.gate.open();
            Ok(())
        });
        if resumed.is_err() {
            self.0.gate.close(seen.clone());
        }
        resumed.map(|()| true)
    }
}
