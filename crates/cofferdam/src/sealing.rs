//! The audit log is sealed for as long as the appliance serves: checked first, then kept up to
//! date, and never sealed again once it was tampered with.

use std::sync::Arc;
use std::time::Duration;

use audit::{Auditor, Seal, SealError};
use store::Store;
use vocab::Clock;

use crate::site::Site;

/// How often new entries are sealed: an entry is under a signature this long after it was made.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens the seal. When it was tampered with, every further change is refused and reading goes on.
pub(crate) fn open(site: &Site) -> Option<Arc<Seal>> {
    match Seal::open(site.store.dir(), &site.name, &site.entropy) {
        Ok(seal) => Some(Arc::new(seal)),
        Err(error) => {
            refuse(&site.auditor, &format!("{:#}", anyhow::Error::from(error)));
            None
        }
    }
}

/// Starts the thread; it ends with the process, and may do so at any moment.
pub(crate) fn start(site: &Site, seal: &Arc<Seal>) -> std::io::Result<()> {
    let (store, auditor, seal) = (site.store.clone(), site.auditor.clone(), seal.clone());
    std::thread::Builder::new()
        .name("sealing".into())
        .spawn(move || keep_sealed(&store, &auditor, &seal))
        .map(drop)
}

fn keep_sealed(store: &Store, auditor: &Auditor, seal: &Seal) {
    match seal.check(store) {
        Ok(found) if found.is_empty() => {}
        Ok(found) => {
            for one in &found {
                tracing::error!("audit log: {one}");
            }
            refuse(auditor, &found[0]);
            return;
        }
        Err(error) => tracing::error!(%error, "the audit log's seal was not checked"),
    }
    let mut failing = false;
    loop {
        match seal.seal(store) {
            Ok(_) => failing = false,
            Err(error) if tampered(&error) => return refuse(auditor, &error.to_string()),
            Err(error) if !failing => {
                failing = true;
                let error = anyhow::Error::from(error);
                tracing::error!("the audit log was not sealed; trying again: {error:#}");
            }
            Err(_) => {}
        }
        Clock::sleep(PAUSE);
    }
}

/// Whether trying again cannot help.
fn tampered(error: &SealError) -> bool {
    !matches!(
        error,
        SealError::Io { .. } | SealError::Store(_) | SealError::Minisign(_)
    )
}

fn refuse(auditor: &Auditor, found: &str) {
    tracing::error!(
        "the audit log was tampered with, and nothing is changed from now on: {found}; run \
         `cofferdam fsck`, then restore the whole data directory from a backup"
    );
    auditor.refuse(found);
}
