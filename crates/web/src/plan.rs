//! Which runs a push or a hand starts: reads the workflows of a commit and selects.
//!
//! Reads only; what it finds wrong becomes a failed run or a warning, never a refused push.

use std::collections::BTreeMap;

use audit::Who;
use forge::Repo;
use git::{Commit, ObjectId, ObjectKind, Objects, ReadError, Received, RefUpdate};
use queue::{NewRun, Opened, QueueError};
use serde_json::{Value, json};
use store::{Db, Tx};
use vocab::{PushId, UserId};
use workflow::{Event, GithubContext, Limits, Selected, WORKFLOW_DIRS, Workflow};

use crate::fault::Fault;
use crate::state::App;

/// The most refs of one push that start runs.
const REFS: usize = 50;
/// The most workflow files of one commit that are read.
const FILES: usize = 100;
/// The most changed paths that filters look at; beyond, every path filter passes.
const PATHS: usize = 3_000;
/// The most commits that an event lists.
const COMMITS: usize = 20;

/// What a push starts, and what its pusher should know.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) runs: Vec<PlannedRun>,
    pub(crate) warnings: Vec<String>,
}

/// A run that is about to be opened.
pub(crate) struct PlannedRun {
    pub(crate) new: NewRun,
    what: What,
}

enum What {
    Valid(Box<Workflow>),
    Invalid(Vec<String>),
}

impl PlannedRun {
    /// Opens it; a run with problems has failed already when it is opened.
    pub(crate) fn open(
        &self,
        tx: &mut Tx<'_>,
        app: &App,
        who: &Who,
        push: Option<PushId>,
        held: bool,
    ) -> Result<Opened, QueueError> {
        let now = app.clock.now();
        let new = NewRun {
            push,
            held,
            ..self.new.clone()
        };
        match &self.what {
            What::Valid(workflow) => queue::open_run(tx, now, &app.auditor, who, &new, workflow),
            What::Invalid(problems) => {
                queue::open_failed_run(tx, now, &app.auditor, who, &new, problems)
            }
        }
    }
}

/// A workflow file of a commit.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) read: Result<Workflow, Vec<String>>,
}

/// The runs that the accepted refs of a push start.
pub(crate) fn of_push(
    app: &App,
    who: &Who,
    repo: &Repo,
    received: &Received,
    updates: &[RefUpdate],
) -> Plan {
    let objects = received.objects();
    let mut plan = Plan::default();
    let vars = match app.store.read(|db| vars(db, repo)) {
        Ok(vars) => vars,
        Err(fault) => {
            tracing::error!(cause = ?fault.chain(), "the variables of a repo cannot be read");
            plan.warnings.push(
                "no workflow was started: the server could not read the repo's variables"
                    .to_owned(),
            );
            return plan;
        }
    };
    let moved = |u: &&RefUpdate| {
        u.new.is_some() && (u.name.starts_with("refs/heads/") || u.name.starts_with("refs/tags/"))
    };
    let count = updates.iter().filter(moved).count();
    if count > REFS {
        plan.warnings.push(format!(
            "{count} refs were pushed at once; only the first {REFS} start workflows"
        ));
    }
    for update in updates.iter().filter(moved).take(REFS) {
        let forced = received
            .commands
            .iter()
            .any(|c| c.name == update.name && c.forced);
        let planner = Planner {
            app,
            who,
            repo,
            objects: &objects,
            vars: &vars,
        };
        if let Err(error) = planner.of_ref(update, forced, &mut plan) {
            tracing::warn!(%error, git_ref = update.name, "the workflows of a push cannot be read");
            plan.warnings.push(format!(
                "no workflow was started for {}: {error}",
                update.name
            ));
        }
    }
    plan
}

/// The `vars` context of a repo's runs.
pub(crate) fn vars(db: &Db, repo: &Repo) -> Result<BTreeMap<String, String>, Fault> {
    access::vars_for_job(db, repo.id).map_err(Fault::internal)
}

struct Planner<'a> {
    app: &'a App,
    who: &'a Who,
    repo: &'a Repo,
    objects: &'a Objects,
    vars: &'a BTreeMap<String, String>,
}

