//! Repos, their secrets and variables.

use access::{Action, Home, Resource, SecretError};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use forge::{ChangeError, CreateError, Cursor, Disk, Founder, NewRepo, Repo};
use serde::Deserialize;
use serde_json::{Value, json};
use vocab::{RepoPath, UserName, Visibility, unix_ms};

use super::{bad, bad_json};
use crate::fault::Fault;
use crate::guard::{Ctx, facts};
use crate::pages::{clone_url, ssh_url};
use crate::routes::RESERVED;
use crate::state::App;

type Body<T> = Result<Json<T>, JsonRejection>;

fn repo_json(app: &App, repo: &Repo) -> Value {
    json!({
        "id": repo.id,
        "path": repo.path.to_string(),
        "visibility": repo.visibility.as_str(),
        "default_branch": repo.default_branch,
        "description": repo.description,
        "created": unix_ms(repo.created),
        "pushed": repo.pushed.map(unix_ms),
        "clone_url": clone_url(app, repo),
        "ssh_url": ssh_url(app, repo),
        "url": app.url(&format!("/{}", repo.path)),
    })
}

#[derive(Deserialize)]
pub(crate) struct Which {
    q: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// `GET /api/v1/repos`
pub(crate) async fn list(ctx: Ctx, Query(which): Query<Which>) -> Result<Json<Value>, Fault> {
    let limit = which.limit.unwrap_or(100).clamp(1, 1000);
    let after = which
        .after
        .as_deref()
        .map(str::parse::<Cursor>)
        .transpose()
        .map_err(bad)?;
    let principal = ctx.principal.clone();
    let app = ctx.app.clone();
    let found = ctx
        .app
        .read(move |db| {
            let sight = access::sight(db, &principal).map_err(Fault::internal)?;
            let query = forge::Query {
                search: which.q,
                after,
                ..forge::Query::all(sight)
            };
            forge::list(db, &query, limit).map_err(Fault::internal)
        })
        .await?;
    let full = found.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = found
        .last()
        .filter(|_| full)
        .map(|last| Cursor::of(last).to_string());
    let repos: Vec<Value> = found.iter().map(|repo| repo_json(&app, repo)).collect();
    Ok(Json(json!({ "repos": repos, "next": next })))
}

/// A repo that somebody wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) visibility: Option<String>,
    #[serde(default)]
    pub(crate) r#for: Option<String>,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) default_branch: Option<String>,
}

