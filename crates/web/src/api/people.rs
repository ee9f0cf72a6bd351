//! Sessions, users and tokens.

use std::time::Duration;

use access::{
    LoginRefused, NewToken, NewUser, PasswordHash, Role, Scopes, TokenInfo, User, UserError,
};
use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use vocab::{TokenId, UserId, UserName, unix_ms};

use super::{bad, bad_json};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::identify::COOKIE;

type Body<T> = Result<Json<T>, JsonRejection>;

/// `GET /api/v1/version`
pub(crate) async fn version(_ctx: Ctx) -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) password: String,
}

/// Judges a name and password and opens a session; the `Set-Cookie` header that carries it.
pub(crate) async fn open_session(
    ctx: &Ctx,
    who: Credentials,
) -> Result<(User, HeaderValue), Fault> {
    let (app, from) = (ctx.app.clone(), ctx.who.clone());
    let (user, session) = ctx
        .app
        .off(move || {
            let user = access::authenticate_password(
                &app.store,
                &app.auditor,
                &from,
                &who.name,
                &who.password,
            )
            .map_err(login_fault)?;
            let actor = audit::Actor::User {
                id: user.id,
                name: user.name.clone(),
            };
            let from = from.acting_as(actor);
            let session = app
                .store
                .write(|tx| access::open_session(tx, &app.auditor, &from, user.id))
                .map_err(access_fault)?;
            Ok((user, session))
        })
        .await?;
    let life = ctx
        .app
        .config
        .session_length
        .min(access::SESSION_LIFE)
        .as_secs();
    let value = cookie(&session.cookie, life, &ctx.app.config.public_url);
    let value = HeaderValue::from_str(&value).map_err(Fault::internal)?;
    Ok((user, value))
}

fn cookie(value: &str, life_s: u64, public_url: &str) -> String {
    let secure = if public_url.starts_with("https://") {
        "; Secure"
    } else {
        ""
    };
    format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life_s}{secure}")
}

/// The `Set-Cookie` header that takes the session away.
pub(crate) fn no_cookie(ctx: &Ctx) -> Result<HeaderValue, Fault> {
    HeaderValue::from_str(&cookie("", 0, &ctx.app.config.public_url)).map_err(Fault::internal)
}

fn login_fault(error: LoginRefused) -> Fault {
    match &error {
        LoginRefused::Append(_) | LoginRefused::Store(_) | LoginRefused::Database(_) => {
            Fault::internal(error)
        }
        LoginRefused::Locked { .. } => Fault::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many failed sign-ins for this name",
        )
        .todo(error),
        _ => Fault::new(StatusCode::UNAUTHORIZED, error),
    }
}

/// What somebody is told of a failure of people and keys.
pub(crate) fn access_fault(error: access::AccessError) -> Fault {
    match error {
        access::AccessError::Store(e) => e.into(),
        other => Fault::internal(other),
    }
}

/// `POST /api/v1/session`
pub(crate) async fn sign_in(ctx: Ctx, body: Body<Credentials>) -> Result<Response, Fault> {
    let Json(who) = body.map_err(|e| bad_json(&e))?;
    let (user, cookie) = open_session(&ctx, who).await?;
    let shown = json!({ "user": user_json(&user) });
    Ok(([(header::SET_COOKIE, cookie)], Json(shown)).into_response())
}

/// Ends the session that asks.
pub(crate) async fn close_session(ctx: &Ctx) -> Result<(), Fault> {
    let access::Principal::User { session, .. } = ctx.principal else {
        return Ok(());
    };
    let who = ctx.who.clone();
    ctx.app
        .write(move |app, tx| -> Result<bool, access::AccessError> {
            access::close_session(tx, &app.auditor, &who, session, true)
        })
        .await?;
    Ok(())
}

/// `DELETE /api/v1/session`
pub(crate) async fn sign_out(ctx: Ctx) -> Result<Response, Fault> {
    close_session(&ctx).await?;
    let cookie = no_cookie(&ctx)?;
    Ok((
        [(header::SET_COOKIE, cookie)],
        Json(json!({ "signed_out": true })),
    )
        .into_response())
}

/// `GET /api/v1/user`
pub(crate) async fn me(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let Some(id) = ctx.principal.user() else {
        return Ok(Json(json!({ "name": ctx.shown_name(), "operator": true })));
    };
    let user = ctx
        .app
        .read(move |db| access::user(db, id).map_err(Fault::internal))
        .await?;
    let user = user.ok_or_else(|| Fault::missing("your account"))?;
    Ok(Json(user_json(&user)))
}

fn user_json(user: &User) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "role": user.role.as_str(),
        "created": unix_ms(user.created),
        "suspended": user.suspended.map(unix_ms),
    })
}