impl Planner<'_> {
    fn of_ref(&self, update: &RefUpdate, forced: bool, plan: &mut Plan) -> Result<(), ReadError> {
        let Some(new) = update.new else { return Ok(()) };
        let (commit, kind) = self.objects.peel(new)?;
        if kind != ObjectKind::Commit {
            return Ok(());
        }
        let commit = self.objects.commit(commit)?;
        let found = files(self.objects, commit.id)?;
        if found.is_empty() {
            return Ok(());
        }
        let skip = workflow::skip_request(&commit.message);
        let changed = self.changed(update)?;
        let mut payload = None;
        for file in found {
            let workflow = match file.read {
                Ok(workflow) => workflow,
                Err(problems) => {
                    if skip.is_none() {
                        let payload =
                            payload.get_or_insert_with(|| self.payload(update, forced, &commit));
                        warn_invalid(plan, &file.path, &problems);
                        let new = self.run(&update.name, &commit, &file.path, &file.path, payload);
                        plan.runs.push(PlannedRun {
                            new,
                            what: What::Invalid(problems),
                        });
                    }
                    continue;
                }
            };
            self.warn(&workflow, plan);
            let event = Event::Push {
                git_ref: &update.name,
                deleted: false,
                changed_paths: changed.as_deref(),
                head_message: &commit.message,
            };
            if workflow::select(&workflow, &event) == Selected::Run {
                let payload = payload.get_or_insert_with(|| self.payload(update, forced, &commit));
                let name = workflow.display_name().to_owned();
                let new = self.run(&update.name, &commit, &file.path, &name, payload);
                let planned = judged(self.app, (self.objects, commit.id), new, workflow);
                if let What::Invalid(problems) = &planned.what {
                    warn_invalid(plan, &file.path, problems);
                }
                plan.runs.push(planned);
            }
        }
        if let Some(word) = skip {
            plan.warnings.push(format!(
                "no workflow was started: the commit message says '{word}'"
            ));
        }
        Ok(())
    }

    fn warn(&self, workflow: &Workflow, plan: &mut Plan) {
        for event in workflow.unserved_events() {
            let line = event.position.line;
            add(
                plan,
                format!(
                    "{}:{line}: the event '{}' is not served by this version, so it starts nothing",
                    workflow.path, event.name
                ),
            );
        }
        for warning in &workflow.warnings {
            add(plan, warning.to_string());
        }
    }

    /// The paths that differ, when a branch was moved and they are not too many.
    fn changed(&self, update: &RefUpdate) -> Result<Option<Vec<String>>, ReadError> {
        let (Some(old), Some(new)) = (update.old, update.new) else {
            return Ok(None);
        };
        let changed = self.objects.changed_paths(Some(old), new, PATHS)?;
        Ok((!changed.truncated).then_some(changed.paths))
    }

    fn run(
        &self,
        git_ref: &str,
        commit: &Commit,
        path: &str,
        name: &str,
        payload: &Value,
    ) -> NewRun {
        new_run(
            self.app,
            self.who,
            self.repo,
            &Cause {
                event: "push",
                payload,
                git_ref,
                commit,
                path,
                name,
                inputs: json!({}),
                vars: self.vars,
            },
        )
    }

    /// The event's payload, in the field names that workflows know.
    fn payload(&self, update: &RefUpdate, forced: bool, head: &Commit) -> Value {
        let zero = "0".repeat(head.id.to_string().len());
        let id = |id: Option<ObjectId>| id.map_or_else(|| zero.clone(), |id| id.to_string());
        let mut listed = Vec::new();
        if let Ok(log) = self.objects.log(head.id, None, 0, COMMITS) {
            listed = log
                .commits
                .iter()
                .take_while(|c| Some(c.id) != update.old)
                .map(|c| commit_json(self.app, self.repo, c))
                .collect();
            listed.reverse();
        }
        json!({
            "ref": update.name,
            "before": id(update.old),
            "after": id(update.new),
            "created": update.old.is_none(),
            "deleted": false,
            "forced": forced,
            "base_ref": null,
            "compare": null,
            "commits": listed,
            "head_commit": commit_json(self.app, self.repo, head),
            "repository": repo_json(self.app, self.repo),
            "pusher": { "name": actor_name(self.who) },
            "sender": sender_json(self.who),
        })
    }
}

