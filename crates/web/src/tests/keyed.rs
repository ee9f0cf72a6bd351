//! SSH keys through the API and the pages: whose they may become, and who may take them away.

use access::{Role, Scope};
use axum::http::{Method, StatusCode};
use serde_json::json;
use vocab::Visibility;

use super::{KEY, Site};

#[tokio::test]
async fn a_deploy_key_is_added_listed_and_removed_by_whoever_keeps_the_repo() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, None);
    let eve = site.user("eve", Role::Member, None);
    site.repo("dev/app", &dev, Visibility::Private);
    site.repo("eve/other", &eve, Visibility::Private);
    let (own, other) = (site.token(&dev, &Scope::ALL), site.token(&eve, &Scope::ALL));
    let path = "/api/v1/repos/dev/app/deploy-keys";
    let body = json!({ "name": "mirror", "key": KEY, "write": true }).to_string();
    let added = site.ask(Method::POST, path, Some(&own), &body).await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.text);
    let again = site.ask(Method::POST, path, Some(&own), &body).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    let listed = site.ask(Method::GET, path, Some(&own), "").await.json();
    assert_eq!(listed["keys"][0]["name"], "mirror");
    assert_eq!(listed["keys"][0]["write"], true);
    let id = &listed["keys"][0]["id"];
    // Neither another repo's keeper nor the address of another repo, nor that of people's keys.
    for (path, token) in [
        (format!("{path}/{id}"), &other),
        (format!("/api/v1/repos/eve/other/deploy-keys/{id}"), &other),
        (format!("/api/v1/ssh-keys/{id}"), &own),
    ] {
        let refused = site.ask(Method::DELETE, &path, Some(token), "").await;
        assert!(refused.status.is_client_error(), "{path}: {}", refused.text);
    }
    let own_path = format!("{path}/{id}");
    let gone = site.ask(Method::DELETE, &own_path, Some(&own), "").await;
    assert_eq!(gone.status, StatusCode::OK);
    let listed = site.ask(Method::GET, path, Some(&own), "").await.json();
    assert_eq!(listed["keys"], json!([]));
}

#[tokio::test]
async fn a_person_adds_a_key_on_the_page_and_no_token_can() {
    let site = Site::new();
    let dev = site.user("dev", Role::Member, Some("correct horse battery"));
    let cookie = site.sign_in("dev", "correct+horse+battery").await;
    let form = format!("name=&key={}", KEY.replace('+', "%2B").replace(' ', "+"));
    let weak = site
        .form("/ssh-keys", &cookie, "name=&key=ssh-dss+AAAA")
        .await;
    assert_eq!(weak.status, StatusCode::BAD_REQUEST);
    assert!(weak.text.contains("DSA keys are too weak"), "{}", weak.text);
    let added = site.form("/ssh-keys", &cookie, &form).await;
    assert_eq!(added.status, StatusCode::SEE_OTHER, "{}", added.text);
    let shown = site.page("/tokens", &cookie).await;
    assert!(shown.text.contains("dev@lab") && shown.text.contains("SHA256:"));
    let gone = site.form("/ssh-keys/1/remove", &cookie, "").await;
    assert_eq!(gone.status, StatusCode::SEE_OTHER, "{}", gone.text);
    assert!(!site.page("/tokens", &cookie).await.text.contains("dev@lab"));
    let token = site.token(&dev, &Scope::ALL);
    let body = json!({ "key": KEY }).to_string();
    let path = "/api/v1/users/dev/ssh-keys";
    let refused = site.ask(Method::POST, path, Some(&token), &body).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
}