/// `GET /api/v1/users`
pub(crate) async fn users(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let users = ctx
        .app
        .read(|db| access::users(db).map_err(Fault::internal))
        .await?;
    Ok(Json(
        json!({ "users": users.iter().map(user_json).collect::<Vec<_>>() }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBody {
    name: String,
    password: Option<String>,
    #[serde(default)]
    admin: bool,
}

/// `POST /api/v1/users`
pub(crate) async fn make_user(ctx: Ctx, body: Body<UserBody>) -> Result<Response, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    let name: UserName = body.name.parse().map_err(bad)?;
    let role = if body.admin {
        Role::Admin
    } else {
        Role::Member
    };
    let entropy = ctx.app.entropy.clone();
    let password = match body.password {
        None => None,
        Some(text) => Some(
            ctx.app
                .off(move || PasswordHash::of(&text, &entropy).map_err(bad))
                .await?,
        ),
    };
    let new = NewUser {
        name,
        password,
        role,
    };
    let who = ctx.who.clone();
    let user = ctx
        .app
        .write(move |app, tx| access::create_user(tx, &app.auditor, &who, &new))
        .await?;
    Ok((StatusCode::CREATED, Json(user_json(&user))).into_response())
}

impl From<UserError> for Fault {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Taken { .. } => Self::conflict(error),
            UserError::Unknown { .. } => Self::missing("the user"),
            UserError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

impl From<access::AccessError> for Fault {
    fn from(error: access::AccessError) -> Self {
        access_fault(error)
    }
}

#[derive(Deserialize)]
pub(crate) struct UserPath {
    user: String,
}

/// The user that an address names.
pub(crate) async fn named(ctx: &Ctx, path: &UserPath) -> Result<User, Fault> {
    let name: UserName = path.user.parse().map_err(bad)?;
    let found = {
        let name = name.clone();
        ctx.app
            .read(move |db| access::user_by_name(db, &name).map_err(Fault::internal))
            .await?
    };
    found.ok_or_else(|| Fault::missing(format!("user {name}")))
}

/// `GET /api/v1/users/{user}/tokens`
pub(crate) async fn tokens(ctx: Ctx, Path(path): Path<UserPath>) -> Result<Json<Value>, Fault> {
    let user = named(&ctx, &path).await?.id;
    let all = ctx
        .app
        .read(move |db| access::tokens(db, user).map_err(Fault::internal))
        .await?;
    Ok(Json(
        json!({ "tokens": all.iter().map(token_json).collect::<Vec<_>>() }),
    ))
}

fn token_json(token: &TokenInfo) -> Value {
    json!({
        "id": token.id,
        "name": token.label,
        "scopes": token.scopes.iter().map(access::Scope::as_str).collect::<Vec<_>>(),
        "created": unix_ms(token.created),
        "expires": token.expires.map(unix_ms),
        "last_used": token.used.map(unix_ms),
        "revoked": token.revoked.map(unix_ms),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenBody {
    name: String,
    scopes: Vec<String>,
    days: Option<u64>,
}

/// Makes a token for `user`; its text is in the answer and nowhere else.
pub(crate) async fn new_token(
    ctx: &Ctx,
    user: UserId,
    name: &str,
    scopes: &[String],
    days: Option<u64>,
) -> Result<access::TokenCreated, Fault> {
    let scopes: Scopes = scopes
        .iter()
        .map(|s| s.parse())
        .collect::<Result<_, access::ScopeError>>()
        .map_err(bad)?;
    if scopes.is_empty() {
        return Err(Fault::bad("a token needs at least one scope").todo("choose what it may do"));
    }
    if name.trim().is_empty() {
        return Err(Fault::bad("a token needs a name").todo("say what it is for"));
    }
    let expires = match days {
        Some(days @ 1..=3650) => Some(ctx.app.clock.now() + Duration::from_secs(days * 86_400)),
        Some(_) => return Err(Fault::bad("a token lasts 1 to 3650 days")),
        None => None,
    };
    let new = NewToken {
        user,
        label: name.trim().to_owned(),
        scopes,
        expires,
    };
    let who = ctx.who.clone();
    ctx.app
        .write(move |app, tx| access::create_token(tx, &app.auditor, &who, &new))
        .await
}

/// `POST /api/v1/users/{user}/tokens`
pub(crate) async fn make_token(
    ctx: Ctx,
    Path(path): Path<UserPath>,
    body: Body<TokenBody>,
) -> Result<Response, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    let user = named(&ctx, &path).await?;
    let made = new_token(&ctx, user.id, &body.name, &body.scopes, body.days).await?;
    let shown = json!({ "id": made.id, "name": body.name, "user": user.name, "scopes": body.scopes, "secret": made.text });
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct TokenPath {
    id: i64,
}

/// Revokes a token; the guard has judged its owner.
pub(crate) async fn revoke(ctx: &Ctx, id: i64) -> Result<(), Fault> {
    let who = ctx.who.clone();
    let done = ctx
        .app
        .write(move |app, tx| access::revoke_token(tx, &app.auditor, &who, TokenId(id)))
        .await?;
    if done {
        Ok(())
    } else {
        Err(Fault::missing(format!("a live token {id}")))
    }
}

/// `DELETE /api/v1/tokens/{id}`
pub(crate) async fn revoke_token(
    ctx: Ctx,
    Path(path): Path<TokenPath>,
) -> Result<Json<Value>, Fault> {
    revoke(&ctx, path.id).await?;
    Ok(Json(json!({ "revoked": path.id })))
}
