//! The data directory that lives only as long as the command.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Context;
use audit::{Auditor, Origin, Who};
use queue::NewRun;
use queue::logs::Logs;
use serde_json::{Value, json};
use store::{Store, StoreOptions};
use vocab::{Clock, Entropy, RepoId, RunId, UserId};
use workflow::GithubContext;

use super::choose::{Chosen, Tree};
use crate::cli::Try;
use crate::local;
use crate::program;

/// The one repo of a try.
const REPO: RepoId = RepoId(1);

/// The data directory of one try.
pub(super) struct Scratch {
    pub(super) store: Arc<Store>,
    pub(super) auditor: Auditor,
    pub(super) logs: Logs,
}

/// Something changed: a log grew, or a job moved on.
pub(super) type Wake = Arc<(Mutex<bool>, Condvar)>;

impl Scratch {
    pub(super) fn open(dir: &Path) -> anyhow::Result<Self> {
        // Nothing in here outlives the command, so nothing need survive a power cut.
        let options = StoreOptions { skip_fsync: true };
        let store = Arc::new(Store::open(dir, program::this().migrations, options)?);
        let origin = Origin {
            host: "try".to_owned(),
            boot: String::new(),
        };
        let auditor = Auditor::new(Clock::system(), Entropy::system(), origin);
        let logs = Logs::open(&dir.join("logs")).context("cannot make the logs")?;
        Ok(Self {
            store,
            auditor,
            logs,
        })
    }

    pub(super) fn wake(&self) -> Wake {
        let wake: Wake = Arc::default();
        let ring = |wake: &Wake| {
            *wake.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            wake.1.notify_all();
        };
        let of_logs = wake.clone();
        self.logs.on_growth(move |_, _| ring(&of_logs));
        let of_store = wake.clone();
        self.store.on_change(move |_| ring(&of_store));
        wake
    }

    pub(super) fn open_runs(
        &self,
        args: &Try,
        tree: &Tree,
        given: &Value,
        chosen: &[Chosen],
    ) -> anyhow::Result<Vec<RunId>> {
        let head = local::head(&tree.root);
        let name = tree
            .root
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let owner = args.actor.split('/').next().unwrap_or_default();
        let repository = format!("{owner}/{name}");
        let mut event = json!({
            "ref": head.git_ref, "before": "0".repeat(40), "after": head.sha,
            "repository": { "name": name, "full_name": repository,
                "owner": { "login": owner } },
            "sender": { "login": args.actor },
        });
        if let (Some(event), Some(given)) = (event.as_object_mut(), given.as_object()) {
            event.extend(given.clone());
        }
        let mut runs = Vec::new();
        for Chosen { workflow, inputs } in chosen {
            let mut event = event.clone();
            let mut given = json!({});
            if !matches!(inputs, workflow::Value::Null) {
                event["inputs"] = workflow::event_inputs(inputs).to_json();
                event["workflow"] = json!(workflow.path);
                given = inputs.to_json();
            }
            let github = GithubContext {
                event_name: args.event.clone(),
                event,
                git_ref: head.git_ref.clone(),
                sha: head.sha.clone(),
                repository: repository.clone(),
                repository_id: "1".to_owned(),
                repository_owner_id: "1".to_owned(),
                actor: args.actor.clone(),
                actor_id: "1".to_owned(),
                triggering_actor: args.actor.clone(),
                workflow: workflow.display_name().to_owned(),
                workflow_path: workflow.path.clone(),
                workflow_sha: head.sha.clone(),
                server_url: "http://cofferdam.local".to_owned(),
                api_url: "http://cofferdam.local/api/v1".to_owned(),
                retention_days: 90,
                ..GithubContext::default()
            };
            let new = NewRun {
                repo: REPO,
                push: None,
                workflow_path: workflow.path.clone(),
                workflow_name: workflow.display_name().to_owned(),
                title: name.clone(),
                event: args.event.clone(),
                git_ref: head.git_ref.clone(),
                sha: head.sha.clone(),
                actor: UserId(0),
                actor_name: args.actor.clone(),
                github: github.to_value().to_json(),
                inputs: given,
                vars: json!({}),
                held: false,
                untrusted: false,
            };
            let (now, who) = (self.auditor.now(), Who::system());
            let opened = self
                .store
                .write(|tx| queue::open_run(tx, now, &self.auditor, &who, &new, workflow))
                .with_context(|| format!("cannot open a run of {}", workflow.path))?;
            runs.push(opened.run);
        }
        Ok(runs)
    }
}
