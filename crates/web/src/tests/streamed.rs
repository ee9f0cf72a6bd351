//! Logs and runs as they are followed: no gap, no repeat, and an end.

use access::{Role, Scope};
use audit::Who;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use queue::logs::Kind;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vocab::{Attempt, JobId, Visibility, from_unix_ms};

use super::Site;

/// What a holder asked for must have been done.
fn done<T>(fenced: queue::Fenced<T>) -> T {
    match fenced {
        queue::Fenced::Done(value) => value,
        queue::Fenced::Lost(_) => panic!("the job is not held any more"),
    }
}

/// A site with one run of one job, claimed and started, and a token of its owner.
pub(super) fn running() -> (Site, JobId, vocab::Fence, String) {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let token = site.token(&dev, &[Scope::RepoWrite, Scope::RunWrite]);
    let repo = site.repo("dev/app", &dev, Visibility::Private);
    let app = site.app.clone();
    let bytes = super::WORKFLOW.as_bytes();
    let workflow = workflow::parse(
        ".github/workflows/ci.yml",
        bytes,
        &workflow::Limits::default(),
    )
    .unwrap();
    let new = queue::NewRun {
        repo: repo.id,
        push: None,
        workflow_path: workflow.path.clone(),
        workflow_name: "<script>alert('workflow')</script>".into(),
        title: "<img src=x onerror=alert('title')>".into(),
        event: "push".into(),
        git_ref: "refs/heads/<b>main".into(),
        sha: "a".repeat(40),
        actor: dev.id,
        actor_name: "dev".into(),
        github: json!({}),
        inputs: json!({}),
        vars: json!({}),
        held: false,
        untrusted: false,
    };
    let now = site.clock.now();
    let who = Who::system();
    let fence = app
        .store
        .write(|tx| -> Result<vocab::Fence, queue::QueueError> {
            queue::open_run(tx, now, &app.auditor, &who, &new, &workflow)?;
            let offer = queue::Offer {
                runner: "test/1".into(),
                labels: vec!["ubuntu-latest".into()],
                lease: std::time::Duration::from_secs(60),
            };
            let claimed = queue::claim(tx, now, &app.auditor, &offer)?.unwrap();
            done(queue::started(tx, now, &app.auditor, claimed.fence)?);
            done(queue::step_started(
                tx,
                now,
                &app.auditor,
                claimed.fence,
                1,
                "echo <i>hello</i>",
                0,
            )?);
            Ok(claimed.fence)
        })
        .unwrap();
    (site, fence.job, fence, token)
}

/// Reads events until one is called `last`.
async fn events(
    site: &Site,
    path: &str,
    token: &str,
    resume: Option<u64>,
    last: &str,
) -> Vec<(String, Option<u64>, Value)> {
    let mut request = Request::builder()
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    if let Some(id) = resume {
        request = request.header("last-event-id", id.to_string());
    }
    let request = request.body(Body::empty()).unwrap();
    let response = crate::router(site.app.clone())
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    let (mut text, mut found) = (String::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|l| l.strip_prefix(name))
                    .map(|v| v.trim().to_owned())
            };
            let name = field("event:").unwrap_or_default();
            let data =
                serde_json::from_str(&field("data:").unwrap_or_default()).unwrap_or_default();
            let done = name == last;
            found.push((name, field("id:").and_then(|id| id.parse().ok()), data));
            if done {
                return found;
            }
        }
    }
    found
}

fn texts(events: &[(String, Option<u64>, Value)]) -> Vec<String> {
    events
        .iter()
        .flat_map(|(_, _, data)| data["lines"].as_array().cloned().unwrap_or_default())
        .map(|line| {
            line["spans"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s[1].as_str().unwrap())
                .collect()
        })
        .collect()
}