fn warn_invalid(plan: &mut Plan, path: &str, problems: &[String]) {
    let first = problems.first().map_or("it cannot be read", String::as_str);
    let more = match problems.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    let place = if first.starts_with(path) {
        String::new()
    } else {
        format!("{path}: ")
    };
    add(plan, format!("{place}{first}{more}"));
}

fn add(plan: &mut Plan, warning: String) {
    if plan.warnings.len() < 20 && !plan.warnings.contains(&warning) {
        plan.warnings.push(warning);
    }
}

/// What makes a run.
pub(crate) struct Cause<'a> {
    pub(crate) event: &'a str,
    pub(crate) payload: &'a Value,
    pub(crate) git_ref: &'a str,
    pub(crate) commit: &'a Commit,
    pub(crate) path: &'a str,
    pub(crate) name: &'a str,
    pub(crate) inputs: Value,
    pub(crate) vars: &'a BTreeMap<String, String>,
}

/// The run that `cause` makes, not yet held by any push.
pub(crate) fn new_run(app: &App, who: &Who, repo: &Repo, cause: &Cause<'_>) -> NewRun {
    let sha = cause.commit.id.to_string();
    let actor = who.user().unwrap_or(UserId(0));
    let name = actor_name(who);
    let context = GithubContext {
        event_name: cause.event.to_owned(),
        event: cause.payload.clone(),
        git_ref: cause.git_ref.to_owned(),
        sha: sha.clone(),
        repository: repo.path.to_string(),
        repository_id: repo.id.to_string(),
        repository_owner_id: repo.owner.to_string(),
        ref_protected: false,
        actor: name.clone(),
        actor_id: actor.to_string(),
        triggering_actor: name.clone(),
        workflow: cause.name.to_owned(),
        workflow_path: cause.path.to_owned(),
        workflow_sha: sha.clone(),
        run_id: String::new(),
        run_number: String::new(),
        run_attempt: String::new(),
        server_url: app.url(""),
        api_url: app.url("/api/v1"),
        base_ref: String::new(),
        head_ref: String::new(),
        retention_days: 0,
        job: String::new(),
        workspace: String::new(),
        event_path: String::new(),
        token: String::new(),
    };
    let title: String = cause.commit.summary().trim().chars().take(200).collect();
    NewRun {
        repo: repo.id,
        push: None,
        workflow_path: cause.path.to_owned(),
        workflow_name: cause.name.to_owned(),
        title: if title.is_empty() {
            cause.name.to_owned()
        } else {
            title
        },
        event: cause.event.to_owned(),
        git_ref: cause.git_ref.to_owned(),
        sha,
        actor,
        actor_name: name,
        github: context.to_value().to_json(),
        inputs: cause.inputs.clone(),
        vars: json!(cause.vars),
        held: false,
        untrusted: false,
    }
}

/// A run of `workflow` at a commit; failed at once when it uses an action that cannot be run here.
/// What is not there is noted for the need slip.
pub(crate) fn judged(
    app: &App,
    (objects, commit): (&Objects, ObjectId),
    new: NewRun,
    workflow: Workflow,
) -> PlannedRun {
    let problems = match unusable(app, objects, commit, &workflow) {
        Ok(problems) => problems,
        Err(fault) => {
            tracing::error!(cause = ?fault.chain(), "the actions of a workflow cannot be looked up");
            vec![format!(
                "{}: the server could not look up its actions; start it again",
                workflow.path
            )]
        }
    };
    let what = if problems.is_empty() {
        What::Valid(Box::new(workflow))
    } else {
        What::Invalid(problems)
    };
    PlannedRun { new, what }
}

