//! One claimed job on its own thread: order, run, report.
//!
//! Whatever happens in here, the job ends with an outcome and a reason: a refusal before the
//! sandbox, a panic of ours, a database that cannot take the result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use queue::{Claimed, Ended, Fenced, QueueError};
use runner::{Cancel, JobOrder, JobReport};
use serde_json::{Map, Value};
use vocab::{Clock, Fence, Outcome, from_unix_ms};

use crate::dispatcher::{Parts, chain};
use crate::recorder::Recorder;
use crate::{Held, SERVICE_PORT};

/// How often a result is offered to the database before the job is left to its lease.
const FINISH_TRIES: u32 = 5;

/// Runs `claimed` to its end and reports it.
#[tracing::instrument(skip_all, fields(job.id = %claimed.fence.job, run.id = %claimed.run.id))]
///
/// A job that was asked to stop with the words of `lost` ends as lost, with those words.
pub(crate) fn run(
    parts: &Parts,
    claimed: &Claimed,
    held: &Held,
    cancel: &Cancel,
    lost: &dyn Fn() -> Option<String>,
) {
    let recorder = match Recorder::open(parts, claimed, held, cancel) {
        Ok(recorder) => recorder,
        Err(error) => {
            let reason = format!("its log could not be opened: {}", chain(&error));
            return finish(parts, claimed.fence, &ended(Outcome::Failure, reason));
        }
    };
    let attempted = catch_unwind(AssertUnwindSafe(|| {
        attempt(parts, claimed, held, cancel, &recorder)
    }));
    let mut result = attempted.unwrap_or_else(|_| {
        tracing::error!("the runner panicked; see the lines above");
        ended(
            Outcome::Lost,
            "the runner itself failed while it ran this job".to_owned(),
        )
    });
    if result.outcome == Outcome::Cancelled
        && let Some(reason) = lost()
        && cancel.requested().as_ref() == Some(&reason)
    {
        result.outcome = Outcome::Lost;
        result.reason = reason;
    }
    recorder.close(&result);
    finish(parts, claimed.fence, &result);
}

fn attempt(
    parts: &Parts,
    claimed: &Claimed,
    held: &Held,
    cancel: &Cancel,
    recorder: &Recorder<'_>,
) -> Ended {
    let refused = |reason: String| ended(Outcome::Failure, reason);
    let source = match parts.provider.source(claimed) {
        Ok(source) => source,
        Err(reason) => return refused(reason),
    };
    let order = match order(parts, claimed, held) {
        Ok(order) => order,
        Err(reason) => return refused(reason),
    };
    let report = runner::run(
        &order,
        &claimed.spec,
        parts.executor.as_ref(),
        source.as_ref(),
        recorder,
        cancel,
        &parts.clock,
    );
    from_report(report)
}

fn order(parts: &Parts, claimed: &Claimed, held: &Held) -> Result<JobOrder, String> {
    let config = &parts.config;
    let vars = object(&claimed.vars).into_iter().map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        (name, value)
    });
    let now = parts.clock.now();
    Ok(JobOrder {
        fence: claimed.fence,
        github: object(&claimed.github),
        needs: object(&claimed.needs),
        vars: vars.collect(),
        inputs: object(&claimed.inputs),
        secrets: parts.provider.secrets(claimed)?,
        image: parts.provider.image(claimed, held)?,
        limits: config.limits.clone(),
        network: runner::executor::NetworkPolicy::Loopback,
        supply: parts.provider.supply(claimed, held)?,
        actions: parts.provider.actions(claimed, held)?,
        endpoint: parts
            .endpoint
            .is_some()
            .then(|| format!("http://127.0.0.1:{SERVICE_PORT}")),
        grace: config.grace,
        server_url: config.server_url.clone(),
        api_url: format!("{}/api/v1", config.server_url),
        runner: config.identity.clone(),
        queued_at: claimed.job.queued_ms.map_or(now, from_unix_ms),
        claimed_at: now,
        debug: false,
    })
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn from_report(report: JobReport) -> Ended {
    let summary: Vec<String> = report
        .steps
        .into_iter()
        .map(|s| s.summary)
        .filter(|s| !s.is_empty())
        .collect();
    Ended {
        outcome: report.outcome,
        reason: report.reason,
        outputs: report.outputs,
        summary: summary.join("\n\n"),
        annotations: to_json(&report.annotations),
        receipt: report.receipt.as_ref().map(to_json),
    }
}

fn ended(outcome: Outcome, reason: String) -> Ended {
    Ended {
        outcome,
        reason,
        outputs: Vec::new(),
        summary: String::new(),
        annotations: Value::Array(Vec::new()),
        receipt: None,
    }
}

fn to_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("our own reports have only text keys")
}

/// Stores the result. A database that cannot take it now is asked again; after that the lease
/// runs out and the job is lost, which is then the truth.
fn finish(parts: &Parts, fence: Fence, result: &Ended) {
    offer(parts, fence, result);
    parts.provider.forget(fence);
}

fn offer(parts: &Parts, fence: Fence, result: &Ended) {
    let mut attempt = 1;
    while attempt <= FINISH_TRIES {
        let now: SystemTime = parts.clock.now();
        let stored = parts.store.write(|tx| {
            let ended = queue::finish(tx, now, &parts.auditor, fence, result)?;
            if let Fenced::Done(()) = ended {
                parts.provider.ending(tx, fence)?;
            }
            Ok::<_, QueueError>(ended)
        });
        match stored {
            Ok(Fenced::Done(())) => return,
            Ok(Fenced::Lost(lost)) => {
                tracing::warn!(%lost, "the result came too late and was refused");
                return;
            }
            Err(error) => {
                tracing::error!(attempt, error = %chain(&error), "the result was not stored");
                Clock::sleep(std::time::Duration::from_millis(200 << attempt));
                // A log without any room gets some again; the result waits for that.
                if !scarce(&parts.auditor) {
                    attempt += 1;
                }
            }
        }
    }
}

fn scarce(auditor: &audit::Auditor) -> bool {
    matches!(auditor.state(), audit::State::Blocked(b) if b.cause == audit::Cause::Space)
}
