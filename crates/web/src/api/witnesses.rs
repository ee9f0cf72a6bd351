//! Witnesses of the audit log: how much they have seen, and what they signed.

use audit::{CosignError, Cosigned, Entry, Kind, SealError};
use axum::Json;
use axum::http::StatusCode;
use evidence::witness::Growing;
use serde_json::{Value, json};
use vocab::unix_ms;

use super::audit::{Noted, no_seal};
use crate::fault::Fault;
use crate::guard::Ctx;
use crate::state::App;

/// What a have slip says of the audit log; nothing where it was tampered with.
pub(crate) fn growing(app: &App) -> Option<Growing> {
    let seal = app.seal.as_ref()?;
    match seal.growing(&app.store) {
        Ok(growing) => Some(growing),
        Err(error) => {
            tracing::warn!(%error, "a slip goes out without the state of the audit log");
            None
        }
    }
}

/// How the log stands with its witnesses.
pub(crate) struct Standing {
    /// Entries under the last checkpoint.
    pub(crate) size: u64,
    /// Its root.
    pub(crate) root: [u8; 32],
    /// Names of the witnesses that are trusted here.
    pub(crate) trusted: Vec<String>,
    /// What each of them has signed last.
    pub(crate) seen: Vec<Cosigned>,
}

/// Looks at the last checkpoint and what witnesses signed.
pub(crate) fn standing(app: &App) -> Result<Standing, Fault> {
    let seal = app.seal.as_ref().ok_or_else(|| no_seal(app))?;
    let last = seal.last().map_err(Fault::internal)?.checkpoint;
    let trusted = &app.config.witnesses;
    Ok(Standing {
        size: last.size,
        root: last.root,
        trusted: trusted.iter().map(|key| key.name().to_owned()).collect(),
        seen: seal.witnessed(trusted).map_err(Fault::internal)?,
    })
}

/// `GET /api/v1/audit/status`: how much is sealed, and how much of it witnesses have seen.
pub(crate) async fn status(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let app = ctx.app.clone();
    let shown = ctx.app.off(move || {
        let standing = standing(&app)?;
        let now_ms = unix_ms(app.clock.now());
        let seen = |seen: &Cosigned| {
            let at_ms = unix_ms(seen.at());
            json!({
                "name": seen.name, "size": seen.size, "at_ms": at_ms,
                "since_ms": now_ms.saturating_sub(at_ms).max(0),
                "unseen": standing.size.saturating_sub(seen.size),
            })
        };
        Ok(json!({
            "size": standing.size,
            "root": hex::encode(standing.root),
            "trusted": standing.trusted,
            "witnesses": standing.seen.iter().map(seen).collect::<Vec<_>>(),
        }))
    });
    Ok(Json(shown.await?))
}

/// `POST /api/v1/audit/cosigs`: takes a witness's note in.
pub(crate) async fn cosign(ctx: Ctx, body: String) -> Result<Json<Value>, Fault> {
    let (app, who) = (ctx.app.clone(), ctx.who.clone());
    let shown = ctx.app.off(move || {
        let seal = app.seal.as_ref().ok_or_else(|| no_seal(&app))?;
        let read = seal.read_cosignature(body.as_bytes(), &app.config.witnesses);
        let read = match read {
            Ok(read) => read,
            Err(CosignError::Seal(error)) => return Err(Fault::internal(error)),
            Err(error) => {
                let entry = Entry::denied(Kind::AuditCosigned, code(&error))
                    .detail("why", error.to_string());
                app.store
                    .write::<_, Noted>(|tx| Ok(app.auditor.append(tx, &who, entry).map(drop)?))?;
                return Err(refusal(&error));
            }
        };
        let seen = &read.cosigned;
        app.store.write::<_, Noted>(|tx| {
            let entry = Entry::success(Kind::AuditCosigned)
                .detail("witness", seen.name.as_str())
                .detail("size", seen.size)
                .detail("at", seen.at_secs);
            app.auditor.append(tx, &who, entry)?;
            Ok(seal.keep_cosignature(&read)?)
        })?;
        Ok(json!(seen))
    });
    Ok(Json(shown.await?))
}

impl From<SealError> for Noted {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

fn code(error: &CosignError) -> &'static str {
    match error {
        CosignError::Untrusted => "E_WITNESS",
        CosignError::Foreign { .. } => "E_FOREIGN",
        CosignError::Forked { .. } => "E_FORKED",
        CosignError::Ahead { .. } => "E_ROLLED_BACK",
        CosignError::Replayed { .. } => "E_REPLAYED",
        CosignError::Seal(_) => "E_SEAL",
    }
}

fn refusal(error: &CosignError) -> Fault {
    let words = error.to_string();
    let fault = |text: &str| Fault::new(StatusCode::UNPROCESSABLE_ENTITY, text).code(code(error));
    match words.split_once("; ") {
        Some((text, todo)) => fault(text).todo(todo),
        None => fault(&words),
    }
}
