//! Counters of this process, and the page that Prometheus reads.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::fault::Fault;
use crate::guard::Ctx;

/// What has happened since the start.
#[derive(Default)]
pub(crate) struct Counters {
    requests: [AtomicU64; 6],
    pushes: AtomicU64,
    pushes_refused: AtomicU64,
    fetches: AtomicU64,
    fetch_bytes: AtomicU64,
    streams: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).min(5);
        self.requests[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn push(&self, refused: bool) {
        let counter = if refused {
            &self.pushes_refused
        } else {
            &self.pushes
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fetch(&self, bytes: u64) {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        self.fetch_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stream(&self, begun: bool) {
        if begun {
            self.streams.fetch_add(1, Ordering::Relaxed);
        } else {
            self.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn text(&self, out: &mut String) {
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        head(
            out,
            "cofferdam_http_responses_total",
            "counter",
            "Answers by class of status.",
        );
        for (class, counter) in self.requests.iter().enumerate().skip(1) {
            let labels = format!("{{class=\"{class}xx\"}}");
            line(
                out,
                "cofferdam_http_responses_total",
                &labels,
                read(counter),
            );
        }
        for (name, help, value) in [
            (
                "cofferdam_pushes_total",
                "Pushes taken.",
                read(&self.pushes),
            ),
            (
                "cofferdam_pushes_refused_total",
                "Pushes refused.",
                read(&self.pushes_refused),
            ),
            (
                "cofferdam_fetches_total",
                "Clones and fetches.",
                read(&self.fetches),
            ),
            (
                "cofferdam_fetch_bytes_total",
                "Bytes sent to fetches.",
                read(&self.fetch_bytes),
            ),
        ] {
            head(out, name, "counter", help);
            line(out, name, "", value);
        }
        head(out, "cofferdam_streams", "gauge", "Open event streams.");
        line(out, "cofferdam_streams", "", read(&self.streams));
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
        .expect("a String takes every write");
}

fn line(out: &mut String, name: &str, labels: &str, value: u64) {
    writeln!(out, "{name}{labels} {value}").expect("a String takes every write");
}

/// `GET /metrics`
pub(crate) async fn metrics(ctx: Ctx) -> Result<Response, Fault> {
    let counts = ctx
        .app
        .read(|db| queue::counts(db).map_err(Fault::internal))
        .await?;
    let mut out = String::new();
    ctx.app.0.counters.text(&mut out);
    head(
        &mut out,
        "cofferdam_jobs",
        "gauge",
        "Unfinished jobs by state.",
    );
    for (state, n) in [
        ("held", counts.held),
        ("blocked", counts.blocked),
        ("queued", counts.queued),
        ("leased", counts.leased),
        ("running", counts.running),
    ] {
        line(
            &mut out,
            "cofferdam_jobs",
            &format!("{{state=\"{state}\"}}"),
            n,
        );
    }
    let slots = ctx.app.facilities.slots();
    head(
        &mut out,
        "cofferdam_slots",
        "gauge",
        "Places in which jobs can run.",
    );
    line(&mut out, "cofferdam_slots", "", slots.len() as u64);
    audit_log(&mut out, &ctx.app.auditor.state());
    head(&mut out, "cofferdam_build_info", "gauge", "The version.");
    let labels = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    line(&mut out, "cofferdam_build_info", &labels, 1);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response())
}

fn audit_log(out: &mut String, state: &audit::State) {
    let (open, refused, went_on) = match state {
        audit::State::Open => (1, 0, 0),
        audit::State::Blocked(blocked) => (0, blocked.refused, blocked.went_on),
    };
    for (name, help, value) in [
        (
            "cofferdam_audit_open",
            "Whether the audit log takes entries.",
            open,
        ),
        (
            "cofferdam_audit_refused",
            "Changes refused since the audit log takes no entries.",
            refused,
        ),
        (
            "cofferdam_audit_went_on",
            "Entries of what goes on since the audit log takes no others.",
            went_on,
        ),
    ] {
        head(out, name, "gauge", help);
        line(out, name, "", value);
    }
}

/// `GET /healthz`: the process answers.
pub(crate) async fn healthz(_ctx: Ctx) -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database can be read and written.
pub(crate) async fn readyz(ctx: Ctx) -> Result<&'static str, Fault> {
    if ctx.app.store.is_stopped() {
        return Err(store::StoreError::Stopped.into());
    }
    ctx.app
        .read(|db| queue::counts(db).map_err(Fault::internal))
        .await?;
    Ok("ready\n")
}
