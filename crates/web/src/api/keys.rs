//! SSH keys: a person's, and the deploy keys of a repo.

use access::{KeyHome, KeyText, KeyTextError, NewKey, SshKeyError, SshKeyInfo};
use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use vocab::{SshKeyId, unix_ms};

use super::people::{UserPath, named};
use super::{bad, bad_json};
use crate::fault::Fault;
use crate::guard::Ctx;

type Body<T> = Result<Json<T>, JsonRejection>;

fn key_json(key: &SshKeyInfo) -> Value {
    let mut shown = json!({
        "id": key.id,
        "name": key.label,
        "fingerprint": key.fingerprint,
        "key": key.text,
        "created": unix_ms(key.created),
        "last_used": key.used.map(unix_ms),
    });
    if let KeyHome::Repo { writes, .. } = key.home {
        shown["write"] = writes.into();
    }
    shown
}

fn list_json(keys: &[SshKeyInfo]) -> Json<Value> {
    Json(json!({ "keys": keys.iter().map(key_json).collect::<Vec<_>>() }))
}

impl From<KeyTextError> for Fault {
    fn from(error: KeyTextError) -> Self {
        bad(error)
    }
}

impl From<SshKeyError> for Fault {
    fn from(error: SshKeyError) -> Self {
        match error {
            SshKeyError::Taken => Self::conflict(error),
            SshKeyError::TooMany => bad(error),
            SshKeyError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

/// Adds the key that somebody pasted; the guard has judged whose it may become.
pub(crate) async fn put(
    ctx: &Ctx,
    home: KeyHome,
    label: String,
    text: &str,
) -> Result<SshKeyInfo, Fault> {
    let key = KeyText::parse(text)?;
    let who = ctx.who.clone();
    let new = NewKey { home, label };
    ctx.app
        .write(move |app, tx| access::add_ssh_key(tx, &app.auditor, &who, &new, &key))
        .await
}

/// Removes a key; the guard has judged whose it is.
pub(crate) async fn take_away(ctx: &Ctx, id: i64) -> Result<(), Fault> {
    let who = ctx.who.clone();
    let gone = ctx
        .app
        .write(move |app, tx| access::remove_ssh_key(tx, &app.auditor, &who, SshKeyId(id)))
        .await?;
    if gone {
        Ok(())
    } else {
        Err(Fault::missing(format!("SSH key {id}")))
    }
}

/// Removes a deploy key of the repo that the address names, and of no other.
pub(crate) async fn take_from_repo(ctx: &Ctx, id: i64) -> Result<(), Fault> {
    let own = ctx.repo()?.id;
    let key = ctx
        .app
        .read(move |db| access::ssh_key(db, SshKeyId(id)).map_err(Fault::internal))
        .await?;
    let here = key.is_some_and(|key| matches!(key.home, KeyHome::Repo { repo, .. } if repo == own));
    if here {
        take_away(ctx, id).await
    } else {
        Err(Fault::missing(format!("deploy key {id}")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    #[serde(default)]
    name: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeployKeyBody {
    #[serde(default)]
    name: String,
    key: String,
    #[serde(default)]
    write: bool,
}

#[derive(Deserialize)]
pub(crate) struct KeyPath {
    id: i64,
}

/// `GET /api/v1/users/{user}/ssh-keys`
pub(crate) async fn list(ctx: Ctx, Path(path): Path<UserPath>) -> Result<Json<Value>, Fault> {
    let user = named(&ctx, &path).await?.id;
    let keys = ctx
        .app
        .read(move |db| access::ssh_keys(db, user).map_err(Fault::internal))
        .await?;
    Ok(list_json(&keys))
}

/// `POST /api/v1/users/{user}/ssh-keys`
pub(crate) async fn add(
    ctx: Ctx,
    Path(path): Path<UserPath>,
    body: Body<KeyBody>,
) -> Result<Response, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    let user = named(&ctx, &path).await?.id;
    let key = put(&ctx, KeyHome::User(user), body.name, &body.key).await?;
    Ok((StatusCode::CREATED, Json(key_json(&key))).into_response())
}

/// `DELETE /api/v1/ssh-keys/{id}`
pub(crate) async fn remove(ctx: Ctx, Path(path): Path<KeyPath>) -> Result<Json<Value>, Fault> {
    take_away(&ctx, path.id).await?;
    Ok(Json(json!({ "removed": path.id })))
}

/// `GET /api/v1/repos/{owner}/{repo}/deploy-keys`
pub(crate) async fn of_repo(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let repo = ctx.repo()?.id;
    let keys = ctx
        .app
        .read(move |db| access::deploy_keys(db, repo).map_err(Fault::internal))
        .await?;
    Ok(list_json(&keys))
}

/// `POST /api/v1/repos/{owner}/{repo}/deploy-keys`
pub(crate) async fn add_to_repo(ctx: Ctx, body: Body<DeployKeyBody>) -> Result<Response, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    let home = KeyHome::Repo {
        repo: ctx.repo()?.id,
        writes: body.write,
    };
    let key = put(&ctx, home, body.name, &body.key).await?;
    Ok((StatusCode::CREATED, Json(key_json(&key))).into_response())
}

/// `DELETE /api/v1/repos/{owner}/{repo}/deploy-keys/{id}`
pub(crate) async fn remove_from_repo(
    ctx: Ctx,
    Path(path): Path<KeyPath>,
) -> Result<Json<Value>, Fault> {
    take_from_repo(&ctx, path.id).await?;
    Ok(Json(json!({ "removed": path.id })))
}
