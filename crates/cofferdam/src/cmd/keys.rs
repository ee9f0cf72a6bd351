//! `cofferdam key` and `cofferdam repo key`: SSH keys of people and of repos.

use std::process::ExitCode;

use hyper::Method;
use serde_json::{Value, json};

use super::admin::{repo_path, say, secret_input, show_list};
use crate::cli::{RepoKey, SshKey};
use crate::client::Client;
use crate::output;

pub(super) async fn of_user(
    client: &Client,
    verb: SshKey,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    match verb {
        SshKey::Add { user, file, name } => {
            let key = secret_input(file.as_deref(), "key")?;
            let path = format!("/api/v1/users/{user}/ssh-keys");
            let body = json!({ "name": name, "key": key });
            let added: Value = client.call(Method::POST, &path, Some(body)).await?;
            say(as_json, &added, || added_line(&added, &user));
        }
        SshKey::List { user } => {
            let path = format!("/api/v1/users/{user}/ssh-keys");
            let list: Value = client.get(&path).await?;
            let columns = ["id", "name", "fingerprint", "last_used"];
            show_list(as_json, &list, "keys", &columns);
        }
        SshKey::Remove { id } => {
            let path = format!("/api/v1/ssh-keys/{id}");
            let gone: Value = client.call(Method::DELETE, &path, None).await?;
            say(as_json, &gone, || format!("removed key {id}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn of_repo(
    client: &Client,
    verb: RepoKey,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    match verb {
        RepoKey::Add {
            repo,
            file,
            name,
            write,
        } => {
            let key = secret_input(file.as_deref(), "key")?;
            let path = format!("{}/deploy-keys", repo_path(&repo)?);
            let body = json!({ "name": name, "key": key, "write": write });
            let added: Value = client.call(Method::POST, &path, Some(body)).await?;
            say(as_json, &added, || added_line(&added, &repo));
        }
        RepoKey::List { repo } => {
            let path = format!("{}/deploy-keys", repo_path(&repo)?);
            let list: Value = client.get(&path).await?;
            let columns = ["id", "name", "write", "fingerprint", "last_used"];
            show_list(as_json, &list, "keys", &columns);
        }
        RepoKey::Remove { repo, id } => {
            let path = format!("{}/deploy-keys/{id}", repo_path(&repo)?);
            let gone: Value = client.call(Method::DELETE, &path, None).await?;
            say(as_json, &gone, || format!("removed key {id} from {repo}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn added_line(added: &Value, home: &str) -> String {
    format!(
        "added key {} of {home}: {} {}",
        output::text(added, "id"),
        output::text(added, "fingerprint"),
        output::text(added, "name"),
    )
}
