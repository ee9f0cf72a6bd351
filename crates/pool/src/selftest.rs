//! A job of the pool's own: a tiny workflow, planned, run in a sandbox, and searched for.
//!
//! Takes the way of every other job save for the queue, so that nothing of it is kept.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use runner::executor::{Facts, NetworkPolicy};
use runner::{
    Annotation, Cancel, CheckedOut, CheckoutRequest, Grace, JobOrder, LineKind, Observer, Source,
    SourceError, StepReport,
};
use vocab::{Attempt, Fence, JobId, Outcome, Stopwatch};
use workflow::{Contexts, JobSpec, Status};

use crate::Pool;

const TEXT: &str = "on: push\njobs:\n  selftest:\n    runs-on: self\n    steps:\n      - run: echo \"green $((6 * 7))\"\n        shell: sh\n";
const WORD: &str = "green 42";

/// No job of the queue has this id.
const JOB: JobId = JobId(0);
static ATTEMPT: AtomicU32 = AtomicU32::new(1);

/// How a job of the pool's own went.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SelfTest {
    /// Name of the image, or `host` for the host's own `/usr`.
    pub image: String,
    /// From the order to the end of the search after it.
    pub took_ms: u64,
}

impl Pool {
    /// Runs the job; an error says what was not as it should be. Blocks until it is over.
    pub fn self_test(&self) -> Result<SelfTest, String> {
        let watch = Stopwatch::start();
        let parts = &self.shared.parts;
        let image = parts.provider.own_image()?;
        let name = image
            .as_ref()
            .map_or("host", |i| i.name.as_str())
            .to_owned();
        let now = parts.clock.now();
        let mut limits = parts.config.limits.clone();
        limits.timeout = limits.timeout.min(Duration::from_secs(20));
        let order = JobOrder {
            fence: Fence {
                job: JOB,
                attempt: Attempt(ATTEMPT.fetch_add(1, Ordering::Relaxed).into()),
                epoch: 0,
            },
            endpoint: None,
            supply: None,
            actions: Vec::new(),
            github: serde_json::Map::new(),
            needs: serde_json::Map::new(),
            vars: Vec::new(),
            inputs: serde_json::Map::new(),
            secrets: Vec::new(),
            image,
            limits,
            network: NetworkPolicy::Loopback,
            grace: Grace::default(),
            server_url: parts.config.server_url.clone(),
            api_url: format!("{}/api/v1", parts.config.server_url),
            runner: parts.config.identity.clone(),
            queued_at: now,
            claimed_at: now,
            debug: false,
        };
        let cancel = Cancel::new().map_err(|e| format!("no descriptor left: {e}"))?;
        let heard = Heard::default();
        let report = runner::run(
            &order,
            &spec()?,
            parts.executor.as_ref(),
            &NoSource,
            &heard,
            &cancel,
            &parts.clock,
        );
        if report.outcome != Outcome::Success {
            return Err(format!(
                "the job ended as {}: {}",
                report.outcome.as_str(),
                report.reason
            ));
        }
        if !heard.said(WORD) {
            return Err(format!("the job did not print '{WORD}'"));
        }
        let receipt = report.receipt.ok_or("the job has no receipt")?;
        if let Some(found) = receipt.residue.found.first() {
            return Err(format!("the job left something behind: {found}"));
        }
        Ok(SelfTest {
            image: name,
            took_ms: u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

fn spec() -> Result<JobSpec, String> {
    let limits = workflow::Limits::default();
    let parsed = workflow::parse("selftest.yml", TEXT.as_bytes(), &limits)
        .map_err(|_| "the workflow of the self-test cannot be read")?;
    let job = parsed.job("selftest").ok_or("the self-test has no job")?;
    let legs = workflow::expand(&parsed, job, &Contexts::new(Status::SUCCESS))
        .map_err(|e| e.to_string())?;
    let leg = legs.into_iter().next().ok_or("the self-test has no leg")?;
    Ok(JobSpec::new(&parsed, job, leg))
}

/// The self-test checks nothing out.
struct NoSource;

impl Source for NoSource {
    fn checkout(
        &self,
        request: &CheckoutRequest,
        _: &mut dyn std::io::Write,
    ) -> Result<CheckedOut, SourceError> {
        Err(SourceError::NoRepository {
            repository: request.repository.clone(),
        })
    }
}

/// Remembers what the steps printed.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn said(&self, word: &str) -> bool {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| line == word)
    }
}

impl Observer for Heard {
    fn prepared(&self, _: &Facts, _: Option<TcpListener>) {}

    fn step_started(&self, _: u32, _: &str, _: SystemTime) {}

    fn line(&self, _: u32, _: SystemTime, kind: LineKind, text: &str) {
        if kind == LineKind::Out {
            let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(text.to_owned());
        }
    }

    fn annotation(&self, _: u32, _: &Annotation) {}

    fn step_finished(&self, _: u32, _: &StepReport, _: SystemTime) {}
}
