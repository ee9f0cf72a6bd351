//! Every route that changes something: done once, and its kind is in the log.

use std::collections::BTreeSet;

use access::{Role, Scope};
use axum::http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vocab::Visibility;

use super::pushed::set_up;
use super::{KEY, Site};
use crate::routes::ROUTES;

/// Routes that need more than an empty site, each with the file and the test that sees its kind.
const ELSEWHERE: &[(&str, &str, &str, &str)] = &[
    ("post", "/bundles/import", FORMS, TAKEN),
    ("post", "/bundles/undo", FORMS, TAKEN),
    ("post", "/bundles/import/cancel", FORMS, STOPPED),
    ("delete", "/api/v1/bundles/import", FORMS, STOPPED),
    ("post", "/api/v1/bundles/import", STORY, STICK),
    ("post", "/api/v1/bundles/undo", STORY, STICK),
    ("post", "/api/v1/audit/cosigs", WITNESSES, WITNESS),
    ("post", "/api/v1/audit/redactions", REDACTED, REDACT),
];
const REDACTED: &str = "src/tests/redacted.rs";
const REDACT: &str = "only_administrators_redact_and_a_refusal_deletes_nothing";
const FORMS: &str = "src/tests/stopped.rs";
const TAKEN: &str = "a_medium_taken_in_and_undone_by_forms_is_told";
const STOPPED: &str = "the_stop_of_an_import_is_told_and_that_of_none_is_not";
const STORY: &str = "../../tests/bundles.rs";
const STICK: &str = "a_stick_is_verified_taken_in_undone_and_taken_in_again";
const WITNESSES: &str = "../../tests/audit_story.rs";
const WITNESS: &str = "a_witness_outside_sees_the_log_grow_and_nothing_else";

const PASSWORD: &str = "correct+horse+battery";
const WORKFLOW: &str = "on: [push, workflow_dispatch]\njobs:\n  a:\n    runs-on: x\n    steps: \
                        [{run: 'true'}]\n";

/// What was done so far, and how far the log was read.
struct Log<'a> {
    site: &'a Site,
    seen: i64,
    done: BTreeSet<(String, String)>,
}

impl Log<'_> {
    /// The kinds of all entries since the last call.
    fn since(&mut self) -> Vec<String> {
        let filter = audit::Filter {
            after: Some(audit::Seq(self.seen)),
            ..audit::Filter::default()
        };
        let read = |db: &store::Db| Ok::<_, store::StoreError>(audit::list(db, &filter, 1_000)?);
        let lines = self.site.app.store.read(read).unwrap();
        self.seen = lines.first().map_or(self.seen, |line| line.seq.0);
        let kind = |line: &audit::Line| {
            let value: Value = serde_json::from_str(&line.text).unwrap();
            value["act"].as_str().unwrap().to_owned()
        };
        lines.iter().map(kind).collect()
    }

    /// The route was just taken: one of its kinds must be among the new entries, soon.
    fn told(&mut self, method: &str, path: &str) {
        let entry = ROUTES
            .iter()
            .find(|entry| entry.method == method && entry.path == path)
            .unwrap_or_else(|| panic!("no route {method} {path}"));
        let mut kinds = Vec::new();
        for _ in 0..200_000 {
            kinds.extend(self.since());
            if entry
                .tells
                .iter()
                .any(|kind| kinds.contains(&kind.as_str().to_owned()))
            {
                self.done.insert((method.to_owned(), path.to_owned()));
                return;
            }
            std::thread::yield_now();
        }
        panic!(
            "{method} {path} must make one of {:?} and made {kinds:?}",
            entry.tells
        );
    }
}

