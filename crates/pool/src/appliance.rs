//! What jobs of a running appliance get: imported images, their own repo, their repo's secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use access::{Home, Keys, RepoFacts};
use audit::Auditor;
use queue::Claimed;
use runner::executor::ImageFacts;
use runner::{CarriedAction, Secret, Source, Supply};
use store::{Store, StoreError, Tx};
use supply::{NoImage, Served, generation};
use vocab::{Fence, RepoId};

use crate::dispatcher::chain;
use crate::supplied::Supplied;
use crate::{Held, Provider, RepoSource, carried};

/// Opens a repo; one instance for the whole process. The error is words.
pub type OpenRepo = dyn Fn(RepoId) -> Result<Arc<git::Repository>, String> + Send + Sync;

/// The provider of an appliance.
pub struct Appliance {
    /// The database.
    pub store: Arc<Store>,
    /// The audit log.
    pub auditor: Auditor,
    /// The keys that seal secrets.
    pub keys: Arc<Keys>,
    /// Label to image name, from the settings.
    pub labels: BTreeMap<String, String>,
    /// Opens repos.
    pub open: Box<OpenRepo>,
    /// Which generations running jobs use.
    pub leases: supply::Leases,
    /// The repositories of actions.
    pub actions: supply::Actions,
    /// What jobs ask for in vain.
    pub wants: supply::Wants,
    /// What jobs are given.
    pub given: supply::Given,
    /// Which version of a tool may stand in for another, from the settings.
    pub aliases: Arc<BTreeMap<String, String>>,
}

impl Provider for Appliance {
    fn hold(&self) -> Result<Held, String> {
        let active = || self.store.read(generation::active).map_err(|e| chain(&e));
        let mut seen = active()?;
        loop {
            let lease = seen.map(|generation| self.leases.take(generation));
            // Collection spares what is active and what is leased: it must have been active once
            // the lease stood.
            let now = active()?;
            if now == seen {
                return Ok(Held::new(lease));
            }
            seen = now;
        }
    }

    fn labels(&self, held: &Held) -> Result<Served, String> {
        self.store
            .read(|db| supply::served_labels(db, &self.labels, held.generation()))
            .map_err(|e: NoImage| chain(&e))
    }

    fn image(&self, claimed: &Claimed, held: &Held) -> Result<Option<ImageFacts>, String> {
        let labels = &claimed.job.labels;
        let image = self
            .store
            .read(|db| supply::resolve_labels(db, &self.labels, labels, held.generation()))
            .map_err(|e| chain(&e))?;
        self.given.note(claimed.fence, &image.digest);
        Ok(Some(self.facts(image)))
    }

    fn own_image(&self) -> Result<Option<ImageFacts>, String> {
        let image = self.store.read(supply::default_image);
        Ok(image.map_err(|e| chain(&e))?.map(|image| self.facts(image)))
    }

