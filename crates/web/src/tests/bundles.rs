//! Bundles through the web listener: what the API tells, and what it does not.

use access::{Role, Scope};
use axum::http::{Method, StatusCode};
use serde_json::json;

use super::Site;

#[tokio::test]
async fn the_api_reads_media_only_and_tells_nothing_about_other_files() {
    let site = Site::new();
    let admin = site.user("root", Role::Admin, None);
    let token = site.token(&admin, &[Scope::Admin]);
    let link = tempfile::tempdir_in("/mnt").unwrap();
    let out = link.path().join("out");
    std::os::unix::fs::symlink("/etc", &out).unwrap();
    let out = out.to_str().unwrap().to_owned();
    let mut answers = Vec::new();
    for path in [
        "/etc",
        "/etc/no-such-thing",
        "/mnt/../etc",
        "/mnt/no-such-thing",
        "/mntx",
        &out,
    ] {
        for what in ["verify", "diff", "import"] {
            let route = format!("/api/v1/bundles/{what}");
            let body = json!({ "path": path }).to_string();
            let answer = site.ask(Method::POST, &route, Some(&token), &body).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            answers.push(answer.json());
        }
    }
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:#?}");
    assert_eq!(answers[0]["code"], "E_PLACE");
    // The control: what lies on a medium is looked at.
    let body = json!({ "path": link.path() }).to_string();
    let answer = site
        .ask(Method::POST, "/api/v1/bundles/verify", Some(&token), &body)
        .await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["code"], "E_NO_BUNDLE");
}

#[tokio::test]
async fn looking_at_bundles_takes_an_administrator_and_pinning_the_control_socket() {
    let site = Site::new();
    let admin = site.user("root", Role::Admin, None);
    let member = site.user("dev", Role::Member, None);
    let admin = site.token(&admin, &[Scope::Admin]);
    let member = site.token(&member, &[Scope::RunRead]);
    let get = |path: &'static str, token: String| {
        let site = &site;
        async move { site.ask(Method::GET, path, Some(&token), "").await }
    };
    assert_eq!(
        get("/api/v1/bundles", admin.clone()).await.status,
        StatusCode::OK
    );
    let denied = get("/api/v1/bundles", member.clone()).await.status;
    assert_eq!(denied, StatusCode::FORBIDDEN);
    let listed = get("/api/v1/catalogue", member).await;
    assert_eq!(listed.json()["items"], json!([]));
    let body = json!({ "fingerprint": "0".repeat(64) }).to_string();
    let pinned = site
        .ask(Method::PUT, "/api/v1/bundles/trust", Some(&admin), &body)
        .await;
    assert_eq!(pinned.status, StatusCode::FORBIDDEN);
}
