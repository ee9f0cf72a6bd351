//! Verbs that administer a running appliance through its API.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use hyper::Method;
use serde_json::{Value, json};

use super::repo_files;
use crate::cli::{Repo, Secret, Token, User};
use crate::client::Client;
use crate::output;

const OK: ExitCode = ExitCode::SUCCESS;

pub(super) async fn user(client: &Client, verb: User, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        User::Create {
            name,
            admin,
            password_file,
        } => {
            let password = secret_input(password_file.as_deref(), "password")?;
            let body = json!({ "name": name, "password": password, "admin": admin });
            let made: Value = client
                .call(Method::POST, "/api/v1/users", Some(body))
                .await?;
            say(as_json, &made, || format!("made user {name}"));
        }
        User::List => {
            let list: Value = client.get("/api/v1/users").await?;
            show_list(as_json, &list, "users", &["name", "role", "created"]);
        }
    }
    Ok(OK)
}

pub(super) async fn token(client: &Client, verb: Token, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Token::Create {
            user,
            name,
            scopes,
            days,
        } => {
            let path = format!("/api/v1/users/{user}/tokens");
            let body = json!({ "name": name, "scopes": scopes, "days": days });
            let made: Value = client.call(Method::POST, &path, Some(body)).await?;
            // Only the token itself, so that a script can take it as it is.
            say(as_json, &made, || output::text(&made, "secret"));
        }
        Token::List { user } => {
            let list: Value = client.get(&format!("/api/v1/users/{user}/tokens")).await?;
            show_list(
                as_json,
                &list,
                "tokens",
                &["id", "name", "scopes", "expires", "last_used"],
            );
        }
        Token::Revoke { id } => {
            let path = format!("/api/v1/tokens/{id}");
            let gone: Value = client.call(Method::DELETE, &path, None).await?;
            say(as_json, &gone, || format!("revoked token {id}"));
        }
    }
    Ok(OK)
}

pub(super) async fn repo(client: &Client, verb: Repo, as_json: bool) -> anyhow::Result<ExitCode> {
    match verb {
        Repo::Create {
            path,
            for_user,
            visibility,
        } => {
            let body = json!({ "path": path, "visibility": visibility.as_str(), "for": for_user });
            let made: Value = client
                .call(Method::POST, "/api/v1/repos", Some(body))
                .await?;
            say(as_json, &made, || {
                let url = output::text(&made, "clone_url");
                format!("made {path}\n\n  git remote add origin {url}\n  git push -u origin main")
            });
        }
        Repo::List => {
            let list: Value = client.get("/api/v1/repos").await?;
            show_list(
                as_json,
                &list,
                "repos",
                &["path", "visibility", "default_branch"],
            );
        }
        Repo::Key(verb) => return super::keys::of_repo(client, verb, as_json).await,
        Repo::Delete { path } => {
            let gone: Value = client
                .call(Method::DELETE, &repo_path(&path)?, None)
                .await?;
            say(as_json, &gone, || format!("deleted {path}"));
        }
        Repo::Import {
            path,
            source,
            for_user,
            visibility,
        } => {
            let wanted = json!({
                "path": path, "visibility": visibility.as_str(), "for": for_user,
            });
            return repo_files::import(client, &path, &source, wanted, as_json).await;
        }
        Repo::Export { path, out } => {
            return repo_files::export(client, &path, &out, as_json).await;
        }
        Repo::Fsck { path } => return repo_files::check(client, &path, as_json).await,
        Repo::Gc { path, grace_days } => {
            return repo_files::collect(client, &path, grace_days, as_json).await;
        }
    }
    Ok(OK)
}

pub(super) async fn secret(
    client: &Client,
    verb: Secret,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    match verb {
        Secret::Set { repo, name, file } => {
            let value = secret_input(file.as_deref(), "secret")?;
            let path = format!("{}/secrets/{name}", repo_path(&repo)?);
            let body = json!({ "value": value });
            let set: Value = client.call(Method::PUT, &path, Some(body)).await?;
            say(as_json, &set, || format!("set {name} for {repo}"));
        }
        Secret::List { repo } => {
            let list: Value = client
                .get(&format!("{}/secrets", repo_path(&repo)?))
                .await?;
            show_list(as_json, &list, "secrets", &["name", "updated"]);
        }
        Secret::Remove { repo, name } => {
            let path = format!("{}/secrets/{name}", repo_path(&repo)?);
            let gone: Value = client.call(Method::DELETE, &path, None).await?;
            say(as_json, &gone, || format!("removed {name} from {repo}"));
        }
    }
    Ok(OK)
}

pub(super) async fn queue(client: &Client, as_json: bool) -> anyhow::Result<ExitCode> {
    let queue: Value = client.get("/api/v1/queue").await?;
    show_list(
        as_json,
        &queue,
        "jobs",
        &["repo", "run", "name", "state", "reason"],
    );
    Ok(OK)
}

/// `owner/name` as the API's path of that repo.
pub(super) fn repo_path(repo: &str) -> anyhow::Result<String> {
    let path: vocab::RepoPath = repo.parse()?;
    Ok(format!("/api/v1/repos/{}/{}", path.owner, path.name))
}

/// The list in an answer, which is either the answer itself or stands under `key`.
pub(crate) fn rows_of<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer
        .as_array()
        .or_else(|| answer[key].as_array())
        .map_or(&[], Vec::as_slice)
}

pub(super) fn say(as_json: bool, answer: &Value, words: impl FnOnce() -> String) {
    if as_json {
        output::json(answer);
    } else {
        output::line(&words());
    }
}

pub(super) fn show_list(as_json: bool, answer: &Value, key: &str, columns: &[&str]) {
    if as_json {
        output::json(answer);
        return;
    }
    let rows: Vec<Vec<String>> = rows_of(answer, key)
        .iter()
        .map(|row| {
            columns
                .iter()
                .map(|column| output::text(row, column))
                .collect()
        })
        .collect();
    if rows.is_empty() {
        output::line(&format!("no {key}"));
    } else {
        output::table(columns, &rows);
    }
}

/// A value that must not stand on a command line: from a file, else from standard input.
pub(super) fn secret_input(file: Option<&Path>, what: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    match file {
        Some(path) => {
            text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the {what} from {}", path.display()))?;
        }
        None => {
            std::io::stdin()
                .take(1 << 20)
                .read_to_string(&mut text)
                .with_context(|| format!("cannot read the {what} from standard input"))?;
        }
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        bail!("the {what} is empty; give it in a file or on standard input");
    }
    Ok(text.to_owned())
}
