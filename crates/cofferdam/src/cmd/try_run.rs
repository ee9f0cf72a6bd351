//! `cofferdam try`: the workflows of a working tree, run by the real queue, pool and sandbox over
//! a data directory that lives only as long as the command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use audit::{Auditor, Origin, Who};
use pool::{Embedded, Parts, Pool};
use queue::logs::{Kind, Logs};
use queue::{JobRow, NewRun};
use runner::Secret;
use runner::receipt::RunnerIdentity;
use sandbox::{Launcher, LauncherConfig};
use serde_json::{Value, json};
use store::{Store, StoreOptions};
use vocab::{Attempt, Clock, Entropy, JobId, Outcome, RepoId, RunId, RunState, UserId};
use workflow::{Event, GithubContext, Selected, Workflow};

use crate::cli::{Global, Try};
use crate::config::Config;
use crate::local::{self, Local};
use crate::site::MIGRATIONS;
use crate::{identity, output};

/// The one repo of a try.
const REPO: RepoId = RepoId(1);

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

/// A working tree and the workflow files to consider.
struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    /// `path` is a tree, or one workflow file in it.
    fn find(path: &Path) -> anyhow::Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))?;
        if path.is_dir() {
            let dir = workflow::WORKFLOW_DIRS
                .iter()
                .map(|d| path.join(d))
                .find(|d| d.is_dir());
            let Some(dir) = dir else {
                let dirs = workflow::WORKFLOW_DIRS.join(", ");
                bail!("{} has no workflows; looked in {dirs}", path.display());
            };
            let mut files = Vec::new();
            for entry in
                std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?
            {
                let file = entry.context("cannot read the workflows")?.path();
                let name = file
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                if workflow::is_workflow_file(&name) {
                    files.push(file);
                }
            }
            files.sort();
            return Ok(Self { root: path, files });
        }
        let root = path
            .ancestors()
            .find(|dir| dir.join(".git").exists())
            .or_else(|| workflow_root(&path))
            .or_else(|| path.parent())
            .context("the workflow file is in no directory")?;
        Ok(Self {
            root: root.to_owned(),
            files: vec![path.clone()],
        })
    }
}

/// The directory above `.github/workflows` and its like.
fn workflow_root(file: &Path) -> Option<&Path> {
    let dir = file.parent()?;
    workflow::WORKFLOW_DIRS
        .iter()
        .any(|known| dir.ends_with(known))
        .then(|| dir.parent().and_then(Path::parent))?
}

