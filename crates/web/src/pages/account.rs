//! Signing in and out, a user's access tokens, the API's description.

use access::{KeyHome, SshKeyInfo, TokenInfo};
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Query, RawForm};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{frame, render, see};
use crate::api::bad_form;
use crate::api::keys;
use crate::api::people::{self, Credentials};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::href;
use crate::markdown;
use crate::respond::sentence;
use crate::view::{ApiDocs, Choice, Made, SignIn, SshKeyLine, TokenLine, Tokens};
use crate::words;

const API_DOCS: &str = include_str!("../../../../docs/api.md");

#[derive(Deserialize)]
pub(crate) struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /sign-in`
pub(crate) async fn sign_in_form(ctx: Ctx, Query(next): Query<Next>) -> Result<Response, Fault> {
    let next = if href::is_local(&next.next) {
        next.next
    } else {
        "/".to_owned()
    };
    if ctx.signed_in() {
        return Ok(see(&next));
    }
    let frame = frame(&ctx, "Sign in", "").await?;
    render(&SignIn {
        frame,
        problem: None,
        next,
        name: String::new(),
    })
}

#[derive(Deserialize)]
pub(crate) struct SignInForm {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// `POST /sign-in`
pub(crate) async fn sign_in(
    ctx: Ctx,
    form: Result<Form<SignInForm>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let next = if href::is_local(&form.next) {
        form.next
    } else {
        "/".to_owned()
    };
    let who = Credentials {
        name: form.name.trim().to_owned(),
        password: form.password,
    };
    let name = who.name.clone();
    match people::open_session(&ctx, who).await {
        Ok((_, cookie)) => {
            let mut response = see(&next);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            Ok(response)
        }
        Err(fault) if fault.status.is_client_error() => {
            let frame = frame(&ctx, "Sign in", "").await?;
            let problem = fault.what_to_do.as_deref().unwrap_or(&fault.error);
            let problem = Some(sentence(problem));
            let mut page = render(&SignIn {
                frame,
                problem,
                next,
                name,
            })?;
            *page.status_mut() = fault.status;
            Ok(page)
        }
        Err(fault) => Err(fault),
    }
}

/// `POST /sign-out`
pub(crate) async fn sign_out(ctx: Ctx) -> Result<Response, Fault> {
    people::close_session(&ctx).await?;
    let mut response = see("/sign-in");
    response
        .headers_mut()
        .insert(header::SET_COOKIE, people::no_cookie(&ctx)?);
    Ok(response)
}

/// `GET /tokens`
pub(crate) async fn tokens(ctx: Ctx) -> Result<Response, Fault> {
    list(&ctx, None, None).await
}

async fn list(ctx: &Ctx, made: Option<Made>, problem: Option<String>) -> Result<Response, Fault> {
    let Some(user) = ctx.principal.user() else {
        return Err(Fault::unknown_caller());
    };
    let frame = frame(ctx, "Access tokens", "").await?;
    let (all, keys) = ctx
        .app
        .read(move |db| {
            let tokens = access::tokens(db, user).map_err(Fault::internal)?;
            let keys = access::ssh_keys(db, user).map_err(Fault::internal)?;
            Ok((tokens, keys))
        })
        .await?;
    let url = ctx.app.config.public_url.trim_end_matches('/');
    let host = url
        .split_once("://")
        .map_or(url, |(_, host)| host)
        .to_owned();
    render(&Tokens {
        frame,
        user: ctx.shown_name().unwrap_or_default(),
        host,
        made,
        problem,
        tokens: all
            .iter()
            .filter(|t| t.revoked.is_none())
            .map(|t| line(ctx, t))
            .collect(),
        scopes: SCOPES
            .iter()
            .map(|(value, text, chosen)| Choice {
                value,
                name: value,
                text,
                chosen: *chosen,
            })
            .collect(),
        keys: keys.iter().map(|key| key_line(ctx, key)).collect(),
    })
}

const SCOPES: [(&str, &str, bool); 6] = [
    ("repo:read", "clone and read", false),
    ("repo:write", "push, too", true),
    ("repo:admin", "make repos, change their settings", false),
    ("run:read", "see runs and logs", false),
    ("run:write", "start, cancel and repeat runs, too", true),
    ("admin", "all that you may do as an administrator", false),
];

fn line(ctx: &Ctx, token: &TokenInfo) -> TokenLine {
    let now = ctx.app.clock.now();
    let when = |at| words::when(vocab::unix_ms(at), now);
    let over = token.expires.is_some_and(|at| at <= now);
    TokenLine {
        id: token.id.get(),
        name: token.label.clone(),
        made: when(token.created),
        used: token.used.map(when),
        ends: match token.expires {
            None => "never".to_owned(),
            Some(at) if over => format!("ended {}", when(at).relative),
            Some(at) => when(at).relative,
        },
        scopes: token.scopes.iter().map(|s| s.as_str().to_owned()).collect(),
        live: true,
    }
}

/// A key as the pages of its owner show it.
pub(crate) fn key_line(ctx: &Ctx, key: &SshKeyInfo) -> SshKeyLine {
    let now = ctx.app.clock.now();
    let when = |at| words::when(vocab::unix_ms(at), now);
    SshKeyLine {
        id: key.id.get(),
        name: key.label.clone(),
        fingerprint: key.fingerprint.clone(),
        made: when(key.created),
        used: key.used.map(when),
        writes: !matches!(key.home, KeyHome::Repo { writes: false, .. }),
    }
}

#[derive(Deserialize)]
pub(crate) struct KeyForm {
    #[serde(default)]
    name: String,
    key: String,
}

/// `POST /ssh-keys`
pub(crate) async fn add_key(
    ctx: Ctx,
    form: Result<Form<KeyForm>, FormRejection>,
) -> Result<Response, Fault> {
    let Form(form) = form.map_err(|e| bad_form(&e))?;
    let Some(user) = ctx.principal.user() else {
        return Err(Fault::unknown_caller());
    };
    match keys::put(&ctx, KeyHome::User(user), form.name, &form.key).await {
        Ok(_) => Ok(see("/tokens#ssh-keys")),
        Err(fault) if fault.status.is_client_error() => {
            let mut page = list(&ctx, None, Some(sentence(&fault.error))).await?;
            *page.status_mut() = fault.status;
            Ok(page)
        }
        Err(fault) => Err(fault),
    }
}

/// `POST /ssh-keys/{id}/remove`
pub(crate) async fn remove_key(ctx: Ctx, Path(path): Path<TokenPath>) -> Result<Response, Fault> {
    keys::take_away(&ctx, path.id).await?;
    Ok(see("/tokens#ssh-keys"))
}

/// `POST /tokens`
pub(crate) async fn make_token(ctx: Ctx, RawForm(form): RawForm) -> Result<Response, Fault> {
    let pairs: Vec<(String, String)> = form_pairs(&form);
    let field = |name: &str| {
        pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .unwrap_or_default()
    };
    let scopes: Vec<String> = pairs
        .iter()
        .filter(|(n, _)| n == "scope")
        .map(|(_, v)| v.clone())
        .collect();
    let Some(user) = ctx.principal.user() else {
        return Err(Fault::unknown_caller());
    };
    let name = field("name");
    let days = field("days")
        .parse()
        .map_err(|_| Fault::bad("the days must be a number"));
    let made = match days {
        Ok(days) => people::new_token(&ctx, user, &name, &scopes, Some(days)).await,
        Err(fault) => Err(fault),
    };
    match made {
        Ok(made) => {
            list(
                &ctx,
                Some(Made {
                    name: name.trim().to_owned(),
                    secret: made.text,
                }),
                None,
            )
            .await
        }
        Err(fault) if fault.status.is_client_error() => {
            let mut page = list(&ctx, None, Some(sentence(&fault.error))).await?;
            *page.status_mut() = fault.status;
            Ok(page)
        }
        Err(fault) => Err(fault),
    }
}

/// The fields of a form, in order; a name may come more than once.
pub(crate) fn form_pairs(form: &[u8]) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let mut out = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'+' => out.push(b' '),
                b'%' => {
                    let digits = [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)];
                    let value = std::str::from_utf8(&digits)
                        .ok()
                        .and_then(|d| u8::from_str_radix(d, 16).ok());
                    out.push(value.unwrap_or(b'?'));
                }
                byte => out.push(byte),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    String::from_utf8_lossy(form)
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

#[derive(Deserialize)]
pub(crate) struct TokenPath {
    id: i64,
}

/// `POST /tokens/{id}/revoke`
pub(crate) async fn revoke_token(ctx: Ctx, Path(path): Path<TokenPath>) -> Result<Response, Fault> {
    people::revoke(&ctx, path.id).await?;
    Ok(see("/tokens"))
}

/// `GET /docs/api`
pub(crate) async fn api_docs(ctx: Ctx) -> Result<Response, Fault> {
    let frame = frame(&ctx, "The HTTP API", "").await?;
    let page = render(&ApiDocs {
        frame,
        html: markdown::render(API_DOCS, None),
    })?;
    Ok((StatusCode::OK, page).into_response())
}

#[cfg(test)]
mod tests {
    use super::form_pairs;

    #[test]
    fn forms_may_say_a_name_twice() {
        let pairs = form_pairs(b"scope=repo%3Aread&scope=run%3Awrite&name=my+laptop%21&x&%zz=1");
        let flat: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(
            flat,
            [
                "scope=repo:read",
                "scope=run:write",
                "name=my laptop!",
                "x=",
                "?=1"
            ]
        );
    }
}
