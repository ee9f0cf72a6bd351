//! What runs beside the server for as long as it serves: the service manager hears that it lives,
//! and the certificate is renewed in time.

use std::sync::Arc;
use std::time::Duration;

use store::{Store, StoreError};

use crate::notify::Manager;
use crate::site::Site;
use crate::tls::Serving;

/// How often the certificate on disk is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Starts it on the present runtime; it ends with that.
pub(crate) fn start(site: &Site, secure: Option<Arc<Serving>>) {
    let manager = Manager::of_environment();
    if let Some(every) = manager.watchdog() {
        tokio::spawn(say_alive(manager, every, site.store.clone()));
    }
    let Some(secure) = secure else { return };
    let clock = site.clock.clone();
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(LOOK);
        loop {
            beat.tick().await;
            let (secure, now) = (secure.clone(), clock.now());
            match tokio::task::spawn_blocking(move || secure.refresh(now)).await {
                Ok(Ok(true)) => tracing::info!("the certificate on disk is served now"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::error!("the certificate was not renewed: {error:#}"),
                Err(error) => tracing::error!(%error, "looking at the certificate panicked"),
            }
        }
    });
}

/// Tells the manager, as long as the database answers.
async fn say_alive(manager: Manager, every: Duration, store: Arc<Store>) {
    let mut beat = tokio::time::interval(every);
    loop {
        beat.tick().await;
        let store = store.clone();
        let looked = tokio::task::spawn_blocking(move || {
            store.read(|db| audit::head(db).map(drop).map_err(StoreError::from))
        });
        match looked.await {
            Ok(Ok(())) => manager.alive(),
            Ok(Err(error)) => tracing::error!(%error, "the database does not answer"),
            Err(error) => tracing::error!(%error, "asking the database panicked"),
        }
    }
}
