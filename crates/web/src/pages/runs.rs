//! Lists of runs, of one repo or of all, and the forms that start one by hand.

use axum::extract::{Query, RawForm};
use axum::response::Response;
use forge::Repo;
use queue::{RunFilter, RunRow};
use serde::Deserialize;
use serde_json::{Map, Value};
use vocab::{RepoId, RunNumber, RunState};
use workflow::InputKind;

use super::account::form_pairs;
use super::{frame, render, repo_head, see, short_id, short_ref};
use crate::api::runs as api;
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;
use crate::view::{Dispatch, Input, InputOption, Link, RunLine, Runs};
use crate::{detail, plan, push, states, words};

/// Runs on one page.
const PAGE: u32 = 30;

/// A run in one line; with `named`, its repo stands there too.
pub(crate) fn line(app: &App, repo: &Repo, run: &RunRow, named: bool) -> RunLine {
    let now = app.clock.now();
    let waited = run.started_ms.map(|at| words::span(at - run.created_ms));
    RunLine {
        href: push::run_path(repo, run.number.get()),
        title: run.title.clone(),
        number: run.number.get(),
        workflow: run.workflow_name.clone(),
        repo: named.then(|| Link::new(repo.path.to_string(), format!("/{}", repo.path))),
        why: (!run.reason.is_empty()).then(|| run.reason.clone()),
        ref_name: short_ref(&run.git_ref).to_owned(),
        commit: short_id(&run.sha),
        actor: run.actor_name.clone(),
        waited: waited.unwrap_or_else(|| {
            if run.state == RunState::Finished {
                String::new()
            } else {
                "waits".to_owned()
            }
        }),
        took: detail::took(run.started_ms, run.finished_ms, now),
        at: words::when(run.created_ms, now),
        state: states::run(run.state, run.outcome),
    }
}

/// The newest runs of a repo. Blocking.
pub(crate) fn lines_of(app: &App, repo: &Repo, limit: u32) -> Result<Vec<RunLine>, Fault> {
    let filter = RunFilter {
        limit,
        ..RunFilter::default()
    };
    app.store.read(|db| {
        let runs = queue::runs_of(db, repo.id, &filter)?;
        Ok(runs.iter().map(|run| line(app, repo, run, false)).collect())
    })
}

/// The runs of one commit. Blocking.
pub(crate) fn lines_of_commit(app: &App, repo: &Repo, sha: &str) -> Result<Vec<RunLine>, Fault> {
    let filter = RunFilter {
        sha: Some(sha.to_owned()),
        limit: 20,
        ..RunFilter::default()
    };
    app.store.read(|db| {
        let runs = queue::runs_of(db, repo.id, &filter)?;
        Ok(runs.iter().map(|run| line(app, repo, run, false)).collect())
    })
}

#[derive(Deserialize)]
pub(crate) struct Page {
    before: Option<i64>,
}

/// `GET /{owner}/{repo}/runs`
pub(crate) async fn of_repo(ctx: Ctx, Query(page): Query<Page>) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let head = repo_head(&ctx, &repo, "Runs");
    let frame = frame(&ctx, &format!("Runs · {}", repo.path), "Runs").await?;
    let may_start = ctx.may(access::Action::RunDispatch);
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            let filter = RunFilter {
                before: page.before.map(RunNumber),
                limit: PAGE,
                ..RunFilter::default()
            };
            let runs = app.store.read(|db| queue::runs_of(db, repo.id, &filter))?;
            let full = runs.len() >= 30;
            let more = runs.last().filter(|_| full);
            let more = more.map(|last| format!("/{}/runs?before={}", repo.path, last.number));
            let dispatch = if may_start {
                dispatchable(&app, &repo)?
            } else {
                Vec::new()
            };
            render(&Runs {
                frame,
                rows: runs
                    .iter()
                    .map(|run| line(&app, &repo, run, false))
                    .collect(),
                more,
                dispatch,
                dispatch_action: format!("/{}/dispatch", repo.path),
                repo: Some(head),
            })
        })
        .await
}

/// The workflows of the default branch that can be started by hand.
fn dispatchable(app: &App, repo: &Repo) -> Result<Vec<Dispatch>, Fault> {
    let repository = app.repository(repo.id).map_err(Fault::internal)?;
    let Some(head) = repository
        .resolve("HEAD")
        .map_err(super::code::read_fault)?
    else {
        return Ok(Vec::new());
    };
    let files = plan::files(&repository.objects(), head.commit).map_err(super::code::read_fault)?;
    let mut found = Vec::new();
    for workflow in files.into_iter().filter_map(|f| f.read.ok()) {
        let Some(dispatch) = &workflow.on.workflow_dispatch else {
            continue;
        };
        let nth = found.len();
        found.push(Dispatch {
            file: workflow.path.clone(),
            name: workflow.display_name().to_owned(),
            ref_name: repo.default_branch.clone(),
            inputs: dispatch
                .inputs
                .iter()
                .map(|input| field(nth, input))
                .collect(),
        });
    }
    Ok(found)
}

fn field(nth: usize, input: &workflow::Input) -> Input {
    let default = input.default.clone().unwrap_or_default();
    let options: Vec<String> = match &input.kind {
        InputKind::Choice(options) => options.clone(),
        InputKind::Boolean => vec!["false".to_owned(), "true".to_owned()],
        InputKind::String | InputKind::Number | InputKind::Environment => Vec::new(),
    };
    Input {
        id: format!("input-{nth}-{}", input.id),
        name: input.id.clone(),
        description: input.description.clone(),
        required: input.required,
        options: options
            .into_iter()
            .map(|text| InputOption {
                chosen: text == default,
                text,
            })
            .collect(),
        default,
    }
}

/// `POST /{owner}/{repo}/dispatch`
pub(crate) async fn dispatch(ctx: Ctx, RawForm(form): RawForm) -> Result<Response, Fault> {
    let mut wanted = api::Wanted {
        workflow: String::new(),
        r#ref: None,
        inputs: Map::new(),
    };
    for (name, value) in form_pairs(&form) {
        match name.as_str() {
            "workflow" => wanted.workflow = value,
            "ref" => wanted.r#ref = Some(value),
            _ => {
                if let Some(input) = name.strip_prefix("input.")
                    && !value.is_empty()
                {
                    wanted.inputs.insert(input.to_owned(), Value::String(value));
                }
            }
        }
    }
    let number = api::start(&ctx, wanted).await?;
    Ok(see(&push::run_path(ctx.repo()?, number.get())))
}

/// `GET /runs`: the newest runs of all repos that the reader may see.
pub(crate) async fn everywhere(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Runs", "Runs").await?;
    let principal = ctx.principal.clone();
    let app = ctx.app.clone();
    let rows = ctx
        .app
        .read(move |db| {
            let sight = access::sight(db, &principal).map_err(Fault::internal)?;
            let repos =
                forge::list(db, &forge::Query::all(sight), 1000).map_err(Fault::internal)?;
            let ids: Vec<RepoId> = repos.iter().map(|r| r.id).collect();
            let runs = queue::recent_runs(db, &ids, 50)?;
            Ok(runs
                .iter()
                .filter_map(|run| {
                    let repo = repos.iter().find(|r| r.id == run.repo)?;
                    Some(line(&app, repo, run, true))
                })
                .collect::<Vec<_>>())
        })
        .await?;
    render(&Runs {
        frame,
        repo: None,
        rows,
        more: None,
        dispatch: Vec::new(),
        dispatch_action: String::new(),
    })
}
