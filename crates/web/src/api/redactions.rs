//! Redaction of the audit log: values go, lines stay.

use audit::{RedactError, Redacted, Redaction, Seq};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Db, StoreError};
use vocab::UserName;

use super::bad_json;
use crate::fault::Fault;
use crate::guard::Ctx;

/// What is asked for: an entry's number, with a field or without, or a person's name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    seq: Option<i64>,
    field: Option<String>,
    person: Option<String>,
    reason: String,
}

/// Why a redaction ends its transaction.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Redact(#[from] RedactError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Failed> for Fault {
    fn from(error: Failed) -> Self {
        let status = match &error {
            Failed::Store(_) | Failed::Redact(RedactError::Append(_)) => {
                return Self::internal(error);
            }
            Failed::Redact(RedactError::NoEntry(_)) => StatusCode::NOT_FOUND,
            Failed::Redact(RedactError::Nothing(_)) => StatusCode::CONFLICT,
            Failed::Redact(RedactError::Reason | RedactError::Tells) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
        };
        let words = error.to_string();
        match words.split_once("; ") {
            Some((text, todo)) => Self::new(status, text).todo(todo),
            None => Self::new(status, words),
        }
    }
}

impl Wish {
    fn redaction(&self, db: &Db) -> Result<Redaction, Fault> {
        match (self.seq, &self.person, &self.field) {
            (Some(seq), None, field) => Ok(Redaction::Entry {
                seq: Seq(seq),
                field: field.clone(),
            }),
            (None, Some(name), None) => {
                let known = match name.parse::<UserName>() {
                    Ok(name) => access::user_by_name(db, &name).map_err(Fault::internal)?,
                    Err(_) => None,
                };
                Ok(Redaction::Person {
                    account: known.as_ref().map(|user| user.id),
                    name: known.map_or_else(|| name.clone(), |user| user.name.to_string()),
                })
            }
            _ => Err(Fault::bad("a redaction is of one entry or of one person")
                .todo("give seq, and field if you like; or person alone")),
        }
    }
}

/// `POST /api/v1/audit/redactions`: deletes values, and says so in the log.
pub(crate) async fn redact(
    ctx: Ctx,
    body: Result<Json<Wish>, JsonRejection>,
) -> Result<Json<Value>, Fault> {
    let Json(wish) = body.map_err(|e| bad_json(&e))?;
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let done = ctx.app.off(move || {
        let what = app.store.read(|db| wish.redaction(db))?;
        let Redacted { values, noted } = app
            .store
            .write::<_, Failed>(|tx| Ok(app.auditor.redact(tx, &who, &what, &wish.reason)?))?;
        app.0.exports.remove_named();
        let emptied = app.store.empty_wal().unwrap_or_else(|error| {
            tracing::warn!(%error, "the write-ahead log was not emptied after a redaction");
            false
        });
        Ok(json!({
            "values": values,
            "entries": noted.iter().map(|seq| seq.0).collect::<Vec<_>>(),
            "gone_from_disk": emptied,
        }))
    });
    Ok(Json(done.await?))
}
