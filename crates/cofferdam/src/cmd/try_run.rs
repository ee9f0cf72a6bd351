//! `cofferdam try`: the workflows of a working tree, run by the real queue, pool and sandbox over
//! a data directory that lives only as long as the command.

mod choose;
mod follow;
mod scratch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pool::{Embedded, Parts, Pool};
use runner::receipt::RunnerIdentity;
use sandbox::{Launcher, LauncherConfig};
use vocab::Clock;

use self::choose::{Tree, choose, payload, secrets};
use self::follow::follow;
use self::scratch::Scratch;
use crate::cli::{Global, Try};
use crate::config::Config;
use crate::local::{self, Local};
use crate::{identity, output};

pub(super) fn run(global: &Global, args: &Try) -> anyhow::Result<ExitCode> {
    let tree = Tree::find(&args.path)?;
    let given = payload(args)?;
    let chosen = choose(&tree, args, &given)?;
    let secrets = secrets(&args.secrets)?;
    let launcher = Launcher::start(&LauncherConfig::new())
        .context("cannot start the launcher; `cofferdam doctor` says what this host lacks")?;
    let image = local::image(global, args.image.as_deref())?;
    let said = image
        .as_ref()
        .map_or("this host's own /usr", |image| image.name.as_str());
    if !global.json {
        for notice in chosen.iter().flat_map(|c| c.workflow.notices()) {
            output::line(&format!("warning: {notice}"));
        }
        output::line(&format!("running in {said}, with no network"));
    }
    let scratch = tempfile::tempdir().context("cannot make a scratch directory")?;
    let site = Scratch::open(scratch.path())?;
    let runs = site.open_runs(args, &tree, &given, &chosen)?;
    let provider = Local {
        tree: tree.root.clone(),
        image,
        secrets,
        store: site.store.clone(),
    };
    let config = Config::default().pool(own_identity(), "http://cofferdam.local");
    let wake = site.wake();
    let pool = Pool::start(Parts {
        config,
        store: site.store.clone(),
        auditor: site.auditor.clone(),
        logs: Arc::new(site.logs.clone()),
        executor: Arc::new(Embedded::new(Arc::new(launcher))),
        provider: Arc::new(provider),
        endpoint: None,
        clock: Clock::system(),
    })
    .context("cannot start the pool")?;
    let verdict = follow(&site, &runs, &wake, global.json);
    pool.drain(Duration::ZERO);
    verdict
}

fn own_identity() -> RunnerIdentity {
    RunnerIdentity {
        name: "try".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        binary_sha256: identity::hash_in_background().join().unwrap_or_default(),
        labels: Vec::new(),
    }
}
