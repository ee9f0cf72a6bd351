//! The signed statements of a job: whether there are any, each of them, and their way to the root.

mod exported;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use evidence::attestation::Which;
use evidence::dsse::DsseKey;
use evidence::proof::{Inclusion, Proof};
use queue::Attestation;
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use vocab::{Attempt, Digest, JobId};

use super::audit::no_seal;
use crate::events::From as Asked;
use crate::fault::Fault;
use crate::guard::{Ctx, JobPath};
use crate::state::App;

pub(crate) use exported::Statements;

const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// Where an attempt's statements stand.
pub(crate) enum Standing {
    /// It has not ended.
    Running,
    /// It has ended, and they are made in a moment.
    Due,
    /// Nobody held it, or an earlier version ran it.
    None,
    /// Here they are.
    Attested(Attestation),
}

/// Where the statements of an attempt stand.
pub(crate) fn standing(db: &store::Db, job: JobId, attempt: Attempt) -> Result<Standing, Fault> {
    if let Some(made) = queue::attestation(db, job, attempt)? {
        return Ok(Standing::Attested(made));
    }
    if queue::is_attest_due(db, job, attempt)? {
        return Ok(Standing::Due);
    }
    let row = queue::attempt(db, job, attempt)?;
    Ok(match row {
        Some(row) if row.outcome.is_none() => Standing::Running,
        _ => Standing::None,
    })
}

/// `GET /api/v1/jobs/{id}/attestation`: which statements there are, and all that proves them.
pub(crate) async fn show(
    ctx: Ctx,
    Path(path): Path<JobPath>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Fault> {
    let job = ctx.job(&path).await?;
    let attempt = asked.attempt.map_or(job.attempt, Attempt);
    let app = ctx.app.clone();
    let shown = ctx.app.off(move || {
        let (standing, row) = app.store.read(|db| -> Result<_, Fault> {
            let row = queue::attempt(db, job.id, attempt)?;
            Ok((standing(db, job.id, attempt)?, row))
        })?;
        let state = match &standing {
            Standing::Running => "running",
            Standing::Due => "due",
            Standing::None => "none",
            Standing::Attested(_) => "attested",
        };
        let mut out = json!({
            "job": job.id,
            "name": job.name,
            "attempt": attempt,
            "state": state,
            "started": row.is_some_and(|row| row.started_ms.is_some()),
        });
        if let Standing::Attested(made) = standing {
            out["proof"] = proof(&app, job.id, attempt, &made)?;
        }
        Ok(out)
    });
    Ok(Json(shown.await?))
}

/// The statements with all that proves them, but for the job's log; the log is sealed so far.
pub(crate) fn proved(app: &App, made: &Attestation) -> Result<Proof, Fault> {
    let seal = app.seal.as_ref().ok_or_else(|| no_seal(app))?;
    let seq = u64::try_from(made.seq.0).unwrap_or(u64::MAX);
    let sealed = seal.last().map_err(Fault::internal)?.checkpoint.size;
    if seq >= sealed && app.auditor.refusing().is_none() {
        seal.seal(&app.store).map_err(Fault::internal)?;
    }
    let line = app
        .store
        .read(|db| audit::line(db, made.seq).map_err(Fault::internal))?
        .ok_or_else(|| Fault::missing(format!("audit entry {seq}")))?;
    let proved = seal.prove(seq).map_err(Fault::internal)?;
    Ok(Proof {
        envelopes: Which::ALL.map(|which| envelope(made, which).to_vec()),
        entry: line.text.into_bytes(),
        inclusion: Inclusion {
            index: proved.index,
            hashes: proved.hashes.iter().map(hex::encode).collect(),
        },
        checkpoint: proved.signed.note.into_bytes(),
        key: made.key.clone(),
        log: None,
    })
}

/// All that proves the statements, but themselves.
fn proof(app: &App, job: JobId, attempt: Attempt, made: &Attestation) -> Result<Value, Fault> {
    let proof = proved(app, made)?;
    let files = Which::ALL.map(|which| {
        let envelope = envelope(made, which);
        json!({
            "file": which.file(),
            "sha256": Digest::of(envelope).hex(),
            "size_bytes": envelope.len(),
            "path": path(which, job, attempt),
        })
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(json!({
        "seq": made.seq.0,
        "entry": text(&proof.entry),
        "inclusion": proof.inclusion,
        "checkpoint": text(&proof.checkpoint),
        "log_key": app.seal.as_ref().map(|seal| seal.key().to_string()),
        "key_id": DsseKey::from_pem(&made.key).map(|key| key.id()).unwrap_or_default(),
        "attest_pub": proof.key,
        "files": files,
        "log": log_path(job, attempt),
    }))
}

/// Where the log is downloaded as it stands on disk.
pub(crate) fn log_path(job: JobId, attempt: Attempt) -> String {
    format!("/api/v1/jobs/{job}/log/file?attempt={attempt}")
}

/// Where a statement is downloaded.
pub(crate) fn path(which: Which, job: JobId, attempt: Attempt) -> String {
    let name = match which {
        Which::Provenance => "provenance",
        Which::Receipt => "where-it-ran",
    };
    format!("/api/v1/jobs/{job}/{name}?attempt={attempt}")
}

/// One of the two.
pub(crate) fn envelope(made: &Attestation, which: Which) -> &[u8] {
    match which {
        Which::Provenance => &made.provenance,
        Which::Receipt => &made.receipt,
    }
}

/// `GET /api/v1/jobs/{id}/provenance`
pub(crate) async fn provenance(
    ctx: Ctx,
    path: Path<JobPath>,
    asked: Query<Asked>,
) -> Result<Response, Fault> {
    download(ctx, path.0, asked.0, Which::Provenance).await
}

/// `GET /api/v1/jobs/{id}/where-it-ran`
pub(crate) async fn where_it_ran(
    ctx: Ctx,
    path: Path<JobPath>,
    asked: Query<Asked>,
) -> Result<Response, Fault> {
    download(ctx, path.0, asked.0, Which::Receipt).await
}

async fn download(ctx: Ctx, path: JobPath, asked: Asked, which: Which) -> Result<Response, Fault> {
    let job = ctx.job(&path).await?;
    let attempt = asked.attempt.map_or(job.attempt, Attempt);
    let made = ctx
        .app
        .read(move |db| Ok(queue::attestation(db, job.id, attempt)?))
        .await?;
    let made = made.ok_or_else(|| {
        Fault::missing("a signed statement of this attempt")
            .todo("it is made when a job that was handed out has ended")
    })?;
    let name = format!("attachment; filename=\"job-{}-{}\"", job.id, which.file());
    let headers = [
        (header::CONTENT_TYPE, ENVELOPE.to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, envelope(&made, which).to_vec()).into_response())
}

/// `GET /api/v1/jobs/{id}/log/file`: the log as it stands on disk, which the statements name.
pub(crate) async fn log_file(
    ctx: Ctx,
    Path(path): Path<JobPath>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let job = ctx.job(&path).await?;
    let attempt = asked.attempt.map_or(job.attempt, Attempt);
    let file = tokio::fs::File::open(ctx.app.logs.path(job.id, attempt)).await;
    let file = match file {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Fault::missing("a log of this attempt"));
        }
        opened => opened.map_err(Fault::internal)?,
    };
    let name = format!("attachment; filename=\"job-{}-{attempt}.log\"", job.id);
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, name),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}
