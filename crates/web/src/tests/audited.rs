//! The audit log through the web listener: who may read it, what an entry proves, what an export is.

use access::{Role, Scope};
use axum::http::{Method, StatusCode};
use evidence::checkpoint::Checkpoint;
use evidence::note::NoteKey;
use evidence::tree::{Hash, includes, leaf_hash};
use evidence::verify::{Anchors, verify};

use super::Site;

#[tokio::test]
async fn an_entry_comes_with_its_proof() {
    let site = Site::new();
    let admin = site.user("root", Role::Admin, None);
    let token = site.token(&admin, &[Scope::Admin]);
    let seal = site.app.seal.clone().unwrap();
    let get = async |path: &str| site.ask(Method::GET, path, Some(&token), "").await;
    assert_eq!(
        get("/api/v1/audit/entries/0").await.json()["proof"],
        serde_json::Value::Null
    );
    seal.seal(&site.app.store).unwrap();
    let key = get("/api/v1/audit/checkpoint").await.json()["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let key: NoteKey = key.parse().unwrap();
    let shown = get("/api/v1/audit/entries/1").await.json();
    let note = shown["proof"]["checkpoint"].as_str().unwrap();
    let checkpoint = Checkpoint::verify(note.as_bytes(), &key).unwrap();
    let hashes: Vec<Hash> = shown["proof"]["hashes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| evidence::manifest::hash(hash.as_str().unwrap()).unwrap())
        .collect();
    let leaf = leaf_hash(shown["line"].as_str().unwrap().as_bytes());
    assert!(includes(
        &leaf,
        1,
        checkpoint.size,
        &hashes,
        &checkpoint.root
    ));
    assert_eq!(
        get("/api/v1/audit/entries/999").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_export_verifies_and_is_itself_in_the_log() {
    let site = Site::new();
    let admin = site.user("root", Role::Admin, None);
    let token = site.token(&admin, &[Scope::Admin]);
    let request = axum::http::Request::builder()
        .uri("/api/v1/audit/export?actor=nobody-known")
        .header("authorization", format!("Bearer {token}"))
        .body(axum::body::Body::empty())
        .unwrap();
    let response = tower::ServiceExt::oneshot(crate::router(site.app.clone()), request)
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let bytes = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    let path = site.dir.path().join("e.cfa");
    std::fs::write(&path, bytes).unwrap();
    let verdict = verify(&path, &Anchors::default()).unwrap();
    assert!(verdict.good, "{:?}", verdict.findings);
    assert_eq!((verdict.shown, verdict.hidden), (0, 2));
    let told = site
        .ask(Method::GET, "/api/v1/audit?kind=audit.*", Some(&token), "")
        .await
        .json();
    assert_eq!(told["entries"][0]["d"]["size"], 2);
}

#[tokio::test]
async fn reading_the_log_takes_an_administrator() {
    let site = Site::new();
    let member = site.user("dev", Role::Member, None);
    let token = site.token(&member, &[Scope::RunRead, Scope::RepoWrite]);
    for path in ["", "/checkpoint", "/entries/0", "/export"] {
        let path = format!("/api/v1/audit{path}");
        let answer = site.ask(Method::GET, &path, Some(&token), "").await;
        assert_ne!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(
            site.ask(Method::GET, &path, None, "").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn a_log_that_was_tampered_with_refuses_changes_and_answers_questions() {
    let site = Site::new();
    let admin = site.user("root", Role::Admin, None);
    let token = site.token(&admin, &[Scope::Admin]);
    let body = r#"{"path":"lab/app"}"#;
    site.app
        .auditor
        .refuse("audit entry 1 is not the one that was sealed");
    let answer = site
        .ask(Method::POST, "/api/v1/repos", Some(&token), body)
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let told = answer.json();
    assert_eq!(told["code"], "E_AUDIT_BLOCKED", "{told}");
    let said = told["error"].as_str().unwrap();
    assert!(said.contains("entry 1 is not the one"), "{said}");
    assert!(
        told["what_to_do"].as_str().unwrap().contains("fsck"),
        "{told}"
    );
    let answer = site
        .ask(Method::GET, "/api/v1/audit", Some(&token), "")
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn an_actor_is_found_by_name_and_nobody_else_with_them() {
    let site = Site::new();
    let admin = site.user("root", Role::Admin, None);
    let token = site.token(&admin, &[Scope::Admin]);
    let body = r#"{"path":"lab/app"}"#;
    let made = site
        .ask(Method::POST, "/api/v1/repos", Some(&token), body)
        .await;
    assert!(made.status.is_success(), "{}", made.text);
    let nobody = site
        .ask(Method::GET, "/api/v1/audit?actor=roto", Some(&token), "")
        .await
        .json();
    let hint = nobody["hint"].as_str().unwrap();
    assert!(hint.contains("nobody called 'roto'"), "{hint}");
    assert!(hint.contains("entries are by root (u:1)"), "{hint}");
    let found = site
        .ask(Method::GET, "/api/v1/audit?actor=root", Some(&token), "")
        .await
        .json();
    assert_eq!(found["hint"], serde_json::Value::Null);
    let entries = found["entries"].as_array().unwrap();
    assert!(entries.iter().any(|entry| entry["act"] == "repo.create"));
    assert!(
        entries
            .iter()
            .all(|entry| entry["who"]["id"] == admin.id.tagged())
    );
}