/// One request at the control socket; its status.
async fn control(site: &Site, method: &str, path: &str, body: &Value) -> String {
    let socket = site.dir.path().join("control.sock");
    let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let body = body.to_string();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn address(path: &str) -> String {
    path.replace("{owner}", "dev")
        .replace("{repo}", "app")
        .replace("{user}", "dev")
        .replace("{name}", "KEY")
        .replace("{id}", "1")
}

/// The test is there, and names one of the route's kinds.
fn seen_by(method: &str, path: &str, file: &str, test: &str) {
    let text = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(text).unwrap();
    let start = text.find(&format!("fn {test}(")).expect(test);
    let body = text[start..].split("\n}\n").next().unwrap();
    let mut kinds = ROUTES
        .iter()
        .filter(|entry| entry.method == method && entry.path == path)
        .flat_map(|entry| entry.tells);
    assert!(
        kinds.any(|kind| body.contains(kind.as_str())),
        "{test} of {file} looks for no kind of {method} {path}"
    );
}

/// A scrub that somebody began and that has read nothing yet is stopped by form and by program.
async fn stop_scrubs(log: &mut Log<'_>, cookie: &str, token: &str) {
    let intake = log.site.app.intake.clone();
    // What ran before ends soon.
    let scrub = (0..200_000)
        .inspect(|_| std::thread::yield_now())
        .find_map(|_| intake.begin_scrub(&audit::Who::system()).ok())
        .expect("the last scrub ends");
    log.since();
    log.site.form("/bundles/scrub/stop", cookie, "").await;
    log.told("post", "/bundles/scrub/stop");
    let path = "/api/v1/bundles/scrub";
    log.site.ask(Method::DELETE, path, Some(token), "").await;
    log.told("delete", path);
    assert!(scrub.progress().check().is_err(), "it was stopped");
    // Whatever is left of it ends.
    drop(scrub.run());
}

/// An image whose one layer is here already is taken in, and removed.
async fn images(log: &mut Log<'_>, token: &str) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |kind: &str, bytes: Vec<u8>| {
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        std::fs::write(blobs.join(&digest), &bytes).unwrap();
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"), "size": bytes.len()})
    };
    let layer = put("layer.v1.tar", vec![0; 1_024]);
    let diff = layer["digest"].as_str().unwrap();
    let here = supply::layer_dir(log.site.app.store.dir(), &diff.parse().unwrap());
    std::fs::create_dir_all(here).unwrap();
    let rootfs = json!({"type": "layers", "diff_ids": [diff]});
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs});
    let config = put("config.v1+json", config.to_string().into_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer],
        "mediaType": "application/vnd.oci.image.manifest.v1+json"});
    let index = json!({"schemaVersion": 2, "manifests": [put("manifest.v1+json", manifest.to_string().into_bytes())]});
    std::fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
    let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
    std::fs::write(folder.path().join("oci-layout"), layout).unwrap();
    let tar = std::process::Command::new("tar")
        .args(["-c", "oci-layout", "index.json", "blobs"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    send(log, "put", "/api/v1/images/{*name}", token, tar.stdout).await;
    send(log, "delete", "/api/v1/images/{*name}", token, Vec::new()).await;
}

/// A git bundle file is taken into an empty repo.
async fn repo_files(log: &mut Log<'_>, tree: &std::sync::Arc<super::Tree>, token: &str) {
    let made = tree.run_off(&["bundle", "create", "all.bundle", "main"]);
    assert!(made.await.status.success());
    let file = std::fs::read(tree.path().join("all.bundle")).unwrap();
    let path = "/api/v1/repos/{owner}/{repo}/import";
    send(log, "post", path, token, file).await;
}

/// The key that the page added is removed, and added again.
async fn deploy_keys(log: &mut Log<'_>, token: &str) {
    let path = "/api/v1/repos/dev/app/deploy-keys";
    let of_app = "/api/v1/repos/{owner}/{repo}/deploy-keys";
    let listed = log.site.ask(Method::GET, path, Some(token), "").await;
    let one = format!("{path}/{}", listed.json()["keys"][0]["id"]);
    let gone = log.site.ask(Method::DELETE, &one, Some(token), "").await;
    assert!(gone.status.is_success(), "{}", gone.text);
    log.told("delete", &format!("{of_app}/{{id}}"));
    let body = json!({"name": "ci", "key": KEY}).to_string();
    let added = log.site.ask(Method::POST, path, Some(token), &body).await;
    assert!(added.status.is_success(), "{}", added.text);
    log.told("post", of_app);
    let id = &added.json()["id"];
    let one = format!("{path}/{id}");
    log.site.ask(Method::DELETE, &one, Some(token), "").await;
}

/// A request with bytes; it must succeed and be told.
async fn send(log: &mut Log<'_>, method: &str, path: &str, token: &str, body: Vec<u8>) {
    let at = path
        .replace("{*name}", "lab/empty:1")
        .replace("{owner}/{repo}", "root/two");
    let request = axum::http::Request::builder()
        .method(method.to_uppercase().as_str())
        .uri(at)
        .header("authorization", format!("Bearer {token}"));
    let request = request.body(axum::body::Body::from(body)).unwrap();
    let answer = log.site.send(request).await;
    assert!(
        answer.status.is_success(),
        "{method} {path}: {}",
        answer.text
    );
    log.told(method, path);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_route_that_changes_something_makes_the_entry_it_declares() {
    let (site, tree, url, _) = set_up(WORKFLOW).await;
    let admin = site.user("root", Role::Admin, Some("correct horse battery"));
    let all = [
        Scope::Admin,
        Scope::RepoAdmin,
        Scope::RepoWrite,
        Scope::RunWrite,
    ];
    let token = site.token(&admin, &all);
    let listener = tokio::net::UnixListener::bind(site.dir.path().join("control.sock")).unwrap();
    let app = site.app.clone();
    tokio::spawn(async move { crate::serve_control(listener, app, std::future::pending()).await });
    let mut log = Log {
        site: &site,
        seen: -1,
        done: BTreeSet::new(),
    };
    log.since();

    let pushed = tree.run_off(&["push", "-q", "origin", "main"]).await;
    assert!(pushed.status.success(), "{}", super::said(&pushed));
    log.told("post", "/{owner}/{repo}/git-receive-pack");
    tree.run_off(&["clone", "-q", &url, "again"]).await;
    log.told("post", "/{owner}/{repo}/git-upload-pack");

    let cookie = site.sign_in("root", PASSWORD).await;
    log.told("post", "/sign-in");
    let key = format!("name=k&key={}", KEY.replace('+', "%2B").replace(' ', "+"));
    for (path, form) in [
        ("/new", "path=root/one&visibility=private"),
        ("/tokens", "name=laptop&scope=repo%3Awrite&days=30"),
        ("/bundles/collect", ""),
        ("/bundles/scrub", ""),
        ("/bundles/have", ""),
        ("/bundles/need", ""),
        (
            "/{owner}/{repo}/settings/secrets",
            "name=ONE&value=very-secret-value",
        ),
        ("/{owner}/{repo}/settings/variables", "name=ONE&value=1"),
        ("/{owner}/{repo}/dispatch", "workflow=ci.yml&ref=main"),
        ("/ssh-keys", &key),
        ("/ssh-keys/{id}/remove", ""),
        ("/{owner}/{repo}/settings/deploy-keys", &key),
        (
            "/audit/export",
            "actor=&action=&object=&since=&until=&earlier=",
        ),
    ] {
        let answer = site.form(&address(path), &cookie, form).await;
        let status = answer.status.as_u16();
        assert!(
            (200..400).contains(&status),
            "{path}: {status} {}",
            answer.text
        );
        log.told("post", path);
    }
    stop_scrubs(&mut log, &cookie, &token).await;
    let path = "/tokens/{id}/revoke";
    site.form("/tokens/1/revoke", &cookie, "").await;
    log.told("post", path);
    for (what, form) in [("cancel", ""), ("rerun", "failed=false")] {
        let answer = site
            .form(&format!("/dev/app/runs/1/{what}"), &cookie, form)
            .await;
        assert!(answer.status.as_u16() < 400, "{what}: {}", answer.text);
        log.told(
            "post",
            &format!("/{{owner}}/{{repo}}/runs/{{number}}/{what}"),
        );
    }
    site.form("/sign-out", &cookie, "").await;
    log.told("post", "/sign-out");

    let user = json!({"name": "eve", "password": "correct horse battery"});
    let of_app = "/api/v1/repos/{owner}/{repo}";
    let steps = [
        ("post", "/api/v1/users".to_owned(), user),
        (
            "post",
            "/api/v1/repos".to_owned(),
            json!({"path": "root/two"}),
        ),
        (
            "put",
            format!("{of_app}/secrets/{{name}}"),
            json!({"value": "very-secret-value"}),
        ),
        ("delete", format!("{of_app}/secrets/{{name}}"), Value::Null),
        (
            "put",
            format!("{of_app}/variables/{{name}}"),
            json!({"value": "1"}),
        ),
        (
            "delete",
            format!("{of_app}/variables/{{name}}"),
            Value::Null,
        ),
        (
            "post",
            format!("{of_app}/dispatches"),
            json!({"workflow": "ci.yml", "ref": "main"}),
        ),
        ("post", format!("{of_app}/gc"), json!({})),
        ("post", "/api/v1/bundles/gc".to_owned(), json!({})),
        ("post", "/api/v1/bundles/scrub".to_owned(), Value::Null),
        ("post", "/api/v1/bundles/have".to_owned(), Value::Null),
        ("post", "/api/v1/bundles/need".to_owned(), Value::Null),
    ];
    for (method, path, body) in steps {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let verb: Method = method.to_uppercase().parse().unwrap();
        let answer = site.ask(verb, &address(&path), Some(&token), &body).await;
        assert!(
            answer.status.is_success(),
            "{method} {path}: {}",
            answer.text
        );
        log.told(method, &path);
    }
    images(&mut log, &token).await;
    repo_files(&mut log, &tree, &token).await;
    deploy_keys(&mut log, &token).await;
    for (what, body) in [("cancel", ""), ("rerun", r#"{"failed":false,"job":null}"#)] {
        let path = format!("/api/v1/repos/dev/app/runs/2/{what}");
        let answer = site.ask(Method::POST, &path, Some(&token), body).await;
        assert!(answer.status.is_success(), "{what}: {}", answer.text);
        log.told("post", &format!("{of_app}/runs/{{number}}/{what}"));
    }
    let session = json!({"name": "root", "password": "correct horse battery"}).to_string();
    let made = site
        .ask(Method::POST, "/api/v1/session", None, &session)
        .await;
    assert!(made.status.is_success(), "{}", made.text);
    log.told("post", "/api/v1/session");
    let cookie = made
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let ended = axum::http::Request::builder()
        .method(Method::DELETE)
        .uri("/api/v1/session")
        .header("cookie", cookie)
        .header("origin", "http://forge.lab");
    let ended = site
        .send(ended.body(axum::body::Body::empty()).unwrap())
        .await;
    assert!(ended.status.is_success(), "{}", ended.text);
    log.told("delete", "/api/v1/session");

    // Tokens are made and taken back by who has signed in, or by the operator.
    let wanted = json!({"name": "t", "scopes": ["repo:read"], "days": 3});
    let made = control(&site, "POST", "/api/v1/users/dev/tokens", &wanted).await;
    assert!(made.starts_with("HTTP/1.1 20"), "{made}");
    log.told("post", "/api/v1/users/{user}/tokens");
    let gone = control(&site, "DELETE", "/api/v1/tokens/4", &json!({})).await;
    assert!(gone.starts_with("HTTP/1.1 20"), "{gone}");
    log.told("delete", "/api/v1/tokens/{id}");
    let key = json!({"name": "k", "key": KEY});
    let made = control(&site, "POST", "/api/v1/users/dev/ssh-keys", &key).await;
    assert!(made.starts_with("HTTP/1.1 20"), "{made}");
    log.told("post", "/api/v1/users/{user}/ssh-keys");
    let made: Value = serde_json::from_str(&made[made.find("\r\n\r\n{").unwrap()..]).unwrap();
    let path = format!("/api/v1/ssh-keys/{}", made["id"]);
    let gone = control(&site, "DELETE", &path, &json!({})).await;
    assert!(gone.starts_with("HTTP/1.1 20"), "{gone}");
    log.told("delete", "/api/v1/ssh-keys/{id}");
    let event = json!({"update": "update:1", "stage": "staged",
        "from": {"version": "1", "sha256": "00"}, "to": {"version": "2", "sha256": "11"},
        "reason": ""});
    for (method, path, body) in [
        (
            "put",
            "/api/v1/bundles/trust",
            json!({"fingerprint": "0".repeat(64)}),
        ),
        (
            "post",
            "/api/v1/update/hold",
            json!({"seconds": 1, "why": "w", "lost": "l"}),
        ),
        ("delete", "/api/v1/update/hold", json!({})),
        ("post", "/api/v1/update/events", event),
    ] {
        let answer = control(&site, &method.to_uppercase(), path, &body).await;
        assert!(
            answer.starts_with("HTTP/1.1 20"),
            "{method} {path}: {answer}"
        );
        log.told(method, path);
    }
    let gone = site
        .ask(Method::DELETE, "/api/v1/repos/dev/app", Some(&token), "")
        .await;
    assert!(gone.status.is_success(), "{}", gone.text);
    log.told("delete", of_app);

    let mut done = log.done;
    for (method, path, file, test) in ELSEWHERE {
        seen_by(method, path, file, test);
        let new = done.insert(((*method).to_owned(), (*path).to_owned()));
        assert!(new, "{method} {path} is done here");
    }
    let declared = ROUTES.iter().filter(|entry| !entry.tells.is_empty());
    let declared: BTreeSet<_> = declared
        .map(|entry| (entry.method.to_owned(), entry.path.to_owned()))
        .collect();
    assert_eq!(done, declared, "a route is neither done here nor elsewhere");
}

#[tokio::test]
async fn an_entry_that_is_not_made_is_missed() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    site.repo("dev/app", &dev, Visibility::Private);
    let mut log = Log {
        site: &site,
        seen: -1,
        done: BTreeSet::new(),
    };
    log.since();
    let missed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        log.told("post", "/api/v1/users");
    }));
    assert!(missed.is_err(), "nothing was done");
}
