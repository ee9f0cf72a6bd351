//! Signs, for each job that has ended, where it came from and where it ran.
//!
//! Owns `keys/attest.key` and `audit/attest.pub` of a data directory. Runs in the appliance's own
//! process, beside the log, after the job's sandbox is gone: nothing of a job reaches the key.
//! Invariants: an attempt that was handed out and has ended is attested once; its statements and
//! the audit entry that has their digests share a transaction.
//! Source: docs/audit.md, "Receipts and provenance".

mod check;
mod custody;
mod facts;
mod image;
mod keys;
mod provenance;
mod receipt;

use std::path::Path;
use std::sync::Arc;

use audit::{Auditor, Entry, Kind, Who};
use evidence::attestation::Which;
use evidence::dsse::{DsseError, IN_TOTO};
use evidence::note::NoteKey;
use queue::logs::Logs;
use queue::{Attestation, QueueError};
use store::{Store, StoreError};
use vocab::{Attempt, Digest, JobId};

pub use check::check;
pub use custody::{Custody, Deed};
pub use image::{Carried, Explained, explain};
pub use keys::AttestKeys;

use facts::{Facts, LogFile};

/// How many attempts one look takes up.
const AT_ONCE: u32 = 10_000;

/// Who attests.
#[derive(Clone, Debug)]
pub struct Appliance {
    /// Its name.
    pub name: String,
    /// The key of its audit log, which is what others know it by.
    pub log: NoteKey,
    /// Its address as links show it, without a slash at its end.
    pub url: String,
    /// The version of the program.
    pub version: String,
}

impl Appliance {
    /// What the appliance is called in statements: its name, and the fingerprint of its log's key.
    #[must_use]
    pub fn id(&self) -> String {
        let fingerprint = Digest::of(self.log.public()).hex();
        format!("urn:cofferdam:appliance:{}:{fingerprint}", self.name)
    }
}

/// Makes and signs statements.
pub struct Attester {
    keys: AttestKeys,
    store: Arc<Store>,
    auditor: Auditor,
    logs: Logs,
    appliance: Appliance,
}

impl std::fmt::Debug for Attester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attester({})", self.appliance.id())
    }
}

/// Why a job was not attested.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// A file cannot be used.
    #[error("cannot use {path}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The key was there once.
    #[error(
        "keys/attest.key was deleted: jobs were attested with it before; restore it from a backup"
    )]
    Deleted,
    /// The key is another one.
    #[error("keys/attest.key is not the key of audit/attest.pub; restore both from one backup")]
    Changed,
    /// The key is not one.
    #[error("keys/attest.key cannot be used; restore it from a backup")]
    Key(#[from] DsseError),
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] audit::AppendError),
    /// The queue refused.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The supply refused.
    #[error(transparent)]
    Supply(#[from] supply::bundles::BundleError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Attester {
    /// Opens the key of the data directory of `store`; at the first start it is made.
    ///
    /// Errors: `Deleted` and `Changed` when it is not the one that attested before.
    pub fn open(
        store: Arc<Store>,
        auditor: Auditor,
        logs: Logs,
        appliance: Appliance,
    ) -> Result<Self, AttestError> {
        let keys = AttestKeys::open(store.dir(), auditor.entropy())?;
        Ok(Self {
            keys,
            store,
            auditor,
            logs,
            appliance,
        })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &AttestKeys {
        &self.keys
    }

    /// Who attests.
    #[must_use]
    pub fn appliance(&self) -> &Appliance {
        &self.appliance
    }

    /// Attests every attempt that has ended and is not attested; how many that were. A log that
    /// somebody still writes is waited for, unless `settling`: then nobody does. `actions` are those
    /// of the process.
    ///
    /// Errors: the first one; what it concerns stays due, and the others are done all the same.
    pub fn make_missing(
        &self,
        actions: &supply::Actions,
        settling: bool,
    ) -> Result<usize, AttestError> {
        let due = self.store.read(|db| queue::attest_due(db, AT_ONCE))?;
        let (mut made, mut failed) = (0, None);
        for (job, attempt) in due {
            match self.attest(actions, job, attempt, settling) {
                Ok(true) => made += 1,
                Ok(false) => {}
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(made), Err)
    }

    fn attest(
        &self,
        actions: &supply::Actions,
        job: JobId,
        attempt: Attempt,
        settling: bool,
    ) -> Result<bool, AttestError> {
        let log = LogFile::look(&self.logs, job, attempt)?;
        if log.as_ref().is_some_and(|log| !log.finished) && !settling {
            return Ok(false);
        }
        let facts = self
            .store
            .read(|db| Facts::load(db, self.store.dir(), job, attempt))?;
        let Some(mut facts) = facts else {
            self.store
                .write(|tx| queue::attest_in_vain(tx, job, attempt))?;
            return Ok(false);
        };
        facts.log = log;
        facts.resolve_trees(&self.store, actions);
        let provenance = self.seal(&provenance::statement(&facts, &self.appliance));
        let receipt = self.seal(&receipt::statement(&facts, &self.appliance));
        let entry = self.entry(&facts, &provenance, &receipt);
        self.store.write(|tx| {
            if !queue::is_attest_due(tx, job, attempt)? {
                return Ok(false);
            }
            let made = Attestation {
                provenance,
                receipt,
                key: self.keys.public().pem(),
                seq: self.auditor.append(tx, &Who::system(), entry)?,
            };
            queue::attested(tx, job, attempt, &made)?;
            Ok(true)
        })
    }

    /// Signs a statement.
    #[must_use]
    pub fn seal(&self, statement: &impl serde::Serialize) -> Vec<u8> {
        let payload = serde_json::to_vec(statement).expect("our own types have only text keys");
        self.keys.signer().seal(IN_TOTO, &payload)
    }

    fn entry(&self, facts: &Facts, provenance: &[u8], receipt: &[u8]) -> Entry {
        let (job, run) = (&facts.job, &facts.run);
        let name: String = job.name.chars().take(200).collect();
        let digest = |bytes| Digest::of(bytes).to_string();
        Entry::success(Kind::JobAttested)
            .object("job", job.id.tagged(), name)
            .job(job.id)
            .detail("run", run.id.tagged())
            .detail("attempt", facts.attempt.attempt.0)
            .detail(Which::Provenance.detail(), digest(provenance))
            .detail(Which::Receipt.detail(), digest(receipt))
            .detail("key", self.keys.public().id())
            .detail(
                "log",
                facts
                    .log
                    .as_ref()
                    .map(|log| format!("sha256:{}", log.sha256)),
            )
    }
}

pub(crate) fn io(path: &Path, source: std::io::Error) -> AttestError {
    AttestError::Io {
        path: path.display().to_string(),
        source,
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn time(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
