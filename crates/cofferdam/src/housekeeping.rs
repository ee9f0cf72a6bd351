//! What an appliance does for itself in the background: packs merged, dead sessions removed.
//!
//! One thread, woken by commits that moved refs and once an hour; the repos that changed within
//! the hour are then collected. Nothing that anybody waits for
//! happens here, and a failure is only told.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use store::{Change, Store, StoreError};
use vocab::{Clock, RepoId, Stopwatch};
use web::App;

/// More packs than this in a repo are merged.
const MAX_PACKS: usize = 32;

/// How often sessions whose time is over are removed.
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Waiting {
    repos: Mutex<BTreeSet<RepoId>>,
    wake: Condvar,
}

/// Starts the thread; it ends with the process, and may do so at any moment.
pub(crate) fn start(app: &App, store: &Arc<Store>, clock: &Clock) -> std::io::Result<()> {
    let waiting = Arc::new(Waiting::default());
    let ear = waiting.clone();
    store.on_change(move |changes| {
        let mut repos = ear.repos.lock().unwrap_or_else(PoisonError::into_inner);
        let before = repos.len();
        repos.extend(changes.iter().filter_map(|change| match change {
            Change::Repo(repo) => Some(*repo),
            _ => None,
        }));
        if repos.len() > before {
            ear.wake.notify_one();
        }
    });
    let (app, store, clock) = (app.clone(), store.clone(), clock.clone());
    let work = move || {
        let mut hour = Stopwatch::start();
        let mut changed = BTreeSet::new();
        loop {
            for repo in next(&waiting, HOUR.saturating_sub(hour.elapsed())) {
                merge_packs(&app, repo);
                changed.insert(repo);
            }
            if hour.elapsed() >= HOUR {
                hour = Stopwatch::start();
                for repo in std::mem::take(&mut changed) {
                    collect(&app, &store, &clock, repo);
                }
                sweep_sessions(&store, &clock);
                app.sweep_exports();
            }
        }
    };
    std::thread::Builder::new()
        .name("housekeeping".into())
        .spawn(work)
        .map(drop)
}

/// The repos that changed since the last call; waits for one, at most `most`.
fn next(waiting: &Waiting, most: Duration) -> BTreeSet<RepoId> {
    let repos = waiting.repos.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut repos, _) = waiting
        .wake
        .wait_timeout_while(repos, most, |repos| repos.is_empty())
        .unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *repos)
}

#[tracing::instrument(skip_all, fields(repo.id = %repo))]
fn merge_packs(app: &App, repo: RepoId) {
    // A repo that was deleted meanwhile cannot be opened, and need not be.
    let Ok(repository) = app.repository(repo) else {
        return;
    };
    match repository.pack_count() {
        Ok(packs) if packs > MAX_PACKS => match repository.consolidate(MAX_PACKS) {
            Ok(done) => tracing::debug!(?done, "packs merged"),
            Err(error) => tracing::warn!(%error, "packs were not merged"),
        },
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "packs were not counted"),
    }
    if let Err(error) = repository.prepare_clones() {
        tracing::warn!(%error, "the larger packs were not looked at; clones count every object");
    }
}

/// Sorts a repo's objects anew where that would make clones faster or disk use smaller.
#[tracing::instrument(skip_all, fields(repo.id = %id))]
fn collect(app: &App, store: &Store, clock: &Clock, id: RepoId) {
    let work = || -> Result<(), Box<dyn std::error::Error>> {
        let Some(repo) = store.read(|db| forge::by_id(db, id).map_err(StoreError::from))? else {
            return Ok(());
        };
        let grace = Duration::from_secs(u64::from(web::GRACE_DAYS) * 24 * 3600);
        if app.repository(id)?.gc_is_due(grace, clock.now())? {
            let done = web::collect_repo(app, &audit::Who::system(), &repo, web::GRACE_DAYS)?;
            tracing::info!(?done, "objects sorted");
        }
        Ok(())
    };
    if let Err(error) = work() {
        tracing::warn!(%error, "objects were not sorted");
    }
}

fn sweep_sessions(store: &Store, clock: &Clock) {
    let now = clock.now();
    let swept = store.write(|tx| access::sweep_sessions(tx, now).map_err(StoreError::from));
    if let Err(error) = swept {
        tracing::warn!(%error, "sessions whose time is over were not removed");
    }
}
