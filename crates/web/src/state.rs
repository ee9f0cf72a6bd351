//! What every handler holds: the stores, the logs, the open repositories, the settings.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use audit::Auditor;
use git::{Durability, OpenError, Repository};
use queue::logs::Logs;
use store::{Db, Store, StoreError, Tx};
use tokio::sync::{Semaphore, watch};
use vocab::{Clock, Entropy, RepoId};

use crate::config::WebConfig;
use crate::facilities::Facilities;
use crate::fault::Fault;
use crate::hub::Hub;

/// How many repositories stay open. Opening one costs a few `stat` calls.
const OPEN_REPOS: usize = 512;

/// What a server is made of.
pub struct AppParts {
    /// The database and blobs.
    pub store: Arc<Store>,
    /// The logs of jobs.
    pub logs: Logs,
    /// The audit log.
    pub auditor: Auditor,
    /// The seal of the audit log; none where it was tampered with.
    pub seal: Option<Arc<audit::Seal>>,
    /// What signs statements; none where its key or the seal cannot be used.
    pub attester: Option<Arc<attest::Attester>>,
    /// Keys that seal secrets.
    pub keys: Arc<access::Keys>,
    /// The place through which bundles come in.
    pub intake: Arc<supply::bundles::Intake>,
    /// Which generations running jobs use.
    pub leases: supply::Leases,
    /// What is asked for and not there.
    pub wants: supply::Wants,
    /// What running jobs are given.
    pub given: supply::Given,
    /// Unpacks the layers of an image somewhere safe.
    pub unpack: Arc<dyn supply::Unpack + Send + Sync>,
    /// The clock.
    pub clock: Clock,
    /// The source of chance.
    pub entropy: Entropy,
    /// Whether pushes survive a power cut.
    pub durability: Durability,
    /// What runs the jobs.
    pub facilities: Arc<dyn Facilities>,
    /// Settings.
    pub config: WebConfig,
}

/// One appliance's server. Cloning shares it.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: AppParts,
    pub(crate) hub: Hub,
    pub(crate) git_slots: Arc<Semaphore>,
    pub(crate) counters: crate::metrics::Counters,
    /// Pushes whose refs have moved and whose end could not be written.
    pub(crate) unsettled: Mutex<Vec<vocab::PushId>>,
    pub(crate) actions: supply::Actions,
    pub(crate) exports: crate::exports::Exports,
    repos: Mutex<HashMap<RepoId, Arc<Repository>>>,
    stopping: watch::Sender<bool>,
}

impl std::ops::Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0.parts
    }
}

impl App {
    /// Puts a server together. Watchers hear of every change from here on.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        let hub = Hub::default();
        let of_store = hub.clone();
        parts
            .store
            .on_change(move |changes| of_store.changed(changes));
        let of_logs = hub.clone();
        parts
            .logs
            .on_growth(move |job, attempt| of_logs.grew(job, attempt));
        let git_slots = Arc::new(Semaphore::new(parts.config.limits.git_requests.max(1)));
        let actions = supply::Actions::new(parts.store.clone(), parts.durability);
        let exports = crate::exports::Exports::open(parts.store.dir());
        Self(Arc::new(Inner {
            parts,
            hub,
            git_slots,
            counters: crate::metrics::Counters::default(),
            unsettled: Mutex::default(),
            actions,
            exports,
            repos: Mutex::default(),
            stopping: watch::channel(false).0,
        }))
    }

    /// The repositories of actions; the only ones of the process.
    #[must_use]
    pub fn actions(&self) -> supply::Actions {
        self.0.actions.clone()
    }

    /// Removes exports of the audit log that were kept long enough.
    pub fn sweep_exports(&self) {
        self.0.exports.sweep(self.clock.now());
    }

    /// The repository of `id`, open; one instance for the whole process, as its ref writer must be.
    pub fn repository(&self, id: RepoId) -> Result<Arc<Repository>, OpenError> {
        let mut open = self.0.repos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = open.get(&id) {
            return Ok(Arc::clone(repo));
        }
        let dir = forge::repo_dir(self.store.dir(), id);
        let repo = Arc::new(Repository::open(&dir, self.durability)?);
        if open.len() >= OPEN_REPOS {
            // Whoever still works in one holds it; it must not be opened a second time.
            open.retain(|_, repo| Arc::strong_count(repo) > 1);
        }
        open.insert(id, Arc::clone(&repo));
        Ok(repo)
    }

    /// Closes the repository of `id`, because it was deleted.
    pub(crate) fn forget_repository(&self, id: RepoId) {
        let mut open = self.0.repos.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id);
    }

    /// Makes an empty repository on disk, as [`forge::create_repo`] wants it made.
    pub(crate) fn make_repository(
        &self,
        dir: &Path,
        branch: &str,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        Repository::init_bare(dir, branch, self.durability)?;
        Ok(())
    }

    /// Reads off the runtime, in one consistent snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Db) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let app = self.clone();
        self.off(move || app.store.read(look)).await
    }

    /// Writes off the runtime, in one transaction.
    pub(crate) async fn write<T: Send + 'static, E>(
        &self,
        work: impl FnOnce(&App, &mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Fault>
    where
        E: From<StoreError> + Into<Fault> + Send + 'static,
    {
        let app = self.clone();
        self.off(move || app.store.write(|tx| work(&app, tx)).map_err(Into::into))
            .await
    }

    /// Runs blocking work off the runtime.
    pub(crate) async fn off<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let span = tracing::Span::current();
        tokio::task::spawn_blocking(move || span.in_scope(work)).await?
    }

    /// Tells streams without an end to end, so that a drain can finish.
    pub(crate) fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Resolves once the server drains.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    /// What SSH clone addresses begin with, without a slash at the end; none where there is no
    /// SSH.
    pub(crate) fn ssh_address(&self) -> Option<String> {
        let ssh = self.config.ssh.as_ref()?;
        let address = ssh.address.strip_suffix(":22").unwrap_or(&ssh.address);
        Some(format!("ssh://git@{address}"))
    }

    /// The address of a page of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.config.public_url.trim_end_matches('/'))
    }
}
