//! Secrets, variables and deploy keys of a repo. A secret's value is never shown again.

use access::{Home, KeyHome};
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use serde::Deserialize;
use vocab::unix_ms;

use super::account::key_line;
use super::{frame, render, repo_head, see};
use crate::api::{bad_form, keys, repos};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::respond::sentence;
use crate::view::{Setting, SettingKind, Settings};
use crate::words;

/// `GET /{owner}/{repo}/settings`
pub(crate) async fn show(ctx: Ctx) -> Result<Response, Fault> {
    page(&ctx, None).await
}

async fn page(ctx: &Ctx, problem: Option<String>) -> Result<Response, Fault> {
    let repo = ctx.repo()?.clone();
    let head = repo_head(ctx, &repo, "Secrets and variables");
    let frame = frame(
        ctx,
        &format!("Secrets and variables · {}", repo.path),
        "Repos",
    )
    .await?;
    let facts = ctx.facts()?;
    let (secrets, variables, deploy) = ctx
        .app
        .read(move |db| {
            let secrets = access::list_secrets(db, Home::Repo(&facts)).map_err(Fault::internal)?;
            let vars = access::list_vars(db, Home::Repo(&facts)).map_err(Fault::internal)?;
            let deploy = access::deploy_keys(db, facts.id).map_err(Fault::internal)?;
            Ok((secrets, vars, deploy))
        })
        .await?;
    let now = ctx.app.clock.now();
    let base = format!("/{}/settings", repo.path);
    let kinds = vec![
        SettingKind {
            id: "secret",
            title: "Secrets",
            one: "secret",
            none: "None. A job reads one as ${{ secrets.NAME }}; logs show it as ***.",
            hint: "Kept sealed. Nobody can read it here again; setting it anew replaces it.",
            action: format!("{base}/secrets"),
            rows: secrets
                .into_iter()
                .map(|s| Setting {
                    name: s.name,
                    value: None,
                    at: Some(words::when(unix_ms(s.updated), now)),
                })
                .collect(),
        },
        SettingKind {
            id: "variable",
            title: "Variables",
            one: "variable",
            none: "None. A job reads one as ${{ vars.NAME }}; logs show it in clear.",
            hint: "Not secret: whoever may write to this repo sees it.",
            action: format!("{base}/variables"),
            rows: variables
                .into_iter()
                .map(|(name, value)| Setting {
                    name,
                    value: Some(value),
                    at: None,
                })
                .collect(),
        },
    ];
    render(&Settings {
        frame,
        repo: head,
        problem,
        kinds,
        keys: deploy.iter().map(|key| key_line(ctx, key)).collect(),
        keys_action: format!("{base}/deploy-keys"),
    })
}

#[derive(Deserialize)]
pub(crate) struct SettingForm {
    name: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    remove: bool,
}

type Body = Result<Form<SettingForm>, FormRejection>;

/// `POST …/settings/secrets`
pub(crate) async fn secret(ctx: Ctx, form: Body) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let done = if form.remove {
        ctx.require(access::Action::SecretRemove).await?;
        repos::drop_secret(&ctx, form.name).await
    } else {
        repos::put_secret(&ctx, form.name, form.value).await
    };
    after(&ctx, done).await
}

/// `POST …/settings/variables`
pub(crate) async fn variable(ctx: Ctx, form: Body) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let done = if form.remove {
        ctx.require(access::Action::VariableRemove).await?;
        repos::drop_variable(&ctx, form.name).await
    } else {
        repos::put_variable(&ctx, form.name, form.value).await
    };
    after(&ctx, done).await
}

#[derive(Deserialize)]
pub(crate) struct DeployKeyForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    write: bool,
    #[serde(default)]
    remove: Option<i64>,
}

/// `POST …/settings/deploy-keys`
pub(crate) async fn deploy_key(
    ctx: Ctx,
    form: Result<Form<DeployKeyForm>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let done = match form.remove {
        Some(id) => {
            ctx.require(access::Action::DeployKeyRemove).await?;
            keys::take_from_repo(&ctx, id).await
        }
        None => {
            let home = KeyHome::Repo {
                repo: ctx.repo()?.id,
                writes: form.write,
            };
            let added = keys::put(&ctx, home, form.name, &form.key).await;
            added.map(drop)
        }
    };
    after(&ctx, done).await
}

async fn after(ctx: &Ctx, done: Result<(), Fault>) -> Result<Response, Fault> {
    match done {
        Ok(()) => Ok(see(&format!("/{}/settings", ctx.repo()?.path))),
        Err(fault) if fault.status.is_client_error() => {
            let mut shown = page(ctx, Some(sentence(&fault.error))).await?;
            *shown.status_mut() = fault.status;
            Ok(shown)
        }
        Err(fault) => Err(fault),
    }
}
