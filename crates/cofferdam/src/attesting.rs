//! Every job that has ended is attested: at the start those that a kill left over, then each as it
//! ends.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use attest::{Appliance, Attester};
use audit::Seal;
use store::Change;
use web::App;

use crate::program;
use crate::site::Site;

/// How often it is tried again when nothing happens.
const BEAT: Duration = Duration::from_secs(15);

/// Opens the key that attests. Without it, or without a log to name the statements in, jobs run
/// all the same, and stay to be attested.
pub(crate) fn open(site: &Site, seal: Option<&Arc<Seal>>, url: &str) -> Option<Arc<Attester>> {
    let appliance = Appliance {
        name: site.name.clone(),
        log: seal?.key().clone(),
        url: url.to_owned(),
        version: program::this().version.to_owned(),
    };
    let (store, auditor) = (site.store.clone(), site.auditor.clone());
    match Attester::open(store, auditor, site.logs.clone(), appliance) {
        Ok(attester) => Some(Arc::new(attester)),
        Err(error) => {
            tracing::error!("no job is attested: {:#}", anyhow::Error::from(error));
            None
        }
    }
}

/// Attests what an earlier process left over, then starts the thread that goes on with it; it ends
/// with the process, and may do so at any moment. No job may run yet.
pub(crate) fn start(app: &App, attester: &Arc<Attester>) -> std::io::Result<()> {
    attest(app, attester, true);
    let bell = Arc::new(Bell::default());
    let ears = bell.clone();
    app.store.on_change(move |changes| {
        if changes
            .iter()
            .any(|change| matches!(change, Change::Job(_)))
        {
            ears.ring();
        }
    });
    let (app, attester) = (app.clone(), attester.clone());
    std::thread::Builder::new()
        .name("attesting".into())
        .spawn(move || {
            loop {
                bell.wait();
                attest(&app, &attester, false);
            }
        })
        .map(drop)
}

fn attest(app: &App, attester: &Attester, settling: bool) {
    if app.auditor.refusing().is_some() {
        return;
    }
    match attester.make_missing(&app.actions(), settling) {
        Ok(0) => {}
        Ok(jobs) => tracing::debug!(jobs, "attested"),
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::error!("a job was not attested; trying again: {error:#}");
        }
    }
}

/// Rings when a job changed.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut rung, _) = self
            .wake
            .wait_timeout_while(rung, BEAT, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}