/// Why actions of a workflow cannot be run, each with its place.
fn unusable(
    app: &App,
    objects: &Objects,
    commit: ObjectId,
    workflow: &Workflow,
) -> Result<Vec<String>, Fault> {
    let uses = workflow::uses_of(workflow);
    if uses.iter().all(|used| runner::is_built_in(&used.action)) {
        return Ok(Vec::new());
    }
    let sought = supply::Sought {
        generation: app
            .store
            .read(|db| supply::generation::active(db).map_err(Fault::internal))?,
        built_in: &runner::is_built_in,
        local: &|folder| supply::local_action(objects, commit, folder),
    };
    let named = uses.iter().map(|used| (&used.action, used.uses.as_str()));
    let found = app.actions().resolve(&sought, named);
    let mut problems = Vec::new();
    for (used, trouble) in uses.iter().zip(found.troubles) {
        let Some(trouble) = trouble else { continue };
        let mut mend = "";
        if let Some(missing) = &trouble.missing {
            app.wants.note("action", missing, None);
            mend = "; put it into the next bundle, use actions/checkout, actions/setup-python or \
                    actions/setup-node, or do it in a run step";
        }
        let (line, column) = (used.position.line, used.position.column);
        let text = trouble.text;
        problems.push(format!("{}:{line}:{column}: {text}{mend}", workflow.path));
    }
    Ok(problems)
}

/// The workflow files of a commit, read: those of the first folder that it has.
pub(crate) fn files(objects: &Objects, commit: ObjectId) -> Result<Vec<File>, ReadError> {
    for dir in WORKFLOW_DIRS {
        let Some(entries) = objects.tree(commit, dir)? else {
            continue;
        };
        let limits = Limits::default();
        let mut found = Vec::new();
        for entry in entries {
            if !entry.kind.is_blob() || !workflow::is_workflow_file(&entry.name) {
                continue;
            }
            let path = format!("{dir}/{}", entry.name);
            if found.len() >= FILES {
                let why =
                    format!("{path}: a commit may have {FILES} workflow files; put some together");
                found.push(File {
                    path,
                    read: Err(vec![why]),
                });
                break;
            }
            let read = match objects.blob(entry.id, limits.file_bytes as u64) {
                Ok(bytes) => workflow::parse(&path, &bytes, &limits)
                    .map_err(|all| all.iter().map(ToString::to_string).collect()),
                Err(ReadError::TooLarge {
                    size_bytes,
                    limit_bytes,
                    ..
                }) => Err(vec![format!(
                    "{path}: the file has {size_bytes} bytes; a workflow has at most {limit_bytes}"
                )]),
                Err(error) => return Err(error),
            };
            found.push(File { path, read });
        }
        return Ok(found);
    }
    Ok(Vec::new())
}

/// The name of who acts, as workflows see it.
pub(crate) fn actor_name(who: &Who) -> String {
    match &who.actor {
        audit::Actor::Operator { .. } => "operator".to_owned(),
        audit::Actor::DeployKey { .. } => "deploy-key".to_owned(),
        actor => actor
            .name()
            .map_or_else(|| "cofferdam".to_owned(), ToString::to_string),
    }
}

pub(crate) fn sender_json(who: &Who) -> Value {
    json!({ "login": actor_name(who), "id": who.user().map(UserId::get) })
}

pub(crate) fn repo_json(app: &App, repo: &Repo) -> Value {
    let path = repo.path.to_string();
    json!({
        "id": repo.id.get(),
        "name": repo.path.name,
        "full_name": path,
        "owner": { "login": repo.path.owner, "id": repo.owner.get() },
        "private": repo.visibility != vocab::Visibility::Public,
        "default_branch": repo.default_branch,
        "description": repo.description,
        "html_url": app.url(&format!("/{path}")),
        "clone_url": app.url(&format!("/{path}.git")),
    })
}

fn commit_json(app: &App, repo: &Repo, commit: &Commit) -> Value {
    let person = |who: &git::Signature| json!({ "name": who.name, "email": who.email });
    let at = vocab::from_unix_ms(commit.committer.seconds.saturating_mul(1000));
    json!({
        "id": commit.id.to_string(),
        "tree_id": commit.tree.to_string(),
        "message": commit.message.trim_end(),
        "timestamp": crate::words::when(vocab::unix_ms(at), at).iso,
        "url": app.url(&format!("/{}/commit/{}", repo.path, commit.id)),
        "author": person(&commit.author),
        "committer": person(&commit.committer),
    })
}
