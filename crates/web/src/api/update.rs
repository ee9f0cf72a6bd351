//! The running appliance's part in an update of its own program: it says what it is, holds its
//! jobs, tries itself, and notes in the audit log how the update went.
//!
//! Invariant: each stage of an update is noted once, however often it is told.

use std::sync::Arc;
use std::time::Duration;

use audit::{AppendError, Auditor, Entry, Kind, Who};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{StoreError, Tx};

use super::bad_json;
use crate::facilities::Facilities;
use crate::fault::Fault;
use crate::guard::Ctx;

type Body<T> = Result<Json<T>, JsonRejection>;

/// Longest hold: a day.
const HOLD_MAX_S: u64 = 86_400;

/// `GET /api/v1/update`
pub(crate) async fn show(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let facilities = ctx.app.facilities.clone();
    let shown = ctx
        .app
        .off(move || {
            let mut shown = serde_json::to_value(facilities.program()).map_err(Fault::internal)?;
            shown["held"] = json!(facilities.held());
            Ok(shown)
        })
        .await?;
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HoldBody {
    seconds: u64,
    why: String,
    lost: String,
}

/// `POST /api/v1/update/hold`: answers when no job runs any more.
pub(crate) async fn hold(ctx: Ctx, body: Body<HoldBody>) -> Result<Json<Value>, Fault> {
    let Json(body) = body.map_err(|e| bad_json(&e))?;
    let entry = Entry::success(Kind::PoolDrain).detail("seconds", body.seconds);
    ctx.note(entry.detail("why", body.why.as_str())).await?;
    let patience = Duration::from_secs(body.seconds.min(HOLD_MAX_S));
    let facilities = ctx.app.facilities.clone();
    let mut asker = Asker(Some(facilities.clone()));
    let (ended, lost) = ctx
        .app
        .off(move || Ok(facilities.hold(patience, &body.why, &body.lost)))
        .await?;
    asker.0 = None;
    Ok(Json(json!({ "ended": ended, "lost": lost })))
}

/// Whoever asked for a hold. When they are gone before it is answered, nobody would ever let go.
struct Asker(Option<Arc<dyn Facilities>>);

impl Drop for Asker {
    fn drop(&mut self) {
        if let Some(facilities) = &self.0 {
            facilities.let_go();
        }
    }
}

/// `DELETE /api/v1/update/hold`
pub(crate) async fn let_go(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let entry = Entry::success(Kind::PoolDrain).detail("over", true);
    ctx.note(entry).await?;
    ctx.app.facilities.let_go();
    Ok(Json(json!({ "held": null })))
}

/// `POST /api/v1/update/self-test`
pub(crate) async fn self_test(ctx: Ctx) -> Result<Json<Value>, Fault> {
    let facilities = ctx.app.facilities.clone();
    let checks = ctx.app.off(move || Ok(facilities.self_test())).await?;
    let good = !checks.is_empty() && checks.iter().all(|check| check.good);
    Ok(Json(json!({ "good": good, "checks": checks })))
}

/// `POST /api/v1/update/events`
pub(crate) async fn record(ctx: Ctx, body: Body<UpdateEvent>) -> Result<Json<Value>, Fault> {
    let Json(event) = body.map_err(|e| bad_json(&e))?;
    let who = ctx.who.clone();
    let noted = ctx
        .app
        .write(move |app, tx| event.note(tx, &app.auditor, &who))
        .await?;
    Ok(Json(json!({ "noted": noted })))
}

/// How far an update came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStage {
    /// The new program lies beside the old one, checked.
    Staged,
    /// The new program is about to be started.
    Switched,
    /// The new program passed its trial.
    Healthy,
    /// The program before it was started again.
    RolledBack,
}

/// One of the programs of an update.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Its version.
    pub version: String,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
}

/// What is noted of an update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateEvent {
    /// Names the update; the same for all of its stages.
    pub update: String,
    /// How far it came.
    pub stage: UpdateStage,
    /// The program that ran before.
    pub from: Which,
    /// The program that it is about.
    pub to: Which,
    /// Why, where it was rolled back.
    #[serde(default)]
    pub reason: String,
}

/// Why an update could not be noted.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The audit log refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log could not be searched.
    #[error("cannot read the audit log")]
    Read(#[source] rusqlite::Error),
}

impl From<NoteError> for Fault {
    fn from(error: NoteError) -> Self {
        match error {
            NoteError::Store(e) => e.into(),
            other => Self::internal(other),
        }
    }
}

impl UpdateEvent {
    /// Appends the entry unless the log has it; gives whether it was appended.
    pub fn note(&self, tx: &mut Tx<'_>, log: &Auditor, who: &Who) -> Result<bool, NoteError> {
        let kind = match self.stage {
            UpdateStage::Staged => Kind::SelfupdateStaged,
            UpdateStage::Switched => Kind::SelfupdateSwitched,
            UpdateStage::Healthy => Kind::SelfupdateHealthy,
            UpdateStage::RolledBack => Kind::SelfupdateRolledBack,
        };
        let known = audit::Filter {
            kind: Some(kind.as_str().to_owned()),
            object: Some(self.update.clone()),
            ..audit::Filter::default()
        };
        if !audit::list(tx, &known, 1)
            .map_err(NoteError::Read)?
            .is_empty()
        {
            return Ok(false);
        }
        let entry = if self.stage == UpdateStage::RolledBack {
            Entry::failure(kind, "E_UNHEALTHY").detail("reason", self.reason.as_str())
        } else {
            Entry::success(kind)
        };
        let entry = entry
            .object("update", self.update.clone(), self.to.version.as_str())
            .detail("from_version", self.from.version.as_str())
            .detail("from_sha256", self.from.sha256.as_str())
            .detail("to_version", self.to.version.as_str())
            .detail("to_sha256", self.to.sha256.as_str());
        log.append(tx, who, entry)?;
        Ok(true)
    }
}
