//! Git's service, whichever way a client came: HTTP and SSH bring a caller and two streams.

use std::io::{Read, Write};
use std::sync::Arc;

use access::{Action, Denied, Principal, Resource};
use audit::Who;
use forge::Repo;
use git::{Protocol, Repository, UploadLimits};

use crate::guard::{facts, judge};
use crate::push::{self, RecordError};
use crate::state::App;

/// Who asks git for something, and of which repo.
pub(crate) struct Caller {
    pub(crate) app: App,
    pub(crate) who: Who,
    pub(crate) principal: Principal,
    pub(crate) repo: Arc<Repo>,
}

impl Caller {
    /// Whether they may, asked anew: a key that was removed meanwhile opens nothing. Blocking.
    pub(crate) fn may(&self, action: Action) -> Result<(), Denied> {
        let resource = Resource::Repo(facts(&self.repo));
        let principal = self.fresh(action)?;
        judge(&self.app, &self.who, &principal, action, &resource)
    }

    /// A key's owner as the database knows them now; others as they came.
    fn fresh(&self, action: Action) -> Result<Principal, Denied> {
        let (Principal::SshKey { fingerprint, .. } | Principal::DeployKey { fingerprint, .. }) =
            &self.principal
        else {
            return Ok(self.principal.clone());
        };
        let found = self
            .app
            .store
            .read(|db| access::key_owner(db, fingerprint).map_err(store::StoreError::from));
        match found {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => Err(Denied::NotSignedIn { action }),
            Err(error) => {
                tracing::error!(%error, "a key cannot be looked up");
                Err(Denied::NotSignedIn { action })
            }
        }
    }
}

/// Answers one fetch and notes it.
pub(crate) fn fetch(
    caller: &Caller,
    repository: &Repository,
    protocol: Protocol,
    input: &mut dyn Read,
    out: &mut dyn Write,
) {
    let mut input = Asking {
        inner: input,
        has_some: false,
    };
    let mut out = Sending {
        inner: out,
        bytes: 0,
        pack: false,
    };
    let limits = UploadLimits::default();
    let served = git::upload_pack(repository, protocol, &mut input, &mut out, &limits);
    caller.app.0.counters.fetch(out.bytes);
    if let Err(error) = served {
        tracing::info!(%error, "a fetch ended early");
    }
    if out.pack {
        let Caller { app, who, repo, .. } = caller;
        note_fetch(app, who, repo, !input.has_some);
    }
}

/// Notes in the audit log that objects were taken; the answer does not wait for it.
pub(crate) fn note_fetch(app: &App, who: &Who, repo: &Repo, whole: bool) {
    let noted = app.store.write(|tx| -> Result<(), RecordError> {
        forge::record_fetch(tx, &app.auditor, who, repo, whole)?;
        Ok(())
    });
    if let Err(error) = noted {
        tracing::error!(error = %push::chain(&error), "a fetch could not be noted");
    }
}

/// A fetch's request, watched for `have` lines: a clone has none.
struct Asking<'a> {
    inner: &'a mut dyn Read,
    has_some: bool,
}

impl Read for Asking<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(out)?;
        self.has_some |= out[..n].windows(5).any(|w| w == b"have ");
        Ok(n)
    }
}

/// A fetch's answer, counted, and watched for the beginning of a pack.
struct Sending<'a> {
    inner: &'a mut dyn Write,
    bytes: u64,
    pack: bool,
}

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.pack {
            self.pack = bytes.windows(4).any(|w| w == b"PACK");
        }
        let n = self.inner.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