fn payload(args: &Try) -> anyhow::Result<Value> {
    let Some(path) = &args.event_file else {
        return Ok(json!({}));
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn secrets(given: &[String]) -> anyhow::Result<Vec<(String, Secret)>> {
    let secrets = pairs("--secret", given)?.into_iter();
    Ok(secrets
        .map(|(name, value)| (name.to_ascii_uppercase(), Secret::new(value)))
        .collect())
}

/// Each `NAME=VALUE` that was given with `flag`.
fn pairs(flag: &str, given: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .with_context(|| format!("{flag} {pair} has no '='"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// A workflow that the event starts, and its inputs.
struct Chosen {
    workflow: Workflow,
    /// Null unless it is started by hand.
    inputs: workflow::Value,
}

fn choose(tree: &Tree, args: &Try, given: &Value) -> anyhow::Result<Vec<Chosen>> {
    let head = local::head(&tree.root);
    let mut chosen = Vec::new();
    let mut problems = Vec::new();
    let mut skipped = Vec::new();
    for file in &tree.files {
        let shown = file
            .strip_prefix(&tree.root)
            .unwrap_or(file)
            .display()
            .to_string();
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let workflow = match workflow::parse(&shown, &bytes, &workflow::Limits::default()) {
            Ok(workflow) => workflow,
            Err(found) => {
                problems.extend(found.iter().map(ToString::to_string));
                continue;
            }
        };
        let event = match args.event.as_str() {
            "push" => Event::Push {
                git_ref: &head.git_ref,
                deleted: false,
                changed_paths: None,
                head_message: "",
            },
            "workflow_dispatch" => Event::Dispatch,
            other => bail!("event '{other}' is not served yet; push and workflow_dispatch are"),
        };
        match workflow::select(&workflow, &event) {
            Selected::Skip(reason) => skipped.push(format!("{shown}: {reason}")),
            Selected::Run => chosen.push(prepare(workflow, args, given)?),
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    if chosen.is_empty() {
        bail!("no workflow runs on {}: {}", args.event, skipped.join("; "));
    }
    Ok(chosen)
}

fn prepare(mut workflow: Workflow, args: &Try, given: &Value) -> anyhow::Result<Chosen> {
    if let Some(job) = &args.job {
        if workflow.job(job).is_none() {
            let known: Vec<&str> = workflow.jobs.iter().map(|j| j.id.as_str()).collect();
            bail!(
                "{} has no job '{job}'; it has {}",
                workflow.path,
                known.join(", ")
            );
        }
        let mut wanted: Vec<String> = workflow
            .ancestors(job)
            .into_iter()
            .map(str::to_owned)
            .collect();
        wanted.push(job.clone());
        workflow.jobs.retain(|j| wanted.contains(&j.id));
    }
    for action in workflow::uses_of(&workflow) {
        if !runner::is_built_in(&action.action) {
            bail!(
                "{}:{}:{}: action {} is not in the active generation",
                workflow.path,
                action.position.line,
                action.position.column,
                action.uses
            );
        }
    }
    let inputs = if args.event == "workflow_dispatch" {
        let empty = serde_json::Map::new();
        let mut given: BTreeMap<String, String> = given["inputs"]
            .as_object()
            .unwrap_or(&empty)
            .iter()
            .map(|(name, v)| {
                (
                    name.clone(),
                    v.as_str().map_or_else(|| v.to_string(), str::to_owned),
                )
            })
            .collect();
        given.extend(pairs("--input", &args.inputs)?);
        workflow::dispatch_inputs(&workflow, &given).map_err(|errors| {
            let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}; give inputs with --input NAME=VALUE", words.join("; "))
        })?
    } else {
        workflow::Value::Null
    };
    Ok(Chosen { workflow, inputs })
}

/// The data directory of one try.
struct Scratch {
    store: Arc<Store>,
    auditor: Auditor,
    logs: Logs,
}

/// Something changed: a log grew, or a job moved on.
type Wake = Arc<(Mutex<bool>, Condvar)>;

impl Scratch {
    fn open(dir: &Path) -> anyhow::Result<Self> {
        // Nothing in here outlives the command, so nothing need survive a power cut.
        let options = StoreOptions { skip_fsync: true };
        let store = Arc::new(Store::open(dir, &MIGRATIONS, options)?);
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

    fn wake(&self) -> Wake {
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

    fn open_runs(
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

/// Prints what the jobs print until every run has ended; the exit code is the verdict.
fn follow(site: &Scratch, runs: &[RunId], wake: &Wake, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut printed: BTreeMap<(JobId, Attempt), u64> = BTreeMap::new();
    loop {
        *wake.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        let mut over = true;
        for run in runs {
            let (row, jobs) = site
                .store
                .read(|db| {
                    Ok::<_, queue::QueueError>((queue::run(db, *run)?, queue::jobs_of(db, *run)?))
                })
                .context("cannot read the run")?;
            over &= row.is_none_or(|row| row.state == RunState::Finished);
            if !as_json {
                print_jobs(site, &jobs, &mut printed)?;
            }
        }
        if over {
            break;
        }
        let ringing = wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            wake.1
                .wait_while(ringing, |rung| !*rung)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
    let mut rows = Vec::new();
    let mut good = true;
    for run in runs {
        let found = site.store.read(|db| {
            Ok::<_, queue::QueueError>((
                queue::run(db, *run)?,
                queue::jobs_of(db, *run)?,
                queue::problems(db, *run)?,
            ))
        });
        let (row, jobs, problems) = found.context("cannot read the run")?;
        let row = row.context("the run is gone")?;
        good &= row.outcome.is_some_and(Outcome::is_good);
        if !as_json {
            for problem in &problems {
                output::line(&format!("problem: {problem}"));
            }
            // The others said in their logs how they ended.
            for job in jobs.iter().filter(|job| job.runner.is_none()) {
                let outcome = job.outcome.map_or("unknown", Outcome::as_str);
                output::line(&format!("{} │ {outcome}: {}", job.name, job.reason));
            }
            if !row.reason.is_empty() {
                output::line(&row.reason);
            }
            let outcome = row.outcome.map_or("unknown", Outcome::as_str);
            output::line(&format!("{}: {outcome}", row.workflow_path));
        }
        rows.push(json!({ "run": row, "jobs": jobs, "problems": problems }));
    }
    if as_json {
        output::json(&json!({ "runs": rows, "success": good }));
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Prints new lines of every job, each with its job's name when there are several.
fn print_jobs(
    site: &Scratch,
    jobs: &[JobRow],
    printed: &mut BTreeMap<(JobId, Attempt), u64>,
) -> anyhow::Result<()> {
    for job in jobs.iter().filter(|job| job.attempt.get() > 0) {
        let from = printed.entry((job.id, job.attempt)).or_default();
        loop {
            let chunk = site
                .logs
                .read(job.id, job.attempt, *from, 256 << 10)
                .with_context(|| format!("cannot read the log of {}", job.name))?;
            let more = chunk.next_offset > *from;
            *from = chunk.next_offset;
            for record in &chunk.records {
                let text = match record.kind {
                    Kind::Command => format!("$ {}", record.text),
                    Kind::Group => format!("▾ {}", record.text),
                    Kind::Endgroup => continue,
                    Kind::Error | Kind::Warning | Kind::Notice => {
                        format!("{}: {}", record.kind.as_str(), record.text)
                    }
                    _ => record.text.clone(),
                };
                if jobs.len() > 1 {
                    output::line(&format!("{} │ {text}", job.name));
                } else {
                    output::line(&text);
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(())
}