/// Makes a repo, after asking whether its namespace is open to whoever wants it.
pub(crate) async fn create(ctx: &Ctx, wanted: Wanted) -> Result<Repo, Fault> {
    let path: RepoPath = wanted.path.trim().parse().map_err(bad)?;
    if RESERVED
        .iter()
        .any(|r| r.eq_ignore_ascii_case(path.owner.as_str()))
    {
        return Err(Fault::bad(format!(
            "'{}' is an address of the server itself",
            path.owner
        ))
        .todo("choose another owner"));
    }
    let visibility: Visibility = match wanted.visibility.as_deref() {
        None => Visibility::Private,
        Some(text) => text.parse().map_err(bad)?,
    };
    let name = path.owner.clone();
    let owner = ctx
        .app
        .read(move |db| {
            let found = forge::namespace(db, &name).map_err(Fault::internal)?;
            Ok(found.map(|namespace| namespace.user))
        })
        .await?;
    let resource = Resource::Namespace {
        name: path.owner.clone(),
        owner,
    };
    ctx.require_on(Action::RepoCreate, resource).await?;
    let founder = founder(ctx, wanted.r#for.as_deref()).await?;
    let new = NewRepo {
        path,
        founder: founder.clone(),
        visibility,
        default_branch: wanted.default_branch.unwrap_or_else(|| "main".to_owned()),
        description: wanted.description,
    };
    let who = ctx.who.clone();
    ctx.app
        .write(move |app, tx| -> Result<Repo, MakeError> {
            let maker = app.clone();
            let init =
                move |dir: &std::path::Path, branch: &str| maker.make_repository(dir, branch);
            let disk = Disk {
                data: app.store.dir(),
                init: &init,
            };
            let repo = forge::create_repo(tx, &app.auditor, &who, &disk, &new)?;
            if let Some(founder) = founder.filter(|f| repo.owner_user != Some(f.id)) {
                // The namespace is another's already: a share lets them write all the same.
                let level = access::Level::Write;
                access::add_collaborator(tx, &app.auditor, &who, &facts(&repo), founder.id, level)?;
            }
            Ok(repo)
        })
        .await
}

/// Who gets the namespace, or a share: the one who is named, else whoever asks.
async fn founder(ctx: &Ctx, named: Option<&str>) -> Result<Option<Founder>, Fault> {
    let found = match (named, ctx.principal.user()) {
        (Some(name), _) => {
            let name: UserName = name.parse().map_err(bad)?;
            let wanted = name.clone();
            let user = ctx
                .app
                .read(move |db| access::user_by_name(db, &wanted).map_err(Fault::internal))
                .await?;
            Some(user.ok_or_else(|| Fault::bad(format!("there is no user {name}")))?)
        }
        (None, Some(id)) => {
            ctx.app
                .read(move |db| access::user(db, id).map_err(Fault::internal))
                .await?
        }
        (None, None) => None,
    };
    Ok(found.map(|user| Founder {
        id: user.id,
        name: user.name,
    }))
}

/// Why a repo is not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MakeError {
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Share(#[from] access::AccessError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl From<MakeError> for Fault {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Create(e @ CreateError::Taken { .. }) => Self::conflict(e),
            MakeError::Create(e @ CreateError::LongDescription { .. }) => Self::bad(e),
            MakeError::Create(CreateError::Disk(forge::DiskError::Init { source, .. }))
                if source
                    .downcast_ref::<git::OpenError>()
                    .is_some_and(|e| matches!(e, git::OpenError::BranchName { .. })) =>
            {
                Self::bad(source)
            }
            MakeError::Create(CreateError::Store(e)) | MakeError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

/// `POST /api/v1/repos`
pub(crate) async fn make(ctx: Ctx, body: Body<Wanted>) -> Result<Response, Fault> {
    let Json(wanted) = body.map_err(|e| bad_json(&e))?;
    let repo = create(&ctx, wanted).await?;
    Ok((StatusCode::CREATED, Json(repo_json(&ctx.app, &repo))).into_response())
}

/// `GET /api/v1/repos/{owner}/{repo}`
pub(crate) async fn show(ctx: Ctx) -> Result<Json<Value>, Fault> {
    Ok(Json(repo_json(&ctx.app, ctx.repo()?)))
}

/// `DELETE /api/v1/repos/{owner}/{repo}`
pub(crate) async fn remove(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let repo = ctx.repo()?.clone();
    let (id, who) = (repo.id, ctx.who.clone());
    ctx.app
        .write(move |app, tx| -> Result<(), RemoveError> {
            let open = queue::RunFilter {
                open: true,
                limit: 1000,
                ..queue::RunFilter::default()
            };
            for run in queue::runs_of(tx, id, &open)? {
                let now = app.clock.now();
                queue::cancel_run(tx, now, &app.auditor, &who, run.id)?;
            }
            forge::delete_repo(tx, &app.auditor, &who, id)?;
            access::forget_repo(tx, id)?;
            Ok(())
        })
        .await?;
    ctx.app.forget_repository(id);
    let app = ctx.app.clone();
    ctx.app
        .off(move || {
            if let Err(error) = forge::remove_files(app.store.dir(), id) {
                tracing::warn!(repo.id = %id, %error, "a deleted repo's files stay until restart");
            }
            Ok(())
        })
        .await?;
    Ok(Json(json!({ "deleted": repo.path.to_string() })))
}

/// Why a repo is not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    #[error(transparent)]
    Forge(#[from] ChangeError),
    #[error(transparent)]
    Queue(#[from] queue::QueueError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the database refused")]
    Database(#[from] rusqlite::Error),
}

impl From<RemoveError> for Fault {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Forge(ChangeError::Unknown { .. }) => Self::missing("the repo"),
            RemoveError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct NamePath {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ValueBody {
    value: String,
}

impl From<SecretError> for Fault {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Value(e) => bad(e),
            SecretError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

/// `GET /api/v1/repos/{owner}/{repo}/secrets`
pub(crate) async fn secrets(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let facts = ctx.facts()?;
    let list = ctx
        .app
        .read(move |db| access::list_secrets(db, Home::Repo(&facts)).map_err(Fault::internal))
        .await?;
    let shown: Vec<Value> = list
        .iter()
        .map(|s| json!({ "name": s.name, "updated": unix_ms(s.updated) }))
        .collect();
    Ok(Json(json!({ "secrets": shown })))
}

/// Sets a secret of the repo that the address names.
pub(crate) async fn put_secret(ctx: &Ctx, name: String, value: String) -> Result<(), Fault> {
    let (facts, who) = (ctx.facts()?, ctx.who.clone());
    ctx.app
        .write(move |app, tx| -> Result<(), SecretError> {
            access::set_secret(
                tx,
                &app.auditor,
                &who,
                &app.keys,
                Home::Repo(&facts),
                &name,
                &value,
            )?;
            Ok(())
        })
        .await
}

/// Removes a secret of the repo that the address names.
pub(crate) async fn drop_secret(ctx: &Ctx, name: String) -> Result<(), Fault> {
    let (facts, who) = (ctx.facts()?, ctx.who.clone());
    let wanted = name.clone();
    let gone = ctx
        .app
        .write(move |app, tx| {
            access::remove_secret(tx, &app.auditor, &who, Home::Repo(&facts), &wanted)
        })
        .await?;
    if gone {
        Ok(())
    } else {
        Err(Fault::missing(format!("secret {name}")))
    }
}

/// `PUT …/secrets/{name}`
pub(crate) async fn set_secret(
    ctx: Ctx,
    Path(path): Path<NamePath>,
    body: Body<ValueBody>,
) -> Result<Json<Value>, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    put_secret(&ctx, path.name.clone(), body.value).await?;
    Ok(Json(json!({ "set": path.name })))
}

/// `DELETE …/secrets/{name}`
pub(crate) async fn remove_secret(
    ctx: Ctx,
    Path(path): Path<NamePath>,
) -> Result<Json<Value>, Fault> {
    drop_secret(&ctx, path.name.clone()).await?;
    Ok(Json(json!({ "removed": path.name })))
}

/// `GET /api/v1/repos/{owner}/{repo}/variables`
pub(crate) async fn variables(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let facts = ctx.facts()?;
    let vars = ctx
        .app
        .read(move |db| access::list_vars(db, Home::Repo(&facts)).map_err(Fault::internal))
        .await?;
    let shown: Vec<Value> = vars
        .iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    Ok(Json(json!({ "variables": shown })))
}

/// Sets a variable of the repo that the address names.
pub(crate) async fn put_variable(ctx: &Ctx, name: String, value: String) -> Result<(), Fault> {
    let (facts, who) = (ctx.facts()?, ctx.who.clone());
    ctx.app
        .write(move |app, tx| {
            access::set_var(tx, &app.auditor, &who, Home::Repo(&facts), &name, &value)
        })
        .await
}

/// Removes a variable of the repo that the address names.
pub(crate) async fn drop_variable(ctx: &Ctx, name: String) -> Result<(), Fault> {
    let (facts, who) = (ctx.facts()?, ctx.who.clone());
    let wanted = name.clone();
    let gone = ctx
        .app
        .write(move |app, tx| {
            access::remove_var(tx, &app.auditor, &who, Home::Repo(&facts), &wanted)
        })
        .await?;
    if gone {
        Ok(())
    } else {
        Err(Fault::missing(format!("variable {name}")))
    }
}

/// `PUT …/variables/{name}`
pub(crate) async fn set_variable(
    ctx: Ctx,
    Path(path): Path<NamePath>,
    body: Body<ValueBody>,
) -> Result<Json<Value>, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    put_variable(&ctx, path.name.clone(), body.value).await?;
    Ok(Json(json!({ "set": path.name })))
}

/// `DELETE …/variables/{name}`
pub(crate) async fn remove_variable(
    ctx: Ctx,
    Path(path): Path<NamePath>,
) -> Result<Json<Value>, Fault> {
    drop_variable(&ctx, path.name.clone()).await?;
    Ok(Json(json!({ "removed": path.name })))
}