    fn source(&self, claimed: &Claimed) -> Result<Arc<dyn Source>, String> {
        let path = claimed.github["repository"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let repo = (self.open)(claimed.run.repo)?;
        Ok(Arc::new(RepoSource::new(path, repo)))
    }

    fn secrets(&self, claimed: &Claimed) -> Result<Vec<(String, Secret)>, String> {
        if claimed.run.untrusted {
            return Ok(Vec::new());
        }
        let Some(named) = secrets_named(&claimed.spec) else {
            return Ok(Vec::new());
        };
        let given = self.store.write(|tx| self.reveal(tx, claimed, named));
        let given = given.map_err(|e: RevealError| chain(&e))?;
        Ok(given
            .into_iter()
            .map(|secret| (secret.name, Secret::new(secret.value.expose().to_owned())))
            .collect())
    }

    fn supply(&self, claimed: &Claimed, held: &Held) -> Result<Option<Arc<dyn Supply>>, String> {
        let Some(generation) = held.generation() else {
            return Ok(None);
        };
        let supplied = Supplied::look(self, generation, claimed.fence)?;
        Ok(Some(Arc::new(supplied)))
    }

    fn actions(&self, claimed: &Claimed, held: &Held) -> Result<Vec<CarriedAction>, String> {
        carried::actions(self, claimed, held)
    }

    fn ending(&self, tx: &mut Tx<'_>, fence: Fence) -> Result<(), StoreError> {
        self.given.write(tx, fence)
    }

    fn forget(&self, fence: Fence) {
        self.given.forget(fence);
    }

    fn ended(&self) {
        let now_ms = vocab::unix_ms(self.auditor.now());
        if let Err(error) = self.wants.flush(&self.store, now_ms) {
            tracing::error!(error = %chain(&error), "what a job asked for was not written down");
        }
    }
}

/// Why secrets could not be given to a job.
#[derive(Debug, thiserror::Error)]
enum RevealError {
    /// The repo is gone.
    #[error("the repo of this job was deleted")]
    NoRepo,
    /// The secrets refused.
    #[error(transparent)]
    Secret(#[from] access::SecretError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Appliance {
    fn facts(&self, image: supply::ImageRow) -> ImageFacts {
        ImageFacts {
            name: image.shown_name(),
            digest: image.digest,
            layers: image
                .layers
                .iter()
                .map(|layer| supply::layer_dir(self.store.dir(), &layer.diff_id))
                .collect(),
            env: image.env,
            user: image.user,
        }
    }

    fn reveal(
        &self,
        tx: &mut store::Tx<'_>,
        claimed: &Claimed,
        named: Named,
    ) -> Result<Vec<access::Secret>, RevealError> {
        let repo = forge::by_id(tx, claimed.run.repo)
            .map_err(StoreError::from)?
            .ok_or(RevealError::NoRepo)?;
        let facts = RepoFacts {
            id: repo.id,
            path: repo.path,
            owner_user: repo.owner_user,
            visibility: repo.visibility,
        };
        let names = match named {
            Named::These(names) => names,
            Named::All => {
                let mut all = access::list_secrets(tx, Home::Instance).map_err(StoreError::from)?;
                all.extend(access::list_secrets(tx, Home::Repo(&facts)).map_err(StoreError::from)?);
                all.into_iter().map(|info| info.name).collect()
            }
        };
        let secrets =
            access::reveal_for_job(tx, &self.auditor, &self.keys, claimed.fence, &facts, &names)?;
        Ok(secrets)
    }
}

/// Which secrets a job's own text asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// Those of these names.
    These(Vec<String>),
    /// It uses the context as a whole, or by computed names.
    All,
}

/// The secrets that the job's expressions name; `None` when they name none. A job is given no
/// other, so that what it cannot use it cannot lose.
#[must_use]
pub fn secrets_named(spec: &workflow::JobSpec) -> Option<Named> {
    let text = serde_json::to_string(spec)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let mut names = Vec::new();
    for (at, word) in text.match_indices("secrets") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            continue;
        }
        let rest = text[at + word.len()..].trim_start();
        let Some(name) = rest.strip_prefix('.') else {
            if rest.starts_with(['[', ')', ' ', '}', ',']) {
                return Some(Named::All);
            }
            continue;
        };
        let name: String = name
            .trim_start()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if name.is_empty() {
            return Some(Named::All);
        }
        names.push(name.to_ascii_uppercase());
    }
    names.sort();
    names.dedup();
    (!names.is_empty()).then_some(Named::These(names))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(step: &str) -> workflow::JobSpec {
        let text =
            format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: {step}\n");
        let workflow =
            workflow::parse("w.yml", text.as_bytes(), &workflow::Limits::default()).unwrap();
        let contexts = workflow::Contexts::new(workflow::Status::of_needs([], [], false));
        let job = &workflow.jobs[0];
        let mut legs = workflow::expand(&workflow, job, &contexts).unwrap();
        workflow::JobSpec::new(&workflow, job, legs.remove(0))
    }

    #[test]
    fn a_job_is_given_the_secrets_it_names_and_no_other() {
        let named = |step: &str| secrets_named(&spec(&json!(step).to_string()));
        assert_eq!(named("echo no secrets here, my_secrets.X neither"), None);
        let these = |names: &[&str]| {
            Some(Named::These(
                names.iter().map(|n| (*n).to_owned()).collect(),
            ))
        };
        assert_eq!(
            named("echo ${{ secrets.key }} ${{ Secrets . KEY }}"),
            these(&["KEY"])
        );
        assert_eq!(
            named("echo ${{ secrets.B }}${{ secrets.A }}"),
            these(&["A", "B"])
        );
        assert_eq!(named("echo ${{ toJSON(secrets) }}"), Some(Named::All));
        assert_eq!(named("echo ${{ secrets['K'] }}"), Some(Named::All));
    }
}
