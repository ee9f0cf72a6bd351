//! The list of repos, and the form that makes one.

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query};
use axum::response::Response;
use forge::{Cursor, Repo};
use serde::Deserialize;
use store::Db;
use vocab::unix_ms;

use super::{frame, render, see, visibility};
use crate::api::{bad_form, repos};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::view::{Choice, NewRepo, RepoLine, Repos, RunLink, Teach};
use crate::{href, push, states, words};

/// Repos on one page.
const PAGE: u32 = 50;

#[derive(Deserialize)]
pub(crate) struct Which {
    q: Option<String>,
    owner: Option<String>,
    after: Option<String>,
}

/// `GET /`
pub(crate) async fn list(ctx: Ctx, Query(which): Query<Which>) -> Result<Response, Fault> {
    let frame = frame(&ctx, "Repos", "Repos").await?;
    let search = which.q.clone().filter(|q| !q.trim().is_empty());
    let owner = which.owner.clone().filter(|o| !o.is_empty());
    let after = which
        .after
        .as_deref()
        .and_then(|text| text.parse::<Cursor>().ok());
    let principal = ctx.principal.clone();
    let now = ctx.app.clock.now();
    let wanted = search.clone();
    let (rows, total, last) = ctx
        .app
        .read(move |db| {
            let sight = access::sight(db, &principal).map_err(Fault::internal)?;
            let mut query = forge::Query {
                search: wanted,
                after,
                ..forge::Query::all(sight)
            };
            if let Some(name) = owner.as_deref().and_then(|o| o.parse().ok()) {
                let found = forge::namespace(db, &name).map_err(Fault::internal)?;
                query.owner = Some(found.map_or(vocab::OwnerId(0), |n| n.id));
            }
            let found = forge::list(db, &query, PAGE).map_err(Fault::internal)?;
            let total = forge::count(db, &query).map_err(Fault::internal)?;
            let last = found.last().map(Cursor::of).filter(|_| found.len() >= 50);
            let rows: Result<Vec<_>, Fault> = found.iter().map(|r| line(db, r, now)).collect();
            Ok((rows?, total, last))
        })
        .await?;
    let query = search.unwrap_or_default();
    let more = last.map(|c| format!("/?q={}&after={c}", href::value(&query)));
    let can_create = ctx.signed_in();
    render(&Repos {
        frame,
        count: words::count(u64::try_from(total).unwrap_or(0), "repo"),
        rows,
        can_create,
        empty: empty(&ctx, &query),
        query,
        more,
    })
}

fn line(db: &Db, repo: &Repo, now: std::time::SystemTime) -> Result<RepoLine, Fault> {
    let newest = queue::RunFilter {
        limit: 1,
        ..queue::RunFilter::default()
    };
    let run = queue::runs_of(db, repo.id, &newest)?.into_iter().next();
    Ok(RepoLine {
        path: repo.path.to_string(),
        href: format!("/{}", repo.path),
        visibility: visibility(repo.visibility),
        pushed: repo.pushed.map(|at| words::when(unix_ms(at), now)),
        run: run.map(|run| RunLink {
            href: push::run_path(repo, run.number.get()),
            number: run.number.get(),
            state: states::run(run.state, run.outcome),
        }),
    })
}

fn empty(ctx: &Ctx, query: &str) -> Teach {
    if !query.is_empty() {
        return Teach {
            title: format!("No repo has “{query}” in its name"),
            text: "Only repos that you may see are searched.".to_owned(),
            commands: String::new(),
        };
    }
    let Some(user) = ctx.shown_name() else {
        return Teach {
            title: "Nothing public here".to_owned(),
            text: "Sign in to see the repos of this appliance.".to_owned(),
            commands: String::new(),
        };
    };
    let url = ctx.app.url("");
    let at = url.replacen("://", &format!("://{user}@"), 1);
    Teach {
        title: "No repo yet".to_owned(),
        text: "Make one here or on the host, then push. Git asks for a password: that is an access token.".to_owned(),
        commands: format!(
            "cofferdam repo create {user}/app --for {user}   # on the host, or with the button below\n\
             git remote add origin {at}/{user}/app.git\n\
             git push -u origin main"
        ),
    }
}

/// `GET /new`
pub(crate) async fn new_form(ctx: Ctx) -> Result<Response, Fault> {
    form(&ctx, None, String::new(), "private").await
}

async fn form(
    ctx: &Ctx,
    problem: Option<String>,
    path: String,
    chosen: &str,
) -> Result<Response, Fault> {
    let frame = frame(ctx, "New repo", "Repos").await?;
    let choice = |value, name, text| Choice {
        value,
        name,
        text,
        chosen: value == chosen,
    };
    render(&NewRepo {
        frame,
        problem,
        path,
        example: format!(
            "{}/app",
            ctx.shown_name().unwrap_or_else(|| "owner".to_owned())
        ),
        choices: vec![
            choice(
                "private",
                "Private",
                "only its owner and those it is shared with",
            ),
            choice(
                "instance",
                "Everybody signed in",
                "all users of this appliance",
            ),
            choice("public", "Public", "anybody who can reach this appliance"),
        ],
    })
}

#[derive(Deserialize)]
pub(crate) struct NewForm {
    path: String,
    visibility: String,
}

/// `POST /new`
pub(crate) async fn make(
    ctx: Ctx,
    body: Result<Form<NewForm>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(wanted) = body.map_err(|e| bad_form(&e))?;
    let (path, chosen) = (wanted.path.clone(), wanted.visibility.clone());
    let wanted = repos::Wanted {
        path: wanted.path,
        visibility: Some(wanted.visibility),
        r#for: None,
        description: String::new(),
        default_branch: None,
    };
    match repos::create(&ctx, wanted).await {
        Ok(repo) => Ok(see(&format!("/{}", repo.path))),
        Err(fault) if fault.status.is_client_error() && ctx.signed_in() => {
            let todo = fault
                .what_to_do
                .as_deref()
                .map(sentence)
                .unwrap_or_default();
            let problem = format!("{} {todo}", sentence(&fault.error));
            let mut page = form(&ctx, Some(problem), path, &chosen).await?;
            *page.status_mut() = fault.status;
            Ok(page)
        }
        Err(fault) => Err(fault),
    }
}