#[tokio::test]
async fn a_log_that_is_picked_up_again_has_neither_gap_nor_repeat() {
    let (site, job, _, token) = running();
    let mut log = site.app.logs.writer(job, Attempt(1)).unwrap();
    let at = from_unix_ms(1_795_472_245_000);
    for n in 0..40 {
        log.append(at, 1, Kind::Out, &format!("line {n}")).unwrap();
    }
    log.flush().unwrap();
    let path = format!("/api/v1/jobs/{job}/log/stream?from=0");
    let first = events(&site, &path, &token, None, "lines").await;
    let cut = first.last().unwrap().1.unwrap();
    for n in 40..80 {
        log.append(at, 1, Kind::Out, &format!("line {n}")).unwrap();
    }
    log.finish(at).unwrap();
    let rest = events(&site, &path, &token, Some(cut), "end").await;
    assert_eq!(rest.last().unwrap().0, "end");
    let mut all = texts(&first);
    all.extend(texts(&rest));
    assert_eq!(
        all,
        (0..80).map(|n| format!("line {n}")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn lines_reach_a_watcher_that_was_there_before_them() {
    let (site, job, _, token) = running();
    let path = format!("/api/v1/jobs/{job}/log/stream?from=0");
    let writer = {
        let logs = site.app.logs.clone();
        move || {
            let at = from_unix_ms(1_795_472_245_000);
            let mut log = logs.writer(job, Attempt(1)).unwrap();
            log.append(at, 1, Kind::Out, "late \u{1b}[32mgreen\u{1b}[0m")
                .unwrap();
            log.finish(at).unwrap();
        }
    };
    let watch = events(&site, &path, &token, None, "end");
    let (seen, written) = tokio::join!(watch, tokio::task::spawn_blocking(writer));
    written.unwrap();
    assert_eq!(texts(&seen), ["late green"]);
    let line = &seen[0].2["lines"][0];
    assert_eq!(line["spans"][1], json!(["c2", "green"]));
}

#[tokio::test]
async fn a_made_up_offset_is_refused_before_the_stream_begins() {
    let (site, job, _, token) = running();
    let mut log = site.app.logs.writer(job, Attempt(1)).unwrap();
    log.append(from_unix_ms(0), 1, Kind::Out, "hello").unwrap();
    log.flush().unwrap();
    let path = format!("/api/v1/jobs/{job}/log/stream?from=3");
    let answer = site
        .ask(axum::http::Method::GET, &path, Some(&token), "")
        .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
}

#[tokio::test]
async fn a_server_that_stops_lets_go_of_its_watchers() {
    let (site, job, _, token) = running();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = site.app.clone();
    let serving =
        tokio::spawn(
            async move { crate::serve(listener, app, async { stopped.await.unwrap() }).await },
        );
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let ask = format!(
        "GET /api/v1/jobs/{job}/log/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_watched_run_tells_each_change_and_then_its_end() {
    let (site, _, fence, token) = running();
    let app = site.app.clone();
    let now = site.clock.now();
    let finish = move || {
        let ended = queue::Ended {
            outcome: vocab::Outcome::Success,
            reason: String::new(),
            outputs: Vec::new(),
            summary: String::new(),
            annotations: json!([]),
            receipt: None,
        };
        done(
            app.store
                .write(|tx| queue::finish(tx, now, &app.auditor, fence, &ended))
                .unwrap(),
        );
    };
    let watch = events(
        &site,
        "/api/v1/repos/dev/app/runs/1/events",
        &token,
        None,
        "end",
    );
    let (seen, done) = tokio::join!(watch, tokio::task::spawn_blocking(finish));
    done.unwrap();
    assert_eq!(seen.last().unwrap().0, "end");
    let last = &seen[seen.len() - 2];
    assert_eq!(
        (last.0.as_str(), last.2["outcome"].as_str()),
        ("run", Some("success"))
    );
    assert_eq!(
        last.2["view"]["state"],
        json!({ "word": "success", "tone": "ok" })
    );
}
