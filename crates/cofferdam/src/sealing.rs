//! The audit log is sealed for as long as the appliance serves: checked first, then kept up to
//! date, and never sealed again once it was tampered with. Whoever seals it also sees what is in
//! its way: too little room on the disk, a tile that cannot be written.

use std::sync::Arc;
use std::time::Duration;

use audit::{Auditor, Cause, Seal, SealError, State};
use store::Store;
use vocab::Clock;

use crate::output;
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
    let keeper = Keeper {
        store: site.store.clone(),
        auditor: site.auditor.clone(),
        seal: seal.clone(),
        reserve_bytes: site.config.audit.reserve_mib << 20,
    };
    std::thread::Builder::new()
        .name("sealing".into())
        .spawn(move || keeper.keep())
        .map(drop)
}

/// What keeps the log appendable and sealed, or says that it is not.
struct Keeper {
    store: Arc<Store>,
    auditor: Auditor,
    seal: Arc<Seal>,
    /// Room on the disk that changes leave for the log.
    reserve_bytes: u64,
}

impl Keeper {
    fn keep(&self) {
        if let Err(error) = self.auditor.recall(&self.store) {
            tracing::error!(%error, "whether the audit log was blocked before is not known");
        }
        self.settle(self.room());
        match self.seal.check(&self.store) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => {
                for one in &found {
                    tracing::error!("audit log: {one}");
                }
                return refuse(&self.auditor, &found[0]);
            }
            Err(error) => tracing::error!(%error, "the audit log's seal was not checked"),
        }
        loop {
            let found = match self.room() {
                Some(found) => {
                    // What is there is sealed all the same, as long as that works.
                    drop(self.seal.seal(&self.store));
                    Some(found)
                }
                None => match self.seal.seal(&self.store) {
                    Ok(_) => None,
                    Err(error) if tampered(&error) => {
                        return refuse(&self.auditor, &error.to_string());
                    }
                    Err(error) => Some(unsealed(error)),
                },
            };
            self.settle(found);
            Clock::sleep(PAUSE);
        }
    }

    /// What of disk and database is in the log's way.
    fn room(&self) -> Option<(Cause, String)> {
        if self.store.is_stopped() {
            let what = "a commit failed, and the database is not written any more".to_owned();
            return Some((Cause::Database, what));
        }
        let free = match rustix::fs::statvfs(self.store.dir()) {
            Ok(facts) => facts.f_bavail * facts.f_frsize,
            Err(error) => {
                tracing::error!(%error, "the room on the disk is not known");
                return None;
            }
        };
        let scarce = matches!(self.auditor.state(), State::Blocked(b) if b.cause == Cause::Space);
        // More than what began it must be free to end it, or it would come and go.
        let wanted = self.reserve_bytes + if scarce { self.reserve_bytes / 8 } else { 0 };
        (free < wanted).then(|| {
            let kept = self.reserve_bytes;
            let what = format!(
                "{} of the {} that are kept for it are free",
                output::bytes(free),
                output::bytes(kept)
            );
            (Cause::Space, what)
        })
    }

    fn settle(&self, found: Option<(Cause, String)>) {
        let blocked = found.is_some();
        let found = found.as_ref().map(|(cause, what)| (*cause, what.as_str()));
        match (self.auditor.settle(&self.store, found), found) {
            (Ok(true), Some((cause, what))) => tracing::error!(
                "the audit log takes no entries and nothing is changed from now on: {what}; {}",
                cause.todo()
            ),
            (Ok(true), None) => tracing::warn!("the audit log takes entries again"),
            (Ok(false), _) => {}
            (Err(error), _) => {
                let error = anyhow::Error::from(error);
                tracing::error!(blocked, "the audit log is not written to: {error:#}");
            }
        }
    }
}

/// Why the log cannot be sealed now.
fn unsealed(error: SealError) -> (Cause, String) {
    let full = matches!(
        &error,
        SealError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull
    );
    let cause = match error {
        _ if full => Cause::Space,
        SealError::Store(_) => Cause::Database,
        _ => Cause::Unsealed,
    };
    (cause, format!("{:#}", anyhow::Error::from(error)))
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

#[cfg(test)]
mod tests {
    use audit::{Entry, Kind, MIGRATIONS, Origin, Who};
    use store::StoreOptions;
    use vocab::Entropy;

    use super::*;

    fn keeper(dir: &std::path::Path) -> Keeper {
        let options = StoreOptions { skip_fsync: true };
        let origin = Origin {
            host: "lab".into(),
            boot: "b".into(),
        };
        let keeper = Keeper {
            store: Arc::new(Store::open(dir, &[MIGRATIONS], options).unwrap()),
            auditor: Auditor::new(Clock::system(), Entropy::system(), origin),
            seal: Arc::new(Seal::open(dir, "lab", &Entropy::system()).unwrap()),
            reserve_bytes: 0,
        };
        keeper.auditor.recall(&keeper.store).unwrap();
        keeper
    }

    fn make(keeper: &Keeper) -> Result<(), audit::SettleError> {
        keeper.store.write(|tx| {
            let entry = Entry::success(Kind::RepoCreate);
            keeper.auditor.append(tx, &Who::system(), entry)?;
            Ok(())
        })
    }

    #[test]
    fn with_less_room_than_is_kept_nothing_is_changed_until_there_is_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        keeper.settle(keeper.room());
        make(&keeper).unwrap();
        keeper.reserve_bytes = 1 << 60;
        keeper.settle(keeper.room());
        assert!(make(&keeper).is_err());
        let State::Blocked(told) = keeper.auditor.state() else {
            panic!("it takes entries")
        };
        assert_eq!((told.cause, told.refused), (Cause::Space, 1));
        assert!(told.what.contains("are free"), "{}", told.what);
        keeper.reserve_bytes = 0;
        keeper.settle(keeper.room());
        make(&keeper).unwrap();
    }

    #[test]
    fn a_tile_that_cannot_be_written_stops_changes_as_long_as_that_is_so() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(dir.path());
        make(&keeper).unwrap();
        // Nothing can be made below what is a file.
        std::fs::write(dir.path().join("audit/tile"), b"").unwrap();
        let turn = || keeper.settle(keeper.seal.seal(&keeper.store).err().map(unsealed));
        turn();
        assert!(make(&keeper).is_err());
        assert!(matches!(
            keeper.auditor.state(),
            State::Blocked(told) if told.cause == Cause::Unsealed
        ));
        std::fs::remove_file(dir.path().join("audit/tile")).unwrap();
        turn();
        make(&keeper).unwrap();
        assert_eq!(
            keeper.seal.check(&keeper.store).unwrap(),
            Vec::<String>::new()
        );
    }
}
